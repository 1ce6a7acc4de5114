// Package project makes the layer of the projects themselves, as uv installs them beside what they depend on: an editable
// project's metadata, scripts and .pth file, or a built one's modules.
package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/pybuild"
	"github.com/jubako/jubako/pkg/source"
	"github.com/jubako/jubako/pkg/wheel"
)

// Options describe one project.
type Options struct {
	Dir           string // on this machine
	ImageDir      string // in the image, absolute
	Pyproject     []byte
	Editable      bool
	Name, Version string // as locked
	Repository    string // as in pybuild.Options
	Venv          wheel.Venv
	// DirectURL is the record of where the project comes from.
	DirectURL *wheel.DirectURL
	// Source is how the app layer walks the source, so that a project that is not editable keeps to .dockerignore as well.
	// nil leaves out only what is left out always.
	Source *source.Options
	Store  *cas.Store // remembers files that have not changed; may be nil
	Now    time.Time
	// Backend is asked for a project that cannot be installed without running its build backend; refused says why. Where it is
	// nil, such a project is an error.
	Backend func(ctx context.Context, refused *pybuild.RefusedError) (*Built, error)
}

// Built is a project whose wheel its backend makes.
type Built struct {
	Key  string // of the build: equal keys, equal wheels
	Open func(context.Context) (Opened, error)
}

// Opened is a wheel that can be read.
type Opened struct {
	io.ReaderAt
	io.Closer
	Size     int64 // in bytes
	Filename string
}

// Layer is the project layer. It implements layers.Layer.
type Layer struct {
	parts []part
	venv  wheel.Venv
	open  []io.Closer
}

type part struct {
	o       Options
	build   *pybuild.Build // nil where the backend runs
	built   *Built
	sources []sourceKey
}

// sourceKey is what a part of the source tree adds to the key: its files, and where in the wheel they lie.
type sourceKey struct{ Digest, To string }

// New describes the layer of the projects of one environment. What cannot be installed without running a build backend is
// left to Options.Backend.
func New(ctx context.Context, all ...Options) (*Layer, error) {
	l := &Layer{}
	for _, o := range all {
		l.venv = o.Venv
		b, err := pybuild.New(ctx, pybuild.Options{Dir: o.Dir, ImageDir: o.ImageDir, Pyproject: o.Pyproject, Editable: o.Editable, Name: o.Name, Version: o.Version, Source: o.Source, Repository: o.Repository})
		if refused, ok := errors.AsType[*pybuild.RefusedError](err); ok && o.Backend != nil {
			built, err := o.Backend(ctx, refused)
			if err != nil {
				return nil, err
			}
			l.parts = append(l.parts, part{o: o, built: built})
			continue
		}
		if err != nil {
			return nil, err
		}
		p := part{o: o, build: b}
		for _, s := range b.Sources {
			d, err := s.Tree.Digest(ctx, o.Store, o.Now)
			if err != nil {
				return nil, err
			}
			p.sources = append(p.sources, sourceKey{d, s.To})
		}
		l.parts = append(l.parts, p)
	}
	return l, nil
}

// Name is "project".
func (l *Layer) Name() string { return "project" }

// Summary is "chordify 1.4.0 (editable)", or "3 projects".
func (l *Layer) Summary() string {
	if len(l.parts) != 1 {
		return fmt.Sprintf("%d projects", len(l.parts))
	}
	p := l.parts[0]
	s := strings.TrimSpace(p.o.Name + " " + p.o.Version)
	if p.build != nil {
		s = p.build.Name + " " + p.build.Version
	}
	if p.o.Editable {
		s += " (editable)"
	}
	return s
}

// Key depends on the wheels' content and on where they are installed.
func (l *Layer) Key() layers.Key {
	type project struct {
		ImageDir string
		Editable bool
		Origin   string // direct_url.json
		Inputs   any
		Sources  []sourceKey
		Build    string `json:",omitempty"`
	}
	in := struct {
		Venv     wheel.Venv
		Projects []project
	}{Venv: l.venv}
	for _, p := range l.parts {
		var origin []byte
		if p.o.DirectURL != nil {
			origin, _ = p.o.DirectURL.JSON() // of strings and booleans: it cannot fail
		}
		x := project{ImageDir: p.o.ImageDir, Editable: p.o.Editable, Origin: string(origin), Sources: p.sources}
		if p.build != nil {
			x.Inputs = p.build.Inputs()
		} else {
			x.Build = p.built.Key
		}
		in.Projects = append(in.Projects, x)
	}
	return layers.KeyOf("project", in)
}

// Tree installs the projects.
func (l *Layer) Tree(ctx context.Context) (*fstree.Tree, error) {
	var t fstree.Tree
	for _, p := range l.parts {
		if err := l.install(ctx, &t, p); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return &t, nil
}

func (l *Layer) install(ctx context.Context, t *fstree.Tree, p part) error {
	w, err := l.wheel(ctx, p)
	if err != nil {
		return err
	}
	if err := wheel.Install(t, w, l.venv, wheel.InstallOptions{DirectURL: p.o.DirectURL}); err != nil {
		return fmt.Errorf("installing the project %s: %w", p.o.Name, err)
	}
	return nil
}

func (l *Layer) wheel(ctx context.Context, p part) (wheel.Source, error) {
	if p.build != nil {
		return p.build.Wheel()
	}
	opened, err := p.built.Open(ctx)
	if err != nil {
		return nil, err
	}
	l.open = append(l.open, opened)
	return wheel.Open(opened, opened.Size, opened.Filename)
}

// Close closes the wheels that backends have made.
func (l *Layer) Close() error {
	var errs []error
	for _, c := range l.open {
		errs = append(errs, c.Close())
	}
	l.open = nil
	return errors.Join(errs...)
}
