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
	Packages  []Package
}

// Candidate is a package that an archive has.
type Candidate struct {
	*Package
	Source int // that it comes from
	suites []string
	// onRequest is List.OnRequest.
	onRequest bool
}

// Universe is everything that archives have for an architecture.
type Universe struct {
	Arch   string
	byName map[string][]*Candidate // the newest first; of equal versions, that of the first source
	// providers are the packages that provide a name, by that name.
	providers map[string][]*Candidate
}

// NewUniverse makes one of the lists of all sources, in their order.
func NewUniverse(arch string, lists []List) *Universe {
	u := &Universe{Arch: arch, byName: make(map[string][]*Candidate), providers: make(map[string][]*Candidate)}
	for _, l := range lists {
		all := make([]Candidate, len(l.Packages))
		for i := range l.Packages {
			p := &l.Packages[i]
			if p.Arch != arch && p.Arch != "all" {
				continue
			}
			all[i] = Candidate{p, l.Source, l.Suites, l.OnRequest}
			u.byName[p.Name] = append(u.byName[p.Name], &all[i])
		}
	}
	for _, same := range u.byName {
		slices.SortStableFunc(same, func(a, b *Candidate) int { return b.Version.Compare(a.Version) })
		for _, c := range same {
			u.provide(c)
		}
	}
	return u
}

// provide notes what a package provides. A field that cannot be read provides nothing: the error comes when the package is
// chosen.
func (u *Universe) provide(c *Candidate) {
	if c.Provides == "" {
		return
	}
	provides, err := ParseRelations(c.Provides)
	if err != nil {
		return
	}
	for _, alts := range provides {
		for _, r := range alts {
			u.providers[r.Name] = append(u.providers[r.Name], c)
		}
	}
}

// Candidate is the newest version of a package that is chosen without being asked for by version or suite; nil where
// there is none.
func (u *Universe) Candidate(name string) *Candidate {
	for _, c := range u.byName[name] {
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
	for _, c := range u.byName[r.Name] {
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
	for _, c := range u.providers[r.Name] {
		if u.Candidate(c.Name) != c || slices.Contains(found, c) {
			continue
		}
		if provides(c.Package, r) {
			found = append(found, c)
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
