package pep508

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Canonical gives a marker that holds wherever m does, in the spelling that uv gives it in what it writes: python_version
// and platform_system become python_full_version and sys_platform, terms come in a fixed order. What uv leaves out because
// other terms imply it stays.
func (m Marker) Canonical() Marker {
	if m.root == nil {
		return m
	}
	return Marker{m.root.canonical()}
}

func (n *node) canonical() *node {
	switch {
	case n.kind == nodeAnd || n.kind == nodeOr:
		return n.sorted()
	case n.kind == nodeVersion && !n.plain():
		return n
	case n.kind == nodeVersion && n.v == pythonVersion:
		return n.fullVersion()
	case n.kind == nodeVersion:
		if n.op != "~=" {
			return versionNode(n.v, n.op, withoutZeros(n.specs[0].Version.Release()), false)
		}
	case n.kind == nodeString && n.v == platformSystem:
		if name, ok := map[string]string{"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[n.lit]; ok && (n.op == "==" || n.op == "!=") {
			return &node{kind: nodeString, v: sysPlatform, op: n.op, lit: name}
		}
	}
	return n
}

// plain says whether a comparison is with one version, no prefix of one, of numbers that can be counted on from.
func (n *node) plain() bool {
	if len(n.specs) != 1 || n.specs[0].Op == EqualStar || n.specs[0].Op == NotEqualStar || n.specs[0].Version.epoch != 0 {
		return false
	}
	return !slices.ContainsFunc(n.specs[0].Version.release, func(part uint64) bool { return part >= 1<<32 })
}

// sorted gives the terms of a conjunction or disjunction in order, each once, those of an equal inner one among them.
func (n *node) sorted() *node {
	out := &node{kind: n.kind}
	for _, k := range n.kids {
		if k = k.canonical(); k.kind == n.kind {
			out.kids = append(out.kids, k.kids...)
		} else {
			out.kids = append(out.kids, k)
		}
	}
	slices.SortStableFunc(out.kids, func(a, b *node) int {
		x, y := a.first(), b.first()
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), compareLiterals(x, y))
	})
	out.kids = slices.CompactFunc(out.kids, func(a, b *node) bool { return a.string(true) == b.string(true) })
	if len(out.kids) == 1 {
		return out.kids[0]
	}
	return out
}

// first is the first comparison of a term.
func (n *node) first() *node {
	for n.kind == nodeAnd || n.kind == nodeOr {
		n = n.kids[0]
	}
	return n
}

// order is that of uv's variables.
var order = []variable{implementationVersion, pythonFullVersion, pythonVersion, implementationName, osName, platformMachine, platformPythonImplementation,
	platformRelease, platformSystem, platformVersion, sysPlatform}

func (n *node) rank() int {
	i := slices.Index(order, n.v)
	if i < 0 {
		return 3 * len(order) // extra and its like come last
	}
	if n.kind == nodeIn || n.kind == nodeString && strings.HasSuffix(n.op, "in") {
		i += len(order)
	}
	return i
}

func compareLiterals(a, b *node) int {
	if len(a.specs) == 1 && len(b.specs) == 1 {
		return a.specs[0].Version.Compare(b.specs[0].Version)
	}
	return strings.Compare(a.lit, b.lit)
}

// fullVersion puts python_full_version in the place of python_version, which has two parts.
func (n *node) fullVersion() *node {
	release := n.specs[0].Version.Release()
	next := func() string { // the first version that a two-part one lies below
		r := append(slices.Clone(release), 0)[:2]
		r[1]++
		return withoutZeros(r)
	}
	full := func(op, lit string) *node { return versionNode(pythonFullVersion, op, lit, false) }
	switch {
	case len(release) > 2:
	case n.op == ">=" || n.op == "<":
		return full(n.op, withoutZeros(release))
	case n.op == ">":
		return full(">=", next())
	case n.op == "<=":
		return full("<", next())
	case (n.op == "==" || n.op == "!=") && len(release) == 2:
		return full(n.op, strconv.FormatUint(release[0], 10)+"."+strconv.FormatUint(release[1], 10)+".*")
	case n.op == "~=" && len(release) == 2:
		return &node{kind: nodeAnd, kids: []*node{full(">=", withoutZeros(release)), full("<", strconv.FormatUint(release[0]+1, 10))}}
	}
	return n
}

func withoutZeros(release []uint64) string {
	for len(release) > 1 && release[len(release)-1] == 0 {
		release = release[:len(release)-1]
	}
	parts := make([]string, len(release))
	for i, r := range release {
		parts[i] = strconv.FormatUint(r, 10)
	}
	return strings.Join(parts, ".")
}
