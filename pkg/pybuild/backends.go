package pybuild

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pyproject is what backends read of the file.
type pyproject struct {
	BuildSystem struct {
		Backend     string   `toml:"build-backend"`
		BackendPath []string `toml:"backend-path"`
	} `toml:"build-system"`
	Project projectTable `toml:"project"`
	Tool    struct {
		UV struct {
			Backend struct {
				ModuleRoot     *string           `toml:"module-root"`
				ModuleName     any               `toml:"module-name"`
				Namespace      bool              `toml:"namespace"`
				Data           map[string]string `toml:"data"`
				SourceExclude  []string          `toml:"source-exclude"`
				WheelExclude   []string          `toml:"wheel-exclude"`
				DefaultExclude *bool             `toml:"default-excludes"`
			} `toml:"build-backend"`
		} `toml:"uv"`
		Hatch struct {
			Version struct {
				Path    string `toml:"path"`
				Source  string `toml:"source"`
				Pattern string `toml:"pattern"`
			} `toml:"version"`
			Metadata struct {
				Hooks map[string]any `toml:"hooks"`
			} `toml:"metadata"`
			Build struct {
				hatchBuild
				Hooks   map[string]any        `toml:"hooks"`
				Targets map[string]hatchBuild `toml:"targets"`
			} `toml:"build"`
		} `toml:"hatch"`
		Flit struct {
			Module struct {
				Name string `toml:"name"`
			} `toml:"module"`
			ExternalData map[string]any `toml:"external-data"`
			Metadata     map[string]any `toml:"metadata"`
		} `toml:"flit"`
		Setuptools struct {
			PackageDir map[string]string `toml:"package-dir"`
			PyModules  []string          `toml:"py-modules"`
			Packages   any               `toml:"packages"`
			ExtModules any               `toml:"ext-modules"`
			CmdClass   map[string]any    `toml:"cmdclass"`
			DataFiles  map[string]any    `toml:"data-files"`
			Dynamic    map[string]any    `toml:"dynamic"`
		} `toml:"setuptools"`
		Poetry struct {
			Packages []struct {
				Include string `toml:"include"`
				From    string `toml:"from"`
			} `toml:"packages"`
			Build any `toml:"build"`
		} `toml:"poetry"`
		PDM struct {
			Build   map[string]any `toml:"build"`
			Version map[string]any `toml:"version"`
		} `toml:"pdm"`
	} `toml:"tool"`
}

// hatchBuild is a table of hatchling's that may stand for all targets or for one.
type hatchBuild struct {
	Packages     []string       `toml:"packages"`
	OnlyInclude  []string       `toml:"only-include"`
	Include      []string       `toml:"include"`
	Exclude      []string       `toml:"exclude"`
	Sources      any            `toml:"sources"`
	ForceInclude map[string]any `toml:"force-include"`
	DevModeDirs  []string       `toml:"dev-mode-dirs"`
	DevModeExact bool           `toml:"dev-mode-exact"`
	SharedData   map[string]any `toml:"shared-data"`
	Scripts      map[string]any `toml:"shared-scripts"`
	Hooks        map[string]any `toml:"hooks"`
}

// look reads the project's folder.
type look struct{ dir string }

func (l *look) file(p string) bool {
	fi, err := os.Stat(filepath.Join(l.dir, filepath.FromSlash(p)))
	return err == nil && fi.Mode().IsRegular()
}

