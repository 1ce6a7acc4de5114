package pybuild

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// uvTable is [tool.uv.build-backend].
type uvTable struct {
	ModuleRoot     *string           `toml:"module-root"`
	ModuleName     any               `toml:"module-name"`
	Namespace      bool              `toml:"namespace"`
	Data           map[string]string `toml:"data"`
	SourceExclude  []string          `toml:"source-exclude"`
	WheelExclude   []string          `toml:"wheel-exclude"`
	DefaultExclude *bool             `toml:"default-excludes"`
}

var uvBuild = backend{
	name: "uv_build",
	check: func(p *pyproject, _ *look) error {
		for _, key := range slices.Sorted(maps.Keys(p.Tool.UV.Backend.Data)) {
			if !slices.Contains([]string{"data", "headers", "platlib", "purelib", "scripts"}, key) {
				return fmt.Errorf("tool.uv.build-backend.data.%s is set", key)
			}
		}
		return nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		b := p.Tool.UV.Backend
		root := "src"
		if b.ModuleRoot != nil {
			root = *b.ModuleRoot
		}
		var all []module
		for _, n := range uvModules(p) {
			m := module{root, strings.ReplaceAll(n, ".", "/")}
			init := "__init__.py"
			if strings.HasSuffix(n, "-stubs") {
				init += "i"
			}
			if want := path.Join(root, m.path, init); !b.Namespace && !l.file(want) {
				return nil, fmt.Errorf("it expects %s", want)
			}
			all = append(all, m)
		}
		return all, nil
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		at := rootIn(imageDir, modules[0])
		if modules[0].root == "" {
			at += "/" // as uv_build writes it
		}
		return underscored(p.Project.Name) + ".pth", at
	},
	data: func(p *pyproject) map[string]string { return p.Tool.UV.Backend.Data },
	excluded: func(p *pyproject, _ *look) (func(string) bool, error) {
		b := p.Tool.UV.Backend
		return globs(slices.Concat(anchored(b.SourceExclude), anchored(b.WheelExclude)))
	},
}

// uvModules are the modules that the project names, or the one that is named after it.
func uvModules(p *pyproject) []string {
	if names := (table{"n": p.Tool.UV.Backend.ModuleName}).strings("n"); len(names) > 0 {
		return names
	}
	if stem, ok := strings.CutSuffix(pep508.Normalize(p.Project.Name), "-stubs"); ok {
		return []string{underscored(stem) + "-stubs"}
	}
	return []string{underscored(p.Project.Name)}
}

// anchored turns patterns that match anywhere, unless they begin with a slash, into .dockerignore's form.
func anchored(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		if rest, ok := strings.CutPrefix(p, "/"); ok {
			all = append(all, rest)
			continue
		}
		all = append(all, "**/"+p)
	}
	return all
}
