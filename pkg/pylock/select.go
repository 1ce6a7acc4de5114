package pylock

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
)

// Select gives the packages to install on a target, sorted by name ("Installation" in the specification). The lock's
// default-groups are in unless they are left out by name: they are the lock's own word for what is installed by default.
// It has no workspace members.
func (l *Lock) Select(r locked.Request, env pep508.Env) ([]locked.Selected, error) {
	if len(r.Packages) > 0 || r.AllPackages {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s has no workspace members to choose from", l.file)), "lock the member into a file of its own, and name that with --lock")
	}
	if err := locked.CheckPython(l.file, l.requiresPython, env.PythonFullVersion()); err != nil {
		return nil, err
	}
	var err error
	if env.Extras, err = l.chooseExtras(r); err != nil {
		return nil, err
	}
	if env.Groups, err = l.chooseGroups(r); err != nil {
		return nil, err
	}
	if err := l.checkEnvironments(&env); err != nil {
		return nil, err
	}
	return l.active(r, &env)
}

func (l *Lock) checkEnvironments(env *pep508.Env) error {
	var all []string
	for _, m := range l.environments {
		if m.Eval(env) {
			return nil
		}
		all = append(all, m.String())
	}
	if len(all) == 0 {
		return nil
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("%s supports only: %s", l.file, strings.Join(all, "; "))), "lock for the image's platform as well")
}

func (l *Lock) chooseExtras(r locked.Request) (pep508.Set, error) {
	for _, e := range slices.Concat(pep508.NormalizeAll(r.Extras), pep508.NormalizeAll(r.NoExtras)) {
		if !slices.Contains(l.extras, e) {
			return nil, locked.Unknown("extra", e, slices.Clone(l.extras))
		}
	}
	chosen := pep508.NormalizeAll(r.Extras)
	if r.AllExtras {
		chosen = l.extras
	}
	set := pep508.SetOf(chosen...)
	for _, e := range pep508.NormalizeAll(r.NoExtras) {
		delete(set, e)
	}
	return set, nil
}

func (l *Lock) chooseGroups(r locked.Request) (pep508.Set, error) {
	known := slices.Concat(l.groups, l.defaultGroups)
	if len(r.OnlyGroups) > 0 && (len(r.Groups) > 0 || r.AllGroups) {
		return nil, hint.Usage(errors.New("--only-group goes with no --group"))
	}
	for _, g := range pep508.NormalizeAll(slices.Concat(r.Groups, r.NoGroups, r.OnlyGroups)) {
		if !slices.Contains(known, g) {
			return nil, locked.Unknown("dependency group", g, known)
		}
	}
	chosen := slices.Concat(l.defaultGroups, pep508.NormalizeAll(r.Groups))
	switch {
	case len(r.OnlyGroups) > 0:
		chosen = pep508.NormalizeAll(r.OnlyGroups)
	case r.AllGroups:
		chosen = known
	}
	set := pep508.SetOf(chosen...)
	for _, g := range pep508.NormalizeAll(r.NoGroups) {
		delete(set, g)
	}
	return set, nil
}

// active gathers the packages whose marker holds.
func (l *Lock) active(r locked.Request, env *pep508.Env) ([]locked.Selected, error) {
	seen := make(map[string]*Package)
	var out []locked.Selected
	for _, p := range l.Packages {
		if !p.marker.Eval(env) {
			continue
		}
		if twice := seen[p.Name]; twice != nil {
			return nil, hint.Usage(fmt.Errorf("reading %s: the package %s is there twice for this target, as %s and as %s", l.file, p.Name, twice.Version, p.Version))
		}
		seen[p.Name] = p
		if err := locked.CheckPython(fmt.Sprintf("%s: the package %s %s", l.file, p.Name, p.Version), p.requiresPython, env.PythonFullVersion()); err != nil {
			return nil, err
		}
		if r.LeavesOut(&p.Package) {
			continue
		}
		if p.VCS != "" && p.VCS != "git" {
			return nil, hint.Wrap(hint.Usage(fmt.Errorf("reading %s: the package %s comes from %s, and jubako knows git", l.file, p.Name, p.VCS)),
				"build its wheel elsewhere and lock that, or leave it out with --no-install-package %s", p.Name)
		}
		out = append(out, locked.Selected{Package: r.AsAsked(&p.Package), Requires: p.requires, Unsaid: len(p.requires) == 0})
	}
	slices.SortFunc(out, func(a, b locked.Selected) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
