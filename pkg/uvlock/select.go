package uvlock

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
)

// Select gives the packages to install on a target, sorted by name and version. Sources that are virtual are left out, as
// uv leaves them out; their dependencies are in.
func (l *Lock) Select(r locked.Request, env pep508.Env) ([]locked.Selected, error) {
	s := &selection{lock: l, req: r, env: &env}
	if err := s.preflight(); err != nil {
		return nil, err
	}
	if err := s.chooseRoots(); err != nil {
		return nil, err
	}
	if err := s.chooseGroups(); err != nil {
		return nil, err
	}
	if err := s.checkGroupPython(); err != nil {
		return nil, err
	}
	if err := s.chooseExtras(); err != nil {
		return nil, err
	}
	if len(l.conflicts) > 0 {
		if err := s.conflicts(); err != nil {
			return nil, err
		}
	}
	s.walk(func(m pep508.Marker, _ []string) bool { return m.EvalWith(s.env, s.has) }, nil)
	if s.err != nil {
		return nil, s.err
	}
	return s.result()
}

// selection is the state of one Select.
type selection struct {
	lock  *Lock
	req   locked.Request
	env   *pep508.Env
	roots []*Package
	// rootless says that the lock's own requirements and groups take part (a root without [project]).
	rootless bool
	prod     bool
	groups   map[string]bool // enabled groups
	explicit map[string]bool // those asked for by name
	extras   map[*Package][]string

	activated map[string]bool // conflict markers' names that hold
	visited   map[node]bool
	requires  map[*Package]map[string]bool
	err       error
}

// node is a package, or one of its extras.
type node struct {
	pkg   *Package
	extra string
}

// has says whether a conflict marker's name holds: extra-<len>-<pkg>-<extra> and its like.
func (s *selection) has(name string) bool { return s.activated[name] }

func extraKey(pkg, extra string) string { return fmt.Sprintf("extra-%d-%s-%s", len(pkg), pkg, extra) }
func groupKey(pkg, group string) string { return fmt.Sprintf("group-%d-%s-%s", len(pkg), pkg, group) }
func projectKey(pkg string) string      { return fmt.Sprintf("project-%d-%s", len(pkg), pkg) }

// preflight refuses a target that the lock was not made for.
func (s *selection) preflight() error {
	if err := locked.CheckPython(s.lock.file, s.lock.requiresPython, s.env.PythonFullVersion()); err != nil {
		return err
	}
	if s.req.RequiresPython != nil {
		if err := locked.CheckPython("pyproject.toml", s.req.RequiresPython, s.env.PythonFullVersion()); err != nil {
			return err
		}
	}
	if len(s.lock.supported) == 0 {
		return nil
	}
	for _, m := range s.lock.supported {
		if m.EvalWith(s.env, s.has) {
			return nil
		}
	}
	var all []string
	for _, m := range s.lock.supported {
		all = append(all, m.String())
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("%s supports only: %s", s.lock.file, strings.Join(all, "; "))), "tool.uv.environments limits the lock: add the image's platform there, and lock anew")
}

// chooseRoots finds the packages from which the walk starts.
func (s *selection) chooseRoots() error {
	names := pep508.NormalizeAll(s.req.Packages)
	members := s.lock.members()
	switch {
	case len(names) > 0:
	case s.req.AllPackages:
		names, s.rootless = members, s.req.Project == ""
	case s.req.Project != "":
		names = []string{pep508.Normalize(s.req.Project)}
	default:
		names, s.rootless = members, true
	}
	for _, n := range names {
		if len(s.req.Packages) > 0 && !slices.Contains(members, n) {
			return locked.Unknown("workspace member", n, members)
		}
		var found []*Package
		for _, p := range s.lock.byName[n] {
			if p.Source.Local() {
				found = append(found, p)
			}
		}
		if len(found) != 1 {
			return locked.Unknown("project", n, members)
		}
		s.roots = append(s.roots, found[0])
	}
	if len(s.req.Packages) > 1 && s.lock.root() == nil {
		s.rootless = true
	}
	return nil
}

// members are the names of the workspace's projects: the manifest's, or the one at the lock's own folder.
func (l *Lock) members() []string {
	if len(l.manifest.members) > 0 {
		return slices.Clone(l.manifest.members)
	}
	if r := l.root(); r != nil {
		return []string{r.Name}
	}
	return nil
}

// root is the package at the lock's own folder; nil where that is no project.
func (l *Lock) root() *Package {
	for _, p := range l.Packages {
		if (p.Source.Tree() || p.Source.Kind == locked.Virtual) && p.Source.Location == "." {
			return p
		}
	}
	return nil
}

