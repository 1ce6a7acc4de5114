package deb

import (
	"fmt"
	"slices"

	"github.com/jubako/jubako/pkg/hint"
)

// Problem is what a resolution starts from.
type Problem struct {
	Universe  *Universe
	Installed []*Package
	// Exclude names packages that count as fulfilled wherever one needs them.
	Exclude []string
	Request []Request
}

// Choice is a package that the request brings into the image.
type Choice struct {
	*Candidate
	// Why is "requested", "needed by NAME", "built with NAME" or "broken by NAME".
	Why string
	// Upgrades is the installed version that it replaces, "" for a new package.
	Upgrades Version
}

// Resolution is the answer: the packages by name, and what a person may want to know of how they were found.
type Resolution struct {
	Choices  []Choice
	Warnings []string
}

// Resolve finds the packages that a request needs, as apt-get install --no-install-recommends does. All that is requested
// is chosen first, so that it may fulfil what something else needs. Then each package's relations are fulfilled in their
// order, and those of what that brings in before the next one: a relation that is fulfilled by then is left alone, by
// whichever of its alternatives. No package of the base is removed.
func Resolve(p Problem) (*Resolution, error) {
	st, err := newState(p.Universe.Arch, p.Exclude, p.Installed)
	if err != nil {
		return nil, err
	}
	r := &resolver{Problem: p, state: st, chosen: make(map[string]*chosen), installed: make(map[string]*Package), discarded: make(map[*Candidate]error)}
	for name, q := range st.now {
		r.installed[name] = q
	}
	var requested []*chosen
	for _, q := range p.Request {
		n, err := r.request(q)
		if err != nil {
			return nil, err
		}
		if n != nil {
			requested = append(requested, n)
		}
	}
	for _, n := range requested {
		if err := r.follow(n); err != nil {
			return nil, err
		}
	}
	if err := r.verify(); err != nil {
		return nil, err
	}
	out := &Resolution{Warnings: r.warnings}
	for _, name := range sortedKeys(r.chosen) {
		out.Choices = append(out.Choices, r.chosen[name].Choice)
	}
	return out, nil
}

// chosen is a package on its way into the answer.
type chosen struct {
	Choice
	parent  *chosen // that led to it; nil for a request
	suite   string  // that was asked for, and from which what it needs may come too
	clashes []clash // that were there when it was chosen, and that have to end
	// firm is set where nothing else would do: what is requested, and what that needs without an alternative. What is not
	// makes way for it.
	firm bool
}

// chain are the packages from the request down to this one.
func (c *chosen) chain() []string {
	var names []string
	for ; c != nil; c = c.parent {
		names = append(names, c.String())
	}
	slices.Reverse(names)
	return names
}

type resolver struct {
	Problem
	state     *state
	installed map[string]*Package
	chosen    map[string]*chosen
	warnings  []string
	// discarded are candidates that have turned out to be impossible, and why: none is tried twice.
	discarded map[*Candidate]error
	journal   []step
}

// step is one change of the state, to be taken back where it leads nowhere.
type step struct {
	name   string
	was    *Package
	chosen *chosen
}

// note remembers how things stand with a name, before they change.
func (r *resolver) note(name string) {
	r.journal = append(r.journal, step{name, r.state.now[name], r.chosen[name]})
}

// undo takes back what was done since the journal had a length.
func (r *resolver) undo(to int) {
	for len(r.journal) > to {
		last := r.journal[len(r.journal)-1]
		r.journal = r.journal[:len(r.journal)-1]
		if last.chosen != nil {
			r.chosen[last.name] = last.chosen
		} else {
			delete(r.chosen, last.name)
		}
		if last.was != nil {
			r.state.now[last.name] = last.was
		} else {
			delete(r.state.now, last.name)
		}
	}
}

// request chooses what was asked for.
func (r *resolver) request(q Request) (*chosen, error) {
	c := r.Universe.find(q)
	if c == nil && q.Version == "" && q.Suite == "" && r.installed[q.Name] == nil {
		var err error
		if c, err = r.virtual(q); err != nil {
			return nil, err
		}
	}
	there := r.installed[q.Name]
	switch {
	case c == nil && there != nil && (q.Version == "" && q.Suite == "" || q.Version != "" && there.Version.Compare(q.Version) == 0):
		return nil, nil // the base has it, and no archive
	case c == nil:
		return nil, r.missing(q)
	}
	if there = r.installed[c.Name]; there != nil {
		switch n := c.Version.Compare(there.Version); {
		case n == 0, n < 0 && q.Version == "" && q.Suite == "":
			return nil, nil
		case n < 0:
			return nil, hint.Usage(fmt.Errorf("package %s: the base has %s already, and jubako does not replace it by an older one", q, there))
		}
	}
	if before := r.chosen[c.Name]; before != nil {
		if before.Version.Compare(c.Version) != 0 {
			return nil, hint.Usage(fmt.Errorf("package %s is asked for in the versions %s and %s", c.Name, before.Version, c.Version))
		}
		return nil, nil
	}
	n, err := r.put(c, "requested", nil, q.Suite)
	if err == nil {
		n.firm = true
	}
	return n, err
}

