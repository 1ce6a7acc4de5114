package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/archive"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pins"
)

// debs is what a request for Debian packages brings into the image for one platform.
type debs struct {
	Sources []pins.Source
	pins.Closure
	Warnings []string
}

// resolverVersion is raised whenever the same request over the same lists has another answer.
const resolverVersion = 2

// debRecords is the namespace in the cache where a request leads to its answer.
const debRecords = "debs"

// debArch is Debian's name for a platform's architecture.
func debArch(p v1.Platform) string {
	switch p.Architecture {
	case "386":
		return "i386"
	case "arm":
		if p.Variant == "v5" || p.Variant == "v6" {
			return "armel"
		}
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	case "mips64le":
		return "mips64el"
	default:
		return p.Architecture
	}
}

// debs finds the packages of a request: those that jubako.lock pins, else what the archives have today. over is a request
// whose packages are there already, as those of the image are for build-packages.
func (b *builder) debs(ctx context.Context, img *base.Image, request, over []string) (*debs, error) {
	if len(request) == 0 {
		return nil, nil
	}
	dpkg, installed, err := b.installed(ctx, img)
	if err != nil {
		return nil, err
	}
	if set := b.pinned(img, request, over); set != nil {
		if set.Installed == deb.InstalledDigest(installed) {
			return set, nil
		}
		return b.again(ctx, img, set, installed)
	}
	if b.spec.FrozenBase {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s does not pin the Debian packages %v for %s", pins.Name, request, img.Platform)), "jubako lock --upgrade pins them")
	}
	b.noteOnce("Debian packages are not pinned: jubako lock writes their versions and hashes to %s", pins.Name)
	set, err := b.resolveDebs(ctx, img, dpkg, installed, request, over)
	if err != nil {
		return nil, err
	}
	for _, w := range set.Warnings {
		b.warn(w)
	}
	return set, nil
}

// pinned gives the packages that jubako.lock has for a request; nil where it has none.
func (b *builder) pinned(img *base.Image, request, over []string) *debs {
	if b.in.pins == nil || b.in.pins.Debian == nil {
		return nil
	}
	d := b.in.pins.Debian
	c, ok := d.Closure(img.Platform.String(), request, over)
	if !ok || !slices.Equal(d.Exclude, b.spec.Project.Config.ExcludePackages) {
		return nil
	}
	return &debs{Sources: d.Sources, Closure: c}
}

// noteOnce notes something the first time.
func (b *builder) noteOnce(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.warned.Lock()
	said := slices.Contains(b.noted, text)
	b.noted = append(b.noted, text)
	b.warned.Unlock()
	if !said {
		b.note("%s", text)
	}
}

// installed reads the base's database of packages.
func (b *builder) installed(ctx context.Context, img *base.Image) (*base.Dpkg, []*deb.Package, error) {
	dpkg, err := img.Dpkg(ctx, b.Store)
	if err != nil {
		return nil, nil, err
	}
	status, err := dpkg.Status()
	if err != nil {
		return nil, nil, err
	}
	installed, err := status.Packages()
	if err == nil && dpkg.Database() == "" {
		err = hint.Wrap(hint.Usage(fmt.Errorf("the base %s has no Debian packages, so that none can be added to it", img.Source)), "choose a base that is made of Debian packages, such as python:3.12-slim, or leave packages out")
	}
	return dpkg, installed, err
}

// place is what packages are resolved for.
type place struct {
	platform  v1.Platform
	os        base.OS
	dpkg      *base.Dpkg
	installed []*deb.Package
	exclude   []string // packages that count as fulfilled
}

