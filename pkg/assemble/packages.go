package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/layers"
	projectlayer "github.com/jubako/jubako/layers/project"
	"github.com/jubako/jubako/layers/venv"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/uvlock"
	"github.com/jubako/jubako/pkg/wheel"
)

// packages is what the lock brings to an image.
type packages struct {
	venv    *venv.Layer
	project layers.Layer // nil where nothing local is installed
	locked  map[string]bool
}

// packages selects from the lock for the base's Python, and describes the layers of it.
func (b *builder) packages(ctx context.Context, l *lower) (*packages, error) {
	py := l.facts.Python
	env, err := pep508.LinuxEnv(py.Version, base.Machine(l.image.Platform.Architecture))
	if err != nil {
		return nil, err
	}
	selected, err := b.in.lock.Select(b.request(), env)
	if err != nil {
		return nil, err
	}
	tags := wheel.TagsFor(wheel.Target{
		Major: py.Major, Minor: py.Minor, FreeThreaded: py.FreeThreaded, Arch: base.Machine(l.image.Platform.Architecture),
		Libc: l.facts.Libc.Kind, LibcMajor: l.facts.Libc.Major, LibcMinor: l.facts.Libc.Minor,
	})
	b.debug("wheels are chosen for %s", tags)
	pk := &packages{locked: make(map[string]bool)}
	var local []uvlock.Selected
	var remote []uvlock.Selected
	for _, s := range selected {
		pk.locked[s.Name] = true
		if s.Source.Kind == uvlock.Editable || s.Source.Kind == uvlock.Directory {
			local = append(local, s)
		} else {
			remote = append(remote, s)
		}
	}
	if pk.venv, err = b.venv(ctx, l, tags, remote); err != nil {
		return nil, err
	}
	if len(local) > 0 {
		pk.project, err = b.projects(ctx, l, local)
	}
	return pk, err
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

// venv describes the layer of everything that comes as a wheel.
func (b *builder) venv(ctx context.Context, l *lower, tags wheel.Tags, selected []uvlock.Selected) (*venv.Layer, error) {
	var errs []error
	pkgs := make([]venv.Package, len(selected))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range selected {
		chosen, err := b.choose(s, tags)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g.Go(func() error {
			var err error
			pkgs[i], err = b.pkg(gctx, s, chosen)
			return err
		})
	}
	if err := errors.Join(append(errs, g.Wait())...); err != nil {
		return nil, err
	}
	uid, gid := b.owner(l.user)
	return venv.New(venv.Options{
		Path: b.venvAt(l).Path, Python: l.facts.Python, UID: uid, GID: gid, Packages: pkgs, Jobs: b.spec.Jobs, Warn: b.warn,
	})
}

// chosen is a wheel, and how it is had.
type chosen struct {
	filename  string
	artifact  fetch.Artifact
	directURL *wheel.DirectURL
}

// choose finds the wheel of a package for the target: the lock's, or one in a --find-links folder.
func (b *builder) choose(s uvlock.Selected, tags wheel.Tags) (chosen, error) {
	if s.Source.Kind == uvlock.Git {
		return chosen{}, hint.Wrap(fmt.Errorf("package %s comes from git (%s), and git sources are not supported by this version", s.Name, s.Source.Location),
			"build its wheel elsewhere, publish it to an index, and lock that; or leave it out with --no-install-package %s", s.Name)
	}
	w, err := s.ChooseWheel(tags)
	if err != nil {
		if found, ok, ferr := b.findLinks(s, tags); ok || ferr != nil {
			return found, ferr
		}
		return chosen{}, err
	}
	c := chosen{filename: w.Filename.Raw}
	c.artifact = fetch.Artifact{Project: s.Name, Filename: w.Filename.Raw, URL: w.URL}
	if w.Hash != "" {
		if c.artifact.Hash, err = fetch.ParseHash(w.Hash); err != nil {
			return chosen{}, hint.Usage(fmt.Errorf("package %s: wheel %s: %w", s.Name, w.Filename.Raw, err))
		}
	}
	switch s.Source.Kind {
	case uvlock.Registry:
		if w.URL == "" {
			c.artifact.Path = b.beside(s.Source.Location, w.Path)
		}
	case uvlock.URL:
		c.artifact.URL = s.Source.Location
		c.directURL = &wheel.DirectURL{URL: s.Source.Location}
	case uvlock.Path:
		c.artifact.URL, c.artifact.Path = "", b.beside(s.Source.Location)
		// The URL of uv's record is the file's on the machine that installs; in an image it is the place beside the project.
		c.directURL = &wheel.DirectURL{URL: (&url.URL{Scheme: "file", Path: path.Join(b.spec.Project.Config.Workdir, filepath.ToSlash(s.Source.Location))}).String()}
	}
	return c, nil
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
func (b *builder) findLinks(s uvlock.Selected, tags wheel.Tags) (chosen, bool, error) {
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
func (b *builder) pkg(ctx context.Context, s uvlock.Selected, c chosen) (venv.Package, error) {
	p := venv.Package{Name: s.Name, Version: s.Version, Filename: c.filename, Requires: s.Requires, DirectURL: c.directURL}
	switch {
	case c.artifact.Hash.Algorithm == "sha256":
		p.SHA256 = c.artifact.Hash.Hex
	case c.artifact.Hash.Algorithm == "" && c.artifact.Path != "":
		sum, err := hashFile(c.artifact.Path)
		if err != nil {
			return p, fmt.Errorf("reading the wheel of %s: %w", s.Name, err)
		}
		p.SHA256, c.artifact.Hash = sum, fetch.Hash{Algorithm: "sha256", Hex: sum}
	default:
		if c.artifact.Hash.Algorithm == "" {
			b.warn(fmt.Sprintf("the lock has no hash for %s: it is taken as it comes", c.filename))
		}
		blob, err := b.Fetch.Fetch(ctx, c.artifact)
		if err != nil {
			return p, err
		}
		p.SHA256, c.artifact.Hash = blob.SHA256, fetch.Hash{Algorithm: "sha256", Hex: blob.SHA256}
	}
	p.Open = func(ctx context.Context) (venv.Opened, error) {
		blob, err := b.Fetch.Fetch(ctx, c.artifact)
		if err != nil {
			return venv.Opened{}, err
		}
		f, err := b.Store.Verified(blob.SHA256)
		if err != nil { // it was damaged on disk, and is gone now: fetch it once more
			if blob, err = b.Fetch.Fetch(ctx, c.artifact); err != nil {
				return venv.Opened{}, err
			}
			if f, err = b.Store.Verified(blob.SHA256); err != nil {
				return venv.Opened{}, err
			}
		}
		return venv.Opened{ReaderAt: f, Closer: f, Size: blob.Size}, nil
	}
	return p, nil
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

// projects describes the layer of the projects whose source is in the image.
func (b *builder) projects(ctx context.Context, l *lower, local []uvlock.Selected) (layers.Layer, error) {
	p := b.spec.Project
	walk := b.walk()
	var all []projectlayer.Options
	for _, s := range local {
		dir := b.beside(s.Source.Location)
		rel, err := filepath.Rel(p.SourceDir(), dir)
		if err != nil || rel == ".." || strings.HasPrefix(filepath.ToSlash(rel), "../") {
			return nil, hint.Wrap(hint.Usage(fmt.Errorf("package %s is locked at %s, which does not lie in the source %s", s.Name, s.Source.Location, p.SourceDir())),
				`let the source begin above it: [tool.jubako] source = ".."`)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "pyproject.toml"))
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("reading the project %s: %w", s.Name, err))
		}
		all = append(all, projectlayer.Options{
			Dir: dir, ImageDir: path.Join(p.Config.Workdir, filepath.ToSlash(rel)), Pyproject: raw, Editable: s.Source.Kind == uvlock.Editable,
			Name: s.Name, Version: s.Version, Venv: b.venvAt(l), Store: b.Store, Now: b.Now(), Source: &walk,
		})
	}
	if len(all) == 1 {
		return projectlayer.New(ctx, all[0])
	}
	slices.SortFunc(all, func(x, y projectlayer.Options) int { return strings.Compare(x.Name, y.Name) })
	return projectlayer.NewSeveral(ctx, all)
}
