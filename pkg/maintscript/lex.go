package maintscript

import (
	"errors"
	"fmt"
	"strings"
)

// The bounds of a script.
const (
	maxScript = 1 << 20 // bytes
	maxNested = 64
)

// part is a piece of a word: literal text, or a variable; unknown is what only a shell could tell.
type part struct {
	text    string
	name    string // of a variable
	op, alt string // of ${name:-alt}, and its like
	quoted  bool
	unknown bool
}

type word []part

// bare gives a word that has neither quotes nor variables, as keywords have to be.
func (w word) bare() string {
	if len(w) != 1 || w[0].quoted || w[0].unknown || w[0].name != "" {
		return ""
	}
	return w[0].text
}

// orEmpty gives a word of nothing, such as a backslash at the end of a script leaves, a part.
func (w word) orEmpty() word {
	if len(w) == 0 {
		return word{{quoted: true}}
	}
	return w
}

type token struct {
	op   string // an operator, "\n" among them; "" for a word
	word word
}

type lexer struct {
	s       string
	at      int
	pending []heredoc
	depth   int
}

type heredoc struct {
	end  string
	tabs bool
}

var errSyntax = errors.New("it is not understood")

func (l *lexer) fail(what string) error {
	return fmt.Errorf("line %d: %s: %w", 1+strings.Count(l.s[:min(l.at, len(l.s))], "\n"), what, errSyntax)
}

// operators, longest first.
var operators = []string{"<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|", ";", "&", "|", "(", ")", "<", ">"}

// lex cuts a script into tokens.
func lex(script string) ([]token, error) {
	if len(script) > maxScript {
		return nil, fmt.Errorf("it has more than %d bytes", maxScript)
	}
	l := &lexer{s: script}
	var all []token
	for {
		l.blanks()
		if l.at >= len(l.s) {
			return append(all, token{op: "\n"}), nil
		}
		if l.s[l.at] == '\n' {
			l.at++
			all = append(all, token{op: "\n"})
			l.skipHeredocs()
			continue
		}
		if op := l.operator(); op != "" {
			all = append(all, token{op: op})
			if op == "<<" || op == "<<-" {
				if err := l.heredoc(op == "<<-"); err != nil {
					return nil, err
				}
				all = all[:len(all)-1] // input is nothing that a trace looks at
			}
			continue
		}
		w, err := l.word()
		if err != nil {
			return nil, err
		}
		all = append(all, token{word: w})
	}
}

