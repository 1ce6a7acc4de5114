// Package venv is the layer that holds the virtual environment: what uv would have installed from the lock, without uv
// and without a Python.
//
// A Layer is the environment itself and any number of packages; with Options.NoSkeleton it is packages alone, so that
// one environment can be a list of layers: see Layers and Divide.
//
// It imports layers, pkg/base, pkg/cas, pkg/fstree, pkg/hint, pkg/pep508 and pkg/wheel.
package venv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// Options describe the environment.
type Options struct {
	// Name is the layer's; "venv" where it is "".
	Name string
	// Path is the environment's image path: "app/.venv".
	Path string
	// Python is the base's.
	Python   base.Python
	UID, GID int
	// NoSkeleton leaves out the environment itself: the layer is packages for one that another layer holds.
	NoSkeleton bool
	Packages   []Package
	// Most is how many layers Layers may make of the packages: for an image of a base that has many. 0 is as many as it likes, which is maxLayers.
	Most int
	// Jobs is how many wheels are fetched and opened at once; the number of processors where it is 0.
	Jobs int
	// Warn is told, in one line, what a person should know of the result. It may be nil.
	Warn func(string)

	// Of a layer among several (Layers): its place among them, what they are together, and what they share.
	rank   int
	whole  string
	claims *claims
}

// Package is one package to install, and the wheel that was chosen for it.
type Package struct {
	Name, Version string
	Filename      string // the wheel's
	SHA256        string // of the wheel, 64 hex digits: who opens it has verified it
	// Build, where it is set, is the key of the wheel's build, in place of Filename and SHA256: the wheel is built from source
	// when it is opened, and its filename is not known before.
	Build string
	// Requires names the packages that this one depends on in the image. It decides whose file is taken where two
	// packages bring one path.
	Requires []string
	// Size is the wheel's in bytes as far as the lock has it, for Divide; it is no part of the key.
	Size int64
	// AskWheel says that the wheel's own METADATA tells what it requires: the lock does not.
	AskWheel bool
	// DirectURL is set for a package that is not from an index.
	DirectURL *wheel.DirectURL
	// Open fetches the wheel, unless it is at hand, and opens it. It is called by several goroutines at once, and only
	// by Layer.Tree; its context ends with Tree, and what it opened is read until Layer.Close.
	Open func(context.Context) (Opened, error)
}

// Opened is a wheel that can be read. Several goroutines read it at once.
type Opened struct {
	io.ReaderAt
	io.Closer
	Size int64 // in bytes
	// Filename is the wheel's, where Package does not know it.
	Filename string
}

// Layer is the environment. It implements layers.Layer.
type Layer struct {
	options  Options
	packages []located // by name, then version
	venv     wheel.Venv
	key      layers.Key

	mu   sync.Mutex
	open []io.Closer
}

// located is a package with its wheel's filename taken apart.
type located struct {
	Package
	filename wheel.Filename
}

var _ layers.Part = (*Layer)(nil)

// New describes the layer. It refuses a wheel that bears another package's name or version, and two versions of one
// package.
func New(o Options) (*Layer, error) {
	l := &Layer{options: o, venv: wheel.Venv{
		Path: o.Path, Python: fmt.Sprintf("%d.%d", o.Python.Major, o.Python.Minor), FreeThreaded: o.Python.FreeThreaded,
		UID: o.UID, GID: o.GID, Interpreter: o.Python.Path, FullVersion: o.Python.Version,
	}}
	for _, p := range o.Packages {
		f, err := locate(p)
		if err != nil {
			return nil, fmt.Errorf("package %q %s: %w", p.Name, p.Version, err)
		}
		l.packages = append(l.packages, located{Package: p, filename: f})
	}
	slices.SortFunc(l.packages, func(a, b located) int {
		return cmp.Or(strings.Compare(a.filename.Name, b.filename.Name), strings.Compare(a.Version, b.Version))
	})
	for i := 1; i < len(l.packages); i++ {
		if a, b := l.packages[i-1], l.packages[i]; a.filename.Name == b.filename.Name {
			return nil, fmt.Errorf("package %q is wanted in two versions, %s and %s", b.Name, a.Version, b.Version)
		}
	}
	l.key = l.makeKey()
	return l, nil
}

// locate takes the filename of a package's wheel apart. Of one that is yet to be built, name and version are known.
func locate(p Package) (wheel.Filename, error) {
	if p.Build == "" {
		if !cas.ValidDigest(p.SHA256) {
			return wheel.Filename{}, fmt.Errorf("the hash of wheel %s is not known", p.Filename)
		}
		return checkFilename(p, p.Filename)
	}
	if len(p.Build) != 64 || p.SHA256 != "" || p.Filename != "" {
		return wheel.Filename{}, errors.New("it is yet to be built, and its build has no key, or its wheel one")
	}
	return wheel.Filename{Name: pep508.Normalize(p.Name), Version: p.Version}, nil
}

// checkFilename holds a wheel's filename against its package. A filename's local version may be missing in the lock.
func checkFilename(p Package, filename string) (wheel.Filename, error) {
	f, err := wheel.ParseFilename(filename)
	if err != nil {
		return f, err
	}
	if f.Name != pep508.Normalize(p.Name) {
		return f, fmt.Errorf("wheel %s is another package's", filename)
	}
	if p.Build != "" && p.Version == "" {
		return f, nil // of source whose version is computed
	}
	want, err := pep508.ParseVersion(p.Version)
	if err != nil {
		return f, err
	}
	got, err := pep508.ParseVersion(f.Version)
	if err != nil {
		return f, err
	}
	if want.Compare(got) != 0 && want.Compare(got.Public()) != 0 {
		return f, fmt.Errorf("wheel %s is of another version", filename)
	}
	return f, nil
}

