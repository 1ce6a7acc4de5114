package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/debian"
	"github.com/jubako/jubako/layers/venv"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/pep517"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sdist"
	"github.com/jubako/jubako/pkg/wheel"
)

// buildSite is where wheels are built for an image: the base, for the machine that builds.
type buildSite struct {
	image *base.Image
	facts *base.Facts
	env   []string // the base's
	tags  wheel.Tags
	py    pep508.Env
	// foreign says that the image is for another platform than this machine's, so that only wheels for any will do.
	foreign bool
	// debian is the layer of Debian packages that are there while wheels are built; nil for none.
	debian *debian.Layer
	making sync.Mutex // one layer for builds is made at a time, since several builds want the same
}

// keys are those of what is laid between the base and the environment of build requirements.
func (s *buildSite) keys() []string {
	if s.debian == nil {
		return nil
	}
	return []string{string(s.debian.Key())}
}

// site gives the place where the wheels of a platform are built, once.
func (b *builder) site(ctx context.Context, l *lower) (*buildSite, error) {
	b.sitesMu.Lock()
	defer b.sitesMu.Unlock()
	if s, ok := b.sites[l.image.Platform.String()]; ok {
		return s, nil
	}
	s := &buildSite{image: l.image}
	if p := l.image.Platform; p.Architecture != b.Host.Architecture || p.OS != b.Host.OS {
		s.foreign = true
		var err error
		if s.image, err = b.in.base.Image(ctx, v1.Platform{OS: b.Host.OS, Architecture: b.Host.Architecture}); err != nil {
			return nil, hint.Wrap(fmt.Errorf("wheels for %s are built on the base for this machine (%s): %w", p, b.Host, err),
				"build where the platform is at home, or build the wheels elsewhere and name their folder with --find-links")
		}
	}
	facts, err := s.image.Facts(ctx, b.Store) // without the image's own Debian packages
	if err != nil {
		return nil, err
	}
	if s.facts = facts; s.foreign {
		if p := l.image.Platform; s.facts.Python.Version != l.facts.Python.Version {
			return nil, fmt.Errorf("the base has Python %s for %s and %s for this machine: wheels cannot be built for the one with the other", l.facts.Python.Version, p, s.facts.Python.Version)
		}
	}
	conf, err := imageconf.Parse(s.image.Config)
	if err != nil {
		return nil, err
	}
	s.env = conf.Config.Env
	machine := base.Machine(s.image.Platform.Architecture)
	if s.py, err = pep508.LinuxEnv(s.facts.Python.Version, machine); err != nil {
		return nil, err
	}
	s.tags = tagsOf(s.facts, s.image.Platform)
	if s.debian, err = b.buildPackages(ctx, s); err != nil {
		return nil, err
	}
	if b.sites == nil {
		b.sites = make(map[string]*buildSite)
	}
	b.sites[l.image.Platform.String()] = s
	return s, nil
}

