package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/buildreq"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/pins"
	"github.com/jubako/jubako/pkg/wheel"
)

// pinName is what jubako.lock calls a source: the digest of an sdist, or a commit; "" for a folder.
func (src *sourceOf) pinName() string {
	switch {
	case src.s.Source.Tree():
		return ""
	case src.s.Source.Kind == locked.Git && src.s.Source.Git.Path == "":
		return "git " + src.s.Source.Git.ID
	default:
		return "sha256:" + src.digest
	}
}

// pinnedRequirements gives what jubako.lock pins for a source; ok is false where it does not, or for something else.
func (b *builder) pinnedRequirements(ctx context.Context, site *buildSite, src *sourceOf) (all []pinnedWheel, ok bool, err error) {
	if b.in.pins == nil || b.in.pins.Build == nil {
		return nil, false, nil
	}
	locked := b.in.pins.Build
	p, ok := locked.Package(src.s.Name, src.s.Version, src.pinName(), src.editable)
	if !ok || locked.Python != pythonMinorOf(site.facts) || p.Settings != b.resolution(src.s.Name).digest() {
		return nil, false, nil
	}
	if p.Source == "" {
		if asked, err := b.asked(ctx, src); err != nil || !slices.Equal(asked, p.Asked) {
			return nil, false, err
		}
	}
	for _, spec := range p.Requires {
		r, _ := locked.Requirement(spec)
		w, err := pinnedWheelOf(r, site.tags)
		if err != nil {
			return nil, false, hint.Wrap(hint.Usage(fmt.Errorf("reading %s: %w", pins.Name, err)), "jubako lock --upgrade --platform %s,… pins it for this machine as well", site.image.Platform)
		}
		all = append(all, w)
	}
	if b.pinning != nil {
		b.pinning.keep(locked, p)
	}
	return all, true, nil
}

// pinnedWheelOf chooses among a pinned requirement's wheels.
func pinnedWheelOf(r pins.BuildRequirement, tags wheel.Tags) (pinnedWheel, error) {
	names := make([]wheel.Filename, len(r.Wheels))
	for i, w := range r.Wheels {
		name, err := w.Filename()
		if err == nil {
			names[i], err = wheel.ParseFilename(name)
		}
		if err != nil {
			return pinnedWheel{}, err
		}
	}
	i := tags.Best(names)
	if i < 0 {
		return pinnedWheel{}, fmt.Errorf("the build requirement %s %s has no wheel for %s", r.Name, r.Version, tags)
	}
	w := r.Wheels[i]
	return pinnedWheel{Name: r.Name, Version: r.Version, Filename: names[i].Raw, SHA256: strings.TrimPrefix(w.Hash, "sha256:"), URL: w.URL}, nil
}

func pythonMinorOf(f *base.Facts) string { return fmt.Sprintf("%d.%d", f.Python.Major, f.Python.Minor) }

// buildPinner gathers for jubako.lock what wheels are built with.
type buildPinner struct {
	mu    sync.Mutex
	build pins.Build
	tags  []wheel.Tags // of the platforms that are locked
}

// keep takes over what an older lock pins.
func (p *buildPinner) keep(old *pins.Build, pkg pins.BuildPackage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, spec := range pkg.Requires {
		if r, ok := old.Requirement(spec); ok {
			p.require(r)
		}
	}
	p.pkg(pkg)
}

