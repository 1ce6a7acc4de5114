package deb

import (
	"fmt"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

func (r *resolver) missing(q Request) error {
	e := &MissingError{Request: q}
	for _, c := range r.Universe.named(q.Name) {
		e.Versions = append(e.Versions, fmt.Sprintf("%s in %s", c.Version, strings.Join(c.suites, ", ")))
	}
	if len(e.Versions) > 0 {
		return hint.Usage(e)
	}
	if e.Nearest = hint.Nearest(q.Name, r.Universe.names()); e.Nearest == "" {
		return hint.Usage(e)
	}
	return hint.Wrap(hint.Usage(e), "did you mean %q?", e.Nearest)
}

func (r *resolver) conflict(n *chosen, cl clash) error {
	e := &ConflictError{Chain: n.chain(), Field: cl.field, Of: cl.of.String(), Relation: cl.Relation.String(), With: cl.with.String(), Installed: r.installed[cl.with.Name] == cl.with}
	if cl.of == cl.with {
		e.With, e.Installed = n.Candidate.String(), false
	}
	return hint.Wrap(e, "leave one of the two out; jubako removes no package of the base")
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

// listed writes names in a row, the first of many.
func listed(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
