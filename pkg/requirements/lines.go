package requirements

import (
	"bytes"
	"errors"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
)

// logical is a line of the file, with those that continue it.
type logical struct {
	number int // of its first line
	text   string
}

var commentRE = lazyre.New(`(^|\s+)#.*$`)

// logicalLines joins the lines that end with a backslash, and leaves out comments and empty lines. A comment ends a line
// that others continue.
func logicalLines(data []byte) []logical {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var all []logical
	var b strings.Builder
	first, n := 0, 0
	flush := func() {
		if text := strings.TrimSpace(commentRE().ReplaceAllString(b.String(), "")); text != "" {
			all = append(all, logical{first, text})
		}
		b.Reset()
	}
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		comment := strings.HasPrefix(strings.TrimSpace(line), "#")
		if b.Len() == 0 {
			first = n
		}
		if rest, more := strings.CutSuffix(line, `\`); more && !comment {
			b.WriteString(rest)
			b.WriteByte(' ')
			continue
		}
		if comment {
			line = " " // in the middle of a continued line it ends that line, as for pip
		}
		b.WriteString(line)
		flush()
	}
	flush()
	return all
}

var variableRE = lazyre.New(`\$\{[A-Z0-9_]+\}`)

// expand puts in the variables of the form ${NAME} that are set; others stay as they are.
func expand(text string, getenv func(string) string) string {
	return variableRE().ReplaceAllStringFunc(text, func(v string) string {
		if value := getenv(v[2 : len(v)-1]); value != "" {
			return value
		}
		return v
	})
}

// split takes a line of options apart at white space, quotes aside.
func split(text string) ([]string, error) {
	var all []string
	var word strings.Builder
	open, within := rune(0), false
	for _, r := range text {
		switch {
		case open != 0 && r == open:
			open = 0
		case open != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			open, within = r, true
		case r == ' ' || r == '\t':
			if within {
				all = append(all, word.String())
				word.Reset()
			}
			within = false
		default:
			word.WriteRune(r)
			within = true
		}
	}
	if open != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if within {
		all = append(all, word.String())
	}
	return all, nil
}
