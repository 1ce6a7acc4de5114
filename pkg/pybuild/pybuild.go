// Package pybuild does what a Python project's build backend would do when uv installs the project itself, for projects
// whose configuration is static: it runs nothing. What needs the backend's own code is refused, with the reason.
//
// It may import pkg/wheel, pkg/source, pkg/pep508 and what lies below.
package pybuild

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
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

// backend knows one build backend: where modules lie, and what its editable wheels are made of.
type backend struct {
	name string
	// check refuses what is not static.
	check func(p *pyproject, l *look) error
	// modules finds the packages and modules of the project.
	modules func(p *pyproject, l *look) ([]module, error)
	// pth gives the editable wheel's .pth file.
	pth func(p *pyproject, version, imageDir string, modules []module) (name, content string)
	// copies says that the backend's wheels can be made natively.
	copies bool
}

// module is a top-level package or module of a project.
type module struct {
	root string // folder that has to be on sys.path, relative to the project; "" is the project itself
	path string // below root: "bento", or "bento.py"
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
	l := &look{dir: o.Dir}
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
	if err := be.check(&p, l); err != nil {
		return nil, refuse(err.Error())
	}
	version, err := p.version(l, o.Version)
	if err != nil {
		return nil, refuse(err.Error())
	}
	metadata, err := p.metadata(l, version)
	if err != nil {
		return nil, err
	}
	modules, err := be.modules(&p, l)
	if err != nil {
		return nil, refuse(err.Error())
	}
	for _, m := range modules {
		if at := path.Join(m.root, m.path); path.IsAbs(at) || at == ".." || strings.HasPrefix(at, "../") {
			return nil, refuse("its module " + at + " does not lie in the project")
		}
	}
	b := &Build{Name: p.Project.Name, Version: version}
	b.spec = wheel.SyntheticSpec{Name: p.Project.Name, Version: version, Metadata: metadata, Generator: "jubako", EntryPoints: p.entryPoints()}
	if o.Editable {
		pth, content := be.pth(&p, version, o.ImageDir, modules)
		b.spec.Files = append(b.spec.Files, wheel.File{Path: pth, Content: fstree.Bytes(content)})
		return b, nil
	}
	if !be.copies {
		return nil, refuse("only its editable installs are static")
	}
	return b, b.copy(ctx, o, &p, l, modules)
}

// bytecode is never part of a wheel.
var bytecode = []string{"**/__pycache__", "**/*.pyc", "**/*.pyo"}

// copy gathers the modules' files and the licences.
func (b *Build) copy(ctx context.Context, o Options, p *pyproject, l *look, modules []module) error {
	for _, m := range modules {
		t, err := source.Walk(ctx, source.Options{Root: filepath.Join(o.Dir, m.root, m.path), Exclude: append(bytecode[:len(bytecode):len(bytecode)], p.excludes()...), NoStanding: true})
		if err != nil {
			return err
		}
		to := m.path
		if strings.HasSuffix(m.path, ".py") {
			to = path.Dir(m.path)
		}
		b.Sources = append(b.Sources, Source{t, to})
	}
	for _, f := range p.licenceFiles(l) {
		text, err := l.read(f)
		if err != nil {
			return err
		}
		b.spec.DistInfo = append(b.spec.DistInfo, wheel.File{Path: "licenses/" + f, Content: fstree.Bytes(text)})
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
	for _, s := range b.Sources {
		for _, f := range s.Tree.Files {
			to := path.Join(s.To, f.Path)
			switch f.Kind {
			case fstree.Dir:
			case fstree.File:
				spec.Files = append(spec.Files, wheel.File{Path: to, Content: s.Tree.Content(f), Executable: f.Mode&0o111 != 0})
			default:
				return nil, fmt.Errorf("%s is a %s, which no wheel can hold", to, f.Kind)
			}
		}
	}
	return wheel.NewSynthetic(spec)
}

// underscored is the form of a project's name in file names.
func underscored(name string) string { return strings.ReplaceAll(pep508.Normalize(name), "-", "_") }

// versionRE finds a literal version in Python source.
var versionRE = regexp.MustCompile(`(?m)^(?:__version__|VERSION|version)\s*(?::\s*str\s*)?=\s*["']([^"']+)["']`)

// version is the project's: static, or a literal in a file that a static setting names. A lock's version has to agree.
func (p *pyproject) version(l *look, locked string) (string, error) {
	version := p.Project.Version
	if version == "" && p.dynamic("version") {
		file := ""
		switch h := p.Tool.Hatch.Version; {
		case h.Path != "" && h.Pattern == "" && (h.Source == "" || h.Source == "regex"):
			file = h.Path
		case h.Source != "" || h.Path != "":
			return "", fmt.Errorf("its version comes from %s", or(h.Source, "a pattern of its own"))
		case p.BuildSystem.Backend == "flit_core.buildapi":
			if m, err := flit.modules(p, l); err == nil {
				file = path.Join(m[0].root, m[0].path)
				if !strings.HasSuffix(file, ".py") {
					file += "/__init__.py"
				}
			}
		}
		if file == "" {
			return "", errors.New("its version is dynamic")
		}
		text, err := l.read(file)
		if err != nil {
			return "", err
		}
		m := versionRE.FindSubmatch(text)
		if m == nil {
			return "", fmt.Errorf("its version is dynamic, and %s holds no literal one", file)
		}
		version = string(m[1])
	}
	version = or(version, locked)
	if version == "" {
		return "", errors.New("it has no version")
	}
	v, err := pep508.ParseVersion(version)
	if err != nil {
		return "", err
	}
	return v.String(), nil
}

func (p *pyproject) dynamic(field string) bool {
	for _, d := range p.Project.Dynamic {
		if d == field {
			return true
		}
	}
	return false
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