// buildPackages describes the layer of build-packages, those of the image among them; nil where none are asked for.
func (b *builder) buildPackages(ctx context.Context, s *buildSite) (*debian.Layer, error) {
	c := b.spec.Project.Config
	if len(c.BuildPackages) == 0 {
		return nil, nil
	}
	dpkg, err := s.image.Dpkg(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	o := debian.Options{
		Name: "build-packages", Facts: s.facts, Dpkg: dpkg, Arch: debArch(s.image.Platform), Requested: c.BuildPackages, Store: b.Store, Jobs: b.spec.Jobs,
		Warn: func(text string) { b.debug("build-packages: %s", text) },
	}
	at := make(map[string]int)
	for _, r := range []struct{ request, over []string }{{c.Packages, nil}, {c.BuildPackages, c.Packages}} {
		set, err := b.debs(ctx, s.image, r.request, r.over)
		if err != nil {
			return nil, fmt.Errorf("build-packages: %w", err)
		}
		if set == nil {
			continue
		}
		for _, p := range b.packagesOf(set) {
			if i, twice := at[p.Name]; twice {
				o.Packages[i] = p
				continue
			}
			at[p.Name] = len(o.Packages)
			o.Packages = append(o.Packages, p)
		}
	}
	return debian.New(o)
}

// buildInputs is everything that a built wheel depends on. Its digest is the build's key.
type buildInputs struct {
	Format        int
	Name, Version string
	Source, At    string // digest of the source, and its image path
	Editable      bool
	Python        base.Python
	Base          string
	Packages      []string // keys of the Debian packages' layers
	Requires      []pinnedWheel
	Env           []string
	Settings      map[string]any
}

// pinnedWheel is a wheel of a build's environment.
type pinnedWheel struct {
	Name, Version, Filename, SHA256 string
	URL                             string `json:"-"` // where it comes from changes nothing
}

func (k *buildInputs) digest() string {
	return string(layers.KeyOf("build", k))
}

// buildFor is a build's key as the layers of a platform have it. The wheel itself is built once for all platforms; where it turns
// out to fit this machine alone, a layer that holds it must not be taken for another platform's.
func (b *builder) buildFor(l *lower, k *buildInputs) string {
	if b.atHome(l.image) {
		return k.digest()
	}
	return string(layers.KeyOf("build for another platform", []string{k.digest(), l.image.Platform.String()}))
}

// buildKey finds out what a build depends on. Its requirements are those that jubako.lock pins, or else those that the index
// has today, which the cache then remembers.
func (b *builder) buildKey(ctx context.Context, l *lower, src *sourceOf) (*buildInputs, error) {
	site, err := b.site(ctx, l)
	if err != nil {
		return nil, err
	}
	s := src.s
	name := src.name()
	u := b.spec.Project.UV.Building
	if slices.Contains(u.NoIsolation, "*") || slices.Contains(u.NoIsolation, s.Name) {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("package %s is to be built without isolation (no-build-isolation in [tool.uv]), which jubako does not do", name)),
			"name what its build needs in [tool.uv.extra-build-dependencies]")
	}
	if text := u.MatchRuntime[s.Name]; text != "" {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("package %s is to be built with the %s that the environment has (match-runtime in [tool.uv.extra-build-dependencies]), which jubako does not do", name, text)),
			"name its version there: %q", text+"==…")
	}
	key := &buildInputs{
		Format: pep517.Format, Name: s.Name, Version: s.Version, Source: src.digest, At: src.at, Editable: src.editable,
		Python: site.facts.Python, Base: site.image.Digest.String(), Packages: site.keys(), Settings: b.buildSettings(s.Name),
	}
	key.Env = b.buildVariables(s)
	found, err := b.requirements(ctx, l, site, src, key)
	if err != nil {
		return nil, fmt.Errorf("preparing the build of %s from %s: %w", name, src.words, err)
	}
	key.Requires = found
	return key, nil
}

// buildSettings are the config-settings of a package's backend.
func (b *builder) buildSettings(name string) map[string]any {
	u := b.spec.Project.UV.Building
	all := make(map[string]any)
	maps.Copy(all, u.Settings)
	maps.Copy(all, u.PackageSettings[name])
	return all
}

// buildVariables is what a build sees beyond the base's environment: the locked version, for tools that would otherwise ask a
// version control system for one, what the caller's environment says of that, and uv's extra-build-variables.
func (b *builder) buildVariables(s locked.Selected) []string {
	vars := pretended(s)
	if vars == nil {
		vars = make(map[string]string)
	}
	for _, kv := range b.spec.BuildEnv {
		if n, v, ok := strings.Cut(kv, "="); ok && (s.Source.Kind != locked.Registry || strings.Contains(n, "_FOR_")) {
			vars[n] = v
		}
	}
	maps.Copy(vars, b.spec.Project.UV.Building.ExtraVariables[s.Name])
	return assignments(vars)
}

// system reads what the source says of how it is built.
func (b *builder) system(ctx context.Context, src *sourceOf) (pep517.System, error) {
	tree, err := src.tree(ctx)
	if err != nil {
		return pep517.System{}, err
	}
	pyproject, err := sdist.ReadFile(filepath.Join(tree, filepath.FromSlash(src.at)), "pyproject.toml")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return pep517.System{}, err
	}
	return pep517.ReadSystem(pyproject)
}

