package pybuild

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
)

var flit = backend{
	name:     "flit_core",
	licences: []string{"COPYING*", "LICEN[CS]E*", "NOTICE*", "AUTHORS*"},
	check: func(p *pyproject, _ *look) error {
		switch {
		case len(p.Tool.Flit.Metadata) > 0:
			return errors.New("it keeps its metadata in tool.flit.metadata")
		case len(p.Tool.Flit.ExternalData) > 0:
			return errors.New("tool.flit.external-data is set")
		case p.dynamic("description"):
			return errors.New("its description is the module's docstring (dynamic)")
		}
		return nil
	},
	version: func(p *pyproject, l *look) (string, error) {
		m, err := flitModule(p, l)
		if err != nil {
			return "", err
		}
		at := path.Join(m.root, m.path)
		if strings.HasSuffix(at, ".py") {
			return literal(l, at, flitVersion())
		}
		// flit reads all of these; the package's own __init__.py has the last word.
		version := ""
		for _, name := range []string{"__version__.py", "_version.py", "version.py", "__init__.py"} {
			if file := path.Join(at, name); l.file(file) {
				v, err := literal(l, file, flitVersion())
				if err != nil && (name == "__init__.py" && version == "" || !errors.Is(err, errNoLiteral)) {
					return "", err
				}
				version = cmp.Or(v, version)
			}
		}
		if version == "" {
			return "", errors.New("its version is dynamic, and " + at + " holds none")
		}
		return version, nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		m, err := flitModule(p, l)
		return []module{m}, err
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return flitName(p) + ".pth", rootIn(imageDir, modules[0])
	},
	excluded: func(*pyproject, *look) (func(string) bool, error) { return globs(nil) },
}

var flitVersion = lazyre.New(`(?m)^__version__\s*(?::\s*str\s*)?=\s*(?:"([^"\n]+)"|'([^'\n]+)')\s*(?:#.*)?$`)

func flitName(p *pyproject) string {
	return cmp.Or(p.Tool.Flit.Module.Name, strings.ReplaceAll(p.Project.Name, "-", "_"))
}

// flitModule finds the one module: a folder, even without __init__.py, or a file, beside pyproject.toml or in src.
func flitModule(p *pyproject, l *look) (module, error) {
	name := strings.ReplaceAll(flitName(p), ".", "/")
	var found []module
	for _, root := range []string{"", "src"} {
		if l.folder(path.Join(root, name)) {
			found = append(found, module{root, name})
		}
		if l.file(path.Join(root, name+".py")) {
			found = append(found, module{root, name + ".py"})
		}
	}
	switch len(found) {
	case 0:
		return module{}, fmt.Errorf("it finds no module %s", flitName(p))
	case 1:
		return found[0], nil
	}
	return module{}, fmt.Errorf("the module %s is there twice", flitName(p))
}
