// Package pybuild does what a Python project's build backend would do when uv installs the project itself, for projects
// whose configuration is static: it runs nothing. What needs the backend's own code is refused, with the reason.
//
// It may import pkg/wheel, pkg/source, pkg/pep508 and what lies below.
package pybuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/source"
	"github.com/jubako/jubako/pkg/wheel"
)

// maxPyproject bounds pyproject.toml in bytes, maxText a file that is put into the metadata.
const (
	maxPyproject = 4 << 20
	maxText      = 4 << 20
)

// Options says which project is installed, and where its source stands in the image.
type Options struct {
	Dir       string // on this machine
	ImageDir  string // in the image, absolute
	Pyproject []byte
	Editable  bool
	Name      string // as locked
	Version   string // as locked; "" where the lock has none
	// Repository is the folder at or above Dir in which a source lies that comes from strangers: their links are followed within it
	// alone. "" follows all, since whose the source is may read what they lead to.
	Repository string
	// Source is how the app layer walks the source: what it leaves out is left out of a wheel as well. nil leaves out only
	// what is left out always.
	Source *source.Options
}

// Build is a project's wheel in the making.
type Build struct {
	Name, Version string
	spec          wheel.SyntheticSpec
	// Sources are the trees whose files are in the wheel, each below a folder of it.
	Sources []Source
}

// Source is a part of the source tree that is copied into a wheel.
type Source struct {
	Tree *source.Tree
	To   string // path in the wheel
}

// RefusedError says why a project cannot be installed without running its backend.
type RefusedError struct {
	Project, Backend, Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the project %s (build backend %s) cannot be installed without running its backend: %s", e.Project, e.Backend, e.Reason)
}

// refusal is the reason of a *RefusedError, where project and backend are not known.
type refusal string

func (r refusal) Error() string { return string(r) }

// backend knows one build backend: where modules lie, and what its wheels are made of. Errors of its functions are reasons
// to refuse the project.
type backend struct {
	name string
	// licences are the patterns of licence files where the project names none (PEP 639).
	licences []string
	// check refuses what is not static.
	check func(p *pyproject, l *look) error
	// version reads a version that is not in [project]; nil where the backend computes it.
	version func(p *pyproject, l *look) (string, error)
	// modules finds the packages and modules of the project.
	modules func(p *pyproject, l *look) ([]module, error)
	// pth gives the editable wheel's .pth file.
	pth func(p *pyproject, version, imageDir string, modules []module) (name, content string)
	// data gives the folders that go into the wheel's .data folder, by its folders' names (PEP 427); nil for none.
	data func(p *pyproject) map[string]string
	// excluded says which files, relative to the project, are left out of the wheel; nil where wheels that are not editable
	// cannot be made natively.
	excluded func(p *pyproject, l *look) (func(rel string) bool, error)
}

// module is a top-level package or module of a project.
type module struct {
	root string // folder that has to be on sys.path, relative to the project; "" is the project itself
	path string // below root: "bento", or "bento.py"; "" where all that the root holds is meant
}

var backends = map[string]backend{
	"uv_build":                         uvBuild,
	"hatchling.build":                  hatchling,
	"flit_core.buildapi":               flit,
	"setuptools.build_meta":            setuptools,
	"poetry.core.masonry.api":          poetry,
	"pdm.backend":                      pdm,
	"setuptools.build_meta:__legacy__": setuptools,
}

// New decides what the project's wheel is made of. Refusals are *RefusedError.
func New(ctx context.Context, o Options) (*Build, error) {
	b, err := newBuild(ctx, o)
	if err != nil {
		err = fmt.Errorf("installing the project %s: %w", o.Name, err)
		if _, refused := errors.AsType[*RefusedError](err); refused {
			return nil, hint.Wrap(hint.Usage(err), "where nobody imports the project by its name, tool.uv.package = false and uv lock make it virtual; or use static settings of uv_build, hatchling, flit or setuptools")
		}
		return nil, err
	}
	return b, nil
}

