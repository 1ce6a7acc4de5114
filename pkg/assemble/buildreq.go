package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/buildreq"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pins"
	"github.com/jubako/jubako/pkg/wheel"
)

// buildRequires is the namespace of the cache where what a source needs to be built is remembered, so that a build that is
// not pinned stays the same as long as the cache does.
const buildRequires = "build-requires"

// requirements gives the wheels that a build runs with: those that jubako.lock pins, or those that the cache remembers, or
// else the newest that there are.
func (b *builder) requirements(ctx context.Context, l *lower, site *buildSite, src *sourceOf, key *buildInputs) ([]pinnedWheel, error) {
	if pinned, ok, err := b.pinnedRequirements(ctx, site, src); ok || err != nil {
		return pinned, err
	}
	if b.pinning != nil {
		found, asked, err := b.resolve(ctx, l, site, src)
		if err == nil {
			err = b.pinning.add(ctx, b, src, asked, found)
		}
		return found, err
	}
	if b.spec.FrozenBase {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s does not pin what it is built with", pins.Name)), "jubako lock pins it")
	}
	b.noteOnce("what wheels are built with is not pinned: jubako lock writes it to %s", pins.Name)
	record := string(layers.KeyOf("build-requires", struct {
		Source, At     string
		Editable       bool
		Python         base.Python
		Machine        string
		Libc           base.Libc
		Settings, Name string
		Env, Indexes   []string
		Config         map[string]any
	}{src.digest, src.at, src.editable, key.Python, site.py.Machine(), site.facts.Libc, b.resolution(src.s.Name).digest(), src.s.Name,
		key.Env, b.buildIndexes(src), key.Settings}))
	if raw, err := b.Store.Record(buildRequires, record); err == nil && !b.spec.NoCache {
		var known []cachedWheel
		if json.Unmarshal(raw, &known) == nil {
			return uncached(known), nil
		}
	}
	found, _, err := b.resolve(ctx, l, site, src)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(cached(found))
	if err != nil {
		return nil, err
	}
	return found, b.Store.PutRecord(buildRequires, record, raw)
}

// resolution is what of uv's settings a package's build requirements depend on.
type resolution struct {
	Constraints, Extra  []string          `json:",omitempty"`
	ExcludeNewer        string            `json:",omitempty"`
	ExcludeNewerPackage map[string]string `json:",omitempty"`
}

func (b *builder) resolution(name string) resolution {
	u := b.spec.Project.UV.Building
	return resolution{u.Constraints, u.ExtraRequires[name], u.ExcludeNewer, u.ExcludeNewerPackage}
}

// digest is "" where nothing is set.
func (r resolution) digest() string {
	raw, err := json.Marshal(r)
	if err != nil || string(raw) == "{}" {
		return ""
	}
	return string(layers.KeyOf("build-settings", r))
}

// cachedWheel is a pinnedWheel with where it comes from.
type cachedWheel struct {
	pinnedWheel
	From string
}

func cached(list []pinnedWheel) []cachedWheel {
	all := make([]cachedWheel, len(list))
	for i, w := range list {
		all[i] = cachedWheel{w, w.URL}
	}
	return all
}

func uncached(list []cachedWheel) []pinnedWheel {
	all := make([]pinnedWheel, len(list))
	for i, w := range list {
		all[i] = w.pinnedWheel
		all[i].URL = w.From
	}
	return all
}

// resolve finds what a source needs to be built: what it says itself, what uv's settings add, and what its backend asks for
// when it is run.
func (b *builder) resolve(ctx context.Context, l *lower, site *buildSite, src *sourceOf) (found []pinnedWheel, asked []string, err error) {
	if asked, err = b.asked(ctx, src); err != nil {
		return nil, nil, err
	}
	if found, err = b.resolveTexts(ctx, site, src, asked); err != nil {
		return nil, nil, err
	}
	if err := b.turns.Acquire(ctx, 1); err != nil {
		return nil, nil, err
	}
	defer b.turns.Release(1)
	b.Report(Event{Kind: LayerIs, Name: src.name(), State: Making, Text: "asking what its build needs"})
	defer b.Report(Event{Kind: Ended, Name: src.name()})
	run, err := b.backend(ctx, l, src, found)
	if err != nil {
		return nil, nil, err
	}
	more, err := run.Requires(ctx)
	if err != nil || len(more) == 0 {
		return found, asked, err
	}
	found, err = b.resolveTexts(ctx, site, src, slices.Concat(asked, more))
	return found, asked, err
}

// asked is what a source says that it needs to be built, and what uv's settings add to it.
func (b *builder) asked(ctx context.Context, src *sourceOf) ([]string, error) {
	system, err := b.system(ctx, src)
	return slices.Concat(system.Requires, b.spec.Project.UV.Building.ExtraRequires[src.s.Name]), err
}

