//go:build oracle

package oracle

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/uvlock"
	"github.com/jubako/jubako/pkg/wheel"
)

// realLock is a folder with a lock and what belongs to it.
type realLock struct {
	name string
	dir  string // a copy, in which uv runs
	lock *uvlock.Lock
	err  error // of reading the lock
	p    *project.Project
	uv   struct { // what the oracle needs to know of uv's own settings
		DefaultGroups any `toml:"default-groups"`
		NoDefault     bool
	}
	groups, extras, members []string
	conflicts               bool
}

// choice is one way to ask for packages, of uv and of jubako.
type choice struct {
	name string
	args []string
	r    func(*locked.Request)
}

// rawFile is what the oracle reads of a lock by itself: the names to ask for.
type rawFile struct {
	Conflicts []any `toml:"conflicts"`
	Manifest  struct {
		Members []string       `toml:"members"`
		Groups  map[string]any `toml:"dependency-groups"`
	} `toml:"manifest"`
	Packages []struct {
		Name     string         `toml:"name"`
		Source   map[string]any `toml:"source"`
		Optional map[string]any `toml:"optional-dependencies"`
		Dev      map[string]any `toml:"dev-dependencies"`
	} `toml:"package"`
}

func openLock(t *testing.T, dir string) *realLock {
	t.Helper()
	l := &realLock{name: filepath.Base(dir), dir: filepath.Join(workDir(t, "lock"), "x")}
	if err := os.CopyFS(l.dir, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if out := run(l.dir, nil, "chmod", "-R", "u+w", "."); out.err != nil {
		t.Fatal(out)
	}
	data, err := os.ReadFile(filepath.Join(l.dir, "uv.lock"))
	if err != nil {
		t.Fatal(err)
	}
	l.lock, l.err = uvlock.Parse(data, "uv.lock")
	if l.p, err = project.Load(l.dir, project.DefaultProfile, nil); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Tool struct {
			UV any `toml:"uv"`
		} `toml:"tool"`
	}
	if err := toml.Unmarshal(l.p.Raw, &doc); err != nil {
		t.Fatal(err)
	}
	if uv, ok := doc.Tool.UV.(map[string]any); ok {
		l.uv.DefaultGroups = uv["default-groups"]
	}
	var raw rawFile
	if err := toml.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	groups, extras := maps.Clone(raw.Manifest.Groups), map[string]any{}
	if groups == nil {
		groups = map[string]any{}
	}
	for _, p := range raw.Packages {
		if p.Name == pep508.Normalize(l.p.Name) && p.Source["registry"] == nil {
			maps.Copy(groups, p.Dev)
			maps.Copy(extras, p.Optional)
		}
	}
	l.groups, l.extras, l.members = slices.Sorted(maps.Keys(groups)), slices.Sorted(maps.Keys(extras)), raw.Manifest.Members
	l.conflicts = len(raw.Conflicts) > 0
	return l
}

// choices are the ways in which a lock's packages are asked for.
func (l *realLock) choices() []choice {
	all := []choice{
		{"default", nil, func(*locked.Request) {}},
		{"no-dev", []string{"--no-dev"}, func(r *locked.Request) { r.NoDev = true }},
		{"no default groups", []string{"--no-default-groups"}, func(r *locked.Request) { r.NoDefaultGroups = true }},
		{"all extras", []string{"--all-extras"}, func(r *locked.Request) { r.AllExtras = true }},
		{"all groups", []string{"--all-groups"}, func(r *locked.Request) { r.AllGroups = true }},
		{"no project", []string{"--no-install-project"}, func(r *locked.Request) { r.NoInstallProject = true }},
	}
	for _, g := range l.groups {
		all = append(all, choice{"group " + g, []string{"--group", g}, func(r *locked.Request) { r.Groups = []string{g} }},
			choice{"only group " + g, []string{"--only-group", g}, func(r *locked.Request) { r.OnlyGroups = []string{g} }})
	}
	for i, e := range l.extras {
		all = append(all, choice{"extra " + e, []string{"--extra", e}, func(r *locked.Request) { r.Extras = []string{e} }})
		if !l.conflicts {
			continue
		}
		for _, f := range l.extras[i+1:] {
			all = append(all, choice{"extras " + e + " " + f, []string{"--extra", e, "--extra", f}, func(r *locked.Request) { r.Extras = []string{e, f} }})
		}
		for _, g := range l.groups {
			all = append(all, choice{"extra " + e + " group " + g, []string{"--extra", e, "--group", g}, func(r *locked.Request) { r.Extras, r.Groups = []string{e}, []string{g} }})
		}
	}
	if len(l.members) == 0 {
		return all
	}
	all = append(all,
		choice{"all packages", []string{"--all-packages"}, func(r *locked.Request) { r.AllPackages = true }},
		choice{"all packages and extras", []string{"--all-packages", "--all-extras"}, func(r *locked.Request) { r.AllPackages, r.AllExtras = true, true }},
		choice{"all packages, no project", []string{"--all-packages", "--no-install-project"}, func(r *locked.Request) { r.AllPackages, r.NoInstallProject = true, true }},
		choice{"no workspace", []string{"--no-install-workspace"}, func(r *locked.Request) { r.NoInstallWorkspace = true }})
	for _, m := range l.members[:min(4, len(l.members))] {
		all = append(all, choice{"package " + m, []string{"--package", m}, func(r *locked.Request) { r.Packages = []string{m} }},
			choice{"package " + m + " all groups", []string{"--package", m, "--all-groups"}, func(r *locked.Request) { r.Packages, r.AllGroups = []string{m}, true }})
	}
	if len(l.members) > 1 {
		two := l.members[:2]
		all = append(all, choice{"two packages", []string{"--package", two[0], "--package", two[1]}, func(r *locked.Request) { r.Packages = two }})
	}
	return all
}

