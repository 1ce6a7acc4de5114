package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/pins"
	"github.com/jubako/jubako/pkg/wheel"
)

// inputs are what a build reads before it knows its platforms.
type inputs struct {
	lock    locked.Lock
	lockDir string // absolute
	// parseLater leaves it to inStep to parse a uv.lock, if it has to be.
	parseLater bool
	// What pyproject.toml asks of the Python, for the project and for its groups.
	requiresPython pep508.Specifiers
	groupPython    map[string]pep508.Specifiers
	base           *base.Opened
	baseName       string     // as it was asked for
	pins           *pins.File // jubako.lock; nil where there is none
	pinned         bool       // by it
}

// annotationName is the base's name as the image's annotation gives it: a registry's, and no path of this machine.
func (in *inputs) annotationName() string {
	if in.base.Repository == nil {
		return ""
	}
	return in.baseName
}

// gather reads the lock and finds the base.
func (b *builder) gather(ctx context.Context) error {
	p := b.spec.Project
	if outside(p.InSource()) {
		return hint.Usage(fmt.Errorf("source = %q does not hold the project's own folder", p.Config.Source))
	}
	in := &inputs{baseName: cmp.Or(b.spec.Base, p.Config.Base), parseLater: true}
	b.in = in
	b.beginBase(ctx)
	if err := in.readLock(p.Dir, b.spec.Lock); err != nil {
		return err
	}
	if err := in.requirePython(p.RequiresPython, p.GroupPython); err != nil {
		return fmt.Errorf("reading %s: %w", p.File, err)
	}
	if err := b.inStep(in.lock); err != nil {
		return err
	}
	b.begin(ctx)
	if b.begun.base != nil {
		return b.begun.base.wait()
	}
	if in.baseName == "" {
		var why string
		in.baseName, why = b.defaultBase(in.lock)
		b.note("using base = %q (%s)", in.baseName, why)
	}
	return b.openBase(ctx, in)
}

// defaultBase is the base where none is named.
func (b *builder) defaultBase(l locked.Lock) (name, why string) {
	minor, why := b.pythonMinor(l)
	return fmt.Sprintf("python:3.%d-slim", minor), why
}

var minorRE = lazyre.New(`^(?:cpython-?)?3\.([0-9]+)`)

// The minor versions that are thought of, and the one where nothing tells.
const (
	lowestMinor, highestMinor = 8, 16
	usualMinor                = 12
)

// pythonMinor chooses the Python of the base: what .python-version asks for, else the lowest that requires-python and the
// locked wheels allow.
func (b *builder) pythonMinor(l locked.Lock) (minor int, why string) {
	if m := minorRE().FindStringSubmatch(b.spec.Project.PythonVersion); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n, ".python-version asks for it"
		}
	}
	lowest := 0
	for n := lowestMinor; n <= highestMinor; n++ {
		env, err := pep508.LinuxEnv(fmt.Sprintf("3.%d.99", n), base.Machine(b.Host.Architecture))
		if err != nil || !l.RequiresPython().Contains(env.PythonFullVersion().Base()) || !b.in.requiresPython.Contains(env.PythonFullVersion().Base()) {
			continue
		}
		if lowest == 0 {
			lowest = n
		}
		tags := wheel.TagsFor(wheel.Target{Major: 3, Minor: n, Arch: base.Machine(b.Host.Architecture), Libc: "glibc", LibcMajor: 2, LibcMinor: 41})
		if b.wheelsFor(l, env, tags) {
			return n, "the lowest Python that requires-python and the locked wheels allow"
		}
	}
	if lowest > 0 {
		return lowest, "the lowest Python that requires-python allows"
	}
	return usualMinor, "nothing asks for another Python"
}

// wheelsFor says whether every package has a wheel for a target.
func (b *builder) wheelsFor(l locked.Lock, env pep508.Env, tags wheel.Tags) bool {
	selected, err := l.Select(b.request(), env)
	if err != nil {
		return false
	}
	build := b.buildOptions()
	for _, s := range selected {
		if s.Source.Local() || s.Source.Kind == locked.Git || len(s.Hashes) > 0 {
			continue // nothing tells before it is looked at
		}
		if len(s.Wheels) == 0 && s.Sdist != nil && build.CheckBuild(s.Package) == nil {
			continue // what has no wheel for any Python is built for this one
		}
		if _, err := s.ChooseWheel(tags, build); err != nil {
			return false
		}
	}
	return true
}

// openBase opens the base, at the digest that jubako.lock has for it.
func (b *builder) openBase(ctx context.Context, in *inputs) error {
	src, err := base.ParseSource(in.baseName)
	if err != nil {
		return err
	}
	if in.pins, err = pins.Read(filepath.Join(b.spec.Project.Dir, pins.Name)); err != nil {
		return err
	}
	src, in.pinned = in.pins.Pinned(src)
	if !in.pinned && b.spec.FrozenBase {
		return hint.Wrap(hint.Usage(fmt.Errorf("the base %s is not pinned by %s", in.baseName, pins.Name)), "jubako lock pins it")
	}
	opened, err := b.open(ctx, src)
	if err != nil {
		return err
	}
	if in.pinned {
		if err := in.pins.Holds(opened); err != nil {
			return errors.Join(err, opened.Close())
		}
	} else if src.Kind == base.Registry && !strings.Contains(in.baseName, "@") {
		b.note("the base is not pinned: jubako lock writes its digest to %s", pins.Name)
	}
	in.base = opened
	return nil
}
