// Package deb reads what a Debian archive publishes and what dpkg keeps: control stanzas, versions, relations, the status
// database, apt's sources, signed releases and their indexes; and it resolves which packages a request needs, as apt does.
//
// It works on bytes and touches neither network nor disk. It may import pkg/hint and nothing else of jubako.
package deb

import (
	"errors"
	"fmt"
	"strings"
)

// Field is one field of a stanza. Value is everything behind the colon, without the blanks before it and the newline at its
// end; continuation lines stay as they are, each with the blank that it begins with.
type Field struct{ Name, Value string }

// Stanza is one paragraph of a control file (deb822(5)): its fields, in their order.
type Stanza []Field

// Get gives a field's value, "" where there is none. Names are compared without regard to case, as dpkg does.
func (s Stanza) Get(name string) string {
	v, _ := s.Lookup(name)
	return v
}

// Lookup gives a field's value, and whether the field is there.
func (s Stanza) Lookup(name string) (string, bool) {
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Set gives a field a value, in its place where it is there, else at the end.
func (s *Stanza) Set(name, value string) {
	for i, f := range *s {
		if strings.EqualFold(f.Name, name) {
			(*s)[i].Value = value
			return
		}
	}
	*s = append(*s, Field{name, value})
}

// Delete takes a field out.
func (s *Stanza) Delete(name string) {
	kept := (*s)[:0]
	for _, f := range *s {
		if !strings.EqualFold(f.Name, name) {
			kept = append(kept, f)
		}
	}
	*s = kept
}

// Clone gives a copy that may be changed by itself.
func (s Stanza) Clone() Stanza { return append(Stanza(nil), s...) }

// Append writes the stanza as dpkg does, without the empty line that ends it.
func (s Stanza) Append(b []byte) []byte {
	for _, f := range s {
		b = append(b, f.Name...)
		b = append(b, ':')
		if f.Value != "" && f.Value[0] != '\n' {
			b = append(b, ' ')
		}
		b = append(b, f.Value...)
		b = append(b, '\n')
	}
	return b
}

// The bounds of control files.
const (
	maxStanzas = 1_000_000
	maxFields  = 200     // of one stanza
	maxStanza  = 8 << 20 // bytes
)

// SyntaxError says where a control file is none.
type SyntaxError struct {
	Line int
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// ParseStanzas reads all stanzas of a control file. Lines that begin with # are comments, and fall away.
func ParseStanzas(data []byte) ([]Stanza, error) {
	var all []Stanza
	sc := scanner{data: string(data)}
	for {
		var s Stanza
		more, err := sc.stanza(func(name, value string) error {
			if strings.Contains(value, "\n#") {
				value = withoutComments(value)
			}
			if _, twice := s.Lookup(name); twice {
				return fmt.Errorf("the field %s is there twice", name)
			}
			s = append(s, Field{name, value})
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !more {
			return all, nil
		}
		all = append(all, s)
	}
}

// ParseControl reads a file of exactly one stanza, such as a package's control.
func ParseControl(data []byte) (Stanza, error) {
	all, err := ParseStanzas(data)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("it holds %d stanzas, and one is wanted", len(all))
	}
	return all[0], nil
}

func withoutComments(v string) string {
	lines := strings.Split(v, "\n")
	kept := lines[:1]
	for _, l := range lines[1:] {
		if !strings.HasPrefix(l, "#") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}

// scanner goes through a control file once, without copying any of it.
type scanner struct {
	data  string
	at    int
	count int
}

// line gives the next line without its newline; false at the end.
func (s *scanner) line() (string, bool) {
	if s.at >= len(s.data) {
		return "", false
	}
	rest := s.data[s.at:]
	end := strings.IndexByte(rest, '\n')
	if end < 0 {
		end = len(rest)
		s.at = len(s.data)
	} else {
		s.at += end + 1
	}
	return rest[:end], true
}

// stanza reads one stanza and hands its fields over; false at the end of the file.
func (s *scanner) stanza(field func(name, value string) error) (bool, error) {
	begin, fields := -1, 0
	for {
		from := s.at
		l, ok := s.line()
		if !ok || blank(l) {
			if begin >= 0 {
				return true, nil
			}
			if !ok {
				return false, nil
			}
			continue
		}
		if l[0] == '#' {
			continue
		}
		if begin < 0 {
			begin = from
			if s.count++; s.count > maxStanzas {
				return false, s.fail(from, "there are more than %d stanzas", maxStanzas)
			}
		}
		colon := strings.IndexByte(l, ':')
		if colon <= 0 || !fieldName(l[:colon]) {
			return false, s.fail(from, "%.60q is no field", l)
		}
		if fields++; fields > maxFields {
			return false, s.fail(from, "the stanza has more than %d fields", maxFields)
		}
		end := s.continuation(from + len(l))
		if end-begin > maxStanza {
			return false, s.fail(from, "the stanza has more than %d bytes", maxStanza)
		}
		value := strings.TrimRight(strings.TrimLeft(s.data[from+colon+1:end], " \t"), " \t\r\n")
		if err := field(l[:colon], value); err != nil {
			return false, s.fail(from, "%v", err)
		}
	}
}

// continuation goes over the lines that belong to the field which ends at end so far, comments between them included.
func (s *scanner) continuation(end int) int {
	for s.at < len(s.data) {
		c := s.data[s.at]
		if c != ' ' && c != '\t' && c != '#' {
			break
		}
		before := s.at
		l, _ := s.line()
		if c != '#' && blank(l) { // an empty line, though it has blanks: it ends the stanza
			s.at = before
			break
		}
		if c != '#' {
			end = before + len(l)
		}
	}
	return end
}

func (s *scanner) fail(at int, format string, args ...any) error {
	return &SyntaxError{1 + strings.Count(s.data[:at], "\n"), fmt.Sprintf(format, args...)}
}

func blank(l string) bool {
	for i := range len(l) {
		if c := l[i]; c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// fieldName says whether a name has only the letters that deb822(5) allows.
func fieldName(name string) bool {
	if name[0] == '-' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

var errNoName = errors.New("it has no field Package")