// choicesFor are all of them, or the first where the lock takes no such Python: the refusal is the same for each.
func (l *realLock) choicesFor(t *testing.T, py python) []choice {
	t.Helper()
	all := l.choices()
	if l.err != nil || !l.lock.RequiresPython().Contains(py.env(t, "x86_64").PythonFullVersion()) {
		return all[:1]
	}
	return all
}

// request is what the choice comes to in this project.
func (l *realLock) request(t *testing.T, c choice) locked.Request {
	t.Helper()
	r := locked.Request{Project: l.p.Name, NoInstallLocal: true, GroupPython: map[string]pep508.Specifiers{}}
	switch groups := l.uv.DefaultGroups.(type) {
	case string:
		r.AllDefault = groups == "all"
	case []any:
		r.DefaultGroups = []string{}
		for _, g := range groups {
			r.DefaultGroups = append(r.DefaultGroups, g.(string))
		}
	}
	var err error
	if r.RequiresPython, err = pep508.ParseSpecifiers(l.p.RequiresPython); err != nil {
		t.Fatal(err)
	}
	for g, text := range l.p.GroupPython {
		if text != "" {
			if r.GroupPython[g], err = pep508.ParseSpecifiers(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.r(&r)
	return r
}

var installedRE = regexp.MustCompile(`(?m)^ \+ ([^\s=@]+)(?:==(\S+)| @ \S+)`)

// TestSelection asks uv (uv sync --dry-run) and jubako what a lock comes to, for every lock, Python and architecture, and
// every way of asking. A dry run is uv's own selection with its choice of wheels, down to the last refusal; uv export would
// give markers that someone else would have to evaluate. Sources beside the locks are not in the collection, so that what
// is local is left out on both sides.
//
// Where jubako finds no wheel and uv would build the sdist, the two select the same, and the case counts as one to be built.
func TestSelection(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(setting(t, "ORACLE_LOCKS"), "*", "uv.lock"))
	if err != nil || len(dirs) == 0 {
		t.Skipf("no locks in %s", os.Getenv("ORACLE_LOCKS"))
	}
	newest := later(t)
	total := &counts{}
	for _, file := range dirs {
		l := openLock(t, filepath.Dir(file))
		t.Run(l.name, func(t *testing.T) {
			var g errgroup.Group
			g.SetLimit(4)
			for _, py := range l.pythons(t, newest) {
				for _, machine := range []string{"x86_64", "aarch64"} {
					for _, c := range l.choicesFor(t, py) {
						g.Go(func() error {
							kind, diff := l.compare(t, py, machine, c)
							total.add(kind, 1)
							if diff != "" {
								t.Errorf("%s, Python %s, %s: %s", c.name, py.version, machine, diff)
							}
							return nil
						})
					}
				}
			}
			_ = g.Wait()
			t.Logf("%s: asked in %d ways", l.name, len(l.choices()))
		})
	}
	total.report(t)
}

// later is a Python that some locks ask for and few machines have: the newest one of this machine, which tells uv another
// micro version.
func later(t *testing.T) python {
	t.Helper()
	all := pythons(t)
	newest := all[len(all)-1]
	p := python{filepath.Join(workDir(t, "python"), "python"+newest.minor()), newest.minor() + ".14"}
	write(t, p.path, fmt.Sprintf(`#!/bin/bash
# uv asks an interpreter for its version by a program that it gives with -c.
args=()
while [ $# -gt 0 ]; do
  if [ "$1" = -c ]; then args+=(-c "import platform; platform.python_version = lambda: '%s'
$2"); shift 2; else args+=("$1"); shift; fi
done
exec %s "${args[@]}"
`, p.version, newest.path))
	if err := os.Chmod(p.path, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// pythons are those of this machine, and the later one where the lock takes none of them.
func (l *realLock) pythons(t *testing.T, later python) []python {
	t.Helper()
	all := pythons(t)
	for _, p := range all {
		if l.err != nil || l.lock.RequiresPython().Contains(p.env(t, "x86_64").PythonFullVersion()) {
			return all
		}
	}
	return append(all, later)
}

// compare asks both, and says what came of it, and how they differ.
func (l *realLock) compare(t *testing.T, py python, machine string, c choice) (kind, diff string) {
	out := run(l.dir, nil, slices.Concat([]string{setting(t, "ORACLE_UV"), "sync", "--frozen", "--dry-run", "--offline", "--python", py.path,
		"--python-platform", machine + "-manylinux_2_40", "--no-install-local"}, c.args)...)
	theirs := make(map[string]string)
	for _, m := range installedRE.FindAllStringSubmatch(out.stderr, -1) {
		theirs[m[1]] = m[2]
	}
	ours, built, err := l.ours(t, py, machine, c)
	switch {
	case out.err != nil && err != nil:
		if a, b := reason(out.stderr), reason(err.Error()); a != b || a == "" {
			return "", fmt.Sprintf("both refuse, uv for %q (%s), jubako for %q (%v)", a, strings.TrimSpace(out.stderr), b, err)
		}
		return "refused by both", ""
	case out.err != nil:
		return "", "uv refuses, and jubako does not: " + out.String()
	case err != nil:
		return "", fmt.Sprintf("jubako refuses, and uv does not: %v", err)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(union(theirs, ours))) {
		a, inA := theirs[name]
		b, inB := ours[name]
		switch {
		case inA && !inB:
			lines = append(lines, "- "+name+" "+a+" (uv alone)")
		case inB && !inA:
			lines = append(lines, "+ "+name+" "+b+" (jubako alone)")
		case a != b && a != "" && b != "":
			lines = append(lines, "- "+name+" "+a, "+ "+name+" "+b)
		}
	}
	if len(lines) > 0 {
		return "", "\n" + strings.Join(lines, "\n")
	}
	if built {
		return "to be built from source", ""
	}
	return "equal", ""
}

// reasons are the kinds of refusal, with the words by which uv's errors and jubako's are told.
var reasons = []struct{ kind, uv, jubako string }{
	{"Python", "is incompatible with the project's Python requirement", "requires Python"},
	{"conflict", "are incompatible with the declared conflicts", "are declared incompatible"},
	{"ambiguous edge", "but has more than one matching package", "packages of the lock match it"},
	{"no wheel", "have a source distribution or wheel for the current platform", "has no wheel for"},
	{"no wheel", "have a wheel for the current platform", "has no wheel for"},
	{"unknown group", "is not defined in", "there is no dependency group"},
	{"no-build", "marked as `--no-build`", "no-build forbids it"},
}

// reason gives the kind of a refusal; "" where it is of none.
func reason(text string) string {
	for _, r := range reasons {
		if strings.Contains(text, r.uv) || strings.Contains(text, r.jubako) {
			return r.kind
		}
	}
	return ""
}

// ours is jubako's selection. built says that some of it has no wheel for the target.
func (l *realLock) ours(t *testing.T, py python, machine string, c choice) (names map[string]string, built bool, err error) {
	if l.err != nil {
		return nil, false, l.err
	}
	var major, minor int
	if _, err := fmt.Sscanf(py.version, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	selected, err := l.lock.Select(l.request(t, c), py.env(t, machine))
	if err != nil {
		return nil, false, err
	}
	tags := wheel.TagsFor(wheel.Target{Major: major, Minor: minor, Arch: machine, Libc: "glibc", LibcMajor: 2, LibcMinor: 40})
	o := locked.BuildOptions{NoBuild: l.p.UV.NoBuild, NoBinary: l.p.UV.NoBinary, NoBuildPackages: pep508.SetOf(l.p.UV.NoBuildPackage...), NoBinaryPackages: pep508.SetOf(l.p.UV.NoBinaryPkgs...)}
	names = make(map[string]string)
	for _, s := range selected {
		names[s.Name] = s.Version
		_, err := s.ChooseWheel(tags, o)
		var none *locked.NoWheelError
		if !errors.As(err, &none) {
			continue
		}
		built = true
		if o.CheckBuild(s.Package) != nil || !none.SdistOnly && s.Source.Kind == locked.Registry {
			return nil, true, err // nothing could build it
		}
	}
	return names, built, nil
}

func union[V any](a, b map[string]V) map[string]V {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}
