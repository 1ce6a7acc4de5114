package pep508

import (
	"slices"
	"strings"
)

// Marker is an environment marker (PEP 508). The zero Marker holds everywhere.
//
// It is evaluated as uv evaluates it, which is not quite as PEP 508 says:
//   - the version variables compare by PEP 440, the pre-, post-, dev and local parts of the marker's own version
//     dropped; "in" takes versions between spaces, each compared by "==";
//   - strings know "==", "!=", "in" and "not in"; "<" and ">" are false, "<=" and ">=" mean equality, except for
//     platform_release and platform_version, which compare bytewise;
//   - a comparison that makes no sense ("~=" on a string, a bad version, two variables, two strings) is left out, as if
//     it had not been written.
type Marker struct {
	root *node // nil: true
}

type nodeKind uint8

const (
	nodeAnd nodeKind = iota
	nodeOr
	nodeString  // left variable, literal right
	nodeIn      // literal in variable: reversed containment
	nodeVersion // version variable against specifiers
	nodeSet     // membership of a normalized name
)

// node is a marker's syntax tree. Comparisons are put into a form with the variable on the left, so that evaluation
// parses nothing.
type node struct {
	kind    nodeKind
	kids    []*node // nodeAnd, nodeOr
	v       variable
	op      string // as written, turned round where the literal came first
	lit     string // normalized for nodeSet
	specs   Specifiers
	negated bool // nodeVersion, nodeSet, nodeIn
}

// IsTrue says whether the marker is empty, and so holds everywhere.
func (m Marker) IsTrue() bool { return m.root == nil }

// Eval says whether the marker holds in env.
func (m Marker) Eval(env *Env) bool {
	return m.EvalWith(env, func(name string) bool { return env.Extras[name] })
}

// EvalWith is Eval with the extras in force given by a function of the normalized name, in place of env.Extras.
func (m Marker) EvalWith(env *Env, hasExtra func(name string) bool) bool {
	return m.root == nil || m.root.eval(env, hasExtra)
}

func (n *node) eval(env *Env, hasExtra func(string) bool) bool {
	switch n.kind {
	case nodeAnd:
		for _, k := range n.kids {
			if !k.eval(env, hasExtra) {
				return false
			}
		}
		return true
	case nodeOr:
		for _, k := range n.kids {
			if k.eval(env, hasExtra) {
				return true
			}
		}
		return false
	case nodeVersion:
		return n.evalVersion(env.versions[n.v])
	case nodeSet:
		if n.v == dependencyGroups {
			return env.Groups[n.lit] != n.negated
		}
		return hasExtra(n.lit) != n.negated
	case nodeIn:
		return strings.Contains(env.values[n.v], n.lit) != n.negated
	}
	return n.evalString(env.values[n.v])
}

// evalVersion: one clause, or several of which any suffices, for "in".
func (n *node) evalVersion(v Version) bool {
	for i := range n.specs {
		if n.specs[i].containsRange(v) {
			return !n.negated
		}
	}
	return n.negated
}

// containsRange is Contains where versions are but points on a line: uv turns a marker's clause into a range, and so
// knows no exclusions of pre- and post-releases.
func (s Specifier) containsRange(v Version) bool {
	switch s.Op {
	case Less:
		return v.Compare(s.Version) < 0
	case Greater:
		return v.Compare(s.Version) > 0
	}
	return s.Contains(v)
}

func (n *node) evalString(value string) bool {
	ordered := n.v == platformRelease || n.v == platformVersion
	switch n.op {
	case "==", "===":
		return value == n.lit
	case "!=":
		return value != n.lit
	case "in":
		return strings.Contains(n.lit, value)
	case "not in":
		return !strings.Contains(n.lit, value)
	case "<=":
		return value == n.lit || ordered && value < n.lit
	case ">=":
		return value == n.lit || ordered && value > n.lit
	case "<":
		return ordered && value < n.lit
	case ">":
		return ordered && value > n.lit
	}
	return false
}

// String gives the marker in a regular spelling: the variable first, single quotes where they serve, one space.
func (m Marker) String() string {
	if m.root == nil {
		return ""
	}
	return m.root.string(false)
}

func (n *node) string(inner bool) string {
	switch n.kind {
	case nodeAnd, nodeOr:
		word := " and "
		if n.kind == nodeOr {
			word = " or "
		}
		parts := make([]string, len(n.kids))
		for i, k := range n.kids {
			parts[i] = k.string(true)
		}
		s := strings.Join(parts, word)
		if inner && n.kind == nodeOr {
			s = "(" + s + ")"
		}
		return s
	case nodeIn:
		return quoteLiteral(n.lit) + " " + n.op + " " + n.v.String()
	case nodeSet:
		if n.v != extra {
			return quoteLiteral(n.lit) + " " + n.op + " " + n.v.String()
		}
	}
	return n.v.String() + " " + n.op + " " + quoteLiteral(n.lit)
}

func quoteLiteral(s string) string {
	if strings.Contains(s, "'") {
		return `"` + s + `"`
	}
	return "'" + s + "'"
}

// Extras gives the names that the marker compares extra with, sorted, each once.
func (m Marker) Extras() []string {
	var names []string
	m.root.walk(func(n *node) {
		if n.kind == nodeSet && n.v != dependencyGroups {
			names = append(names, n.lit)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

func (n *node) walk(visit func(*node)) {
	if n == nil {
		return
	}
	visit(n)
	for _, k := range n.kids {
		k.walk(visit)
	}
}

// And gives the marker that holds where both do.
func (m Marker) And(o Marker) Marker {
	switch {
	case m.root == nil:
		return o
	case o.root == nil:
		return m
	}
	return Marker{&node{kind: nodeAnd, kids: []*node{m.root, o.root}}}
}

// Releases gives the releases that the marker compares Python's version with, as written, duplicates among them.
func (m Marker) Releases() []Version {
	var all []Version
	m.root.walk(func(n *node) {
		for _, s := range n.specs {
			all = append(all, s.Version)
		}
	})
	return all
}

// PythonMarker gives the marker that holds where a requires-python does.
func PythonMarker(s Specifiers) Marker {
	var m Marker
	for _, spec := range s {
		op, lit := string(spec.Op), spec.Version.String()
		switch spec.Op {
		case EqualStar, NotEqualStar:
			op, lit = op[:2], lit+".*"
		case ArbitraryEqual:
			op, lit = "==", spec.text
		}
		if n := versionNode(pythonFullVersion, op, lit, false); n != nil {
			m = m.And(Marker{n})
		}
	}
	return m
}
