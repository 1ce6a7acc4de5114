package pybuild

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

var poetry = backend{
	name:     "poetry-core",
	licences: []string{"COPYING*", "LICEN[SC]E*", "AUTHORS*", "NOTICE*"},
	check: func(p *pyproject, _ *look) error {
		t := p.Tool.Poetry
		switch {
		case t.Build != nil:
			return errors.New("it has a build script (tool.poetry.build)")
		case t.Mode != nil && !*t.Mode:
			return errors.New("tool.poetry.package-mode says that it is no package")
		case len(t.Scripts) > 0:
			return errors.New("tool.poetry.scripts is set")
		case len(t.Plugins) > 0:
			return errors.New("tool.poetry.plugins is set")
		}
		return nil
	},
	version: func(p *pyproject, _ *look) (string, error) {
		if p.Tool.Poetry.Version == "" {
			return "", errors.New("its version is dynamic")
		}
		return p.Tool.Poetry.Version, nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		var all []module
		for _, pkg := range p.Tool.Poetry.Packages {
			all = append(all, module{pkg.From, pkg.Include})
		}
		if len(all) > 0 {
			return all, nil
		}
		if m, ok := l.find(underscored(p.Project.Name), "", "src"); ok {
			return []module{m}, nil
		}
		return nil, fmt.Errorf("it finds no package %s", underscored(p.Project.Name))
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return underscored(p.Project.Name) + ".pth", strings.Join(roots(imageDir, modules), "\n") + "\n"
	},
}

var pdm = backend{
	name:     "pdm-backend",
	licences: []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"},
	check: func(p *pyproject, l *look) error {
		switch {
		case l.file("pdm_build.py"):
			return errors.New("it has build hooks (pdm_build.py)")
		case len(p.Tool.PDM.Version) > 0:
			return errors.New("its version comes from tool.pdm.version")
		}
		return p.Tool.PDM.Build.onlyKnows("tool.pdm.build", "package-dir", "excludes", "source-includes")
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		if dir, ok := p.Tool.PDM.Build["package-dir"].(string); ok {
			return []module{{path.Clean(dir), ""}}, nil
		}
		if l.folder("src") {
			return []module{{"src", ""}}, nil
		}
		return []module{{"", ""}}, nil
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return "_editable_impl_" + underscored(p.Project.Name) + ".pth", rootIn(imageDir, modules[0])
	},
}
