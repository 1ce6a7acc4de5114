package deb

import (
	"cmp"
	"slices"
	"strings"
)

// List is what one suite of an archive has for an architecture.
type List struct {
	// Source numbers the source that the list comes from, as the caller counts them.
	Source int
	// Suites are the names by which a request may call the suite: trixie-backports, stable-backports.
	Suites []string
	// OnRequest keeps the list's packages from being chosen, unless the suite is asked for.
	OnRequest bool
	// Catalogues are the packages: one for each component.
	Catalogues []*Catalogue
}

// Candidate is a package that an archive has.
type Candidate struct {
	*Package
	Source int // that it comes from
	suites []string
	// onRequest is List.OnRequest.
	onRequest bool
}

// Universe is everything that archives have for an architecture. It reads of their lists what it is asked for, and is not
// safe for concurrent use.
type Universe struct {
	Arch  string
	lists []List
	known map[string][]*Candidate // what named has given
}

// NewUniverse makes one of the lists of all sources, in their order.
func NewUniverse(arch string, lists []List) *Universe {
	return &Universe{Arch: arch, lists: lists, known: make(map[string][]*Candidate)}
}

// named gives all packages of a name, the newest first; of equal versions, that of the first source.
func (u *Universe) named(name string) []*Candidate {
	all, ok := u.known[name]
	if ok {
		return all
	}
	for _, l := range u.lists {
		for _, x := range l.Catalogues {
			for i, to := x.named(name); i < to; i++ {
				if p := x.Package(i); p.Arch == u.Arch || p.Arch == "all" {
					all = append(all, &Candidate{p, l.Source, l.Suites, l.OnRequest})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *Candidate) int { return b.Version.Compare(a.Version) })
	u.known[name] = all
	return all
}

// names are those of all packages, sorted.
func (u *Universe) names() []string {
	all := make(map[string]bool)
	for _, l := range u.lists {
		for _, x := range l.Catalogues {
			for i := range x.Len() {
				all[x.name(i)] = true
			}
		}
	}
	return sortedKeys(all)
}

// Candidate is the newest version of a package that is chosen without being asked for by version or suite; nil where
// there is none.
func (u *Universe) Candidate(name string) *Candidate {
	for _, c := range u.named(name) {
		if !c.onRequest {
			return c
		}
	}
	return nil
}

// find gives a package as a request names it: by version, by suite, or neither.
func (u *Universe) find(r Request) *Candidate {
	if r.Version == "" && r.Suite == "" {
		return u.Candidate(r.Name)
	}
	for _, c := range u.named(r.Name) {
		if r.Version != "" && c.Version.Compare(r.Version) == 0 || r.Suite != "" && slices.Contains(c.suites, r.Suite) {
			return c
		}
	}
	return nil
}

// priorities rank packages (Debian Policy §2.5).
var priorities = []string{"required", "important", "standard", "optional", "extra"}

func priority(c *Candidate) int {
	if i := slices.Index(priorities, c.Priority); i >= 0 {
		return i
	}
	return len(priorities)
}

// providersOf gives the packages that a virtual name stands for, the best first: by priority, then by name.
func (u *Universe) providersOf(r Relation) []*Candidate {
	var found []*Candidate
	for _, l := range u.lists {
		for _, x := range l.Catalogues {
			for name := range x.providing(r.Name) {
				if c := u.Candidate(name); c != nil && !slices.Contains(found, c) && provides(c.Package, r) {
					found = append(found, c)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b *Candidate) int {
		return cmp.Or(cmp.Compare(priority(a), priority(b)), strings.Compare(a.Name, b.Name))
	})
	return found
}

// provides says whether a package provides what a relation names. Only a provided version fulfils one that asks for a
// version (Debian Policy §7.5).
func provides(p *Package, r Relation) bool {
	all, err := ParseRelations(p.Provides)
	if err != nil {
		return false
	}
	for _, alts := range all {
		for _, v := range alts {
			if v.Name == r.Name && (r.Op == "" || v.Op == "=" && r.Allows(v.Version)) {
				return true
			}
		}
	}
	return false
}