// Name is the word for the layer: "venv".
func (l *Layer) Name() string { return cmp.Or(l.options.Name, "venv") }

// Summary says which package it is, or how many there are.
func (l *Layer) Summary() string {
	switch n := len(l.packages); {
	case n == 1:
		return l.packages[0].Name + " " + l.packages[0].Version
	case n == 0 && l.options.claims != nil:
		return "the environment itself"
	default:
		return fmt.Sprintf("%d packages", n)
	}
}

// Whole says what the layer and those that it is one of hold.
func (l *Layer) Whole() string { return cmp.Or(l.options.whole, l.Summary()) }

// Key holds everything that the bytes depend on; where the wheels come from is no part of it.
func (l *Layer) Key() layers.Key { return l.key }

func (l *Layer) makeKey() layers.Key {
	type pkg struct {
		Filename, SHA256 string
		Requires         []string         `json:",omitempty"`
		AskWheel         bool             `json:",omitempty"`
		DirectURL        *wheel.DirectURL `json:",omitempty"`
		GitPath          string           `json:",omitempty"`
		Build            string           `json:",omitempty"`
	}
	inputs := struct {
		Venv       wheel.Venv
		NoSkeleton bool
		Packages   []pkg
	}{Venv: l.venv, NoSkeleton: l.options.NoSkeleton}
	if l.options.NoSkeleton {
		inputs.Venv.Interpreter, inputs.Venv.FullVersion = "", ""
	}
	requires := l.requires()
	for i, p := range l.packages {
		in := pkg{Filename: p.Filename, SHA256: p.SHA256, AskWheel: p.AskWheel, DirectURL: p.DirectURL, Build: p.Build}
		for _, j := range requires[i] {
			in.Requires = append(in.Requires, l.packages[j].filename.Name)
		}
		if p.DirectURL != nil && p.DirectURL.VCS != nil {
			in.GitPath = p.DirectURL.VCS.Path
		}
		inputs.Packages = append(inputs.Packages, in)
	}
	return layers.KeyOf("venv", inputs)
}

// requires gives for each package the sorted indexes of those among the others that it names.
func (l *Layer) requires() [][]int {
	index := make(map[string]int, len(l.packages))
	for i, p := range l.packages {
		index[p.filename.Name] = i
	}
	all := make([][]int, len(l.packages))
	for i, p := range l.packages {
		for _, name := range p.Requires {
			if j, ok := index[pep508.Normalize(name)]; ok && j != i {
				all[i] = append(all[i], j)
			}
		}
		slices.Sort(all[i])
		all[i] = slices.Compact(all[i])
	}
	return all
}

// Tree opens every wheel, several at once, and says which files the environment then holds.
func (l *Layer) Tree(ctx context.Context) (*fstree.Tree, error) {
	trees := make([]*fstree.Tree, len(l.packages))
	g, opening := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(max(l.options.Jobs, 0), runtime.GOMAXPROCS(0)))
	for i := range l.packages {
		g.Go(func() (err error) {
			if err := opening.Err(); err != nil {
				return err
			}
			trees[i], err = l.install(opening, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	tree := &fstree.Tree{}
	if len(trees) == 1 && l.options.NoSkeleton { // nothing to put together
		tree, trees = trees[0], nil
	}
	if !l.options.NoSkeleton {
		if err := l.venv.Skeleton(tree); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	m := merger{packages: l.packages, tree: tree, owner: make(map[string]int), requires: l.requires()}
	for i, t := range trees {
		if err := m.merge(ctx, i, t); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		trees[i] = nil
	}
	if l.options.Warn != nil {
		for _, w := range m.warnings() {
			l.options.Warn(w)
		}
	}
	if l.options.claims != nil {
		if err := l.options.claims.take(l.options.rank, tree, l.options.Warn); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return tree, nil
}

// install makes the tree of one package. The wheel stays open until Close.
func (l *Layer) install(ctx context.Context, i int) (*fstree.Tree, error) {
	p := l.packages[i]
	opened, err := p.Open(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.open = append(l.open, opened)
	l.mu.Unlock()
	filename := p.Filename
	if p.Build != "" {
		filename = opened.Filename
		if l.packages[i].filename, err = checkFilename(p.Package, filename); err != nil {
			return nil, fmt.Errorf("package %q %s: %w", p.Name, p.Version, err)
		}
	}
	archive, err := wheel.Open(opened, opened.Size, filename)
	if err != nil {
		return nil, err
	}
	if _, err := archive.Repack(); err != nil {
		return nil, err
	}
	if p.AskWheel {
		if l.packages[i].Requires, err = wheel.Requires(archive); err != nil {
			return nil, err
		}
	}
	tree := &fstree.Tree{}
	return tree, wheel.Install(tree, archive, l.venv, wheel.InstallOptions{DirectURL: p.DirectURL})
}

// Close closes the wheels.
func (l *Layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, c := range l.open {
		errs = append(errs, c.Close())
	}
	l.open = nil
	return errors.Join(errs...)
}
