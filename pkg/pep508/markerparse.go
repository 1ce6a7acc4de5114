package pep508

import (
	"strings"
)

// ParseMarker reads a marker; the empty string is the marker that always holds. The error is a *SyntaxError. A
// comparison that can be read but makes no sense is left out of the marker (see Marker); "===" on a string is an error.
func ParseMarker(s string) (Marker, error) {
	p := markerParser{s: s}
	fail := func(reason string) (Marker, error) {
		return Marker{}, &SyntaxError{What: "marker", Text: s, Offset: p.i, Reason: reason}
	}
	if len(s) > maxMarkerLen {
		return fail("too long")
	}
	if strings.TrimSpace(s) == "" {
		return Marker{}, nil
	}
	root := p.or()
	p.spaces()
	if p.err == "" && p.i < len(s) {
		p.err = "unexpected text"
	}
	if p.err != "" {
		return fail(p.err)
	}
	return Marker{root}, nil
}

// markerParser descends recursively. Its methods give nil for what is left out; err, once set, ends everything.
type markerParser struct {
	s     string
	i     int
	depth int
	err   string
}

func (p *markerParser) spaces() {
	for p.i < len(p.s) && isSpace(p.s[p.i]) {
		p.i++
	}
}

func (p *markerParser) or() *node  { return p.chain(nodeOr, "or", p.and) }
func (p *markerParser) and() *node { return p.chain(nodeAnd, "and", p.atom) }

func (p *markerParser) chain(kind nodeKind, word string, next func() *node) *node {
	var kids []*node
	for {
		if k := next(); k != nil {
			kids = append(kids, k)
		}
		if p.err != "" || !p.keyword(word) {
			break
		}
	}
	switch len(kids) {
	case 0:
		return nil
	case 1:
		return kids[0]
	}
	return &node{kind: kind, kids: kids}
}

// keyword reads a whole word if it comes next.
func (p *markerParser) keyword(word string) bool {
	p.spaces()
	rest := p.s[p.i:]
	if !strings.HasPrefix(rest, word) || len(rest) > len(word) && (isAlnum(rest[len(word)]) || rest[len(word)] == '_') {
		return false
	}
	p.i += len(word)
	return true
}

func (p *markerParser) atom() *node {
	p.spaces()
	if p.i < len(p.s) && p.s[p.i] == '(' {
		if p.depth++; p.depth > maxMarkerDepth {
			p.err = "parentheses are nested too deeply"
			return nil
		}
		p.i++
		n := p.or()
		p.spaces()
		if p.err == "" {
			if p.i >= len(p.s) || p.s[p.i] != ')' {
				p.err = "a closing parenthesis is wanted"
				return nil
			}
			p.i++
		}
		p.depth--
		return n
	}
	return p.comparison()
}

// operand is a variable or a quoted string.
type operand struct {
	v     variable
	lit   string
	isLit bool
}

func (p *markerParser) operand() (o operand) {
	p.spaces()
	if p.i >= len(p.s) {
		p.err = "a variable or a quoted string is wanted"
		return o
	}
	if q := p.s[p.i]; q == '\'' || q == '"' {
		end := strings.IndexByte(p.s[p.i+1:], q)
		if end < 0 {
			p.err = "the string is not closed"
			return o
		}
		o = operand{lit: p.s[p.i+1 : p.i+1+end], isLit: true}
		p.i += end + 2
		return o
	}
	j := p.i
	for j < len(p.s) && (isAlnum(p.s[j]) || p.s[j] == '_' || p.s[j] == '.') {
		j++
	}
	v, ok := variableNames[p.s[p.i:j]]
	if !ok {
		p.err = "no such variable as " + quoteShort(p.s[p.i:j])
		if j == p.i {
			p.err = "a variable or a quoted string is wanted"
		}
		return o
	}
	p.i = j
	return operand{v: v}
}

func (p *markerParser) operator() string {
	p.spaces()
	if op, _ := cutOperator(p.s[p.i:]); op != "" {
		p.i += len(op)
		return string(op)
	}
	if p.keyword("in") {
		return "in"
	}
	if p.keyword("not") {
		if p.keyword("in") {
			return "not in"
		}
		p.err = `"in" is wanted after "not"`
		return ""
	}
	p.err = "an operator is wanted"
	return ""
}

func (p *markerParser) comparison() *node {
	left := p.operand()
	if p.err != "" {
		return nil
	}
	op := p.operator()
	if p.err != "" {
		return nil
	}
	right := p.operand()
	if p.err != "" || left.isLit == right.isLit {
		return nil // two strings, or two variables
	}
	turned := left.isLit
	if turned {
		left, right = right, left
	}
	switch {
	case left.v >= extra:
		return setNode(left.v, op, right.lit, turned)
	case left.v.isVersion():
		return versionNode(left.v, op, right.lit, turned)
	}
	return p.stringNode(left.v, op, right.lit, turned)
}

// setNode: extra knows "==" and "!=" only; the lists of PEP 751 only "in" and "not in", the literal first.
func setNode(v variable, op, lit string, turned bool) *node {
	n := &node{kind: nodeSet, v: v, op: op, lit: Normalize(lit)}
	switch {
	case v == extra && (op == "==" || op == "!="):
		n.negated = op == "!="
	case v != extra && turned && (op == "in" || op == "not in"):
		n.negated = op == "not in"
	default:
		return nil
	}
	return n
}

func versionNode(v variable, op, lit string, turned bool) *node {
	n := &node{kind: nodeVersion, v: v, op: op, lit: lit}
	if op == "in" || op == "not in" {
		if turned {
			return nil
		}
		n.negated = op == "not in"
		for _, word := range strings.Fields(lit) {
			spec, reason := parseSpecifier("==" + word)
			if reason != "" {
				return nil
			}
			n.specs = append(n.specs, releaseOnly(spec))
		}
		return n
	}
	if turned {
		n.op = turn(op)
	}
	if n.op == "===" {
		n.op = "=="
	}
	spec, reason := parseSpecifier(n.op + dropLocal(lit))
	if reason != "" || strings.TrimSuffix(string(spec.Op), "*") != n.op { // the literal begins with an operator of its own
		return nil
	}
	n.specs = Specifiers{releaseOnly(spec)}
	return n
}

func dropLocal(lit string) string {
	before, _, _ := strings.Cut(lit, "+")
	return before
}

func releaseOnly(s Specifier) Specifier {
	s.Version = s.Version.Base()
	return s
}

// turn gives the operator for operands that change places.
func turn(op string) string {
	switch op {
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return op
}

func (p *markerParser) stringNode(v variable, op, lit string, turned bool) *node {
	switch {
	case op == "~=":
		return nil
	case op == "===":
		p.err = "=== compares no strings"
		return nil
	case turned && (op == "in" || op == "not in"):
		return &node{kind: nodeIn, v: v, op: op, lit: lit, negated: op == "not in"}
	case turned:
		op = turn(op)
	}
	return &node{kind: nodeString, v: v, op: op, lit: lit}
}
