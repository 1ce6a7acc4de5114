package wheel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// maxShebang is the most bytes that Linux reads of a script's first line, "#!" and the end of line among them, before
// it was raised in 5.1.
const maxShebang = 127

// shebang is the first line of a script run by an interpreter, or the lines of sh that stand for it where the path is
// too long or holds a space: Python reads them as a string. coding is the encoding that the script itself declares in
// its second line, "" for none: it then stands in ours, and the path is written in ASCII.
func shebang(interpreter, coding string) string {
	if len(interpreter)+len("#!\n") <= maxShebang && !strings.Contains(interpreter, " ") {
		return "#!" + interpreter + "\n"
	}
	var declaration string
	quoted := "'" + strings.ReplaceAll(interpreter, "'", `'"'"'`) + "'"
	if coding != "" {
		declaration = "# coding: " + coding + "\n"
		var octal []string
		for i := range len(interpreter) {
			octal = append(octal, fmt.Sprintf(`'\'%04o`, interpreter[i]))
		}
		quoted = `"$(printf %b ` + strings.Join(octal, " ") + `)"`
	}
	return "#!/bin/sh\n" + declaration + "'''exec' " + quoted + ` "$0" "$@"` + "\n' '''\n"
}

// scriptPrefix begins the scripts whose first line an installer rewrites (PEP 427, "Recommended installer features").
const scriptPrefix = "#!python"

// rewriteScript gives the content of a script of a .data/scripts folder: with the interpreter in its first line where it
// asks for one, and as it is (and rewritten false) where it does not.
func rewriteScript(c fstree.Content, interpreter string) (_ fstree.Content, rewritten bool, err error) {
	r, err := c.Open()
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	in := bufio.NewReader(r)
	head, err := in.Peek(len(scriptPrefix))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if string(head) != scriptPrefix {
		return c, false, nil
	}
	skip, err := skipLine(in)
	if err != nil {
		return nil, false, err
	}
	next, err := in.Peek(min(4096, int(c.Size()-skip)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	return scriptContent{shebang: shebang(interpreter, codingOf(string(next))), skip: skip, rest: c}, true, nil
}

// skipLine steps over the first line, which ends in CR, LF or both, and gives its length.
func skipLine(in *bufio.Reader) (n int64, err error) {
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		n++
		if b == '\r' {
			if next, err := in.Peek(1); err == nil && next[0] == '\n' {
				n++
				_, err = in.Discard(1)
				return n, err
			}
		}
		if b == '\r' || b == '\n' {
			return n, nil
		}
	}
}

// codingOf finds the encoding that the first line of text declares (PEP 263).
func codingOf(text string) string {
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		text = text[:i]
	}
	m := regexp.MustCompile(`^[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]+)`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// scriptContent is a script with another first line.
type scriptContent struct {
	shebang string
	skip    int64 // bytes of rest that the shebang replaces
	rest    fstree.Content
}

// Size is the number of bytes.
func (s scriptContent) Size() int64 { return int64(len(s.shebang)) + s.rest.Size() - s.skip }

// Open yields the bytes.
func (s scriptContent) Open() (io.ReadCloser, error) {
	r, err := s.rest.Open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, s.skip); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(s.shebang), r), r}, nil
}
