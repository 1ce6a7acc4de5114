package deb

import (
	"fmt"
	"slices"
	"strings"

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

// Resolve finds the packages that a request needs, as apt-get install --no-install-recommends does: requests first, then
// relations of one alternative, in the order in which they come up, and only then those with several, so that what is
// needed anyway may fulfil them. Nothing is taken back and no package is removed.
func Resolve(p Problem) (*Resolution, error) {
	st, err := newState(p.Universe.Arch, p.Exclude, p.Installed)
	if err != nil {
		return nil, err
	}
	r := &resolver{Problem: p, state: st, chosen: make(map[string]*chosen), installed: make(map[string]*Package)}
	for name, q := range st.now {
		r.installed[name] = q
	}
	for _, q := range p.Request {
		if err := r.request(q); err != nil {
			return nil, err
		}
	}
	if err := r.drain(); err != nil {
		return nil, err
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
	parent *chosen // that led to it; nil for a request
	suite  string  // that was asked for, and from which what it needs may come too
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

// need is a relation that waits to be fulfilled.
type need struct {
	of   *chosen
	alts Alternatives
}

type resolver struct {
	Problem
	state        *state
	installed    map[string]*Package
	chosen       map[string]*chosen
	single, open []need // relations on one real package; those with several answers
	warnings     []string
}

// request chooses what was asked for.
func (r *resolver) request(q Request) error {
	c := r.Universe.find(q)
	if c == nil && q.Version == "" && q.Suite == "" && r.installed[q.Name] == nil {
		var err error
		if c, err = r.virtual(q); err != nil {
			return err
		}
	}
	there := r.installed[q.Name]
	switch {
	case c == nil && there != nil && (q.Version == "" && q.Suite == "" || q.Version != "" && there.Version.Compare(q.Version) == 0):
		return nil // the base has it, and no archive
	case c == nil:
		return r.missing(q)
	}
	if there = r.installed[c.Name]; there != nil {
		switch n := c.Version.Compare(there.Version); {
		case n == 0, n < 0 && q.Version == "" && q.Suite == "":
			return nil
		case n < 0:
			return hint.Usage(fmt.Errorf("package %s: the base has %s already, and jubako does not replace it by an older one", q, there))
		}
	}
	if before := r.chosen[c.Name]; before != nil {
		if before.Version.Compare(c.Version) != 0 {
			return hint.Usage(fmt.Errorf("package %s is asked for in the versions %s and %s", c.Name, before.Version, c.Version))
		}
		return nil
	}
	return r.choose(c, "requested", nil, q.Suite)
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

func (r *resolver) missing(q Request) error {
	e := &MissingError{Request: q}
	for _, c := range r.Universe.byName[q.Name] {
		e.Versions = append(e.Versions, fmt.Sprintf("%s in %s", c.Version, strings.Join(c.suites, ", ")))
	}
	if len(e.Versions) > 0 {
		return hint.Usage(e)
	}
	if e.Nearest = hint.Nearest(q.Name, sortedKeys(r.Universe.byName)); e.Nearest == "" {
		return hint.Usage(e)
	}
	return hint.Wrap(hint.Usage(e), "did you mean %q?", e.Nearest)
}

// choose brings a package in, and with it what has to change along.
func (r *resolver) choose(c *Candidate, why string, parent *chosen, suite string) error {
	n := &chosen{Choice{Candidate: c, Why: why}, parent, suite}
	if old := r.installed[c.Name]; old != nil {
		n.Upgrades = old.Version
	}
	// What the package cannot be beside is upgraded where that helps.
	clashes, err := r.state.clashes(c.Package)
	if err != nil {
		return fmt.Errorf("package %w", err)
	}
	if err := r.state.put(c.Package); err != nil {
		return fmt.Errorf("package %w", err)
	}
	r.chosen[c.Name] = n
	for _, cl := range clashes {
		up := r.wayOut(cl, c.Package)
		if up == nil {
			return r.conflict(n, cl)
		}
		if r.chosen[up.Name] == nil {
			if err := r.choose(up, "broken by "+c.Name, n, suite); err != nil {
				return err
			}
		}
	}
	rel, err := r.state.relations(c.Package)
	if err != nil {
		return err
	}
	for _, alts := range rel.depends {
		if len(alts) == 1 && r.Universe.Candidate(alts[0].Name) != nil {
			r.single = append(r.single, need{n, alts})
		} else {
			r.open = append(r.open, need{n, alts})
		}
	}
	return r.siblings(n)
}

// siblings upgrades what is installed of the same source, in an older version: the parts of a source belong together.
func (r *resolver) siblings(n *chosen) error {
	for _, p := range r.Installed {
		if p.Source != n.Package.Source || r.chosen[p.Name] != nil || r.installed[p.Name] != p || p.SourceVersion.Compare(n.SourceVersion) >= 0 || p.Hold {
			continue
		}
		for _, c := range r.Universe.byName[p.Name] {
			if c.Package.Source == p.Source && c.SourceVersion.Compare(n.SourceVersion) == 0 && c.Version.Compare(p.Version) > 0 {
				if err := r.choose(c, "built with "+n.Name, n, n.suite); err != nil {
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

func (r *resolver) conflict(n *chosen, cl clash) error {
	e := &ConflictError{Chain: n.chain(), Field: cl.field, Of: cl.of.String(), Relation: cl.Relation.String(), With: cl.with.String(), Installed: r.installed[cl.with.Name] == cl.with}
	if cl.of == cl.with {
		e.With, e.Installed = n.Candidate.String(), false
	}
	return hint.Wrap(e, "leave one of the two out; jubako removes no package of the base")
}

// drain fulfils what waits: relations with one answer first.
func (r *resolver) drain() error {
	for len(r.single) > 0 || len(r.open) > 0 {
		queue := &r.single
		if len(r.single) == 0 {
			queue = &r.open
		}
		n := (*queue)[0]
		*queue = (*queue)[1:]
		if r.chosen[n.of.Name] != n.of || r.state.satisfied(n.alts) {
			continue
		}
		if err := r.fulfil(n); err != nil {
			return err
		}
	}
	return nil
}

// fulfil chooses what fulfils a relation.
func (r *resolver) fulfil(n need) error {
	why := "needed by " + n.of.Name
	for _, alt := range n.alts {
		if c := r.real(alt, n.of.suite); c != nil && r.fits(c) {
			return r.choose(c, why, n.of, n.of.suite)
		}
	}
	for _, alt := range n.alts {
		if !r.state.here(alt) {
			continue
		}
		var fit []*Candidate
		for _, c := range r.Universe.providersOf(alt) {
			if r.newer(c) && r.fits(c) {
				fit = append(fit, c)
			}
		}
		if len(fit) == 0 {
			continue
		}
		if len(fit) > 1 && priority(fit[0]) == priority(fit[1]) {
			var names []string
			for _, c := range fit {
				names = append(names, c.Name)
			}
			r.warnings = append(r.warnings, fmt.Sprintf("package %s needs %s, which %s provide: %s is taken; name another one in packages to have that", n.of.Name, alt, listed(names), fit[0].Name))
		}
		return r.choose(fit[0], why, n.of, n.of.suite)
	}
	return r.unmet(n)
}

// listed writes names in a row, the first of many.
func listed(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
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

// unmet explains why a relation cannot be fulfilled.
func (r *resolver) unmet(n need) error {
	var why []string
	for _, alt := range n.alts {
		why = append(why, r.whyNot(alt))
	}
	return &UnmetError{n.of.chain(), n.alts.String(), strings.Join(why, "; ")}
}

func (r *resolver) whyNot(alt Relation) string {
	c := r.Universe.Candidate(alt.Name)
	there := r.state.now[alt.Name]
	switch {
	case !r.state.here(alt):
		return alt.String() + " is of another architecture"
	case there != nil && there.Hold && !alt.Allows(there.Version):
		return fmt.Sprintf("the base holds %s back", there)
	case r.chosen[alt.Name] != nil && !alt.Allows(there.Version):
		return fmt.Sprintf("%s is chosen already", there)
	case c == nil && len(r.Universe.providersOf(alt)) == 0:
		return "there is no package " + alt.Name
	case c != nil && !alt.Allows(c.Version):
		return fmt.Sprintf("there is only %s", c)
	case c != nil:
		if clashes, err := r.state.clashes(c.Package); err == nil && len(clashes) > 0 {
			cl := clashes[0]
			return fmt.Sprintf("%s cannot be there beside %s (%s: %s)", c, cl.with, cl.field, cl.Relation)
		}
	}
	return "none of those that provide " + alt.Name + " can be had"
}

// verify looks at the whole: what was fulfilled before has to be fulfilled still. Installed packages that an upgrade has
// left behind are upgraded too, where that helps.
func (r *resolver) verify() error {
	before, err := newState(r.Universe.Arch, r.Exclude, r.Installed)
	if err != nil {
		return err
	}
	for again := true; again; {
		again = false
		for _, name := range sortedKeys(r.state.now) {
			p := r.state.now[name]
			rel, err := r.state.relations(p)
			if err != nil {
				return err
			}
			for _, alts := range rel.depends {
				if r.state.satisfied(alts) || r.chosen[name] == nil && !before.satisfied(alts) {
					continue // what the base lacked all along is not ours to mend
				}
				if c := r.chosen[name]; c != nil {
					return r.unmet(need{c, alts})
				}
				up := r.Universe.Candidate(name)
				if up == nil || p.Hold || up.Version.Compare(p.Version) <= 0 {
					return &UnmetError{[]string{"the base's " + p.String()}, alts.String(), "the upgrades that the request brings leave it without"}
				}
				if err := r.choose(up, "needed by upgrades", nil, ""); err != nil {
					return err
				}
				if err := r.drain(); err != nil {
					return err
				}
				again = true
				break
			}
		}
	}
	return nil
}
