package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/jubako/jubako/layers/venv"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep517"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sdist"
	"github.com/jubako/jubako/pkg/wheel"
)

// builtWheels is the namespace of the cache where the key of a build leads to its wheel.
const builtWheels = "built"

// builtWheel is what the cache remembers of a wheel that was built here.
type builtWheel struct {
	Filename string `json:"filename"`
	Digest   string `json:"digest"` // SHA-256 in hex
	Size     int64  `json:"size"`
	// Needs are the shared libraries that it is linked with and does not hold.
	Needs []string `json:"needs,omitempty"`
}

// sourceOf says what a wheel is built from, without having it yet.
type sourceOf struct {
	s      locked.Selected
	digest string // of everything in it
	words  string // for a person: "its sdist"
	at     string // image path of the source tree
	// tree places the source and gives the folder that is a tree of the sandbox, with the source at its image path.
	tree func(context.Context) (string, error)
	// archival is the text of checkout.ArchivalName, which the source is given; "" for none.
	archival string
	// editable asks for a wheel that points to the source.
	editable bool
}

// name is the package's, with its version where it is locked.
func (src *sourceOf) name() string { return strings.TrimSpace(src.s.Name + " " + src.s.Version) }

// fromSdist describes a package whose wheel is built from its sdist, where nothing forbids it.
func (b *builder) fromSdist(ctx context.Context, l *lower, s locked.Selected, build locked.BuildOptions) (p venv.Package, err error) {
	if err := build.CheckBuild(s.Package); err != nil {
		return p, err
	}
	a, direct, err := b.sdistArtifact(ctx, s)
	if err != nil {
		return p, err
	}
	if !sdist.Known(a.Filename) {
		return p, hint.Usage(fmt.Errorf("package %s %s: its sdist %s is of no format that jubako reads (.tar.gz, .tar.bz2, .tar.xz, .zip)", s.Name, s.Version, a.Filename))
	}
	digest, err := b.digestOf(ctx, &a)
	if err != nil {
		return p, err
	}
	stem := wheel.DistInfoStem(s.Name, s.Version)
	src := &sourceOf{s: s, digest: digest, words: "its sdist", at: path.Join(pep517.SourceRoot, stem, s.Source.Subdirectory)}
	if outside(s.Source.Subdirectory) {
		return p, hint.Usage(fmt.Errorf("reading %s: package %s: %s does not lie in its sdist", b.in.lock.File(), s.Name, s.Source.Subdirectory))
	}
	src.tree = func(ctx context.Context) (string, error) { return b.unpackSdist(ctx, a, digest, s) }
	key, err := b.buildKey(ctx, l, src)
	if err != nil {
		return p, err
	}
	return b.builtPackage(l, src, key, direct), nil
}

// builtPackage describes a package whose wheel is built when it is opened.
func (b *builder) builtPackage(l *lower, src *sourceOf, key *buildInputs, direct *wheel.DirectURL) venv.Package {
	s := src.s
	return venv.Package{
		Name: s.Name, Version: s.Version, Build: b.buildFor(l, key), Requires: s.Requires, AskWheel: s.Unsaid, DirectURL: direct,
		Open: func(ctx context.Context) (venv.Opened, error) { return b.openBuilt(ctx, l, src, key) },
	}
}

// sdistArtifact says where a package's sdist is had, and what the record of its origin is to say.
func (b *builder) sdistArtifact(ctx context.Context, s locked.Selected) (a fetch.Artifact, direct *wheel.DirectURL, err error) {
	a = fetch.Artifact{Project: s.Name, URL: s.Sdist.URL, Size: s.Sdist.Size, Sized: s.Sdist.Sized}
	f := *s.Sdist
	switch s.Source.Kind {
	case locked.Registry:
		if f.URL == "" {
			a.Path = b.beside(s.Source.Location, f.Path)
		}
	case locked.URL:
		f.URL = s.Source.Location
		a.URL = f.URL
	case locked.Path:
		f.URL, f.Path = "", s.Source.Location
		a.URL, a.Path = "", b.beside(f.Path)
	case locked.Git:
		f.URL, f.Path, a.URL = "", s.Source.Git.Path, ""
		if a.Path, err = b.checkout(ctx, s.Package, s.Source.Git.Path); err != nil {
			return a, nil, err
		}
	}
	if s.Source.Kind != locked.Registry {
		direct = b.archiveURL(s.Source)
	}
	if a.Filename, err = locked.FilenameOf(f); err != nil {
		return a, nil, hint.Usage(fmt.Errorf("reading %s: package %s: %w", b.in.lock.File(), s.Name, err))
	}
	hashes := f.Hashes
	if len(hashes) == 0 && len(s.Hashes) > 0 {
		hashes, a.AnyHash = s.Hashes, true
	}
	if a.Hashes, err = filehash.ParseAll(hashes); err != nil {
		return a, nil, hint.Usage(fmt.Errorf("reading %s: package %s: sdist %s: %w", b.in.lock.File(), s.Name, a.Filename, err))
	}
	filehash.Sort(a.Hashes)
	return a, direct, nil
}

