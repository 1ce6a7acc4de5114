package wheel

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// Venv is a virtual environment in an image (PEP 405), and who owns it.
type Venv struct {
	// Path is the environment's image path: "app/.venv".
	Path string
	// Python is the version of the base's Python that folders are named after: "3.12".
	Python string
	// FreeThreaded says that the base's Python is; its folders end in "t".
	FreeThreaded bool
	UID, GID     int

	// What Skeleton needs besides: the interpreter's path in the image ("/usr/local/bin/python3.12") and its full
	// version ("3.12.9").
	Interpreter string
	FullVersion string
}

// skeletonProducer is what a conflict calls the environment itself.
const skeletonProducer = "the virtual environment"

func (v Venv) folder() string {
	if v.FreeThreaded {
		return "python" + v.Python + "t"
	}
	return "python" + v.Python
}

// SitePackages is the image path of the folder that packages go to.
func (v Venv) SitePackages() string { return path.Join(v.Path, v.sitePackages()) }

func (v Venv) sitePackages() string { return "lib/" + v.folder() + "/site-packages" }

// Executable is the absolute path of the environment's Python, which its scripts name.
func (v Venv) Executable() string { return "/" + v.Path + "/bin/python" }

// check says what is missing for files to be placed.
func (v Venv) check() error {
	if err := fstree.CheckPath(v.Path); err != nil {
		return fmt.Errorf("the virtual environment's place: %w", err)
	}
	if strings.ContainsAny(v.Path, "\r\n") {
		return fmt.Errorf("the virtual environment's path %q holds a line break", v.Path)
	}
	major, minor, ok := strings.Cut(v.Python, ".")
	if !ok || major == "" || minor == "" || strings.Trim(major+minor, "0123456789") != "" {
		return fmt.Errorf("%q is no version of Python of the form 3.12", v.Python)
	}
	return nil
}

// links are the environment's symbolic links, by path below it.
func (v Venv) links() []fstree.Entry {
	return []fstree.Entry{
		{Path: "bin/python", Link: v.Interpreter},
		{Path: "bin/python3", Link: "python"},
		{Path: "bin/" + v.folder(), Link: "python"},
		{Path: "lib64", Link: "lib"},
	}
}

// Skeleton adds the environment itself to the tree: the folders, the links to the base's Python, pyvenv.cfg, and an
// activate for whoever sources it.
func (v Venv) Skeleton(tree *fstree.Tree) error {
	if err := v.check(); err != nil {
		return err
	}
	if !path.IsAbs(v.Interpreter) || v.FullVersion == "" || strings.ContainsAny(v.Interpreter+v.FullVersion, "\r\n") {
		return errors.New("making a virtual environment: the base's Python is not known")
	}
	p := placer{tree: tree, venv: v, producer: skeletonProducer}
	if err := p.dir(v.sitePackages()); err != nil {
		return err
	}
	if err := p.dir("bin"); err != nil {
		return err
	}
	for _, l := range v.links() {
		l.Kind = fstree.Symlink
		if err := p.add(l); err != nil {
			return err
		}
	}
	cfg := fmt.Sprintf("home = %s\nimplementation = CPython\nversion_info = %s\ninclude-system-site-packages = false\n",
		path.Dir(v.Interpreter), v.FullVersion)
	if err := p.file("pyvenv.cfg", false, fstree.Bytes(cfg)); err != nil {
		return err
	}
	return p.file("bin/activate", false, fstree.Bytes(v.activate()))
}

// activate is a script for a POSIX shell to source: the environment's programs come first in PATH until deactivate.
func (v Venv) activate() string {
	dir := "'" + strings.ReplaceAll("/"+v.Path, "'", `'"'"'`) + "'"
	return `# Source this file: . ` + dir + `/bin/activate
if [ -n "${_venv_path_before-}" ]; then deactivate; fi
VIRTUAL_ENV=` + dir + `
export VIRTUAL_ENV
_venv_path_before=$PATH
PATH=$VIRTUAL_ENV/bin:$PATH
export PATH
deactivate() {
	PATH=$_venv_path_before
	export PATH
	unset VIRTUAL_ENV _venv_path_before
	unset -f deactivate
	hash -r 2>/dev/null || :
}
hash -r 2>/dev/null || :
`
}

// protected says whether a file (or a folder) at a path below the environment would take the place of what it cannot work
// without. No wheel may bring that, in whichever layer it is: an upper layer hides what a lower one has there.
func (v Venv) protected(p string, dir bool) bool {
	if !dir && (p == "bin" || p == v.sitePackages() || strings.HasPrefix(v.sitePackages(), p+"/")) {
		return true
	}
	top, below, _ := strings.Cut(p, "/")
	switch top {
	case "pyvenv.cfg", "lib64":
		return true
	case "bin":
		name, _, _ := strings.Cut(below, "/")
		return name == "activate" || slices.ContainsFunc(v.links(), func(l fstree.Entry) bool { return l.Path == "bin/"+name })
	}
	return false
}

// placer adds files below an environment to a tree, and the folders they need.
type placer struct {
	tree     *fstree.Tree
	venv     Venv
	producer string
}

// add adds an entry whose path is below the environment. A file that the same producer put there gives way.
func (p placer) add(e fstree.Entry) error {
	if err := p.dir(path.Dir(e.Path)); err != nil {
		return err
	}
	e.Path = path.Join(p.venv.Path, e.Path)
	e.UID, e.GID, e.Producer = p.venv.UID, p.venv.GID, p.producer
	if old, ok := p.tree.Lookup(e.Path); ok && old.Producer == p.producer && old.Kind == fstree.File && e.Kind == fstree.File {
		return p.tree.Replace(e)
	}
	return p.tree.Add(e)
}

func (p placer) file(name string, executable bool, c fstree.Content) error {
	mode := uint32(0o644)
	if executable {
		mode = 0o755
	}
	return p.add(fstree.Entry{Path: name, Kind: fstree.File, Mode: mode, Content: c})
}

// dir adds a folder below the environment, and those that it lies in, down from the environment's own.
func (p placer) dir(name string) error {
	full := path.Join(p.venv.Path, name)
	for dir := full; ; dir = path.Dir(dir) {
		if old, ok := p.tree.Lookup(dir); ok && old.Kind == fstree.Dir {
			return nil
		}
		err := p.tree.Add(fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755, UID: p.venv.UID, GID: p.venv.GID, Producer: p.producer})
		if err != nil {
			return err
		}
		if dir == p.venv.Path {
			return nil
		}
	}
}
