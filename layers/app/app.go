// Package app makes the layer with the project's own files: the source tree below the working folder, what was made
// elsewhere and is copied in, and the empty folders that the service writes to.
package app

import (
	"context"
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
	Workdir  string // image path
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
	files   int
}

// New hashes the parts, for the key. The store, which may be nil, remembers files that have not changed; now is the time
// of day.
func New(ctx context.Context, o Options, store *cas.Store, now time.Time) (*Layer, error) {
	l := &Layer{o: o}
	for _, p := range o.Parts {
		d, err := p.Tree.Digest(ctx, store, now)
		if err != nil {
			return nil, err
		}
		l.digests = append(l.digests, d)
		for _, f := range p.Tree.Files {
			if f.Kind != fstree.Dir {
				l.files++
			}
		}
	}
	return l, nil
}

// Name is "app".
func (l *Layer) Name() string { return "app" }

// Summary counts the files: "412 files".
func (l *Layer) Summary() string { return fmt.Sprintf("%d files", l.files) }

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

// Tree lays the parts over one another.
func (l *Layer) Tree(context.Context) (*fstree.Tree, error) {
	var t fstree.Tree
	dir := func(p string, uid, gid int, producer string) fstree.Entry {
		return fstree.Entry{Path: p, Kind: fstree.Dir, Mode: 0o755, UID: uid, GID: gid, Producer: producer}
	}
	if err := t.Add(dir(l.o.Workdir, l.o.UID, l.o.GID, "workdir")); err != nil {
		return nil, err
	}
	for _, p := range l.o.Parts {
		if err := l.add(&t, p); err != nil {
			return nil, err
		}
	}
	for _, w := range l.o.Writable {
		e := dir(w, l.o.WriteUID, l.o.WriteGID, "writable")
		if old, ok := t.Lookup(w); ok && old.Kind != fstree.Dir {
			return nil, hint.Usage(&fstree.ConflictError{Path: w, First: old, Second: e})
		}
		if err := t.Replace(e); err != nil {
			return nil, err
		}
		// The folders between the working folder and a writable one are the project's.
		for up := path.Dir(w); strings.HasPrefix(up, l.o.Workdir+"/"); up = path.Dir(up) {
			if err := t.Add(dir(up, l.o.UID, l.o.GID, "writable")); err != nil {
				return nil, hint.Usage(err)
			}
		}
	}
	return &t, nil
}

func (l *Layer) add(t *fstree.Tree, p Part) error {
	for _, f := range p.Tree.Files {
		to := path.Join(p.To, f.Path)
		if p.File {
			to = p.To
		}
		e := fstree.Entry{Path: to, Kind: f.Kind, Mode: f.Mode, UID: l.o.UID, GID: l.o.GID, Link: f.Link, Producer: p.Name}
		if f.Kind == fstree.File {
			e.Content = p.Tree.Content(f)
		}
		if old, ok := t.Lookup(to); ok && old.Kind != fstree.Dir && e.Kind != fstree.Dir {
			if err := t.Replace(e); err != nil {
				return err
			}
			continue
		}
		if err := t.Add(e); err != nil {
			return hint.Usage(err)
		}
	}
	return nil
}

// Close has nothing to release.
func (l *Layer) Close() error { return nil }