// knownGroups gives the groups that the roots have; with one root also the workspace's root's, and the manifest's.
func (s *selection) knownGroups() map[string]bool {
	known := make(map[string]bool)
	of := s.roots
	if r := s.lock.root(); len(s.roots) == 1 && r != nil {
		of = append(of[:1:1], r)
	}
	for _, p := range of {
		for g := range p.groups {
			known[g] = true
		}
		if p.metadata != nil {
			for g := range p.metadata.groups {
				known[g] = true
			}
		}
	}
	for g := range s.lock.manifest.groups {
		known[g] = true
	}
	return known
}

// chooseGroups settles which dependency groups are in. Exclusion always wins.
func (s *selection) chooseGroups() error {
	known := s.knownGroups()
	s.groups, s.explicit = make(map[string]bool), make(map[string]bool)
	if r := s.req; len(r.OnlyGroups) > 0 && (len(r.Groups)+len(r.Extras) > 0 || r.AllGroups || r.AllExtras || r.Dev) {
		return hint.Usage(errors.New("--only-group leaves the project and its extras out, and goes with no --group and no --extra"))
	}
	s.prod = len(s.req.OnlyGroups) == 0
	check := func(names []string) error {
		for _, n := range pep508.NormalizeAll(names) {
			if !known[n] {
				return locked.Unknown("dependency group", n, slices.Collect(maps.Keys(known)))
			}
		}
		return nil
	}
	for _, names := range [][]string{s.req.Groups, s.req.OnlyGroups, s.req.NoGroups} {
		if err := check(names); err != nil {
			return err
		}
	}
	if s.prod && !s.req.NoDefaultGroups {
		for _, g := range s.defaults(known) {
			s.groups[g] = true
		}
	}
	for _, g := range pep508.NormalizeAll(append(s.req.Groups[:len(s.req.Groups):len(s.req.Groups)], s.req.OnlyGroups...)) {
		s.groups[g], s.explicit[g] = true, true
	}
	if s.req.AllGroups {
		for g := range known {
			s.groups[g], s.explicit[g] = true, true
		}
	}
	if s.req.Dev { // which need not exist
		s.groups["dev"], s.explicit["dev"] = true, true
	}
	no := pep508.NormalizeAll(s.req.NoGroups)
	if s.req.NoDev {
		no = append(no, "dev")
	}
	for _, g := range no {
		delete(s.groups, g)
		delete(s.explicit, g)
	}
	return nil
}

// defaults are the groups that are in without being asked for.
func (s *selection) defaults(known map[string]bool) []string {
	switch {
	case s.ofLock() && s.roots[0].hasDefaults:
		return s.roots[0].defaultGroups
	case s.ofLock():
		return []string{"dev"}
	case s.req.AllDefault:
		return slices.Collect(maps.Keys(known))
	case s.req.DefaultGroups != nil:
		return pep508.NormalizeAll(s.req.DefaultGroups)
	default:
		return []string{"dev"}
	}
}

// ofLock says whether the one chosen member's settings are the lock's own, whatever pyproject.toml says.
func (s *selection) ofLock() bool { return len(s.req.Packages) == 1 && s.lock.Revision >= 5 }

// checkGroupPython refuses a Python that an enabled group does not take.
func (s *selection) checkGroupPython() error {
	specs := s.req.GroupPython
	if s.ofLock() {
		specs = s.roots[0].groupPython
	}
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		if py, ok := specs[g]; ok {
			if err := locked.CheckPython(fmt.Sprintf("the group %q", g), py, s.env.PythonFullVersion()); err != nil {
				return err
			}
		}
	}
	return nil
}

// chooseExtras settles which extras of the roots are in.
func (s *selection) chooseExtras() error {
	s.extras = make(map[*Package][]string)
	known := make(map[string]bool)
	for _, p := range s.roots {
		for e := range p.optional {
			known[e] = true
		}
		if p.metadata != nil {
			for _, e := range p.metadata.extras {
				known[e] = true
			}
		}
	}
	no := pep508.SetOf(s.req.NoExtras...)
	wanted := pep508.SetOf(s.req.Extras...)
	for _, e := range slices.Concat(pep508.NormalizeAll(s.req.Extras), pep508.NormalizeAll(s.req.NoExtras)) {
		if !known[e] && s.lock.Revision > 0 {
			return locked.Unknown("extra", e, slices.Collect(maps.Keys(known)))
		}
	}
	for _, p := range s.roots {
		for e := range known {
			_, has := p.optional[e]
			if has && (wanted[e] || s.req.AllExtras) && !no[e] {
				s.extras[p] = append(s.extras[p], e)
			}
		}
		slices.Sort(s.extras[p])
	}
	return nil
}