func newBuild(ctx context.Context, o Options) (*Build, error) {
	if len(o.Pyproject) > maxPyproject {
		return nil, fmt.Errorf("pyproject.toml has %d bytes; at most %d are read", len(o.Pyproject), maxPyproject)
	}
	var p pyproject
	if err := toml.Unmarshal(o.Pyproject, &p); err != nil {
		if d, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := d.Position()
			return nil, fmt.Errorf("reading pyproject.toml:%d:%d: %w", row, col, err)
		}
		return nil, fmt.Errorf("reading pyproject.toml: %w", err)
	}
	name := p.BuildSystem.Backend
	if name == "" {
		name = "setuptools.build_meta"
	}
	l, err := newLook(o)
	if err != nil {
		return nil, err
	}
	defer l.close()
	refuse := func(reason string) error { return &RefusedError{o.Name, name, reason} }
	be, ok := backends[name]
	switch {
	case !ok:
		return nil, refuse("jubako does not know what it would do")
	case len(p.BuildSystem.BackendPath) > 0:
		return nil, refuse("backend-path names a backend of the project's own")
	case p.Project.Name == "":
		return nil, refuse("there is no [project] table with a name")
	}
	b, err := describe(ctx, o, be, &p, l)
	if r := refusal(""); errors.As(err, &r) {
		return nil, refuse(string(r))
	}
	return b, err
}

// describe says what the wheel consists of. A refusal is one for the project.
func describe(ctx context.Context, o Options, be backend, p *pyproject, l *look) (*Build, error) {
	if err := be.check(p, l); err != nil {
		return nil, refusal(err.Error())
	}
	version, err := p.version(be, l, o.Version)
	if err != nil {
		return nil, refusal(err.Error())
	}
	licences, err := p.licenceFiles(ctx, l, be.licences)
	if err != nil {
		return nil, err
	}
	metadata, err := p.metadata(l, version, licences)
	if err != nil {
		return nil, err
	}
	modules, err := be.modules(p, l)
	if err != nil {
		return nil, refusal(err.Error())
	}
	for _, m := range modules {
		if at := path.Join(m.root, m.path); outside(at) {
			return nil, refusal("its module " + at + " does not lie in the project")
		}
	}
	b := &Build{Name: p.Project.Name, Version: version}
	b.spec = wheel.SyntheticSpec{Name: p.Project.Name, Version: version, Metadata: metadata, Generator: "jubako", EntryPoints: p.entryPoints()}
	if !o.Editable || be.name != "uv_build" { // uv_build names the licences in an editable wheel's metadata, and leaves them out
		for _, f := range licences {
			text, err := l.read(f)
			if err != nil {
				return nil, fmt.Errorf("reading the licence: %w", err)
			}
			b.spec.DistInfo = append(b.spec.DistInfo, wheel.File{Path: "licenses/" + f, Content: fstree.Bytes(text)})
		}
	}
	return b, b.fill(ctx, o, be, p, l, modules)
}

// fill puts the modules, or the way to them, into the wheel, and its data.
func (b *Build) fill(ctx context.Context, o Options, be backend, p *pyproject, l *look, modules []module) error {
	excluded := func(string) bool { return false }
	if be.excluded != nil {
		var err error
		if excluded, err = be.excluded(p, l); err != nil {
			return refusal(err.Error())
		}
	}
	excluded, err := leftOut(o, excluded)
	if err != nil {
		return err
	}
	switch {
	case o.Editable:
		pth, content := be.pth(p, b.Version, o.ImageDir, modules)
		b.spec.Files = append(b.spec.Files, wheel.File{Path: pth, Content: fstree.Bytes(content)})
	case be.excluded == nil:
		return refusal("only its editable installs are static")
	default:
		if err := b.copy(ctx, o, excluded, modules); err != nil {
			return err
		}
	}
	if be.data == nil {
		return nil
	}
	data := be.data(p)
	for _, kind := range slices.Sorted(maps.Keys(data)) {
		if outside(data[kind]) {
			return refusal("its data folder " + data[kind] + " does not lie in the project")
		}
		to := wheel.DistInfoStem(b.Name, b.Version) + ".data/" + kind
		if err := b.take(ctx, o, excluded, path.Clean(data[kind]), to); err != nil {
			return err
		}
	}
	return nil
}

// Inputs is what the wheel's bytes depend on, beside the files of Sources: for a layer's key.
func (b *Build) Inputs() any {
	type file struct{ Path, Content string }
	var files []file
	for _, f := range append(b.spec.Files[:len(b.spec.Files):len(b.spec.Files)], b.spec.DistInfo...) {
		if c, ok := f.Content.(fstree.Bytes); ok {
			files = append(files, file{f.Path, string(c)})
		}
	}
	return struct {
		Name, Version, Metadata, EntryPoints, Generator string
		Files                                           []file
	}{b.spec.Name, b.spec.Version, string(b.spec.Metadata), string(b.spec.EntryPoints), b.spec.Generator, files}
}

// Wheel makes the wheel.
func (b *Build) Wheel() (*wheel.Synthetic, error) {
	spec := b.spec
	spec.Files = append(spec.Files[:len(spec.Files):len(spec.Files)], b.files()...)
	return wheel.NewSynthetic(spec)
}
