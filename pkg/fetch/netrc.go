package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// machine is an entry of a netrc file; the default entry has no name.
type machine struct{ name, login, password string }

// maxNetrc bounds a netrc file in bytes.
const maxNetrc = 1 << 20

// readNetrc reads a netrc file. One that is not there has no entries.
func readNetrc(file string) ([]machine, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading credentials: %w", err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNetrc+1))
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading credentials: %w", err))
	}
	machines, err := parseNetrc(b)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading %s: %w", file, err))
	}
	return machines, nil
}

// netrcFor gives the first entry for a host, of the user where one is asked for.
func netrcFor(machines []machine, host, user string) *url.Userinfo {
	for _, m := range machines {
		if (m.name == "" || strings.EqualFold(m.name, host)) && (user == "" || m.login == user) {
			return url.UserPassword(m.login, m.password)
		}
	}
	return nil
}

// netrcToken is a word of a netrc file, with the line that it ends on.
type netrcToken struct {
	text   string
	line   int
	quoted bool
}

// parseNetrc reads the format of ftp(1), with what curl and Python add to it: values in double quotes, and comments from a
// # where a keyword may stand. Macros are passed over.
func parseNetrc(b []byte) ([]machine, error) {
	if len(b) > maxNetrc {
		return nil, fmt.Errorf("it has more than the %d bytes that are read", maxNetrc)
	}
	var all []machine
	for s := (netrcScanner{text: string(b), line: 1}); ; {
		key, err := s.next()
		if err != nil || key.text == "" && !key.quoted {
			return all, err
		}
		switch {
		case strings.HasPrefix(key.text, "#"):
			s.skipLine()
			continue
		case key.text == "default":
			all = append(all, machine{})
			continue
		}
		value, err := s.next()
		if err != nil {
			return nil, err
		}
		if value.text == "" && !value.quoted {
			return nil, fmt.Errorf("line %d: nothing comes after %q", key.line, keyword(key.text))
		}
		switch key.text {
		case "machine":
			all = append(all, machine{name: value.text})
		case "macdef":
			s.skipMacro()
		case "login", "user", "password", "account":
			if len(all) == 0 {
				return nil, fmt.Errorf("line %d: %s comes before any machine", key.line, key.text)
			}
			m := &all[len(all)-1]
			switch key.text {
			case "login", "user":
				m.login = value.text
			case "password":
				m.password = value.text
			}
		default:
			return nil, fmt.Errorf("line %d: %q is no word of a netrc file", key.line, keyword(key.text))
		}
	}
}

// keyword is a word as an error may show it: what stands at a keyword's place by mistake can be a password.
func keyword(s string) string {
	switch s {
	case "machine", "macdef", "login", "user", "password", "account":
		return s
	}
	return s[:min(len(s), 1)] + "…"
}

type netrcScanner struct {
	text string
	line int
}

// next gives the next word; at the end an empty one that is not quoted.
func (s *netrcScanner) next() (netrcToken, error) {
	for s.text != "" && strings.ContainsRune(" \t\r\n", rune(s.text[0])) {
		s.advance(1)
	}
	if !strings.HasPrefix(s.text, `"`) {
		n := strings.IndexAny(s.text, " \t\r\n")
		if n < 0 {
			n = len(s.text)
		}
		return netrcToken{text: s.advance(n), line: s.line}, nil
	}
	start := s.line
	var b strings.Builder
	for i := 1; i < len(s.text); i++ {
		switch c := s.text[i]; c {
		case '"':
			s.advance(i + 1)
			return netrcToken{b.String(), s.line, true}, nil
		case '\\':
			if i++; i == len(s.text) {
				continue
			}
			switch s.text[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(s.text[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return netrcToken{}, fmt.Errorf("line %d: a quote is not closed", start)
}

// advance takes n bytes off the text and counts their lines.
func (s *netrcScanner) advance(n int) string {
	taken := s.text[:n]
	s.text = s.text[n:]
	s.line += strings.Count(taken, "\n")
	return taken
}

func (s *netrcScanner) skipLine() {
	if n := strings.IndexByte(s.text, '\n'); n >= 0 {
		s.advance(n)
		return
	}
	s.advance(len(s.text))
}

// skipMacro passes over the lines of a macdef, up to an empty one.
func (s *netrcScanner) skipMacro() {
	s.skipLine()
	for s.text != "" {
		s.advance(1) // the newline before the next line
		line, _, _ := strings.Cut(s.text, "\n")
		if strings.TrimSpace(line) == "" {
			return
		}
		s.advance(len(line))
	}
}
