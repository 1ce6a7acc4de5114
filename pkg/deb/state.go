package deb

import (
	"fmt"
	"slices"
)

// state is what would be in the image: installed packages, and over them those that are chosen.
type state struct {
	arch    string
	exclude map[string]bool
	// now are the packages by name; parsed are their relations.
	now    map[string]*Package
	parsed map[*Package]*relations
	// provided and against lead from a name to the packages that provide it, or have something against it. Packages that
	// are in the state no more stay in the lists, and are passed over.
	provided map[string][]*Package
	against  map[string][]objection
}

// relations are a package's relationship fields, read.
type relations struct {
	depends    []Alternatives // Pre-Depends first
	provides   []Alternatives
	objections []objection
}

// objection is one entry of Conflicts or Breaks.
type objection struct {
	of    *Package
	field string
	Relation
}

func newState(arch string, exclude []string, installed []*Package) (*state, error) {
	s := &state{
		arch: arch, exclude: make(map[string]bool), now: make(map[string]*Package), parsed: make(map[*Package]*relations),
		provided: make(map[string][]*Package), against: make(map[string][]objection),
	}
	for _, e := range exclude {
		s.exclude[e] = true
	}
	for _, p := range installed {
		if p.Arch != arch && p.Arch != "all" {
			continue // of a foreign architecture, which fulfils nothing here
		}
		if err := s.put(p); err != nil {
			return nil, fmt.Errorf("the base's package %w", err)
		}
	}
	return s, nil
}

// put makes a package part of the state, in place of another version of it.
func (s *state) put(p *Package) error {
	r, err := s.relations(p)
	if err != nil {
		return err
	}
	s.now[p.Name] = p
	for _, alts := range r.provides {
		for _, v := range alts {
			s.provided[v.Name] = append(s.provided[v.Name], p)
		}
	}
	for _, o := range r.objections {
		s.against[o.Name] = append(s.against[o.Name], o)
	}
	return nil
}

// relations reads a package's relationship fields, once.
func (s *state) relations(p *Package) (*relations, error) {
	if r := s.parsed[p]; r != nil {
		return r, nil
	}
	r := &relations{}
	for _, f := range []struct{ name, text string }{
		{"Pre-Depends", p.PreDepends}, {"Depends", p.Depends}, {"Provides", p.Provides}, {"Conflicts", p.Conflicts}, {"Breaks", p.Breaks},
	} {
		if f.text == "" {
			continue
		}
		all, err := ParseRelations(f.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", p, f.name, err)
		}
		switch f.name {
		case "Provides":
			r.provides = all
		case "Conflicts", "Breaks":
			for _, alts := range all {
				for _, rel := range alts {
					r.objections = append(r.objections, objection{p, f.name, rel})
				}
			}
		default:
			r.depends = append(r.depends, all...)
		}
	}
	s.parsed[p] = r
	return r, nil
}

// here says whether a relation is about packages of this architecture.
func (s *state) here(r Relation) bool {
	return (r.Arch == "" || r.Arch == "any" || r.Arch == "native" || r.Arch == s.arch) && r.For(s.arch)
}

// satisfied says whether the state fulfils any of the alternatives.
func (s *state) satisfied(alts Alternatives) bool { return slices.ContainsFunc(alts, s.holds) }

func (s *state) holds(r Relation) bool {
	if !s.here(r) {
		return false
	}
	if s.exclude[r.Name] {
		return true
	}
	if p := s.now[r.Name]; p != nil && r.Allows(p.Version) {
		return true
	}
	return slices.ContainsFunc(s.provided[r.Name], func(p *Package) bool { return s.now[p.Name] == p && s.meets(p, r) })
}

// meets says whether a package is one that a relation is about, by its name or by what it provides.
func (s *state) meets(p *Package, r Relation) bool {
	if p.Name == r.Name && r.Allows(p.Version) {
		return true
	}
	rel, err := s.relations(p)
	if err != nil {
		return false
	}
	for _, alts := range rel.provides {
		for _, v := range alts {
			if v.Name == r.Name && (r.Op == "" || v.Op == "=" && r.Allows(v.Version)) {
				return true
			}
		}
	}
	return false
}

// clash is a package that cannot be there beside another one.
type clash struct {
	objection
	with *Package // in the state
}

// clashes lists what in the state a package cannot be together with. A package never clashes with another version of
// itself, which it replaces.
func (s *state) clashes(p *Package) ([]clash, error) {
	r, err := s.relations(p)
	if err != nil {
		return nil, err
	}
	var all []clash
	for _, o := range r.objections {
		if !s.here(o.Relation) {
			continue
		}
		met := append([]*Package{s.now[o.Name]}, s.provided[o.Name]...)
		for i, q := range met {
			if q != nil && q.Name != p.Name && s.now[q.Name] == q && s.meets(q, o.Relation) && !slices.Contains(met[:i], q) {
				all = append(all, clash{o, q})
			}
		}
	}
	names := []string{p.Name}
	for _, alts := range r.provides {
		for _, v := range alts {
			names = append(names, v.Name)
		}
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		for _, o := range s.against[name] {
			if o.of.Name != p.Name && s.now[o.of.Name] == o.of && s.here(o.Relation) && s.meets(p, o.Relation) {
				all = append(all, clash{o, o.of})
			}
		}
	}
	return all, nil
}