// walk visits what the roots reach. follow decides about an edge by its marker and its own extras; activate, which may be
// nil, is told of every edge that is followed.
func (s *selection) walk(follow func(pep508.Marker, []string) bool, activate func(*Package, []string)) {
	s.err = nil // of a walk that was not yet the one that counts: fewer markers held then, or none was asked
	s.visited = make(map[node]bool)
	s.requires = make(map[*Package]map[string]bool)
	var queue []node
	push := func(p *Package, extras []string) {
		for _, e := range append([]string{""}, extras...) {
			if e != "" {
				if _, ok := p.optional[e]; !ok {
					continue // an extra that the package lacks here is dropped
				}
			}
			if n := (node{p, e}); !s.visited[n] {
				s.visited[n] = true
				queue = append(queue, n)
			}
		}
	}
	edges := func(from *Package, list []edge) {
		for _, e := range list {
			if !follow(e.marker, keysOf(e)) {
				continue
			}
			if activate != nil {
				activate(e.to, e.extras)
			}
			if from != nil && from != e.to {
				if s.requires[from] == nil {
					s.requires[from] = make(map[string]bool)
				}
				s.requires[from][e.to.Name] = true
			}
			push(e.to, e.extras)
		}
	}
	for _, p := range s.roots {
		if s.prod {
			push(p, s.extras[p])
		}
		for _, g := range slices.Sorted(maps.Keys(s.groups)) {
			edges(nil, p.groups[g])
		}
	}
	s.rootGroups(func(list []edge) { edges(nil, list) })
	s.manifestRequirements(follow, push)
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if n.extra == "" {
			edges(n.pkg, n.pkg.dependencies)
		} else {
			edges(n.pkg, n.pkg.optional[n.extra])
		}
	}
}

func keysOf(e edge) []string {
	var keys []string
	for _, x := range e.extras {
		keys = append(keys, extraKey(e.to.Name, x))
	}
	return keys
}

// rootGroups adds groups of the workspace's root that were asked for by name and that the one chosen member lacks.
func (s *selection) rootGroups(edges func([]edge)) {
	root := s.lock.root()
	if len(s.roots) != 1 || root == nil || root == s.roots[0] {
		return
	}
	for _, g := range slices.Sorted(maps.Keys(s.explicit)) {
		if !s.roots[0].definesGroup(g) {
			edges(root.groups[g])
		}
	}
}

func (p *Package) definesGroup(g string) bool {
	if _, ok := p.groups[g]; ok {
		return true
	}
	if p.metadata == nil {
		return false
	}
	_, ok := p.metadata.groups[g]
	return ok
}

// manifestRequirements adds what a root without [project] requires itself.
func (s *selection) manifestRequirements(follow func(pep508.Marker, []string) bool, push func(*Package, []string)) {
	add := func(reqs []manifestRequirement) {
		for _, r := range reqs {
			if !follow(r.marker, nil) {
				continue
			}
			var found []*Package
			for _, p := range s.lock.byName[r.name] {
				if len(p.markers) == 0 || slices.ContainsFunc(p.markers, func(m pep508.Marker) bool { return m.EvalWith(s.env, s.has) }) {
					found = append(found, p)
				}
			}
			if len(found) != 1 {
				s.err = fmt.Errorf("reading %s: %d packages match the requirement %q", s.lock.file, len(found), r.name)
				continue // a walk that does not count goes on
			}
			push(found[0], r.extras)
		}
	}
	if s.rootless && s.prod {
		add(s.lock.manifest.requirements)
	}
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		member := len(s.roots) == 1 && s.explicit[g] && !s.roots[0].definesGroup(g)
		if s.rootless || member {
			add(s.lock.manifest.groups[g])
		}
	}
}

// result gathers the packages that the walk has reached and the filters leave.
func (s *selection) result() ([]locked.Selected, error) {
	packages := make(map[*Package]bool)
	for n := range s.visited {
		packages[n.pkg] = true
	}
	members := pep508.SetOf(s.lock.members()...)
	var out []locked.Selected
	for p := range packages {
		project := s.req.NoInstallProject && len(s.req.Packages) < 2 && s.isProject(p)
		workspace := s.req.NoInstallWorkspace && members[p.Name] && p.Source.Local()
		local := s.req.NoInstallLocal && p.Source.Local()
		if p.Source.Kind == locked.Virtual || s.req.Omits(p.Name) || project || workspace || local {
			continue
		}
		out = append(out, locked.Selected{Package: s.req.AsAsked(&p.Package), Requires: slices.Sorted(maps.Keys(s.requires[p]))})
	}
	slices.SortFunc(out, func(a, b locked.Selected) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.Source.String(), b.Source.String()))
	})
	for i := 1; i < len(out); i++ {
		if a, b := out[i-1], out[i]; a.Name == b.Name {
			return nil, fmt.Errorf("reading %s: it asks for two versions of %s at once, %s and %s", s.lock.file, a.Name, a.Version, b.Version)
		}
	}
	return out, nil
}

// isProject says whether p is the project that --no-install-project leaves out.
func (s *selection) isProject(p *Package) bool {
	if s.req.Project == "" {
		return false
	}
	if len(s.req.Packages) == 1 {
		return p == s.roots[0]
	}
	return p.Name == pep508.Normalize(s.req.Project) && p.Source.Local()
}
