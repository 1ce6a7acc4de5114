// Package app makes the layer with the project's own files: the source tree below the working folder, what was made
// elsewhere and is copied in, and the empty folders that the service writes to.
package app

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/source"
)

// Part is a tree of files and the place where it goes.
type Part struct {
	Tree *source.Tree
	To   string // image path of a folder, "app"; of the file itself where File is set
	File bool   // the tree is a single file, which gets To as its path
	Name string // for messages: "the source tree"
}

// Options says what the layer holds. Later parts replace files of earlier ones, as a later COPY does.
type Options struct {
	Workdir  string // image path; "" where the working folder is the root
	Parts    []Part
	UID, GID int // owner of everything but Writable
	// Writable are image paths of folders that belong to WriteUID:WriteGID, made where no part has them.
	Writable           []string
	WriteUID, WriteGID int
}

// Layer is the app layer. It implements layers.Layer.
type Layer struct {
	o       Options
	digests []string
	files   int // paths that are no folders, each counted once
}

// New hashes the parts, for the key. The store, which may be nil, remembers files that have not changed; now is the time
// of day.
func New(ctx context.Context, o Options, store *cas.Store, now time.Time) (*Layer, error) {
	l := &Layer{o: o}
	seen := make(map[string]bool)
	for _, p := range o.Parts {
		d, err := p.Tree.Digest(ctx, store, now)
		if err != nil {
			return nil, err
		}
		l.digests = append(l.digests, d)
		for _, f := range p.Tree.Files {
			if f.Kind != fstree.Dir {
				seen[p.at(f)] = true
			}
		}
	}
	l.files = len(seen)
	return l, nil
}

// Name is "app".
func (l *Layer) Name() string { return "app" }

// Summary counts the files: "412 files".
func (l *Layer) Summary() string {
	if l.files == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", l.files)
}

// Key depends on every file's path, mode and content, on where they go and on who owns them.
func (l *Layer) Key() layers.Key {
	type part struct {
		Digest, To string
		File       bool
	}
	in := struct {
		Workdir            string
		Parts              []part
		UID, GID           int
		Writable           []string
		WriteUID, WriteGID int
	}{l.o.Workdir, nil, l.o.UID, l.o.GID, l.o.Writable, l.o.WriteUID, l.o.WriteGID}
	for i, p := range l.o.Parts {
		in.Parts = append(in.Parts, part{l.digests[i], p.To, p.File})
	}
	return layers.KeyOf("app", in)
}

// Tree lays the parts over one another. A file that comes again takes the place of the earlier one; a folder that would
// become a file, or a file a folder, is a *fstree.ConflictError.
func (l *Layer) Tree(context.Context) (*fstree.Tree, error) {
	var t fstree.Tree
	if l.o.Workdir != "" {
		if err := t.Add(l.dir(l.o.Workdir, "the working folder")); err != nil {
			return nil, err
		}
	}
	for _, p := range l.o.Parts {
		if err := l.add(&t, p); err != nil {
			return nil, clash(err)
		}
	}
	for _, w := range l.o.Writable {
		if err := l.parents(&t, w, "writable"); err != nil {
			return nil, clash(err)
		}
		e := l.dir(w, "writable")
		e.UID, e.GID = l.o.WriteUID, l.o.WriteGID
		if old, ok := t.Lookup(w); ok && old.Kind != fstree.Dir {
			return nil, clash(&fstree.ConflictError{Path: w, First: old, Second: e})
		}
		if err := t.Replace(e); err != nil {
			return nil, err
		}
	}
	return &t, nil
}

// clash says what to do about two claims to one path.
func clash(err error) error {
	return hint.Wrap(hint.Usage(err), "leave one of the two out with [tool.jubako] exclude, or give a [[tool.jubako.copy]] or writable another place")
}

func (l *Layer) dir(p, producer string) fstree.Entry {
	return fstree.Entry{Path: p, Kind: fstree.Dir, Mode: 0o755, UID: l.o.UID, GID: l.o.GID, Producer: producer}
}

// parents makes the folders between the working folder and a path, which are the project's like everything else: a folder
// that is left out save for some files is not among the source's, and neither is one that only a copy needs.
func (l *Layer) parents(t *fstree.Tree, p, producer string) error {
	for up := path.Dir(p); up != "." && up != l.o.Workdir; up = path.Dir(up) {
		if l.o.Workdir != "" && !strings.HasPrefix(up, l.o.Workdir+"/") {
			return nil
		}
		if old, ok := t.Lookup(up); ok && old.Kind == fstree.Dir {
			return nil
		}
		if err := t.Add(l.dir(up, producer)); err != nil {
			return err
		}
	}
	return nil
}

// at is the image path of a file of the part.
func (p Part) at(f source.File) string {
	if p.File {
		return p.To
	}
	return path.Join(p.To, f.Path)
}

func (l *Layer) add(t *fstree.Tree, p Part) error {
	if !p.File && p.To != l.o.Workdir { // also where nothing lies in it
		if err := errors.Join(l.parents(t, p.To, p.Name), t.Add(l.dir(p.To, p.Name))); err != nil {
			return err
		}
	}
	for _, f := range p.Tree.Files {
		e := fstree.Entry{Path: p.at(f), Kind: f.Kind, Mode: f.Mode, UID: l.o.UID, GID: l.o.GID, Link: f.Link, Producer: p.Name}
		if f.Kind == fstree.File {
			e.Content = p.Tree.Content(f)
		}
		if err := l.parents(t, e.Path, p.Name); err != nil {
			return err
		}
		if old, ok := t.Lookup(e.Path); ok && old.Kind != fstree.Dir && e.Kind != fstree.Dir {
			if err := t.Replace(e); err != nil {
				return err
			}
			continue
		}
		if err := t.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// Close has nothing to release.
func (l *Layer) Close() error { return nil }
