// Package project makes the layer of the projects themselves, as uv installs them beside what they depend on: an editable
// project's metadata, scripts and .pth file, or a built one's modules.
package project

import (
	"context"
	"fmt"
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
	Venv          wheel.Venv
	// DirectURL is the record of where the project comes from.
	DirectURL *wheel.DirectURL
	// Source is how the app layer walks the source, so that a project that is not editable keeps to .dockerignore as well.
	// nil leaves out only what is left out always.
	Source *source.Options
	Store  *cas.Store // remembers files that have not changed; may be nil
	Now    time.Time
}

// Layer is the project layer. It implements layers.Layer.
type Layer struct {
	parts []part
	venv  wheel.Venv
}

type part struct {
	o       Options
	build   *pybuild.Build
	sources []sourceKey
}

// sourceKey is what a part of the source tree adds to the key: its files, and where in the wheel they lie.
type sourceKey struct{ Digest, To string }

// New describes the layer of the projects of one environment. What cannot be installed without running a build backend is
// refused here.
func New(ctx context.Context, all ...Options) (*Layer, error) {
	l := &Layer{}
	for _, o := range all {
		b, err := pybuild.New(ctx, pybuild.Options{Dir: o.Dir, ImageDir: o.ImageDir, Pyproject: o.Pyproject, Editable: o.Editable, Name: o.Name, Version: o.Version, Source: o.Source})
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
		l.parts, l.venv = append(l.parts, p), o.Venv
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
	s := l.parts[0].build.Name + " " + l.parts[0].build.Version
	if l.parts[0].o.Editable {
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
		in.Projects = append(in.Projects, project{p.o.ImageDir, p.o.Editable, string(origin), p.build.Inputs(), p.sources})
	}
	return layers.KeyOf("project", in)
}

// Tree installs the projects.
func (l *Layer) Tree(context.Context) (*fstree.Tree, error) {
	var t fstree.Tree
	for _, p := range l.parts {
		w, err := p.build.Wheel()
		if err != nil {
			return nil, err
		}
		opts := wheel.InstallOptions{DirectURL: p.o.DirectURL}
		if err := wheel.Install(&t, w, l.venv, opts); err != nil {
			return nil, fmt.Errorf("installing the project %s: %w", p.build.Name, err)
		}
	}
	return &t, nil
}

// Close has nothing to release.
func (l *Layer) Close() error { return nil }