// virtual finds the only package that provides a name.
func (r *resolver) virtual(q Request) (*Candidate, error) {
	all := r.Universe.providersOf(Relation{Name: q.Name})
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > 1 {
		e := &VirtualError{Name: q.Name}
		for _, c := range all {
			e.Providers = append(e.Providers, c.Name)
		}
		return nil, hint.Wrap(hint.Usage(e), "name one of them")
	}
	return all[0], nil
}

// choose brings a package in, with all that it needs. Where that cannot be, nothing has changed.
func (r *resolver) choose(c *Candidate, why string, parent *chosen, firm bool) error {
	if err := r.discarded[c]; err != nil {
		return err
	}
	before := len(r.journal)
	n, err := r.put(c, why, parent, parent.suite)
	if err == nil {
		n.firm = firm
		err = r.follow(n)
	}
	if err != nil {
		r.undo(before)
		r.discarded[c] = err
	}
	return err
}

// put makes a package part of the state.
func (r *resolver) put(c *Candidate, why string, parent *chosen, suite string) (*chosen, error) {
	n := &chosen{Choice: Choice{Candidate: c, Why: why}, parent: parent, suite: suite}
	if old := r.installed[c.Name]; old != nil {
		n.Upgrades = old.Version
	}
	var err error
	if n.clashes, err = r.state.clashes(c.Package); err != nil {
		return nil, fmt.Errorf("package %w", err)
	}
	r.note(c.Name)
	if err := r.state.put(c.Package); err != nil {
		return nil, fmt.Errorf("package %w", err)
	}
	r.chosen[c.Name] = n
	return n, nil
}

// follow brings in what a package needs once it is there itself: upgrades of what it cannot be beside, of what would be
// left without it, and of its siblings; and then what its relations ask for.
func (r *resolver) follow(n *chosen) error {
	for _, cl := range n.clashes {
		if r.state.now[cl.with.Name] != cl.with {
			continue // it has been upgraded, or has made way, by now
		}
		if loose := r.chosen[cl.with.Name]; loose != nil && loose.Package == cl.with && !loose.firm && n.firm && r.installed[cl.with.Name] == nil {
			r.note(cl.with.Name)
			delete(r.chosen, cl.with.Name)
			delete(r.state.now, cl.with.Name)
			continue
		}
		up := r.wayOut(cl, n.Package)
		if up == nil {
			return r.conflict(n, cl)
		}
		if err := r.choose(up, "broken by "+n.Name, n, n.firm); err != nil {
			return err
		}
	}
	if err := r.siblings(n); err != nil {
		return err
	}
	if err := r.dependants(n); err != nil {
		return err
	}
	rel, err := r.state.relations(n.Package)
	if err != nil {
		return err
	}
	for _, alts := range rel.depends {
		if r.state.satisfied(alts) {
			continue
		}
		if err := r.fulfil(need{n, alts}); err != nil {
			return err
		}
	}
	return nil
}

// need is a relation that is to be fulfilled.
type need struct {
	of   *chosen
	alts Alternatives
}

// dependants upgrades installed packages that would be left without the old version of an upgraded one.
func (r *resolver) dependants(n *chosen) error {
	old := r.installed[n.Name]
	if old == nil {
		return nil
	}
	for _, p := range r.Installed {
		if r.chosen[p.Name] != nil || r.installed[p.Name] != p {
			continue
		}
		rel, err := r.state.relations(p)
		if err != nil {
			return err
		}
		for _, alts := range rel.depends {
			if !slices.ContainsFunc(alts, func(a Relation) bool { return r.state.meets(old, a) }) || r.state.satisfied(alts) {
				continue
			}
			if up := r.Universe.Candidate(p.Name); up != nil && !p.Hold && up.Version.Compare(p.Version) > 0 {
				if err := r.choose(up, "built for "+n.Name, n, n.firm); err != nil {
					return err
				}
			}
			break
		}
	}
	return nil
}