// add takes what was resolved for a source.
func (p *buildPinner) add(ctx context.Context, b *builder, src *sourceOf, asked []string, found []pinnedWheel) error {
	pkg := pins.BuildPackage{Name: src.s.Name, Version: src.s.Version, Source: src.pinName(), Editable: src.editable, Asked: asked, Settings: b.resolution(src.s.Name).digest()}
	var all []pins.BuildRequirement
	for _, w := range found {
		r, err := p.requirement(ctx, &buildIndex{b: b, roots: b.buildIndexes(src)}, w)
		if err != nil {
			return err
		}
		all = append(all, r)
		pkg.Requires = append(pkg.Requires, w.Name+"=="+w.Version)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range all {
		p.require(r)
	}
	p.pkg(pkg)
	return nil
}

func (p *buildPinner) require(r pins.BuildRequirement) {
	if !slices.ContainsFunc(p.build.Requirements, func(o pins.BuildRequirement) bool { return o.Name == r.Name && o.Version == r.Version }) {
		p.build.Requirements = append(p.build.Requirements, r)
	}
}

func (p *buildPinner) pkg(pkg pins.BuildPackage) {
	if !slices.ContainsFunc(p.build.Packages, func(o pins.BuildPackage) bool {
		return o.Name == pkg.Name && o.Version == pkg.Version && o.Source == pkg.Source && o.Editable == pkg.Editable
	}) {
		p.build.Packages = append(p.build.Packages, pkg)
	}
}

// requirement gives a version with its wheels for every platform that is locked.
func (p *buildPinner) requirement(ctx context.Context, index *buildIndex, w pinnedWheel) (pins.BuildRequirement, error) {
	r := pins.BuildRequirement{Name: w.Name, Version: w.Version}
	files, err := index.Files(ctx, w.Name)
	if err != nil {
		return r, err
	}
	want, err := pep508.ParseVersion(w.Version)
	if err != nil {
		return r, err
	}
	slices.SortFunc(files, func(x, y buildreq.File) int { return strings.Compare(x.Filename, y.Filename) })
	for _, f := range files {
		name, err := wheel.ParseFilename(f.Filename)
		if err != nil || name.Name != w.Name {
			continue
		}
		v, err := pep508.ParseVersion(name.Version)
		if err != nil || v.Compare(want) != 0 || f.Filename != w.Filename && !slices.ContainsFunc(p.tags, func(t wheel.Tags) bool { _, ok := t.Rank(name); return ok }) {
			continue
		}
		i := slices.IndexFunc(f.Hashes, func(h filehash.Hash) bool { return h.Algorithm == "sha256" })
		switch {
		case i >= 0:
			r.Wheels = append(r.Wheels, pins.BuildWheel{URL: f.URL, Hash: f.Hashes[i].String()})
		case f.Filename == w.Filename:
			r.Wheels = append(r.Wheels, pins.BuildWheel{URL: f.URL, Hash: "sha256:" + w.SHA256})
		}
	}
	return r, nil
}

// PinBuild describes what the wheels are built with that a build of the project makes from source, on the base that f pins: the
// one that Pin has opened, where f is its answer. It is nil where there are no such wheels, or there is no lock yet. What keep
// pins stays as it is as long as it serves.
func (pn *Pinner) PinBuild(ctx context.Context, f *pins.File, keep *pins.Build) (_ *pins.Build, err error) {
	t, s := pn.tools, pn.spec
	b := newBuilder(t, s)
	b.in = &inputs{pins: &pins.File{Base: f.Base, Debian: f.Debian, Build: keep}, pinned: true}
	p := s.Project
	if err := b.in.readLock(p.Dir, s.Lock); err != nil {
		if errors.Is(err, errNoLock) {
			return nil, nil
		}
		return nil, err
	}
	if err := b.in.requirePython(p.RequiresPython, p.GroupPython); err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.File, err)
	}
	b.spec.FrozenBase = false
	if pn.opened != nil && pn.pinned == f {
		b.in.base, b.in.pinned, b.noted = pn.opened, false, pn.noted
	} else {
		if b.in.base, err = b.openPinned(ctx, f); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.in.base.Close()) }()
	}
	platforms, _, err := pinned(ctx, b.in.base, s.Platforms, t.Host)
	if err != nil {
		return nil, err
	}
	var lowers []*lower
	b.pinning = &buildPinner{}
	for _, pl := range platforms {
		l := &lower{}
		if l.image, err = b.in.base.Image(ctx, pl); err != nil {
			return nil, err
		}
		if l.facts, err = l.image.Facts(ctx, b.Store); err != nil {
			return nil, err
		}
		if l.facts.Python.Path == "" {
			return nil, base.ErrNoPython(b.in.base.Source)
		}
		if l.user, err = b.user(l.facts); err != nil {
			return nil, err
		}
		lowers = append(lowers, l)
		b.pinning.tags = append(b.pinning.tags, tagsOf(l.facts, l.image.Platform))
		b.pinning.build.Python = cmp.Or(b.pinning.build.Python, pythonMinorOf(l.facts))
	}
	for _, l := range lowers {
		if _, err := b.packages(ctx, l); err != nil {
			return nil, err
		}
	}
	return b.pinning.sorted(), nil
}

// openPinned opens the base that a lock pins.
func (b *builder) openPinned(ctx context.Context, f *pins.File) (*base.Opened, error) {
	src, err := base.ParseSource(f.Base.Name)
	if err != nil {
		return nil, err
	}
	src, _ = f.Pinned(src)
	mine := b.in.pins
	b.in.pins, b.in.pinned = f, true // a base that is made of packages is made of those that were locked
	defer func() { b.in.pins, b.in.pinned = mine, false }()
	return b.open(ctx, src)
}

func (p *buildPinner) sorted() *pins.Build {
	if len(p.build.Packages) == 0 {
		return nil
	}
	slices.SortFunc(p.build.Requirements, func(x, y pins.BuildRequirement) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Version, y.Version))
	})
	slices.SortFunc(p.build.Packages, func(x, y pins.BuildPackage) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Version, y.Version), strings.Compare(x.Source, y.Source))
	})
	return &p.build
}
