package deb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Relation is one alternative of a relationship field: a package, perhaps at certain versions (Debian Policy, chapter 7).
type Relation struct {
	Name string
	// Arch is "any", "native", an architecture, or "" where the relation names none.
	Arch string
	// Op is one of << <= = >= >>, or "" where any version will do.
	Op      string
	Version Version
	// Arches are the architectures for which the relation holds, or, with a ! before each, does not; none for all.
	Arches []string
}

// Alternatives is a relation that any of its members fulfils: `a | b`. Most have one.
type Alternatives []Relation

// String gives the relation as it is written.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + string(r.Version) + ")"
	}
	if len(r.Arches) > 0 {
		s += " [" + strings.Join(r.Arches, " ") + "]"
	}
	return s
}

func (a Alternatives) String() string {
	var all []string
	for _, r := range a {
		all = append(all, r.String())
	}
	return strings.Join(all, " | ")
}

// Allows says whether a version fulfils the relation.
func (r Relation) Allows(v Version) bool {
	switch c := 0; r.Op {
	case "":
		return true
	default:
		c = v.Compare(r.Version)
		switch r.Op {
		case "<<":
			return c < 0
		case "<=":
			return c <= 0
		case "=":
			return c == 0
		case ">=":
			return c >= 0
		default:
			return c > 0
		}
	}
}

// For says whether the relation holds on an architecture (deb-src-control(5)).
func (r Relation) For(arch string) bool {
	if len(r.Arches) == 0 {
		return true
	}
	if strings.HasPrefix(r.Arches[0], "!") {
		return !slices.ContainsFunc(r.Arches, func(a string) bool { return archIs(a[1:], arch) })
	}
	return slices.ContainsFunc(r.Arches, func(a string) bool { return archIs(a, arch) })
}

// archIs says whether an architecture, or a wildcard of one, stands for arch.
func archIs(wild, arch string) bool {
	return wild == arch || wild == "any" || wild == "linux-any" || wild == "any-"+arch
}

// maxRelations bounds a field: the longest of Debian has some hundreds.
const maxRelations = 20_000

// ParseRelations reads a field such as Depends: relations between commas, each with its alternatives.
func ParseRelations(field string) ([]Alternatives, error) {
	var all []Alternatives
	count := 0
	for part := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(part) == "" {
			continue // an empty one at the end is harmless, and occurs
		}
		var alts Alternatives
		for text := range strings.SplitSeq(part, "|") {
			r, err := parseRelation(text)
			if err != nil {
				return nil, err
			}
			if count++; count > maxRelations {
				return nil, fmt.Errorf("it has more than %d relations", maxRelations)
			}
			alts = append(alts, r)
		}
		all = append(all, alts)
	}
	return all, nil
}

func parseRelation(text string) (r Relation, err error) {
	fail := func(why string) (Relation, error) {
		return Relation{}, fmt.Errorf("relation %.80q: %s", strings.TrimSpace(text), why)
	}
	rest := strings.TrimSpace(text)
	end := strings.IndexAny(rest, " \t\r\n([<")
	if end < 0 {
		end = len(rest)
	}
	r.Name, rest = rest[:end], strings.TrimSpace(rest[end:])
	if name, arch, ok := strings.Cut(r.Name, ":"); ok {
		r.Name, r.Arch = name, arch
		if !archName(arch) {
			return fail("behind the colon there is no architecture")
		}
	}
	if err := CheckName(r.Name); err != nil {
		return fail(err.Error())
	}
	if strings.HasPrefix(rest, "(") {
		inside, behind, ok := strings.Cut(rest[1:], ")")
		if !ok {
			return fail("a parenthesis is not closed")
		}
		if r.Op, r.Version, err = parseConstraint(inside); err != nil {
			return fail(err.Error())
		}
		rest = strings.TrimSpace(behind)
	}
	if strings.HasPrefix(rest, "[") {
		inside, behind, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return fail("a bracket is not closed")
		}
		if r.Arches, err = parseArches(inside); err != nil {
			return fail(err.Error())
		}
		rest = strings.TrimSpace(behind)
	}
	if rest != "" {
		return fail(fmt.Sprintf("%.40q is not understood", rest))
	}
	return r, nil
}

func parseConstraint(inside string) (op string, v Version, err error) {
	inside = strings.TrimSpace(inside)
	op = inside[:len(inside)-len(strings.TrimLeft(inside, "<=>"))]
	v = Version(strings.TrimSpace(inside[len(op):]))
	switch op {
	case "<<", "<=", "=", ">=", ">>":
	case "<", ">": // of old, and read by dpkg as <= and >=
		op += "="
	default:
		return "", "", errors.New("it has no operator << <= = >= or >>")
	}
	return op, v, v.Check()
}

func parseArches(inside string) ([]string, error) {
	all := strings.Fields(inside)
	if len(all) == 0 {
		return nil, errors.New("its list of architectures is empty")
	}
	for _, a := range all {
		if !archName(strings.TrimPrefix(a, "!")) || strings.HasPrefix(a, "!") != strings.HasPrefix(all[0], "!") {
			return nil, errors.New("its list of architectures is none")
		}
	}
	return all, nil
}

// CheckName says what is wrong with the name of a package (Debian Policy §5.6.7). Names of one letter, which Policy
// refuses and dpkg reads, are read.
func CheckName(name string) error {
	if name == "" {
		return errors.New("the package's name is missing")
	}
	for i := range len(name) {
		c := name[i]
		if !digit(c) && !letter(c) && (i == 0 || strings.IndexByte("+-._", c) < 0) {
			return fmt.Errorf("%.60q is no name of a package", name)
		}
	}
	return nil
}

func archName(a string) bool {
	return a != "" && a[0] != '-' && strings.Trim(a, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
