// Package buildreq finds the wheels that a build backend needs: it resolves build requirements (PEP 518) against an index,
// for one Python, with wheels alone. What a lock pins of them is Pins.
//
// It may import pkg/filehash, pkg/hint, pkg/pep508 and pkg/wheel.
package buildreq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// File is a file that an index has of a project.
type File struct {
	Filename       string
	URL            string
	Hashes         []filehash.Hash // the best first
	RequiresPython string
	Yanked         bool
	Uploaded       time.Time // zero where the index does not say
	// Metadata says that the index has the wheel's METADATA beside it, and MetadataHashes what is known of it.
	Metadata       bool
	MetadataHashes []filehash.Hash
}

// Metadata is what the resolver reads of a wheel's METADATA.
type Metadata struct {
	Requires       []string // Requires-Dist, as written
	RequiresPython string
}

// Index is where files are found. Its answers stay the same while a resolution runs.
type Index interface {
	// Files lists what there is of a project (normalized name), in any order; nothing where it is not known.
	Files(ctx context.Context, project string) ([]File, error)
	// Metadata reads that of one of the wheels.
	Metadata(ctx context.Context, f File) (Metadata, error)
}

// Options say for what, and by what rules, requirements are resolved.
type Options struct {
	Index Index
	Env   pep508.Env
	Tags  wheel.Tags
	// Constraints bound the versions of whatever is taken (uv's build-constraint-dependencies), and bring in nothing.
	Constraints []pep508.Requirement
	// ExcludeNewer leaves out what was uploaded at that time or later; zero for nothing. A file of unknown time is left out,
	// as uv has it. Of a package it may be another time, or zero for none.
	ExcludeNewer        time.Time
	ExcludeNewerPackage map[string]time.Time
}

// Found is a wheel that was chosen.
type Found struct {
	Name    string // normalized
	Version string
	Wheel   File
}

// The bounds of one resolution: packages in it, and versions that are tried.
const (
	maxPackages = 500
	maxTries    = 5000
)

// Error says that no set of wheels satisfies the requirements.
type Error struct {
	Name    string   // of the package that none was found for
	Asked   []string // what was asked of it, and by whom
	Reasons []string // why versions were passed over

	// involved are the packages whose choice had a part in it: another version of any other would not help.
	involved map[string]bool
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no wheel of %s satisfies the build requirements: %s", e.Name, strings.Join(e.Asked, ", "))
	const shown = 6
	for i, r := range e.Reasons {
		if i == shown {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Reasons)-shown)
			break
		}
		b.WriteString("\n  " + r)
	}
	return b.String()
}

