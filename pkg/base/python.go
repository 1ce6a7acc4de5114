package base

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// defaultPath is what a container engine assumes where an image sets no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var minorRE = lazyre.New(`^python3\.([0-9]+)(t?)$`)

// python finds the interpreter that PATH leads to, and what it is linked with.
func (s *scanner) python(f *Facts, config []byte) error {
	env, err := configEnv(config)
	if err != nil {
		return err
	}
	search := env["PATH"]
	if search == "" {
		search = defaultPath
	}
	real := ""
	for _, name := range []string{"python3", "python"} {
		if p, ok := f.LookPath(name, search); ok {
			real, _ = f.Resolve(p)
			break
		}
	}
	if real == "" {
		return nil
	}
	n := s.nodes[real]
	py := Python{Path: "/" + real, Major: 3}
	m := minorRE().FindStringSubmatch(path.Base(real))
	prefix := path.Dir(path.Dir(real))
	if m != nil {
		py.Minor, _ = strconv.Atoi(m[1])
		py.FreeThreaded = m[2] == "t"
	}
	py.Version = s.pythonVersion(prefix, path.Base(real), n, env["PYTHON_VERSION"])
	if py.Version == "" {
		return fmt.Errorf("/%s is there, and nothing in the image tells its version", real)
	}
	parts := strings.SplitN(py.Version, ".", 3)
	if len(parts) != 3 || parts[0] != "3" || strings.Trim(parts[1], "0123456789") != "" || parts[1] == "" {
		return hint.Wrap(hint.Usage(fmt.Errorf("/%s is Python %s, and jubako builds for Python 3", real, py.Version)), "name another base")
	}
	if m == nil {
		py.Minor, _ = strconv.Atoi(parts[1])
	}
	py.ABI = fmt.Sprintf("cp3%d", py.Minor)
	if py.FreeThreaded {
		py.ABI += "t"
	}
	f.Python = py
	f.Libc = s.libc(n)
	return nil
}

func configEnv(config []byte) (map[string]string, error) {
	var c struct {
		Config struct{ Env []string } `json:"config"`
	}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, fmt.Errorf("reading the config: %w", err)
		}
	}
	env := make(map[string]string)
	for _, kv := range c.Config.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return env, nil
}

var patchlevel = lazyre.New(`(?m)^#define\s+PY_VERSION\s+"([^"]+)"`)

// pythonVersion reads the full version from patchlevel.h, else from the libpython beside the program, the program, or a
// libpython elsewhere; else it takes the variable that the official images set.
func (s *scanner) pythonVersion(prefix, name string, program node, env string) string {
	if n, ok := s.nodes[path.Join(prefix, "include", name, "patchlevel.h")]; ok {
		if m := patchlevel().FindSubmatch(n.kept); m != nil {
			return strings.TrimSuffix(string(m[1]), "+")
		}
	}
	elsewhere := ""
	for _, p := range s.all(pythonRE()) {
		found := s.nodes[p].found
		if !strings.HasPrefix(path.Base(p), "lib"+name+".so") || found == "" {
			continue
		}
		if strings.HasPrefix(p, prefix+"/lib") {
			return found
		}
		elsewhere = cmp.Or(elsewhere, found)
	}
	return cmp.Or(program.found, elsewhere, env)
}

// libc tells the C library: by the program's loader, and its version by the library's own banner.
func (s *scanner) libc(program node) Libc {
	musl := strings.Contains(program.interp, "ld-musl")
	if !musl {
		for _, p := range s.all(glibcRE()) {
			n := s.nodes[p]
			if n.found != "" && (program.machine == 0 || n.machine == 0 || n.machine == program.machine) {
				return newLibc("glibc", n.found)
			}
		}
	}
	for _, p := range s.all(muslRE()) {
		if n := s.nodes[p]; n.found != "" {
			return newLibc("musl", n.found)
		}
	}
	return Libc{}
}

func newLibc(kind, version string) Libc {
	l := Libc{Kind: kind}
	parts := strings.Split(version, ".")
	l.Major, _ = strconv.Atoi(parts[0])
	l.Minor, _ = strconv.Atoi(parts[1])
	return l
}

func (l Libc) String() string { return fmt.Sprintf("%s %d.%d", l.Kind, l.Major, l.Minor) }

// Resolve follows every symlink of a path, inside the image: a leading slash and ".." lead to the image's root at most.
// It gives the image path of what is there, and false where nothing is.
func (f *Facts) Resolve(p string) (string, bool) { return f.resolve(p, func(string) {}) }

// resolve tells visit of every path that it looks at, the last one among them.
func (f *Facts) resolve(p string, visit func(string)) (string, bool) {
	rest := strings.Split(p, "/")
	var at []string
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(0, len(at)-1)]
			continue
		}
		here := strings.Join(append(at[:len(at):len(at)], part), "/")
		visit(here)
		st, ok := f.Files[here]
		if !ok {
			return "", false
		}
		if st.Kind != fstree.Symlink {
			at = append(at, part)
			continue
		}
		if links++; links > fstree.MaxLinks {
			return "", false
		}
		if strings.HasPrefix(st.Link, "/") {
			at = nil
		}
		rest = append(strings.Split(st.Link, "/"), rest...)
	}
	return strings.Join(at, "/"), len(at) > 0
}

// LookPath finds a program in the folders of a PATH, as a container's shell would.
func (f *Facts) LookPath(name, search string) (string, bool) {
	for _, p := range candidates(name, search) {
		real, ok := f.Resolve(p)
		switch {
		case !ok || !f.runs(real):
		case strings.Contains(name, "/"):
			return real, true
		default:
			return p, true
		}
	}
	return "", false
}

// candidates are the paths at which a program may be.
func candidates(program, search string) (all []string) {
	if strings.Contains(program, "/") {
		return []string{program}
	}
	for _, dir := range strings.Split(search, ":") {
		if dir != "" { // the working directory, which is nothing to build on
			all = append(all, path.Join(strings.TrimLeft(dir, "/"), program))
		}
	}
	return all
}

// runs says whether a path is a program's.
func (f *Facts) runs(p string) bool {
	return f.Files[p].Kind == fstree.File && f.Files[p].Mode&0o111 != 0
}

// Parent gives the entry for a directory that a layer needs: the base's own, or a plain one of root's. Where the base has
// something else there, the entry tells what it is, which is an error for fstree.Tree.AddParents.
func (f *Facts) Parent(dir string) fstree.Entry {
	st, ok := f.Files[dir]
	if !ok {
		return fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755, Producer: "jubako"}
	}
	producer := "the base"
	if st.Kind == fstree.Symlink {
		producer = fmt.Sprintf("the base, which leads to %s: write there instead", st.Link)
	}
	return fstree.Entry{Path: dir, Kind: st.Kind, Mode: st.Mode, UID: st.UID, GID: st.GID, Link: st.Link, Producer: producer}
}

// ErrNoPython is the error for a base in which PATH leads to no Python.
func ErrNoPython(source Source) error {
	return hint.Wrap(hint.Usage(fmt.Errorf("the base %s has no python3 on its PATH", source)), "name a base with Python: --base python:3.12-slim")
}

// Machine gives the name that Python and wheels have for an OCI architecture: "x86_64" for "amd64".
func Machine(architecture string) string {
	if m, ok := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}[architecture]; ok {
		return m
	}
	return architecture
}
