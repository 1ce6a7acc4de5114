package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/layers"
	projectlayer "github.com/jubako/jubako/layers/project"
	"github.com/jubako/jubako/pkg/checkout"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pybuild"
	"github.com/jubako/jubako/pkg/sdist"
	"github.com/jubako/jubako/pkg/source"
	"github.com/jubako/jubako/pkg/wheel"
)

// projects describes the layer of what comes as source: the project, its workspace's members, and what is built from
// folders and repositories beside them.
func (b *builder) projects(ctx context.Context, l *lower, trees []locked.Selected) (layers.Layer, error) {
	var all []projectlayer.Options
	for _, s := range trees {
		o, err := b.tree(ctx, s)
		if err != nil {
			return nil, err
		}
		// One with a setup.py alone is its backend's.
		if o.Pyproject, err = readPyproject(o); err != nil && (!errors.Is(err, fs.ErrNotExist) || !exists(filepath.Join(o.Dir, "setup.py"))) {
			return nil, hint.Usage(fmt.Errorf("reading the project %s: %w", s.Name, err))
		}
		o.Name, o.Version, o.Venv, o.Store, o.Now = s.Name, s.Version, b.venvAt(l), b.Store, b.Now()
		o.Backend = func(ctx context.Context, refused *pybuild.RefusedError) (*projectlayer.Built, error) {
			b.debug("%v", refused)
			return b.fromTree(ctx, l, s, o)
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(x, y projectlayer.Options) int { return strings.Compare(x.Name, y.Name) })
	return projectlayer.New(ctx, all...)
}

func readPyproject(o projectlayer.Options) ([]byte, error) {
	if o.Repository == "" {
		return os.ReadFile(filepath.Join(o.Dir, "pyproject.toml"))
	}
	rel, err := filepath.Rel(o.Repository, o.Dir)
	if err != nil {
		return nil, err
	}
	return sdist.ReadFile(o.Repository, filepath.Join(rel, "pyproject.toml"))
}

// tree says where the source of a package is, here and, if it is editable, in the image.
func (b *builder) tree(ctx context.Context, s locked.Selected) (projectlayer.Options, error) {
	p := b.spec.Project
	o := projectlayer.Options{Editable: s.Source.Kind == locked.Editable}
	if s.Source.Kind == locked.Git {
		var err error
		if o.Repository, err = b.checkout(ctx, s.Package, ""); err != nil {
			return o, err
		}
		o.Dir, err = inRepository(s.Package, o.Repository, s.Source.Subdirectory)
		o.DirectURL = gitURL(s.Source)
		o.ImageDir = "/nowhere" // of what is not editable nothing points back to its source
		return o, err
	}
	o.Dir = b.beside(s.Source.Location)
	rel, err := filepath.Rel(p.SourceDir(), o.Dir)
	if err != nil {
		return o, err
	}
	beyond := outside(filepath.ToSlash(rel))
	if beyond && o.Editable {
		return o, hint.Wrap(hint.Usage(fmt.Errorf("package %s is editable and locked at %s, which does not lie in the source %s", s.Name, s.Source.Location, p.SourceDir())),
			`let the source begin above it ([tool.jubako] source = ".."), or build it in with --no-editable`)
	}
	walk := b.walk()
	o.ImageDir, o.Source = path.Join(p.Config.Workdir, filepath.ToSlash(rel)), &walk
	if beyond {
		o.Source = nil // .dockerignore does not speak of it
	}
	o.DirectURL = &wheel.DirectURL{URL: (&url.URL{Scheme: "file", Path: o.ImageDir}).String(), Dir: &wheel.DirInfo{Editable: o.Editable}}
	return o, nil
}

// outside says whether a relative path leads out of where it begins.
func outside(rel string) bool {
	rel = path.Clean(rel)
	return rel == ".." || strings.HasPrefix(rel, "../") || path.IsAbs(rel)
}

// checkout brings a package's repository here, and gives a path in it. A repository on this machine is named relative to the
// lock.
func (b *builder) checkout(ctx context.Context, p *locked.Package, rel string) (string, error) {
	if outside(rel) {
		return "", hint.Usage(fmt.Errorf("reading %s: package %s: %s does not lie in the repository", b.in.lock.File(), p.Name, rel))
	}
	at := p.Source.Location
	if !strings.Contains(at, "://") && !strings.Contains(at, "@") {
		at = b.beside(at)
	}
	dir, err := checkout.Get(ctx, checkout.Commit{Package: p.Name, URL: at, ID: p.Source.Git.ID, LFS: p.Source.Git.LFS},
		checkout.Options{Store: b.Store, Offline: b.spec.Offline, Log: func(s string) { b.debug("%s", s) }})
	if err != nil {
		return "", err
	}
	return inRepository(p, dir, rel)
}

// inRepository gives a path in a package's repository, to which no link of the repository's own leads out of it.
func inRepository(p *locked.Package, dir, rel string) (string, error) {
	to := filepath.Join(dir, filepath.FromSlash(rel))
	if source.LeadsOut(dir, to) {
		return "", hint.Usage(fmt.Errorf("reading package %s: %s leads out of its repository", p.Name, rel))
	}
	return to, nil
}

// gitURL is the record of where a package has come from, without a password.
func gitURL(s locked.Source) *wheel.DirectURL {
	at := s.Location
	if u, err := url.Parse(at); err == nil && u.User != nil {
		if _, secret := u.User.Password(); secret || u.Scheme != "ssh" {
			u.User = nil
			at = u.String()
		}
	}
	return &wheel.DirectURL{URL: at, Subdirectory: s.Subdirectory, VCS: &wheel.VCSInfo{VCS: "git", CommitID: s.Git.ID, RequestedRevision: s.Git.Requested, Path: s.Git.Path}}
}
