package pybuild

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
)

// hatchKnown are the keys of tool.hatch.build and of its wheel target that change nothing of a wheel, or what is done here.
var hatchKnown = []string{
	"packages", "exclude", "ignore-vcs", // done here
	"reproducible", "directory", "versions", "macos-max-compat", "core-metadata-version", "require-runtime-dependencies", "dependencies",
}

var hatchling = backend{
	name:     "hatchling",
	licences: []string{"LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*"},
	check: func(p *pyproject, _ *look) error {
		build := p.Tool.Hatch.Build
		wheel := build.sub("targets").sub("wheel")
		switch {
		case len(build.sub("hooks")) > 0 || len(wheel.sub("hooks")) > 0:
			return errors.New("it has build hooks (tool.hatch.build.hooks)")
		case len(p.Tool.Hatch.Metadata.Hooks) > 0:
			return errors.New("it has metadata hooks (tool.hatch.metadata.hooks)")
		}
		return errors.Join(build.onlyKnows("tool.hatch.build", append(hatchKnown[:len(hatchKnown):len(hatchKnown)], "targets", "hooks")...),
			wheel.onlyKnows("tool.hatch.build.targets.wheel", append(hatchKnown[:len(hatchKnown):len(hatchKnown)], "hooks")...))
	},
	version: func(p *pyproject, l *look) (string, error) {
		h := p.Tool.Hatch.Version
		switch {
		case h.Path == "" && h.Source == "":
			return "", errors.New("its version is dynamic")
		case h.Path == "" || h.Source != "" && h.Source != "regex":
			return "", fmt.Errorf("its version comes from %s", cmp.Or(h.Source, "nowhere"))
		case h.Pattern != "":
			return "", errors.New("its version comes from a pattern of its own (tool.hatch.version.pattern)")
		}
		return literal(l, h.Path, hatchVersion())
	},
	modules: func(p *pyproject, l *look) ([]module, error) {
		packages := hatchSetting(p, "packages")
		var all []module
		for _, pkg := range packages {
			if !outside(pkg) && !l.folder(pkg) && !l.file(pkg) {
				return nil, fmt.Errorf("it names the package %s, which is not there", pkg)
			}
			all = append(all, moduleAt(pkg))
		}
		if len(all) > 0 {
			slices.SortFunc(all, func(a, b module) int { return strings.Compare(path.Join(a.root, a.path), path.Join(b.root, b.path)) })
			return all, nil
		}
		for _, name := range []string{notNames().ReplaceAllString(p.Project.Name, "_"), underscored(p.Project.Name)} {
			if m, ok := hatchDefault(l, name); ok {
				return []module{m}, nil
			}
		}
		name := underscored(p.Project.Name)
		return nil, fmt.Errorf("it finds neither %s nor src/%s, and tool.hatch.build.targets.wheel names no packages", name, name)
	},
	pth: func(p *pyproject, _, imageDir string, modules []module) (string, string) {
		return "_editable_impl_" + underscored(p.Project.Name) + ".pth", strings.Join(roots(imageDir, modules), "\n")
	},
	excluded: func(p *pyproject, l *look) (func(string) bool, error) {
		patterns := []string{"*.py[cdo]", "/dist"}
		if ignore, _ := hatchValue(p, "ignore-vcs").(bool); !ignore {
			lines, err := vcsIgnored(l)
			if err != nil {
				return nil, err
			}
			patterns = append(patterns, lines...)
		}
		return globs(append(gitPatterns(append(patterns, hatchSetting(p, "exclude")...)), "**/.DS_Store", "**/.hatch", "**/.pixi"))
	},
}

var (
	// hatchVersion is where hatchling finds a version in a file; it looks no closer.
	hatchVersion = lazyre.New(`(?im)^(?:__version__|VERSION) *= *(?:"v?([^"\n]+?)"|'v?([^'\n]+?)')`)
	notNames     = lazyre.New(`[^\pL\pN_.]+`)
)

// hatchValue is a setting of the wheel target, or of all targets.
func hatchValue(p *pyproject, key string) any {
	build := p.Tool.Hatch.Build
	if v, ok := build.sub("targets").sub("wheel")[key]; ok {
		return v
	}
	return build[key]
}

func hatchSetting(p *pyproject, key string) []string {
	return table{key: hatchValue(p, key)}.strings(key)
}

// hatchDefault finds the package of a name where hatchling looks for it when nothing is configured.
func hatchDefault(l *look, name string) (module, bool) {
	for _, root := range []string{"", "src"} {
		if l.file(path.Join(root, name, "__init__.py")) {
			return module{root, name}, true
		}
	}
	if l.file(name + ".py") {
		return module{"", name + ".py"}, true
	}
	spaces, err := filepath.Glob(filepath.Join(escapeGlob(l.dir), "*", escapeGlob(name), "__init__.py"))
	if err == nil && len(spaces) == 1 {
		return module{"", filepath.Base(filepath.Dir(filepath.Dir(spaces[0])))}, true // a namespace, whole
	}
	return module{}, false
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// vcsIgnored gives the lines of the .gitignore of the project, or of the nearest folder above it that has one, not beyond
// the repository. hatchling reads no other, and reads it as though it lay in the project.
func vcsIgnored(l *look) ([]string, error) {
	dir, err := filepath.Abs(l.dir)
	if err != nil {
		return nil, err
	}
	for up := dir; ; up = filepath.Dir(up) {
		if _, err := l.at(filepath.Join(up, ".hgignore")); err == nil {
			return nil, errors.New("it leaves out what .hgignore names")
		}
		b, err := l.readBounded(filepath.Join(up, ".gitignore"))
		if err == nil {
			return strings.Split(string(b), "\n"), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if _, err := l.at(filepath.Join(up, ".git")); err == nil || up == l.top || up == filepath.Dir(up) {
			return nil, nil
		}
	}
}

// gitPatterns turns lines of .gitignore into .dockerignore's form.
func gitPatterns(lines []string) []string {
	var all []string
	for _, line := range lines {
		p := strings.TrimRight(line, " \t\r\n")
		if p == "" || strings.HasPrefix(p, "#") {
			continue
		}
		p, not := strings.CutPrefix(p, "!")
		p = strings.TrimPrefix(p, `\`) // of "\#" and "\!"
		p, folder := strings.CutSuffix(p, "/")
		if rest, ok := strings.CutPrefix(p, "/"); ok {
			p = rest
		} else if !strings.Contains(p, "/") {
			p = "**/" + p // one that holds a slash is anchored
		}
		if folder {
			p += "/**"
		}
		if not {
			p = "!" + p
		}
		all = append(all, p)
	}
	return all
}
