package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/venv"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/requirements"
	"github.com/jubako/jubako/pkg/wheel"
)

// packages is what the lock brings to an image.
type packages struct {
	venv    []*venv.Layer
	project layers.Layer // nil where nothing local is installed
	locked  map[string]bool
}

// packages selects from the lock for the base's Python, and describes the layers of it.
func (b *builder) packages(ctx context.Context, l *lower) (*packages, error) {
	target := targetOf(l.facts, l.image.Platform)
	tags, build := wheel.TagsFor(target), b.buildOptions()
	b.debug("wheels are chosen for %s", tags)
	selected, err := b.selected(l.facts.Python.Version, target, tags, build)
	if err != nil {
		return nil, err
	}
	pk := &packages{locked: make(map[string]bool)}
	var trees, wheels []locked.Selected
	for _, s := range selected {
		pk.locked[s.Name] = true
		if at := s.Source.Location; s.Source.Kind == locked.Registry && strings.Contains(at, "://") && !slices.Contains(b.registries, at) {
			b.registries = append(b.registries, at)
		}
	}
	for _, s := range selected {
		if s.Source.Tree() || s.Source.Kind == locked.Git && s.Source.Git.Path == "" {
			if err := build.CheckBuild(s.Package); err != nil {
				return nil, err
			}
			trees = append(trees, s)
		} else {
			wheels = append(wheels, s)
		}
	}
	if pk.venv, err = b.venv(ctx, l, tags, build, wheels); err != nil {
		return nil, err
	}
	if len(trees) > 0 {
		pk.project, err = b.projects(ctx, l, trees)
	}
	return pk, err
}

// tagsOf are the tags of the wheels that a base's Python takes.
func tagsOf(f *base.Facts, p v1.Platform) wheel.Tags { return wheel.TagsFor(targetOf(f, p)) }

// targetOf is what wheels are chosen for: a base's Python.
func targetOf(f *base.Facts, p v1.Platform) wheel.Target {
	return wheel.Target{
		Major: f.Python.Major, Minor: f.Python.Minor, FreeThreaded: f.Python.FreeThreaded, Arch: base.Machine(p.Architecture),
		Libc: f.Libc.Kind, LibcMajor: f.Libc.Major, LibcMinor: f.Libc.Minor,
	}
}

// venvAt describes the environment in the image.
func (b *builder) venvAt(l *lower) wheel.Venv {
	c, py := b.spec.Project.Config, l.facts.Python
	uid, gid := b.owner(l.user)
	return wheel.Venv{
		Path: path.Join(strings.TrimPrefix(c.Workdir, "/"), c.Venv), Python: fmt.Sprintf("%d.%d", py.Major, py.Minor), FreeThreaded: py.FreeThreaded,
		UID: uid, GID: gid, Interpreter: py.Path, FullVersion: py.Version,
	}
}

// venv describes the layers of everything that comes as a wheel.
func (b *builder) venv(ctx context.Context, l *lower, tags wheel.Tags, build locked.BuildOptions, selected []locked.Selected) ([]*venv.Layer, error) {
	errs := make([]error, len(selected))
	pkgs := make([]venv.Package, len(selected))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range selected {
		g.Go(func() error {
			s, err := b.listed(gctx, s)
			if err != nil {
				return err
			}
			chosen, err := b.choose(gctx, s, tags, build)
			if _, none := errors.AsType[*locked.NoWheelError](err); none && s.Sdist != nil {
				pkgs[i], err = b.fromSdist(gctx, l, s, build)
				if hint.KindOf(err) == hint.KindUsage {
					errs[i], err = err, nil
				}
				return err
			}
			if err != nil {
				errs[i] = err // all that have no wheel are told at once
				return nil
			}
			pkgs[i], err = b.pkg(gctx, s, chosen)
			return err
		})
	}
	if err := errors.Join(append([]error{g.Wait()}, errs...)...); err != nil {
		return nil, err
	}
	base, err := l.image.Layers()
	if err != nil {
		return nil, err
	}
	uid, gid := b.owner(l.user)
	return venv.Layers(venv.Options{
		Path: b.venvAt(l).Path, Python: l.facts.Python, UID: uid, GID: gid, Packages: pkgs, Most: max(1, mostLayers-otherLayers-len(base)), Jobs: b.spec.Jobs, Warn: b.warn,
	})
}

