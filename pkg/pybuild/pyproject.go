package pybuild

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// table is a part of pyproject.toml whose every key is looked at: one that is not known must not be passed over.
type table map[string]any

// pyproject is what backends read of the file.
type pyproject struct {
	BuildSystem struct {
		Backend     string   `toml:"build-backend"`
		BackendPath []string `toml:"backend-path"`
	} `toml:"build-system"`
	Project projectTable `toml:"project"`
	Tool    struct {
		UV struct {
			Backend uvTable `toml:"build-backend"`
		} `toml:"uv"`
		Hatch struct {
			Version struct {
				Path    string `toml:"path"`
				Source  string `toml:"source"`
				Pattern string `toml:"pattern"`
			} `toml:"version"`
			Metadata struct {
				Hooks table `toml:"hooks"`
			} `toml:"metadata"`
			Build table `toml:"build"`
		} `toml:"hatch"`
		Flit struct {
			Module struct {
				Name string `toml:"name"`
			} `toml:"module"`
			ExternalData table `toml:"external-data"`
			Metadata     table `toml:"metadata"`
		} `toml:"flit"`
		Setuptools table `toml:"setuptools"`
		Poetry     struct {
			Version  string `toml:"version"`
			Packages []struct {
				Include string `toml:"include"`
				From    string `toml:"from"`
			} `toml:"packages"`
			Build   any   `toml:"build"`
			Scripts table `toml:"scripts"`
			Plugins table `toml:"plugins"`
			Mode    *bool `toml:"package-mode"`
		} `toml:"poetry"`
		PDM struct {
			Build   table `toml:"build"`
			Version table `toml:"version"`
		} `toml:"pdm"`
	} `toml:"tool"`
}

func (p *pyproject) dynamic(field string) bool { return slices.Contains(p.Project.Dynamic, field) }

// sub is a table within a table; nil where there is none.
func (t table) sub(key string) table {
	m, _ := t[key].(map[string]any)
	return m
}

// strings gives the strings of an array, or a string as the only one.
func (t table) strings(key string) []string {
	switch v := t[key].(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, x := range v {
			if s, ok := x.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// onlyKnows is an error that names the first key of the table that is none of those whose effect is known.
func (t table) onlyKnows(name string, known ...string) error {
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if !slices.Contains(known, key) {
			return fmt.Errorf("%s.%s is set", name, key)
		}
	}
	return nil
}

// look reads the project's folder. Of a source that comes from strangers it reads nothing beyond its repository, wherever links lead.
type look struct {
	dir  string
	top  string   // of the repository; "" for a source of the user's own
	root *os.Root // at top
}

func newLook(o Options) (l *look, err error) {
	l = &look{dir: o.Dir}
	if o.Repository == "" {
		return l, nil
	}
	if l.dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if l.top, err = filepath.Abs(o.Repository); err != nil {
		return nil, err
	}
	l.root, err = os.OpenRoot(l.top)
	return l, err
}

func (l *look) close() {
	if l.root != nil {
		_ = l.root.Close() // it was only read
	}
}

// at is os.Stat.
func (l *look) at(file string) (os.FileInfo, error) {
	if l.root == nil {
		return os.Stat(file)
	}
	rel, err := filepath.Rel(l.top, file)
	if err != nil {
		return nil, err
	}
	return l.root.Stat(rel)
}

// open is os.Open.
func (l *look) open(file string) (*os.File, error) {
	if l.root == nil {
		return os.Open(file)
	}
	rel, err := filepath.Rel(l.top, file)
	if err != nil {
		return nil, err
	}
	return l.root.Open(rel)
}

func (l *look) stat(p string) os.FileMode {
	fi, err := l.at(filepath.Join(l.dir, filepath.FromSlash(p)))
	if err != nil {
		return os.ModeIrregular
	}
	return fi.Mode()
}

func (l *look) file(p string) bool   { return l.stat(p).IsRegular() }
func (l *look) folder(p string) bool { return l.stat(p).IsDir() }

// read gives the content of a file within the project, of at most maxText bytes.
func (l *look) read(p string) ([]byte, error) {
	if outside(p) {
		return nil, fmt.Errorf("%s does not lie in the project", p)
	}
	return l.readBounded(filepath.Join(l.dir, filepath.FromSlash(p)))
}

func (l *look) readBounded(file string) ([]byte, error) {
	f, err := l.open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%s has more than %d bytes", file, maxText)
	}
	return b, err
}

func outside(p string) bool {
	c := path.Clean(p)
	return path.IsAbs(c) || c == ".." || strings.HasPrefix(c, "../")
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

// moduleAt takes a path apart: what has to be on sys.path, and what is imported from there.
func moduleAt(p string) module {
	p = path.Clean(p)
	if path.Dir(p) == "." {
		return module{"", p}
	}
	return module{path.Dir(p), path.Base(p)}
}

// rootIn gives a module root's place in the image.
func rootIn(imageDir string, m module) string { return path.Join(imageDir, m.root) }

// roots gives the places of all module roots, each once, in the modules' order.
func roots(imageDir string, modules []module) []string {
	var all []string
	for _, m := range modules {
		if at := rootIn(imageDir, m); !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

// underscored is the form of a project's name in file names.
func underscored(name string) string { return strings.ReplaceAll(pep508.Normalize(name), "-", "_") }