// backend prepares a build: the base, what Debian packages add, the environment of build requirements, and the source.
func (b *builder) backend(ctx context.Context, l *lower, src *sourceOf, requires []pinnedWheel) (*pep517.Build, error) {
	site, err := b.site(ctx, l)
	if err != nil {
		return nil, err
	}
	system, err := b.system(ctx, src)
	if err != nil {
		return nil, err
	}
	group, err := groupOf(site.image)
	if err != nil {
		return nil, err
	}
	env, err := b.buildEnvironment(ctx, site, requires)
	if err != nil {
		return nil, err
	}
	groups := []rootfs.Group{group}
	if site.debian != nil {
		laid, err := b.asTree(ctx, site, site.debian)
		if err != nil {
			return nil, err
		}
		groups = append(groups, laid)
	}
	groups = append(groups, env)
	trees, err := rootfs.Unpack(ctx, b.Store, groups, rootfs.Limits{})
	if err != nil {
		return nil, err
	}
	tree, err := src.tree(ctx)
	if err != nil {
		return nil, err
	}
	return &pep517.Build{
		System: system, Source: src.at, Editable: src.editable, Trees: append(trees, tree),
		Env: site.env, BuildEnv: b.buildVariables(src.s), Settings: b.buildSettings(src.s.Name), Rung: b.spec.Rung, Store: b.Store, Log: b.StepLog,
		Ran: func(c sandbox.Choice) { b.debug("%s: built in %s", src.s.Name, c) },
	}, nil
}

// buildEnvironment makes the environment of build requirements, as a layer that the cache keeps and no image holds.
func (b *builder) buildEnvironment(ctx context.Context, site *buildSite, requires []pinnedWheel) (rootfs.Group, error) {
	o := venv.Options{Name: "build requirements", Path: strings.TrimPrefix(pep517.EnvPath, "/"), Python: site.facts.Python, Jobs: b.spec.Jobs,
		Warn: func(s string) { b.debug("build requirements: %s", s) }}
	for _, w := range requires {
		a := fetch.Artifact{Project: w.Name, Filename: w.Filename, URL: w.URL}
		o.Packages = append(o.Packages, b.wheelPackage(venv.Package{Name: w.Name, Version: w.Version, Filename: w.Filename, SHA256: w.SHA256, AskWheel: true}, a))
	}
	layer, err := venv.New(o)
	if err != nil {
		return nil, err
	}
	return b.asTree(ctx, site, layer)
}

// asTree makes a layer that is there for builds alone, once.
func (b *builder) asTree(ctx context.Context, site *buildSite, layer layers.Layer) (rootfs.Group, error) {
	m := &maker{store: b.Store, jobs: b.spec.Jobs, parent: parentIn(site.facts), now: b.Now, report: func(e Event) {
		if e.Kind == Debug || e.Kind == LayerIs && e.State == Making || e.Kind == Ended {
			b.Report(e)
		}
	}}
	site.making.Lock()
	defer site.making.Unlock()
	made, err := m.make(ctx, layer)
	b.Report(Event{Kind: Ended, Name: layer.Name()})
	if err != nil {
		return nil, err
	}
	return b.groups([]madeLayer{made})[0], nil
}

// checkBuilt looks at a wheel that a backend has made: whose it is, and whether the image can use it.
func (b *builder) checkBuilt(l *lower, src *sourceOf, a *wheel.Archive) error {
	f := a.Filename()
	p := *src.s.Package
	if err := p.CheckWheel(f); err != nil {
		return fmt.Errorf("what the backend made is not what is locked: %w", err)
	}
	return b.checkTags(l, f)
}

// checkTags looks whether an image can use a wheel that was built here.
func (b *builder) checkTags(l *lower, f wheel.Filename) error {
	tags := tagsOf(l.facts, l.image.Platform)
	if _, fits := tags.Rank(f); !fits {
		if !slices.Equal(f.Platform, []string{"any"}) && !b.atHome(l.image) {
			return hint.Wrap(fmt.Errorf("its wheel %s is for this machine, and the image for %s: what is compiled has to be built where it runs", f.Raw, l.image.Platform),
				"build the image for that platform on such a machine, or build the wheel there and name its folder with --find-links")
		}
		return fmt.Errorf("its wheel %s does not fit the image: %s", f.Raw, tags.Why(f))
	}
	return nil
}

func mkdirAll(tree, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for at := dir; at != tree; at = filepath.Dir(at) { // whatever the umask is
		if err := os.Chmod(at, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// parentIn gives the directories of a base that lead to a layer's files.
func parentIn(f *base.Facts) func(context.Context, string) (fstree.Entry, error) {
	return func(ctx context.Context, dir string) (fstree.Entry, error) {
		e, _, err := f.ParentAt(ctx, dir)
		return e, err
	}
}