// How many layers an image may have, those of its base among them.
const (
	stackedLayers = 127 // what Docker's overlay driver takes
	mostLayers    = 110 // what environment and bytecode are divided for
	otherLayers   = 20  // of them, what is kept for all that is neither base nor environment
)

// chosen is a wheel, and how it is had.
type chosen struct {
	filename  string
	artifact  fetch.Artifact
	directURL *wheel.DirectURL
}

// buildOptions are those of the configuration, and of requirements that have their own.
func (b *builder) buildOptions() locked.BuildOptions {
	o := b.spec.Build
	f, ok := b.in.lock.(*requirements.File)
	if !ok {
		return o
	}
	of := f.BuildOptions()
	o.NoBinary, o.NoBuild = o.NoBinary || of.NoBinary, o.NoBuild || of.NoBuild
	o.NoBinaryPackages, o.NoBuildPackages = union(o.NoBinaryPackages, of.NoBinaryPackages), union(o.NoBuildPackages, of.NoBuildPackages)
	return o
}

func union(a, b pep508.Set) pep508.Set {
	all := make(pep508.Set, len(a)+len(b))
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// choose finds the wheel of a package for the target: the lock's, or one in a --find-links folder.
func (b *builder) choose(ctx context.Context, s locked.Selected, tags wheel.Tags, build locked.BuildOptions) (chosen, error) {
	w, err := s.ChooseWheel(tags, build)
	if err != nil {
		if found, ok, ferr := b.findLinks(s, tags); ok || ferr != nil {
			return found, ferr
		}
		return chosen{}, err
	}
	c := chosen{filename: w.Filename.Raw}
	c.artifact = fetch.Artifact{Project: s.Name, Filename: w.Filename.Raw, URL: w.URL, Size: w.Size, Sized: w.Sized}
	hashes := w.Hashes
	if len(hashes) == 0 && len(s.Hashes) > 0 {
		hashes, c.artifact.AnyHash = s.Hashes, true
	}
	if c.artifact.Hashes, err = filehash.ParseAll(hashes); err != nil {
		return chosen{}, hint.Usage(fmt.Errorf("reading %s: package %s: wheel %s: %w", b.in.lock.File(), s.Name, w.Filename.Raw, err))
	}
	filehash.Sort(c.artifact.Hashes)
	switch s.Source.Kind {
	case locked.Registry:
		if w.URL == "" {
			c.artifact.Path = b.beside(s.Source.Location, w.Path)
		}
	case locked.URL:
		c.artifact.URL = s.Source.Location
		c.directURL = b.archiveURL(s.Source)
	case locked.Path:
		c.artifact.URL, c.artifact.Path = "", b.beside(s.Source.Location)
		c.directURL = b.archiveURL(s.Source)
	case locked.Git: // a wheel that lies in the repository
		c.artifact.URL, c.directURL = "", b.archiveURL(s.Source)
		if c.artifact.Path, err = b.checkout(ctx, s.Package, s.Source.Git.Path); err != nil {
			return chosen{}, err
		}
	}
	return c, nil
}

// archiveURL is the record of where an archive comes from that is not an index's. The URL of uv's record is a local file's on
// the machine that installs; in an image it is the place beside the project.
func (b *builder) archiveURL(s locked.Source) *wheel.DirectURL {
	switch s.Kind {
	case locked.Path:
		return &wheel.DirectURL{URL: (&url.URL{Scheme: "file", Path: path.Join(b.spec.Project.Config.Workdir, filepath.ToSlash(s.Location))}).String()}
	case locked.Git:
		return gitURL(s)
	default:
		return &wheel.DirectURL{URL: s.Location, Subdirectory: s.Subdirectory}
	}
}

// beside gives a path of the lock's on this machine.
func (b *builder) beside(parts ...string) string {
	p := filepath.Join(parts...)
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(b.in.lockDir, p)
}

// findLinks looks for a wheel of the locked version that fits the target in the --find-links folders.
func (b *builder) findLinks(s locked.Selected, tags wheel.Tags) (chosen, bool, error) {
	var names []wheel.Filename
	var paths []string
	for _, dir := range b.spec.FindLinks {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return chosen{}, false, hint.Usage(fmt.Errorf("--find-links: %w", err))
		}
		for _, e := range entries {
			f, err := wheel.ParseFilename(e.Name())
			if err == nil && f.Name == s.Name && sameVersion(f.Version, s.Version) {
				names, paths = append(names, f), append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	i := tags.Best(names)
	if i < 0 {
		return chosen{}, false, nil
	}
	return chosen{filename: names[i].Raw, artifact: fetch.Artifact{Project: s.Name, Filename: names[i].Raw, Path: paths[i]}}, true, nil
}

func sameVersion(a, b string) bool {
	v, err1 := pep508.ParseVersion(a)
	w, err2 := pep508.ParseVersion(b)
	return err1 == nil && err2 == nil && v.Compare(w) == 0
}

// pkg describes a package for the venv layer. Its wheel is fetched when the layer is made; at once only where the lock
// does not have its SHA-256.
func (b *builder) pkg(ctx context.Context, s locked.Selected, c chosen) (venv.Package, error) {
	p := venv.Package{Name: s.Name, Version: s.Version, Filename: c.filename, Requires: s.Requires, AskWheel: s.Unsaid, DirectURL: c.directURL, Size: c.artifact.Size}
	switch {
	case len(c.artifact.Hashes) > 0 && c.artifact.Hashes[0].Algorithm == "sha256" && (!c.artifact.AnyHash || len(c.artifact.Hashes) == 1):
		p.SHA256 = c.artifact.Hashes[0].Hex
	case len(c.artifact.Hashes) == 0 && c.artifact.Path != "":
		sum, err := hashFile(c.artifact.Path)
		if err != nil {
			return p, fmt.Errorf("reading the wheel of %s: %w", s.Name, err)
		}
		p.SHA256, c.artifact.Hashes = sum, []filehash.Hash{{Algorithm: "sha256", Hex: sum}}
	default:
		if len(c.artifact.Hashes) == 0 {
			b.warn(fmt.Sprintf("the lock has no hash for %s: it is taken as it comes", c.filename))
		}
		blob, err := b.Fetch.Fetch(ctx, c.artifact)
		if err != nil {
			return p, err
		}
		p.SHA256, c.artifact.Hashes, c.artifact.AnyHash = blob.SHA256, []filehash.Hash{{Algorithm: "sha256", Hex: blob.SHA256}}, false
	}
	return b.wheelPackage(p, c.artifact), nil
}

// wheelPackage lets a package be opened, whose wheel is had as an artifact.
func (b *builder) wheelPackage(p venv.Package, a fetch.Artifact) venv.Package {
	if len(a.Hashes) == 0 {
		a.Hashes = []filehash.Hash{{Algorithm: "sha256", Hex: p.SHA256}}
	}
	p.Open = func(ctx context.Context) (venv.Opened, error) {
		blob, err := b.Fetch.Fetch(ctx, a)
		if err != nil {
			return venv.Opened{}, err
		}
		f, err := b.Store.Verified(blob.SHA256)
		if err != nil { // it was damaged on disk, and is gone now: fetch it once more
			if blob, err = b.Fetch.Fetch(ctx, a); err != nil {
				return venv.Opened{}, err
			}
			if f, err = b.Store.Verified(blob.SHA256); err != nil {
				return venv.Opened{}, err
			}
		}
		return venv.Opened{ReaderAt: f, Closer: f, Size: blob.Size}, nil
	}
	return p
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