// siblings upgrades what is installed of the same source, in an older version: the parts of a source belong together.
func (r *resolver) siblings(n *chosen) error {
	for _, p := range r.Installed {
		if p.Source != n.Package.Source || r.chosen[p.Name] != nil || r.installed[p.Name] != p || p.SourceVersion.Compare(n.SourceVersion) >= 0 || p.Hold {
			continue
		}
		for _, c := range r.Universe.named(p.Name) {
			if c.Package.Source == p.Source && c.SourceVersion.Compare(n.SourceVersion) == 0 && c.Version.Compare(p.Version) > 0 {
				if err := r.choose(c, "built with "+n.Name, n, n.firm); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// wayOut is the upgrade of an installed package that ends a clash with another one; nil where none does.
func (r *resolver) wayOut(cl clash, with *Package) *Candidate {
	p := cl.with
	up := r.Universe.Candidate(p.Name)
	if up == nil || r.installed[p.Name] != p || p.Hold || up.Version.Compare(p.Version) <= 0 {
		return nil
	}
	if cl.of == p { // the installed one objects: the newer one may not
		rel, err := r.state.relations(up.Package)
		if err != nil || slices.ContainsFunc(rel.objections, func(o objection) bool { return r.state.here(o.Relation) && r.state.meets(with, o.Relation) }) {
			return nil
		}
		return up
	}
	if r.state.meets(up.Package, cl.Relation) {
		return nil
	}
	return up
}

// fulfil chooses what fulfils a relation: the first of its alternatives that can be had, where an alternative is the
// package of that name, or else one that provides the name. An installed package that only has to be upgraded comes first.
func (r *resolver) fulfil(n need) error {
	type solution struct {
		*Candidate
		ties []string // other providers that are as good
	}
	var upgrades, fresh []solution
	for _, alt := range n.alts {
		for _, s := range r.solutions(alt, n.of.suite) {
			sol := solution{Candidate: s}
			if s.Name != alt.Name {
				for _, o := range r.solutions(alt, n.of.suite) {
					if o != s && o.Name != alt.Name && priority(o) == priority(s) && r.installed[o.Name] == nil {
						sol.ties = append(sol.ties, o.Name)
					}
				}
			}
			if r.installed[s.Name] != nil {
				upgrades = append(upgrades, sol)
			} else {
				fresh = append(fresh, sol)
			}
		}
	}
	var first error
	all := append(upgrades, fresh...)
	for _, s := range all {
		err := r.choose(s.Candidate, "needed by "+n.of.Name, n.of, n.of.firm && len(all) == 1)
		if err == nil {
			if len(s.ties) > 0 {
				r.warnings = append(r.warnings, fmt.Sprintf("package %s needs %s, which %s provide: %s is taken; name another one in packages to have that", n.of.Name, n.alts, listed(append([]string{s.Name}, s.ties...)), s.Name))
			}
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return first
	}
	return r.unmet(n)
}

// solutions are the packages that a relation may be fulfilled with, the best first.
func (r *resolver) solutions(alt Relation, suite string) []*Candidate {
	if !r.state.here(alt) {
		return nil
	}
	var all []*Candidate
	if c := r.real(alt, suite); c != nil {
		all = append(all, c)
	}
	for _, c := range r.Universe.providersOf(alt) {
		if c.Name != alt.Name && r.newer(c) && r.fits(c) {
			all = append(all, c)
		}
	}
	return all
}

// real is the package that a relation names, in a version that fulfils it: the candidate, or else that of the suite which
// the request asked for.
func (r *resolver) real(alt Relation, suite string) *Candidate {
	if !r.state.here(alt) {
		return nil
	}
	if c := r.Universe.Candidate(alt.Name); c != nil && alt.Allows(c.Version) && r.newer(c) {
		return c
	}
	if suite != "" {
		if c := r.Universe.find(Request{Name: alt.Name, Suite: suite}); c != nil && alt.Allows(c.Version) && r.newer(c) {
			return c
		}
	}
	return nil
}

// newer says whether choosing a package would bring something: it is not there, or only in an older version that may go.
func (r *resolver) newer(c *Candidate) bool {
	there := r.state.now[c.Name]
	return there == nil || c.Version.Compare(there.Version) > 0 && !there.Hold && r.chosen[c.Name] == nil
}

// fits says whether a package can be there beside the others, upgrades of installed ones allowed for.
func (r *resolver) fits(c *Candidate) bool {
	clashes, err := r.state.clashes(c.Package)
	return err == nil && !slices.ContainsFunc(clashes, func(cl clash) bool { return r.wayOut(cl, c.Package) == nil })
}

// maxRounds bounds how often what has made way is replaced by something else.
const maxRounds = 20

// verify looks at the whole: what was fulfilled before has to be fulfilled still, and what a package needed that has made
// way for another one is found elsewhere.
func (r *resolver) verify() error {
	before, err := newState(r.Universe.Arch, r.Exclude, r.Installed)
	if err != nil {
		return err
	}
	for round := 0; ; round++ {
		n, err := r.unfulfilled(before)
		if err != nil || n == nil {
			return err
		}
		if round == maxRounds {
			return r.unmet(*n)
		}
		if err := r.fulfil(*n); err != nil {
			return err
		}
	}
}

// unfulfilled gives the first relation of a chosen package that does not hold.
func (r *resolver) unfulfilled(before *state) (*need, error) {
	for _, name := range sortedKeys(r.state.now) {
		p := r.state.now[name]
		rel, err := r.state.relations(p)
		if err != nil {
			return nil, err
		}
		for _, alts := range rel.depends {
			switch c := r.chosen[name]; {
			case r.state.satisfied(alts):
			case c != nil:
				return &need{c, alts}, nil
			case before.satisfied(alts): // what the base lacked all along is not ours to mend
				return nil, &UnmetError{[]string{"the base's " + p.String()}, alts.String(), "the upgrades that the request brings leave it without"}
			}
		}
	}
	return nil, nil
}