// resolveDebs asks the archives for what is to be added to an image.
func (b *builder) resolveDebs(ctx context.Context, img *base.Image, dpkg *base.Dpkg, installed []*deb.Package, request, over []string) (*debs, error) {
	facts, err := img.Facts(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	return b.resolveFor(ctx, place{img.Platform, facts.OS, dpkg, installed, b.excluded(img)}, request, over)
}

// excluded are the packages that count as fulfilled in an image.
func (b *builder) excluded(img *base.Image) []string {
	exclude := b.spec.Project.Config.ExcludePackages
	if img.Source.Kind == base.Packages {
		exclude = append(slices.Clone(baseExclude[:]), exclude...)
	}
	return exclude
}

// resolveFor asks the archives. The answer is kept, for as long as the archives' releases are the same.
func (b *builder) resolveFor(ctx context.Context, p place, request, over []string) (*debs, error) {
	sources, err := b.debSources(p.os, p.dpkg)
	if err != nil {
		return nil, err
	}
	for name := range p.dpkg.Files {
		if name == "etc/apt/preferences" || path.Dir(name) == "etc/apt/preferences.d" {
			b.warn(fmt.Sprintf("/%s of the base is not read: jubako takes the newest version of a package, or the one that packages names with =VERSION or /SUITE", name))
		}
	}
	client := &archive.Client{Fetch: b.Fetch, Now: b.Now, Note: func(s string) { b.debug("%s", s) }}
	suites := make([]*archive.Suite, len(sources))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range sources {
		g.Go(func() (err error) {
			src := s.Source
			src.URI = s.at
			suites[i], err = client.Open(gctx, src, s.trust)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	set := &debs{Closure: pins.Closure{Platform: p.platform.String(), Request: request, Over: over, Installed: deb.InstalledDigest(p.installed)}}
	for i, s := range suites {
		set.Sources = append(set.Sources, pins.Source{
			URI: sources[i].URI, Suite: sources[i].Suite, Components: sources[i].Components, Date: s.Release.Date, InRelease: "sha256:" + s.SHA256,
			SignedBy: s.SignedBy, Snapshot: sources[i].fallback(s.Release.Date),
		})
	}
	key := debKey(set, sources, p.exclude)
	if kept, err := b.Store.Record(debRecords, key); err == nil && !b.spec.NoCache {
		var known debs
		if json.Unmarshal(kept, &known) == nil {
			return &known, nil
		}
	}
	if err := b.solve(ctx, client, suites, p, set); err != nil {
		return nil, err
	}
	record, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	return set, b.Store.PutRecord(debRecords, key, record)
}

// debKey holds everything that the answer depends on.
func debKey(set *debs, sources []debSource, exclude []string) string {
	arches := make([][]string, len(sources))
	for i, s := range sources {
		arches[i] = s.Arches
	}
	in, err := json.Marshal(struct {
		Version int
		Exclude []string
		Arches  [][]string // of each source
		Set     *debs
	}{resolverVersion, exclude, arches, set})
	if err != nil {
		panic(fmt.Sprintf("assemble: the key of a request for packages: %v", err)) // plain data
	}
	return fmt.Sprintf("%x", sha256.Sum256(in))
}

// solve reads the lists of packages, and resolves the request.
func (b *builder) solve(ctx context.Context, client *archive.Client, suites []*archive.Suite, p place, set *debs) error {
	arch := debArch(p.platform)
	start := b.Now()
	lists := make([]deb.List, len(suites))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range suites {
		g.Go(func() (err error) {
			lists[i], err = client.List(gctx, s, arch, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	problem := deb.Problem{Universe: deb.NewUniverse(arch, lists), Installed: p.installed, Exclude: p.exclude}
	if len(set.Over) > 0 {
		below, err := answer(problem, set.Over)
		if err != nil {
			return err
		}
		problem.Installed = below.Over(p.installed)
	}
	res, err := answer(problem, set.Request)
	if err != nil {
		return err
	}
	set.Packages, set.Warnings = pins.Packages(res.Lock()), res.Warnings
	b.debug("%s: %d Debian packages resolved in %s", set.Platform, len(set.Packages), b.Now().Sub(start).Round(time.Millisecond))
	return nil
}

func answer(p deb.Problem, request []string) (*deb.Resolution, error) {
	p.Request = nil
	for _, text := range request {
		q, err := deb.ParseRequest(text)
		if err != nil {
			return nil, err
		}
		p.Request = append(p.Request, q)
	}
	res, err := deb.Resolve(p)
	if err != nil {
		return nil, fmt.Errorf("resolving packages = %q: %w", request, err)
	}
	return res, nil
}