func (l *lexer) blanks() {
	for l.at < len(l.s) {
		switch c := l.s[l.at]; {
		case c == ' ' || c == '\t' || c == '\r':
			l.at++
		case c == '\\' && strings.HasPrefix(l.s[l.at:], "\\\n"):
			l.at += 2
		case c == '#':
			for l.at < len(l.s) && l.s[l.at] != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

func (l *lexer) operator() string {
	for _, op := range operators {
		if strings.HasPrefix(l.s[l.at:], op) {
			l.at += len(op)
			return op
		}
	}
	return ""
}

func (l *lexer) heredoc(tabs bool) error {
	l.blanks()
	w, err := l.word()
	if err != nil {
		return err
	}
	var end strings.Builder
	for _, p := range w {
		end.WriteString(p.text)
	}
	l.pending = append(l.pending, heredoc{end.String(), tabs})
	return nil
}

func (l *lexer) skipHeredocs() {
	for _, h := range l.pending {
		for l.at < len(l.s) {
			line, _, _ := strings.Cut(l.s[l.at:], "\n")
			l.at = min(len(l.s), l.at+len(line)+1)
			if h.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == h.end {
				break
			}
		}
	}
	l.pending = nil
}

// word reads one word, up to a blank or an operator.
func (l *lexer) word() (word, error) {
	var w word
	from := l.at
	text := func(s string, quoted bool) {
		if n := len(w); n > 0 && w[n-1].name == "" && !w[n-1].unknown && w[n-1].quoted == quoted {
			w[n-1].text += s
			return
		}
		w = append(w, part{text: s, quoted: quoted})
	}
	for l.at < len(l.s) {
		switch c := l.s[l.at]; c {
		case ' ', '\t', '\r', '\n', ';', '&', '|', '(', ')', '<', '>':
			if len(w) == 0 && l.at == from {
				return nil, l.fail("a word is missing")
			}
			return w.orEmpty(), nil
		case '\\':
			if l.at+1 >= len(l.s) {
				l.at++
				continue
			}
			if l.s[l.at+1] != '\n' {
				text(l.s[l.at+1:l.at+2], true)
			}
			l.at += 2
		case '\'':
			end := strings.IndexByte(l.s[l.at+1:], '\'')
			if end < 0 {
				return nil, l.fail("a quote is not closed")
			}
			text(l.s[l.at+1:l.at+1+end], true)
			l.at += end + 2
		case '"':
			if err := l.double(&w, text); err != nil {
				return nil, err
			}
		case '$', '`':
			p, err := l.dollar(false)
			if err != nil {
				return nil, err
			}
			if p.name == "" && !p.unknown {
				text(p.text, false)
			} else {
				w = append(w, p)
			}
		default:
			text(l.s[l.at:l.at+1], false)
			l.at++
		}
	}
	if l.at == from {
		return nil, l.fail("a word is missing")
	}
	return w.orEmpty(), nil
}

// double reads what stands between double quotes.
func (l *lexer) double(w *word, text func(string, bool)) error {
	l.at++
	before := len(*w)
	for l.at < len(l.s) {
		switch c := l.s[l.at]; c {
		case '"':
			l.at++
			if len(*w) == before {
				text("", true) // "" is a word too
			}
			return nil
		case '\\':
			if l.at+1 >= len(l.s) {
				return l.fail("a quote is not closed")
			}
			switch n := l.s[l.at+1]; n {
			case '$', '`', '"', '\\':
				text(string(n), true)
			case '\n':
			default:
				text(l.s[l.at:l.at+2], true)
			}
			l.at += 2
		case '$', '`':
			p, err := l.dollar(true)
			if err != nil {
				return err
			}
			if p.name == "" && !p.unknown {
				text(p.text, true)
			} else {
				*w = append(*w, p)
			}
		default:
			text(l.s[l.at:l.at+1], true)
			l.at++
		}
	}
	return l.fail("a quote is not closed")
}

// dollar reads a variable, or goes over what the shell would compute.
func (l *lexer) dollar(quoted bool) (part, error) {
	if l.depth++; l.depth > maxNested {
		return part{}, l.fail("it is nested too deep")
	}
	defer func() { l.depth-- }()
	if l.s[l.at] == '`' {
		end := strings.IndexByte(l.s[l.at+1:], '`')
		if end < 0 {
			return part{}, l.fail("a backquote is not closed")
		}
		l.at += end + 2
		return part{unknown: true, quoted: quoted}, nil
	}
	l.at++
	if l.at >= len(l.s) {
		return part{text: "$"}, nil
	}
	switch c := l.s[l.at]; {
	case c == '(':
		return part{unknown: true, quoted: quoted}, l.parens()
	case c == '{':
		return l.braces(quoted)
	case strings.IndexByte("@*#?$!-0123456789", c) >= 0:
		l.at++
		return part{name: string(c), quoted: quoted}, nil
	case nameByte(c):
		from := l.at
		for l.at < len(l.s) && (nameByte(l.s[l.at]) || l.s[l.at] >= '0' && l.s[l.at] <= '9') {
			l.at++
		}
		return part{name: l.s[from:l.at], quoted: quoted}, nil
	}
	return part{text: "$"}, nil
}

func nameByte(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// parens goes over $(…), whatever is in it.
func (l *lexer) parens() error {
	for open := 0; l.at < len(l.s); {
		switch c := l.s[l.at]; c {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				l.at++
				return nil
			}
		case '\\':
			l.at++
		case '\'':
			end := strings.IndexByte(l.s[l.at+1:], '\'')
			if end < 0 {
				return l.fail("a quote is not closed")
			}
			l.at += end + 1
		case '"':
			var w word
			if l.depth++; l.depth > maxNested {
				return l.fail("it is nested too deep")
			}
			err := l.double(&w, func(string, bool) {})
			l.depth--
			if err != nil {
				return err
			}
			continue
		}
		l.at++
	}
	return l.fail("$( is not closed")
}

// braces reads ${name}, ${name:-alternative} and its like.
func (l *lexer) braces(quoted bool) (part, error) {
	from, open := l.at+1, 0
	for ; l.at < len(l.s); l.at++ {
		if l.s[l.at] == '{' {
			open++
		}
		if l.s[l.at] == '}' {
			if open--; open == 0 {
				break
			}
		}
	}
	if l.at >= len(l.s) {
		return part{}, l.fail("${ is not closed")
	}
	inside := l.s[from:l.at]
	l.at++
	n := 0
	for n < len(inside) && (nameByte(inside[n]) || inside[n] >= '0' && inside[n] <= '9') {
		n++
	}
	p := part{name: inside[:n], quoted: quoted}
	rest := inside[n:]
	for _, op := range []string{":-", "-", "##", "#", "%%", "%"} {
		if alt, ok := strings.CutPrefix(rest, op); ok && n > 0 && !strings.ContainsAny(alt, "$`\"'\\") {
			p.op, p.alt = op, alt
			return p, nil
		}
	}
	if n == 0 || rest != "" {
		return part{unknown: true, quoted: quoted}, nil
	}
	return p, nil
}
