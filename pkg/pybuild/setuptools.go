package pybuild

import (
	"errors"
	"path"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
)

// setuptools has its editable installs of a flat layout find modules by a hook; here the project's folder is put on
// sys.path instead, behind everything installed, by which the same modules are found, and others beside them. Where
// setuptools' own discovery gives up since a flat layout holds several packages, as that of most sites does, this works.
var setuptools = backend{
	name:     "setuptools",
	licences: []string{"LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*"},
	check: func(p *pyproject, l *look) error {
		s := p.Tool.Setuptools
		if l.file("setup.py") {
			return errors.New("it has a setup.py")
		}
		if l.file("setup.cfg") {
			cfg, err := l.read("setup.cfg")
			if err != nil || setupOptions().Match(cfg) {
				return errors.New("it has options or metadata in setup.cfg")
			}
		}
		if _, ok := s["ext-modules"]; ok {
			return errors.New("it has extension modules (tool.setuptools.ext-modules)")
		}
		for to := range s.sub("package-dir") {
			if to != "" {
				return errors.New("tool.setuptools.package-dir renames packages")
			}
		}
		return s.onlyKnows("tool.setuptools", "packages", "package-dir", "py-modules", "package-data", "exclude-package-data", "include-package-data",
			"zip-safe", "platforms", "license-files")
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		s := p.Tool.Setuptools
		if dir, ok := s.sub("package-dir")[""].(string); ok {
			return []module{{path.Clean(dir), ""}}, nil
		}
		var all []module
		for _, where := range s.sub("packages").sub("find").strings("where") {
			all = append(all, module{path.Clean(where), ""})
		}
		_, packages := s["packages"]
		_, modules := s["py-modules"]
		switch {
		case len(all) > 0:
			return all, nil
		case !packages && !modules && l.folder("src"):
			return []module{{"src", ""}}, nil
		}
		return []module{{"", ""}}, nil
	},
	pth: func(p *pyproject, version, imageDir string, modules []module) (string, string) {
		return "__editable__." + underscored(p.Project.Name) + "-" + version + ".pth", strings.Join(roots(imageDir, modules), "\n") + "\n"
	},
}

var setupOptions = lazyre.New(`(?m)^\[(options|metadata)`)
