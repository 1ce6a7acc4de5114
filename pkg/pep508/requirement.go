package pep508

import (
	"slices"
	"strings"
)

// Requirement is one dependency as PEP 508 writes it: "uvicorn[standard]>=0.30; sys_platform == 'linux'".
type Requirement struct {
	Name       string   // as written; Normalize it to compare
	Extras     []string // normalized, sorted, each once
	Specifiers Specifiers
	URL        string // of "name @ url"
	Marker     Marker
}

// ParseRequirement reads a requirement. The error is a *SyntaxError.
func ParseRequirement(s string) (Requirement, error) {
	p := requirementParser{s: s}
	if len(s) > maxRequirementLen {
		return Requirement{}, p.fail("too long")
	}
	return p.requirement()
}

type requirementParser struct {
	s string
	i int
}

func (p *requirementParser) fail(reason string) error {
	return &SyntaxError{What: "requirement", Text: p.s, Offset: p.i, Reason: reason}
}

func (p *requirementParser) spaces() {
	for p.i < len(p.s) && isSpace(p.s[p.i]) {
		p.i++
	}
}

// at says whether c comes next, and reads it if so.
func (p *requirementParser) at(c byte) bool {
	p.spaces()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *requirementParser) name() (string, bool) {
	p.spaces()
	j := p.i
	for j < len(p.s) && isNameByte(p.s[j]) {
		j++
	}
	name := p.s[p.i:j]
	if !ValidName(name) {
		return "", false
	}
	p.i = j
	return name, true
}

func (p *requirementParser) requirement() (r Requirement, err error) {
	var ok bool
	if r.Name, ok = p.name(); !ok {
		return Requirement{}, p.fail("a name is wanted")
	}
	if r.Extras, err = p.extras(); err != nil {
		return Requirement{}, err
	}
	switch {
	case p.at('@'):
		err = p.url(&r)
	default:
		err = p.specifiers(&r)
	}
	if err != nil {
		return Requirement{}, err
	}
	p.spaces()
	if p.i == len(p.s) {
		return r, nil
	}
	if !p.at(';') {
		return Requirement{}, p.fail("unexpected text")
	}
	if r.Marker, err = ParseMarker(p.s[p.i:]); err != nil {
		e := err.(*SyntaxError)
		p.i += e.Offset
		return Requirement{}, p.fail("in the marker: " + e.Reason)
	}
	return r, nil
}

func (p *requirementParser) extras() ([]string, error) {
	if !p.at('[') {
		return nil, nil
	}
	if p.at(']') {
		return nil, nil
	}
	var list []string
	for {
		name, ok := p.name()
		if !ok {
			return nil, p.fail("the name of an extra is wanted")
		}
		list = append(list, Normalize(name))
		if p.at(']') {
			slices.Sort(list)
			return slices.Compact(list), nil
		}
		if !p.at(',') {
			return nil, p.fail(`"," or "]" is wanted`)
		}
	}
}

// url reads to the first white space, since a URL may hold a semicolon itself.
func (p *requirementParser) url(r *Requirement) error {
	p.spaces()
	j := p.i
	for j < len(p.s) && !isSpace(p.s[j]) {
		j++
	}
	if j == p.i {
		return p.fail("a URL is wanted")
	}
	r.URL = p.s[p.i:j]
	p.i = j
	return nil
}

func (p *requirementParser) specifiers(r *Requirement) error {
	paren := p.at('(')
	p.spaces()
	end := strings.IndexByte(p.s[p.i:], ';')
	if paren {
		end = strings.IndexByte(p.s[p.i:], ')')
		if end < 0 {
			return p.fail("a closing parenthesis is wanted")
		}
	}
	if end < 0 {
		end = len(p.s) - p.i
	}
	specs, err := ParseSpecifiers(p.s[p.i : p.i+end])
	if err != nil {
		e := err.(*SyntaxError)
		p.i += e.Offset
		return p.fail(e.Reason)
	}
	r.Specifiers = specs
	p.i += end
	if paren {
		p.i++
	}
	return nil
}

// String gives the requirement in a regular spelling.
func (r Requirement) String() string {
	var b strings.Builder
	b.WriteString(r.Name)
	if len(r.Extras) > 0 {
		b.WriteString("[" + strings.Join(r.Extras, ",") + "]")
	}
	b.WriteString(strings.ReplaceAll(r.Specifiers.String(), ", ", ","))
	if r.URL != "" {
		b.WriteString(" @ " + r.URL)
	}
	if !r.Marker.IsTrue() {
		if r.URL != "" {
			b.WriteString(" ")
		}
		b.WriteString("; " + r.Marker.String())
	}
	return b.String()
}