// unpackSdist fetches an sdist and gives the tree in which it lies unpacked.
func (b *builder) unpackSdist(ctx context.Context, a fetch.Artifact, digest string, s locked.Selected) (string, error) {
	stem := wheel.DistInfoStem(s.Name, s.Version)
	return rootfs.Place(b.Store, "sdist "+digest+" "+a.Filename+" "+stem, func(tree string) (err error) {
		blob, err := b.Fetch.Fetch(ctx, a)
		if err != nil {
			return err
		}
		f, err := b.Store.Verified(blob.SHA256)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		dir := filepath.Join(tree, filepath.FromSlash(pep517.SourceRoot), stem)
		if err := mkdirAll(tree, dir); err != nil {
			return err
		}
		if _, err := sdist.Unpack(ctx, sdist.Archive{ReaderAt: f, Size: blob.Size, Filename: a.Filename}, dir, sdist.Limits{}); err != nil {
			return hint.Wrap(err, "jubako takes no such archive; build the wheel elsewhere and name its folder with --find-links")
		}
		return sdist.Check(dir, a.Filename, s.Name, s.Version)
	})
}

// openBuilt opens the wheel of a build: the cache's, or a new one.
func (b *builder) openBuilt(ctx context.Context, l *lower, src *sourceOf, key *buildInputs) (venv.Opened, error) {
	known, ok := b.known(key)
	if !ok {
		var err error
		if known, err = b.buildWheel(ctx, l, src, key); err != nil {
			return venv.Opened{}, err
		}
	}
	filename, err := wheel.ParseFilename(known.Filename)
	if err == nil {
		err = b.checkTags(l, filename) // the cache's may have been built for an image of another platform
	}
	if err != nil {
		return venv.Opened{}, fmt.Errorf("building %s from %s: %w", src.name(), src.words, err)
	}
	if err := b.checkLinked(ctx, l, src.name(), known.Needs); err != nil {
		return venv.Opened{}, err
	}
	f, err := b.Store.Verified(known.Digest)
	if err != nil {
		return venv.Opened{}, err
	}
	return venv.Opened{ReaderAt: f, Closer: f, Size: known.Size, Filename: known.Filename}, nil
}

func (b *builder) known(key *buildInputs) (known builtWheel, ok bool) {
	if b.spec.NoCache {
		return known, false
	}
	raw, err := b.Store.Record(builtWheels, key.digest())
	if err != nil || json.Unmarshal(raw, &known) != nil {
		return known, false
	}
	return known, b.Store.Has(known.Digest, known.Size)
}

// buildWheel runs the backend and keeps the wheel.
func (b *builder) buildWheel(ctx context.Context, l *lower, src *sourceOf, key *buildInputs) (known builtWheel, err error) {
	name := src.name()
	if err := b.turns.Acquire(ctx, 1); err != nil {
		return known, err
	}
	defer b.turns.Release(1)
	start := b.Now()
	b.Report(Event{Kind: LayerIs, Name: name, State: Making, Text: "building " + src.words})
	defer b.Report(Event{Kind: Ended, Name: name})
	run, err := b.backend(ctx, l, src, key.Requires)
	if err != nil {
		return known, err
	}
	w, err := b.Store.NewWriter()
	if err != nil {
		return known, err
	}
	defer w.Abort()
	filename, err := run.Wheel(ctx, w, func(a *wheel.Archive) error {
		if err := b.checkBuilt(l, src, a); err != nil {
			return err
		}
		known.Needs, err = pep517.Needs(a)
		return err
	})
	if err != nil {
		return known, fmt.Errorf("building %s from %s: %w", name, src.words, err)
	}
	known.Filename, known.Size = filename.Raw, w.Size()
	if known.Digest, err = w.Commit(""); err != nil {
		return known, err
	}
	raw, err := json.Marshal(known)
	if err != nil {
		return known, err
	}
	if err := b.Store.PutRecord(builtWheels, key.digest(), raw); err != nil {
		return known, err
	}
	b.Report(Event{Kind: Built, Name: name, Text: fmt.Sprintf("%s from %s", name, src.words), Size: known.Size, Took: b.Now().Sub(start)})
	return known, nil
}

// digestOf gives an artifact's SHA-256. It is fetched only where the lock does not have it.
func (b *builder) digestOf(ctx context.Context, a *fetch.Artifact) (string, error) {
	if len(a.Hashes) > 0 && a.Hashes[0].Algorithm == "sha256" && (!a.AnyHash || len(a.Hashes) == 1) {
		return a.Hashes[0].Hex, nil
	}
	if len(a.Hashes) == 0 && a.Path != "" {
		sum, err := hashFile(a.Path)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", a.Filename, err)
		}
		a.Hashes = []filehash.Hash{{Algorithm: "sha256", Hex: sum}}
		return sum, nil
	}
	if len(a.Hashes) == 0 {
		b.warn(fmt.Sprintf("the lock has no hash for %s: it is taken as it comes", a.Filename))
	}
	blob, err := b.Fetch.Fetch(ctx, *a)
	if err != nil {
		return "", err
	}
	a.Hashes, a.AnyHash = []filehash.Hash{{Algorithm: "sha256", Hex: blob.SHA256}}, false
	return blob.SHA256, nil
}