// Parse reads requirements, each as PEP 508 writes it.
func Parse(texts []string) ([]pep508.Requirement, error) {
	var all []pep508.Requirement
	for _, t := range texts {
		r, err := pep508.ParseRequirement(t)
		if err != nil {
			return nil, fmt.Errorf("reading the build requirement %q: %w", t, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// Resolve gives the newest wheels that satisfy the requirements and what these require in turn, sorted by name. Where no
// wheels do, the error is a *Error.
func Resolve(ctx context.Context, wanted []pep508.Requirement, o Options) ([]Found, error) {
	r := &resolver{o: o, candidates: make(map[string]*project), metadata: make(map[string]Metadata)}
	st := &state{}
	if err := r.ask(st, wanted, "the project", "", nil); err != nil {
		return nil, err
	}
	for i := range st.asks {
		st.asks[i].direct = true
	}
	final, err := r.solve(ctx, st)
	if err != nil {
		return nil, err
	}
	var found []Found
	for c := final.chosen; c != nil; c = c.below {
		found = append(found, Found{c.name, c.version.String(), c.file})
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

type resolver struct {
	o          Options
	candidates map[string]*project
	metadata   map[string]Metadata // by the wheel's filename
	tries      int
}

// ask is a requirement that holds, and whose it is.
type ask struct {
	name   string
	req    pep508.Requirement
	by     string // for a person
	from   string // the package's name; "" for the project itself
	direct bool
}

// choice is a version that was chosen: a list, so that states share what they have in common.
type choice struct {
	name    string
	version pep508.Version
	file    File
	extras  []string
	settled bool // what it requires is among the state's asks, with those extras
	below   *choice
}

// state is how far a resolution has come. It is not changed once another was made from it.
type state struct {
	asks   []ask
	chosen *choice
}

func (s *state) choiceOf(name string) *choice {
	for c := s.chosen; c != nil; c = c.below {
		if c.name == name {
			return c
		}
	}
	return nil
}

// ask adds requirements whose markers hold, with a package's extras in force.
func (r *resolver) ask(st *state, wanted []pep508.Requirement, by, from string, extras []string) error {
	env := r.o.Env
	env.Extras = pep508.SetOf(extras...)
	for _, req := range wanted {
		if !req.Marker.Eval(&env) {
			continue
		}
		if req.URL != "" {
			return hint.Wrap(hint.Usage(fmt.Errorf("%s requires %s at a URL to be built, and jubako takes build requirements from an index", by, req.Name)),
				"build its wheel elsewhere and name the folder with --find-links")
		}
		st.asks = append(st.asks, ask{name: pep508.Normalize(req.Name), req: req, by: by, from: from})
	}
	return nil
}

// solve goes on with the first package that has no version yet. A version whose own requirements cannot be met gives way to
// the next older one.
func (r *resolver) solve(ctx context.Context, st *state) (*state, error) {
	name, ok := st.open()
	if !ok {
		return st, nil
	}
	if depth := st.count(); depth >= maxPackages {
		return nil, fmt.Errorf("resolving build requirements: they come to more than %d packages", maxPackages)
	}
	p, err := r.project(ctx, name)
	if err != nil {
		return nil, err
	}
	fail := &Error{Name: name, involved: make(map[string]bool)}
	for _, a := range st.asks {
		if a.name == name {
			fail.involved[a.from] = true
			fail.Asked = append(fail.Asked, fmt.Sprintf("%s (by %s)", strings.TrimSpace(name+" "+a.req.Specifiers.String()), a.by))
		}
	}
	var deepest error
	for _, c := range r.fitting(p, st, fail) {
		if r.tries++; r.tries > maxTries {
			return nil, hint.Wrap(fmt.Errorf("resolving build requirements: %d versions were tried, the last of them of %s", maxTries, name),
				"narrow them with build-constraint-dependencies under [tool.uv]")
		}
		next := &state{asks: slices.Clip(st.asks)}
		next.chosen = &choice{name: name, version: c.version, file: c.file, below: st.chosen}
		why, err := r.settle(ctx, next, name, fail)
		if err != nil {
			return nil, err
		}
		if why != "" {
			fail.Reasons = append(fail.Reasons, why)
			continue
		}
		final, err := r.solve(ctx, next)
		conflict, ok := errors.AsType[*Error](err)
		if !ok || !conflict.involved[name] {
			return final, err
		}
		deepest = conflict
		maps.Copy(fail.involved, conflict.involved)
	}
	delete(fail.involved, name)
	if deepest != nil && len(fail.Reasons) == 0 {
		return nil, deepest
	}
	return nil, fail
}

// open is the first package that something asks for, and that has no version yet or lacks an extra.
func (s *state) open() (string, bool) {
	for _, a := range s.asks {
		if s.choiceOf(a.name) == nil {
			return a.name, true
		}
	}
	return "", false
}

func (s *state) count() int {
	n := 0
	for c := s.chosen; c != nil; c = c.below {
		n++
	}
	return n
}

// extras are those that are asked of a package.
func (s *state) extras(name string) []string {
	var all []string
	for _, a := range s.asks {
		if a.name == name {
			all = append(all, a.req.Extras...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// settle adds what a chosen package requires with the extras that are asked of it now, and looks whether all that is asked
// of chosen packages holds; why says what does not. A requirement may ask for an extra of a package that was chosen before:
// then that one's turn comes again.
func (r *resolver) settle(ctx context.Context, st *state, name string, fail *Error) (why string, err error) {
	for pending := []string{name}; len(pending) > 0; {
		at := st.choiceOf(pending[0])
		pending = pending[1:]
		by := at.name + " " + at.version.String()
		m, err := r.metadataOf(ctx, at.file)
		if err != nil {
			return "", err
		}
		if !r.pythonFits(m.RequiresPython) {
			return fmt.Sprintf("%s requires Python %s", by, m.RequiresPython), nil
		}
		wanted, why := parseLenient(m.Requires)
		if why != "" {
			return by + " " + why, nil
		}
		before := len(st.asks)
		extras := st.extras(at.name)
		if at.settled {
			wanted = r.without(wanted, at.extras)
		}
		if err := r.ask(st, wanted, by, at.name, extras); err != nil {
			return "", err
		}
		st.settled(at, extras)
		for _, a := range st.asks[before:] {
			c := st.choiceOf(a.name)
			if c == nil {
				continue
			}
			if !a.req.Specifiers.Contains(c.version) {
				fail.involved[c.name] = true
				return fmt.Sprintf("%s requires %s %s, and %s is taken already", by, a.name, a.req.Specifiers, c.version), nil
			}
			if !subset(a.req.Extras, c.extras) && !slices.Contains(pending, a.name) {
				pending = append(pending, a.name)
			}
		}
	}
	return "", nil
}

// without leaves out the requirements that hold with the extras that were in force before.
func (r *resolver) without(wanted []pep508.Requirement, had []string) []pep508.Requirement {
	env := r.o.Env
	env.Extras = pep508.SetOf(had...)
	return slices.DeleteFunc(wanted, func(req pep508.Requirement) bool { return req.Marker.Eval(&env) })
}

// settled notes the extras of a chosen package, in a list of the state's own.
func (s *state) settled(at *choice, extras []string) {
	var list []*choice
	for c := s.chosen; c != nil; c = c.below {
		list = append(list, c)
	}
	s.chosen = nil
	for _, c := range slices.Backward(list) {
		copied := *c
		if c == at {
			copied.extras, copied.settled = extras, true
		}
		copied.below, s.chosen = s.chosen, &copied
	}
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// parseLenient reads what a wheel requires. One requirement that cannot be read makes the version one that is passed over.
func parseLenient(texts []string) (all []pep508.Requirement, why string) {
	for _, t := range texts {
		req, err := pep508.ParseRequirement(t)
		if err != nil {
			return nil, fmt.Sprintf("requires what cannot be read: %v", err)
		}
		all = append(all, req)
	}
	return all, ""
}