func (l *look) read(p string) ([]byte, error) {
	if path.IsAbs(p) || path.Clean(p) == ".." || strings.HasPrefix(path.Clean(p), "../") {
		return nil, fmt.Errorf("%s does not lie in the project", p)
	}
	f, err := os.Open(filepath.Join(l.dir, filepath.FromSlash(p)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%s has more than %d bytes", p, maxText)
	}
	return b, err
}

// find looks for a package or module of a name below some folders.
func (l *look) find(name string, roots ...string) (module, bool) {
	for _, r := range roots {
		if l.file(path.Join(r, name, "__init__.py")) {
			return module{r, name}, true
		}
	}
	for _, r := range roots {
		if l.file(path.Join(r, name+".py")) {
			return module{r, name + ".py"}, true
		}
	}
	return module{}, false
}

// rootIn gives a module root's place in the image.
func rootIn(imageDir string, m module) string { return path.Join(imageDir, m.root) }

// roots gives the places of all module roots, each once, sorted.
func roots(imageDir string, modules []module) []string {
	var all []string
	for _, m := range modules {
		all = append(all, rootIn(imageDir, m))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

var uvBuild = backend{
	name: "uv_build",
	check: func(p *pyproject, _ *look) error {
		if len(p.Tool.UV.Backend.Data) > 0 {
			return errors.New("tool.uv.build-backend.data is set")
		}
		return nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		b := p.Tool.UV.Backend
		root := "src"
		if b.ModuleRoot != nil {
			root = *b.ModuleRoot
		}
		names := []string{underscored(p.Project.Name)}
		switch n := b.ModuleName.(type) {
		case string:
			names = []string{n}
		case []any:
			names = nil
			for _, x := range n {
				names = append(names, fmt.Sprint(x))
			}
		}
		var all []module
		for _, n := range names {
			m := module{root, strings.ReplaceAll(n, ".", "/")}
			if !b.Namespace && !l.file(path.Join(root, m.path, "__init__.py")) {
				return nil, fmt.Errorf("it expects %s", path.Join(root, m.path, "__init__.py"))
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
	copies: true,
}

var hatchling = backend{
	name: "hatchling",
	check: func(p *pyproject, _ *look) error {
		h := p.Tool.Hatch
		wheel := h.Build.Targets["wheel"]
		switch {
		case len(h.Build.Hooks) > 0 || len(wheel.Hooks) > 0:
			return errors.New("it has build hooks (tool.hatch.build.hooks)")
		case len(h.Metadata.Hooks) > 0:
			return errors.New("it has metadata hooks (tool.hatch.metadata.hooks)")
		}
		for _, b := range []hatchBuild{h.Build.hatchBuild, wheel} {
			switch {
			case len(b.ForceInclude) > 0:
				return errors.New("force-include is set")
			case b.Sources != nil:
				return errors.New("sources is set")
			case len(b.DevModeDirs) > 0 || b.DevModeExact:
				return errors.New("dev-mode-dirs or dev-mode-exact is set")
			case len(b.SharedData) > 0 || len(b.Scripts) > 0:
				return errors.New("shared-data or shared-scripts is set")
			case len(b.OnlyInclude) > 0 || len(b.Include) > 0:
				return errors.New("include or only-include is set")
			}
		}
		return nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		packages := p.Tool.Hatch.Build.Targets["wheel"].Packages
		if len(packages) == 0 {
			packages = p.Tool.Hatch.Build.Packages
		}
		var all []module
		for _, pkg := range packages {
			pkg = path.Clean(pkg)
			root := path.Dir(pkg)
			if root == "." {
				root = ""
			}
			all = append(all, module{root, path.Base(pkg)})
		}
		if len(all) > 0 {
			return all, nil
		}
		name := underscored(p.Project.Name)
		if m, ok := l.find(name, "", "src"); ok {
			return []module{m}, nil
		}
		return nil, fmt.Errorf("it finds neither %s nor src/%s, and tool.hatch.build.targets.wheel names no packages", name, name)
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return "_editable_impl_" + underscored(p.Project.Name) + ".pth", strings.Join(roots(imageDir, modules), "\n")
	},
	copies: true,
}

var flit = backend{
	name: "flit_core",
	check: func(p *pyproject, _ *look) error {
		switch {
		case len(p.Tool.Flit.Metadata) > 0:
			return errors.New("it keeps its metadata in tool.flit.metadata")
		case len(p.Tool.Flit.ExternalData) > 0:
			return errors.New("tool.flit.external-data is set")
		case p.dynamic("description") && p.Project.Description == "":
			return errors.New("its description is the module's docstring (dynamic)")
		}
		return nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		name := or(p.Tool.Flit.Module.Name, strings.ReplaceAll(p.Project.Name, "-", "_"))
		if m, ok := l.find(strings.ReplaceAll(name, ".", "/"), "", "src"); ok {
			return []module{m}, nil
		}
		return nil, fmt.Errorf("it finds no module %s", name)
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return strings.TrimSuffix(path.Base(modules[0].path), ".py") + ".pth", rootIn(imageDir, modules[0])
	},
	copies: true,
}

// setuptools has its editable installs of a flat layout find modules by a hook; here the project's folder is put on
// sys.path instead, by which the same modules are found, and others beside them.
var setuptools = backend{
	name: "setuptools",
	check: func(p *pyproject, l *look) error {
		s := p.Tool.Setuptools
		switch {
		case l.file("setup.py"):
			return errors.New("it has a setup.py")
		case l.file("setup.cfg") && p.Project.Name == "":
			return errors.New("it keeps its metadata in setup.cfg")
		case s.ExtModules != nil:
			return errors.New("it has extension modules (tool.setuptools.ext-modules)")
		case len(s.CmdClass) > 0:
			return errors.New("tool.setuptools.cmdclass is set")
		case len(s.DataFiles) > 0:
			return errors.New("tool.setuptools.data-files is set")
		case len(s.Dynamic) > 0:
			return errors.New("tool.setuptools.dynamic is set")
		}
		for to := range s.PackageDir {
			if to != "" {
				return errors.New("tool.setuptools.package-dir renames packages")
			}
		}
		return nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		s := p.Tool.Setuptools
		if dir, ok := s.PackageDir[""]; ok {
			return []module{{path.Clean(dir), ""}}, nil
		}
		if find, ok := s.Packages.(map[string]any); ok {
			if f, ok := find["find"].(map[string]any); ok {
				if where, ok := f["where"].([]any); ok && len(where) == 1 {
					return []module{{path.Clean(fmt.Sprint(where[0])), ""}}, nil
				}
			}
		}
		fi, err := os.Stat(filepath.Join(l.dir, "src"))
		if err == nil && fi.IsDir() && s.Packages == nil && len(s.PyModules) == 0 {
			return []module{{"src", ""}}, nil
		}
		return []module{{"", ""}}, nil
	},
	pth: func(p *pyproject, version, imageDir string, modules []module) (string, string) {
		return "__editable__." + underscored(p.Project.Name) + "-" + version + ".pth", rootIn(imageDir, modules[0]) + "\n"
	},
}

var poetry = backend{
	name: "poetry-core",
	check: func(p *pyproject, _ *look) error {
		if p.Tool.Poetry.Build != nil {
			return errors.New("it has a build script (tool.poetry.build)")
		}
		return nil
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
	name: "pdm-backend",
	check: func(p *pyproject, _ *look) error {
		for key := range p.Tool.PDM.Build {
			if key != "package-dir" && key != "excludes" {
				return fmt.Errorf("tool.pdm.build.%s is set", key)
			}
		}
		if len(p.Tool.PDM.Version) > 0 {
			return errors.New("its version comes from tool.pdm.version")
		}
		return nil
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		if dir, ok := p.Tool.PDM.Build["package-dir"].(string); ok {
			return []module{{path.Clean(dir), ""}}, nil
		}
		if m, ok := l.find(underscored(p.Project.Name), "src", ""); ok {
			return []module{m}, nil
		}
		return nil, fmt.Errorf("it finds no package %s", underscored(p.Project.Name))
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return "_editable_impl_" + underscored(p.Project.Name) + ".pth", rootIn(imageDir, modules[0])
	},
}

// excludes are the patterns of uv_build, which are anchored by a leading slash, in .dockerignore's form.
func (p *pyproject) excludes() []string {
	b := p.Tool.UV.Backend
	var all []string
	for _, e := range append(b.SourceExclude[:len(b.SourceExclude):len(b.SourceExclude)], b.WheelExclude...) {
		if rest, ok := strings.CutPrefix(e, "/"); ok {
			all = append(all, rest)
			continue
		}
		all = append(all, "**/"+e)
	}
	return all
}
