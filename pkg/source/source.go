// Package source walks a project's source tree: what of it goes into the image, and whether it has changed.
//
// It may import pkg/cas, pkg/fstree and pkg/hint.
package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// Standing lists what is never meant for an image: version control, environments, caches, secrets of a developer's machine.
// The patterns are .dockerignore's.
var standing = []string{
	"**/.git", "**/.hg", "**/.svn", "**/.bzr", "**/.jj",
	"**/.venv", "**/node_modules", "**/.env", "**/.env.*",
	"**/__pycache__", "**/*.pyc", "**/*.pyo",
	"**/.mypy_cache", "**/.ruff_cache", "**/.pytest_cache", "**/.tox", "**/.nox", "**/.hypothesis", "**/.ipynb_checkpoints", "**/.DS_Store",
}

// Standing gives the patterns that are always excluded, unless Options.Include names what they match.
func Standing() []string { return append([]string(nil), standing...) }

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
}

// File is one path of the tree.
type File struct {
	Path string // relative to the root, with slashes
	Kind fstree.Kind
	Mode uint32 // 0644 or 0755
	Link string
	Size int64

	stat stat
	sum  string // SHA-256 of the content, in hex, once Digest has run
}

// stat is what tells that a file has changed.
type stat struct {
	Size, MTime, CTime int64 // bytes, nanoseconds
	Inode              uint64
}

func statOf(fi fs.FileInfo) stat {
	s := stat{Size: fi.Size(), MTime: fi.ModTime().UnixNano()}
	if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode = sys.Ino
		s.CTime = sys.Ctim.Nano()
	}
	return s
}

// Tree is what a walk found, sorted as it was walked: by folder, then by name.
type Tree struct {
	Root  string
	Files []File
}

// Walk finds the files. It reads no content but the ignore file's.
func Walk(ctx context.Context, o Options) (*Tree, error) {
	m, err := newMatcher(o)
	if err != nil {
		return nil, err
	}
	t := &Tree{Root: o.Root}
	if fi, err := os.Stat(o.Root); err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the source: %w", err))
	} else if !fi.IsDir() {
		t.Root = filepath.Dir(o.Root)
		return t, t.add(filepath.Base(o.Root), fi)
	}
	err = filepath.WalkDir(o.Root, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		rel, rerr := filepath.Rel(o.Root, p)
		if err := errors.Join(err, rerr); err != nil {
			return unreadable(rel, err)
		}
		rel = filepath.ToSlash(rel)
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
		fi, err := d.Info()
		if err != nil {
			return unreadable(rel, err)
		}
		return t.add(rel, fi)
	})
	return t, err
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
	f := File{Path: rel, Mode: 0o644, stat: statOf(fi)}
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
		if err := checkLink(rel, f.Link); err != nil {
			return err
		}
	default:
		return hint.Wrap(hint.Usage(fmt.Errorf("reading the source: %s is a %s, which no image can hold", rel, kindOf(mode))),
			"leave it out: [tool.jubako] exclude = [%q]", rel)
	}
	t.Files = append(t.Files, f)
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	default:
		return "device"
	}
}

// checkLink refuses a link that leads out of the source: in the image it would lead nowhere, or to something else.
func checkLink(rel, target string) error {
	at := path.Join(path.Dir(rel), filepath.ToSlash(target))
	if !path.IsAbs(target) && at != ".." && !strings.HasPrefix(at, "../") {
		return nil
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("reading the source: the link %s leads out of it, to %s", rel, target)),
		"leave it out (exclude = [%q]), or bring the files in with [[tool.jubako.copy]]", rel)
}

// matcher decides what is left out.
type matcher struct {
	ignore, standing, include *patternmatcher.PatternMatcher
}

func newMatcher(o Options) (*matcher, error) {
	var patterns []string
	if o.Ignorefile != "" {
		b, err := os.ReadFile(o.Ignorefile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the source: %w", err)
		}
		if patterns, err = parseIgnore(b); err != nil {
			return nil, hint.Usage(fmt.Errorf("reading %s: %w", o.Ignorefile, err))
		}
	}
	var m matcher
	fixed := standing
	if o.NoStanding {
		fixed = nil
	}
	for _, x := range []struct {
		to       **patternmatcher.PatternMatcher
		patterns []string
		what     string
	}{{&m.ignore, append(patterns, o.Exclude...), cmpName(o.Ignorefile)}, {&m.standing, fixed, "the standing exclusions"}, {&m.include, o.Include, "include"}} {
		pm, err := patternmatcher.New(x.patterns)
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("reading the patterns of %s: %w", x.what, err))
		}
		*x.to = pm
	}
	return &m, nil
}

func cmpName(file string) string {
	if file == "" {
		return "exclude"
	}
	return filepath.Base(file) + " and exclude"
}

func parseIgnore(b []byte) ([]string, error) {
	if len(b) > maxIgnore {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(b), maxIgnore)
	}
	return ignorefile.ReadAll(bytes.NewReader(b))
}

// match says whether a path is left out, and, for a folder, whether nothing below it can be wanted all the same.
func (m *matcher) match(rel string) (excluded, prune bool, err error) {
	ignored, err1 := m.ignore.MatchesOrParentMatches(rel)
	fixed, err2 := m.standing.MatchesOrParentMatches(rel)
	wanted, err3 := m.include.MatchesOrParentMatches(rel)
	if err := errors.Join(err1, err2, err3); err != nil {
		return false, false, hint.Usage(fmt.Errorf("matching %s: %w", rel, err))
	}
	if wanted || !ignored && !fixed {
		return false, false, nil
	}
	// A pattern with "!" may bring back what lies in a folder that is left out, and so may include.
	return true, len(m.include.Patterns()) == 0 && (fixed || !m.ignore.Exclusions()), nil
}

// content is a file of the tree, as a layer reads it.
type content struct {
	file string
	want stat
}

func (c content) Size() int64 { return c.want.Size }

// Open refuses a file that is not the one that was hashed.
func (c content) Open() (io.ReadCloser, error) {
	f, err := os.Open(c.file)
	if err != nil {
		return nil, unreadable(c.file, err)
	}
	fi, err := f.Stat()
	if err == nil && statOf(fi) != c.want {
		err = hint.Wrap(fmt.Errorf("%s changed while the image was built", c.file), "build again when nothing writes there")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Content gives what a file of the tree holds.
func (t *Tree) Content(f File) fstree.Content {
	return content{filepath.Join(t.Root, filepath.FromSlash(f.Path)), f.stat}
}
