package uvlock

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
)

// conflicts settles which extras, groups and projects are in force, by whose names the lock's markers fork, and refuses
// two of one set.
func (s *selection) conflicts() error {
	if err := s.askedAtOnce(); err != nil {
		return err
	}
	s.activated = make(map[string]bool)
	for _, p := range s.roots {
		if s.prod {
			s.activated[projectKey(p.Name)] = true
			for _, e := range s.extras[p] {
				s.activated[extraKey(p.Name, e)] = true
			}
		}
		for g := range s.groups {
			if _, ok := p.groups[g]; ok {
				s.activated[groupKey(p.Name, g)] = true
			}
		}
	}
	// An edge activates its extras when its marker holds, its own extras counted in; that can make other markers hold.
	for before := -1; before != len(s.activated); {
		before = len(s.activated)
		s.walk(func(m pep508.Marker, own []string) bool {
			return m.EvalWith(s.env, func(name string) bool { return s.activated[name] || slices.Contains(own, name) })
		}, func(p *Package, extras []string) {
			for _, e := range extras {
				s.activated[extraKey(p.Name, e)] = true
			}
		})
	}
	for _, set := range s.lock.conflicts {
		var on []string
		for _, c := range set {
			if c.extra != "" && s.activated[extraKey(c.pkg, c.extra)] {
				on = append(on, c.String())
			}
		}
		if err := incompatible(on); err != nil {
			return err
		}
	}
	return nil
}

// askedAtOnce refuses a request that names two of one set.
func (s *selection) askedAtOnce() error {
	reached := s.reachedMembers()
	extras, all := pep508.SetOf(s.req.Extras...), s.req.AllExtras
	no := pep508.SetOf(s.req.NoExtras...)
	for _, set := range s.lock.conflicts {
		var on []string
		for _, c := range set {
			if !reached[c.pkg] {
				continue
			}
			switch {
			case c.extra != "":
				if (extras[c.extra] || all) && !no[c.extra] {
					on = append(on, c.String())
				}
			case c.group != "":
				if s.groups[c.group] {
					on = append(on, c.String())
				}
			case s.prod:
				on = append(on, c.String())
			}
		}
		if err := incompatible(on); err != nil {
			return err
		}
	}
	return nil
}

// reachedMembers are the names of the roots, and of the members that they reach, markers aside.
func (s *selection) reachedMembers() map[string]bool {
	members := pep508.SetOf(s.lock.members()...)
	reached := make(map[string]bool)
	for _, p := range s.roots {
		reached[p.Name] = true
	}
	s.walk(func(pep508.Marker, []string) bool { return true }, nil)
	for n := range s.visited {
		if members[n.pkg.Name] {
			reached[n.pkg.Name] = true
		}
	}
	return reached
}

func (c conflictItem) String() string {
	switch {
	case c.extra != "":
		return fmt.Sprintf("extra %q of %s", c.extra, c.pkg)
	case c.group != "":
		return fmt.Sprintf("group %q of %s", c.group, c.pkg)
	default:
		return "project " + c.pkg
	}
}

func incompatible(on []string) error {
	if len(on) < 2 {
		return nil
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("%s are declared incompatible (tool.uv.conflicts)", strings.Join(on, " and "))), "ask for one of them")
}
