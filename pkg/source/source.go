// Package source walks a project's source tree: what of it goes into the image, and whether it has changed.
//
// It may import pkg/cas, pkg/fstree and pkg/hint.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// standingNames are what is never meant for an image: version control, environments, caches, secrets of a developer's
// machine; and beside them .env.*, *.pyc and *.pyo. Only what tools make by themselves and make again is named: a folder
// called "build", "dist" or ".cache" may be the project's own.
var standingNames = map[string]bool{
	".git": true, ".hg": true, ".svn": true, ".bzr": true, ".jj": true,
	".venv": true, "node_modules": true, ".env": true,
	"__pycache__": true,
	".mypy_cache": true, ".ruff_cache": true, ".pytest_cache": true, ".tox": true, ".nox": true, ".hypothesis": true, ".ipynb_checkpoints": true,
	".DS_Store": true,
}

// maxFiles bounds the files of a source tree, and maxIgnore a .dockerignore in bytes.
const (
	maxFiles  = 1_000_000
	maxIgnore = 1 << 20
)

// Options says what of a folder is taken.
type Options struct {
	// Root is the folder, or a single file, on this machine.
	Root string
	// Ignorefile has .dockerignore's form, and is read where it is there; "" for none.
	Ignorefile string
	// Exclude and Include hold further patterns of that form. Include wins over everything.
	Exclude, Include []string
	// NoStanding takes also what is excluded always: for a folder that was made to be copied.
	NoStanding bool
	// Skip leaves out what it returns true for, whatever the patterns say; nil for nothing. Folders are walked all the same.
	Skip func(rel string) bool
}

// File is one path of the tree.
type File struct {
	Path string // relative to the root, with slashes
	Kind fstree.Kind
	Mode uint32 // 0644 or 0755
	Link string
	Size int64

	mark cas.Mark
	sum  string // SHA-256 of the content, in hex, once Digest has run
}

// Tree is what a walk found, sorted as it was walked: by folder, then by name.
type Tree struct {
	Root  string
	Files []File

	digest string // once it is known
}

// Walk finds the files. It reads no content but the ignore file's. The root itself may be a link.
func Walk(ctx context.Context, o Options) (*Tree, error) {
	m, err := NewMatcher(o)
	if err != nil {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(o.Root)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the source: %w", err))
	}
	t := &Tree{Root: root}
	if fi, err := os.Stat(root); err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the source: %w", err))
	} else if !fi.IsDir() {
		t.Root = filepath.Dir(root)
		return t, t.add(filepath.Base(root), fi)
	}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		rel := below(root, p)
		if err != nil {
			return unreadable(rel, err)
		}
		if rel == "." {
			return nil
		}
		excluded, prune, err := m.match(rel)
		if err != nil {
			return err
		}
		if excluded {
			if d.IsDir() && prune {
				return fs.SkipDir
			}
			return nil
		}
		if m.Skips(rel) {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return unreadable(rel, err)
		}
		return t.add(rel, fi)
	})
	if err != nil {
		return nil, err
	}
	return t, t.checkLinks()
}

// below is filepath.Rel for a path that a walk of root, which is clean, has come upon.
func below(root, p string) string {
	switch root {
	case p:
		return "."
	case ".":
		return p
	}
	return strings.TrimPrefix(p[len(root):], "/")
}

func unreadable(rel string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return hint.Wrap(fmt.Errorf("reading the source: %s cannot be read: %w", rel, err), "make it readable, or leave it out: [tool.jubako] exclude = [%q]", rel)
	}
	return fmt.Errorf("reading the source: %w", err)
}

func (t *Tree) add(rel string, fi fs.FileInfo) error {
	if len(t.Files) >= maxFiles {
		return hint.Wrap(fmt.Errorf("reading the source: it has more than %d files", maxFiles), "leave out what is not meant for the image, in .dockerignore")
	}
	f := File{Path: rel, Mode: 0o644, mark: cas.MarkOf(fi)}
	switch mode := fi.Mode(); {
	case mode.IsDir():
		f.Kind, f.Mode = fstree.Dir, 0o755
	case mode.IsRegular():
		f.Kind, f.Size = fstree.File, fi.Size()
		if mode.Perm()&0o111 != 0 {
			f.Mode = 0o755
		}
	case mode&fs.ModeSymlink != 0:
		f.Kind = fstree.Symlink
		var err error
		if f.Link, err = os.Readlink(filepath.Join(t.Root, rel)); err != nil {
			return unreadable(rel, err)
		}
	default:
		return hint.Wrap(hint.Usage(fmt.Errorf("reading the source: %s is a %s, which no image can hold", rel, fstree.Special(mode))),
			"leave it out: [tool.jubako] exclude = [%q]", rel)
	}
	t.Files = append(t.Files, f)
	return nil
}

// content is a file of the tree, as a layer reads it.
type content struct {
	file, rel string
	want      cas.Mark
	sum       string
}

// SHA256 is the digest of the file in hex, where the tree's Digest has found it.
func (c content) SHA256() string { return c.sum }

func (c content) Size() int64 { return c.want.Size }

// Open refuses a file that is not the one that was hashed.
func (c content) Open() (io.ReadCloser, error) {
	f, err := os.Open(c.file)
	if err != nil {
		return nil, unreadable(c.rel, err)
	}
	fi, err := f.Stat()
	if err == nil && cas.MarkOf(fi) != c.want {
		err = hint.Wrap(fmt.Errorf("%s changed while the image was built", c.file), "build again when nothing writes there")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Content gives what a file of the tree holds.
func (t *Tree) Content(f File) fstree.Content {
	return content{filepath.Join(t.Root, filepath.FromSlash(f.Path)), f.Path, f.mark, f.sum}
}
