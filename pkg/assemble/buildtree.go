package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	projectlayer "github.com/jubako/jubako/layers/project"
	"github.com/jubako/jubako/pkg/checkout"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/pep517"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/source"
	"github.com/jubako/jubako/pkg/wheel"
)

// fromTree describes a project whose wheel its backend builds from a copy of its source. A wheel that is editable is built
// where the source lies in the image, so that what points to it is right.
func (b *builder) fromTree(ctx context.Context, l *lower, s locked.Selected, o projectlayer.Options) (*projectlayer.Built, error) {
	src := &sourceOf{s: s, words: "its source", editable: o.Editable, at: o.ImageDir}
	stem := pep508.Normalize(s.Name)
	if s.Version != "" {
		stem = wheel.DistInfoStem(s.Name, s.Version)
	}
	root := path.Join(pep517.SourceRoot, stem)
	if !o.Editable {
		src.at = path.Join(root, s.Source.Subdirectory)
	}
	if s.Source.Kind == locked.Git {
		src.words = "commit " + s.Source.Git.ID[:12]
		dir, err := b.checkout(ctx, s.Package, "")
		if err != nil {
			return nil, err
		}
		src.digest = gitDigest(s.Source.Git)
		src.tree = b.placeSource(src, root, func(ctx context.Context) (*source.Tree, error) {
			return source.Walk(ctx, source.Options{Root: dir, NoStanding: true})
		})
	} else {
		tree, err := b.sourceTree(ctx, o)
		if err != nil {
			return nil, err
		}
		if src.digest, err = tree.Digest(ctx, nil, b.Now()); err != nil {
			return nil, err
		}
		if asksGit(o.Pyproject) && s.Version == "" {
			if src.archival = checkout.Archival(ctx, o.Dir); src.archival != "" {
				sum := sha256.Sum256([]byte(src.digest + "\n" + src.archival))
				src.digest = hex.EncodeToString(sum[:])
			}
		}
		src.tree = b.placeSource(src, src.at, func(context.Context) (*source.Tree, error) { return tree, nil })
	}
	key, err := b.buildKey(ctx, l, src)
	if err != nil {
		return nil, err
	}
	return &projectlayer.Built{Key: b.buildFor(l, key), Open: func(ctx context.Context) (projectlayer.Opened, error) {
		w, err := b.openBuilt(ctx, l, src, key)
		return projectlayer.Opened{ReaderAt: w.ReaderAt, Closer: w.Closer, Size: w.Size, Filename: w.Filename}, err
	}}, nil
}

// gitDigest stands for the files of a checkout: a commit's name does, also for those of its submodules, but not for whether files
// are there that git-lfs keeps, or what points to them.
func gitDigest(g locked.Commit) string {
	name := "git " + g.ID
	if g.LFS {
		name += " lfs"
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// buildFiles are what backends read at a project's top, whatever .dockerignore keeps out of the image: it names READMEs and
// their like, which the metadata are made of.
var buildFiles = []string{"pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in", "hatch.toml", "hatch_build.py", "pdm_build.py", "build.py",
	"README*", "LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*", "CHANGELOG*", "CHANGES*", "HISTORY*"}

// sourceTree walks a project for its backend: what never goes into the image is not shown to it either.
func (b *builder) sourceTree(ctx context.Context, o projectlayer.Options) (*source.Tree, error) {
	w := source.Options{Root: o.Dir}
	if o.Source != nil {
		m, err := source.NewMatcher(*o.Source)
		if err != nil {
			return nil, err
		}
		at, err := filepath.Rel(o.Source.Root, o.Dir)
		if err != nil {
			return nil, err
		}
		w.Skip = func(rel string) bool {
			in := path.Join(filepath.ToSlash(at), rel)
			if m.Skips(in) {
				return true
			}
			if slices.ContainsFunc(buildFiles, func(pattern string) bool { ok, _ := path.Match(pattern, rel); return ok }) {
				return false
			}
			out, err := m.Excludes(in)
			return err == nil && out
		}
	}
	return source.Walk(ctx, w)
}

// placeSource copies a source to its image path in a tree of the sandbox: a backend writes into what it builds. All files
// have one time.
func (b *builder) placeSource(src *sourceOf, at string, walk func(context.Context) (*source.Tree, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		return rootfs.Place(b.Store, "source "+src.digest+" "+at, func(tree string) error {
			t, err := walk(ctx)
			if err != nil {
				return err
			}
			dir := filepath.Join(tree, filepath.FromSlash(at))
			if err := mkdirAll(tree, dir); err != nil {
				return err
			}
			if err := copyTree(ctx, t, dir); err != nil || src.archival == "" {
				return err
			}
			name := filepath.Join(dir, checkout.ArchivalName)
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return copyFile(fstree.Bytes(src.archival), name, 0o644)
		})
	}
}

func copyTree(ctx context.Context, t *source.Tree, dir string) error {
	for _, f := range t.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		var err error
		switch f.Kind {
		case fstree.Dir:
			if err = os.MkdirAll(to, 0o755); err == nil {
				err = os.Chmod(to, 0o755)
			}
		case fstree.Symlink:
			err = os.Symlink(f.Link, to)
		case fstree.File:
			err = copyFile(t.Content(f), to, fs.FileMode(f.Mode))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(c fstree.Content, to string, mode fs.FileMode) (err error) {
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, w.Chmod(mode), w.Close()); err != nil {
		return err
	}
	at := time.Unix(pep517.Time, 0)
	return os.Chtimes(to, at, at)
}

// asksGit says whether a project's backend asks git for the version, by setuptools-scm or what builds on it. A build sees no
// repository, but the record that a git archive would have.
func asksGit(pyproject []byte) bool {
	system, err := pep517.ReadSystem(pyproject)
	if err != nil {
		return false
	}
	for _, text := range system.Requires {
		r, err := pep508.ParseRequirement(text)
		if err == nil && slices.Contains([]string{"setuptools-scm", "hatch-vcs", "vcs-versioning", "flit-scm"}, pep508.Normalize(r.Name)) {
			return true
		}
	}
	return false
}

// pretended are the variables by which the tools that ask a version control system for a version are told the locked one: a
// build sees no repository. Each is for one package alone, or read by one backend.
func pretended(s locked.Selected) map[string]string {
	if s.Version == "" || s.Source.Kind == locked.Registry {
		return nil
	}
	name := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
	return map[string]string{
		"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_" + name: s.Version, "PDM_BUILD_SCM_VERSION": s.Version, "PBR_VERSION": s.Version,
		"POETRY_DYNAMIC_VERSIONING_BYPASS": s.Version,
	}
}