func (b *builder) resolveTexts(ctx context.Context, site *buildSite, src *sourceOf, texts []string) ([]pinnedWheel, error) {
	u := b.spec.Project.UV.Building
	wanted, err := buildreq.Parse(texts)
	if err != nil {
		return nil, err
	}
	o := buildreq.Options{Index: &buildIndex{b: b, roots: b.buildIndexes(src)}, Env: site.py, Tags: site.tags}
	if o.Constraints, err = buildreq.Parse(u.Constraints); err != nil {
		return nil, hint.Usage(fmt.Errorf("build-constraint-dependencies in uv's settings: %w", err))
	}
	if o.ExcludeNewer, err = excludeNewer(u.ExcludeNewer, b.Now()); err != nil {
		return nil, hint.Usage(fmt.Errorf("exclude-newer in uv's settings: %w", err))
	}
	o.ExcludeNewerPackage = make(map[string]time.Time)
	for name, text := range u.ExcludeNewerPackage {
		if o.ExcludeNewerPackage[name], err = excludeNewer(text, b.Now()); err != nil {
			return nil, hint.Usage(fmt.Errorf("exclude-newer-package in uv's settings: %s: %w", name, err))
		}
	}
	found, err := buildreq.Resolve(ctx, wanted, o)
	if _, none := errors.AsType[*buildreq.Error](err); none {
		return nil, hint.Wrap(err, "uv's settings for it are build-constraint-dependencies and extra-build-dependencies; or build the wheel of %s elsewhere and name its folder with --find-links", src.s.Name)
	}
	if err != nil {
		return nil, err
	}
	var all []pinnedWheel
	for _, f := range found {
		a := fetch.Artifact{Project: f.Name, Filename: f.Wheel.Filename, URL: f.Wheel.URL, Hashes: f.Wheel.Hashes}
		sum, err := b.digestOf(ctx, &a)
		if err != nil {
			return nil, err
		}
		all = append(all, pinnedWheel{Name: f.Name, Version: f.Version, Filename: f.Wheel.Filename, SHA256: sum, URL: f.Wheel.URL})
	}
	return all, nil
}

// buildIndexes are where build requirements are looked for: what is configured, or else the index that the package itself is
// locked from, or the lock's first.
func (b *builder) buildIndexes(src *sourceOf) []string {
	if configured := b.indexes(); len(configured) > 0 {
		return configured
	}
	if at := src.s.Source.Location; src.s.Source.Kind == locked.Registry && strings.Contains(at, "://") {
		return []string{at}
	}
	return b.registries
}

// buildIndex answers the resolver out of simple indexes; the first that knows a project counts, as uv has it by default.
type buildIndex struct {
	b     *builder
	roots []string
}

func (x *buildIndex) Files(ctx context.Context, project string) ([]buildreq.File, error) {
	if len(x.roots) == 0 {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("no index is configured, and the lock names none: %s cannot be found", project)),
			"name the index: index under [tool.jubako], [[tool.uv.index]], or UV_DEFAULT_INDEX")
	}
	for _, root := range x.roots {
		files, err := x.b.Fetch.Files(ctx, root, project)
		if err != nil {
			return nil, err
		}
		var all []buildreq.File
		for _, f := range files {
			all = append(all, buildreq.File{Filename: f.Filename, URL: f.URL, Hashes: f.Hashes, RequiresPython: f.RequiresPython, Yanked: f.Yanked,
				Uploaded: f.Uploaded, Metadata: f.Metadata, MetadataHashes: f.MetadataHashes})
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, nil
}

// Metadata takes a wheel's METADATA from beside it, where the index has it there, or out of the wheel.
func (x *buildIndex) Metadata(ctx context.Context, f buildreq.File) (buildreq.Metadata, error) {
	if f.Metadata && len(f.MetadataHashes) > 0 {
		blob, err := x.b.Fetch.Fetch(ctx, fetch.Artifact{Filename: f.Filename + ".metadata", URL: f.URL + ".metadata", Hashes: f.MetadataHashes})
		if err == nil {
			return x.read(blob, func(file io.ReaderAt) (wheel.Headers, error) {
				return wheel.ParseHeaders(io.NewSectionReader(file, 0, blob.Size))
			})
		}
		if ctx.Err() != nil {
			return buildreq.Metadata{}, err
		}
		x.b.debug("%s: %v; the wheel is asked", f.Filename, err)
	}
	a := fetch.Artifact{Filename: f.Filename, URL: f.URL, Hashes: f.Hashes}
	blob, err := x.b.Fetch.Fetch(ctx, a)
	if err != nil {
		return buildreq.Metadata{}, err
	}
	return x.read(blob, func(file io.ReaderAt) (wheel.Headers, error) { return metadataOf(file, blob.Size, f.Filename) })
}

func (x *buildIndex) read(blob fetch.Blob, parse func(io.ReaderAt) (wheel.Headers, error)) (m buildreq.Metadata, err error) {
	file, err := x.b.Store.Verified(blob.SHA256)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	headers, err := parse(file)
	if err != nil {
		return m, err
	}
	m.RequiresPython, _ = headers.Get("Requires-Python")
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Requires-Dist") {
			m.Requires = append(m.Requires, h.Value)
		}
	}
	return m, nil
}

// metadataOf reads the METADATA of a wheel.
func metadataOf(file io.ReaderAt, size int64, filename string) (_ wheel.Headers, err error) {
	archive, err := wheel.Open(file, size, filename)
	if err != nil {
		return nil, err
	}
	for _, f := range archive.Files() {
		if dir, base := path.Split(f.Path); base == "METADATA" && strings.HasSuffix(dir, ".dist-info/") && strings.Count(dir, "/") == 1 {
			r, err := f.Content.Open()
			if err != nil {
				return nil, err
			}
			headers, err := wheel.ParseHeaders(r)
			return headers, errors.Join(err, r.Close())
		}
	}
	return nil, fmt.Errorf("wheel %s has no METADATA", filename)
}
