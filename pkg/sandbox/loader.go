package sandbox

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/rootfs"
)

// loaderRung runs Python, and Python alone, with nothing of the kernel but that it executes a program: the tree's own
// dynamic loader, told where the libraries are, starts the tree's Python, told where its modules are.
//
// Nothing translates a path, so that the command sees the tree where it really lies. Paths relative to its own folder
// work, which is how settings are written; an absolute path of the image (STATIC_ROOT = "/app/static") leads to this
// machine's files. Landlock, where the kernel has it, keeps the command from all of these, and a hook inside Python says
// so in words; root without Landlock could write anywhere, and is refused. What the command prints is given back with
// image paths in it, and a file that it writes with the tree's path in it is an error: it would differ from what the
// other rungs make.
type loaderRung struct{}

func (loaderRung) name() Rung { return Loader }

func (loaderRung) run(ctx context.Context, s *step) (outcome, error) {
	if landlockVersion() == 0 && os.Geteuid() == 0 {
		return outcome{}, &Refusal{Reason: "loader: root could write anywhere, without Landlock (Linux 5.19) to prevent it"}
	}
	if refused, err := notPython(s); refused != nil || err != nil {
		return outcome{}, errors.Join(err, refused.orNil())
	}
	dir, err := s.ownDir("root", "system/tmp", "system/site")
	if err != nil {
		return outcome{}, err
	}
	root := filepath.Join(dir, "root")
	if err := s.view().Copy(ctx, root); err != nil {
		return outcome{}, err
	}
	links, err := relativeLinks(root)
	if err != nil {
		return outcome{}, err
	}
	cfg := s.config(root)
	cfg.Rung, cfg.System, cfg.RefuseSockets = Loader, filepath.Join(dir, "system"), !s.Network && s.Started == nil
	s.detail, s.notes, s.hidden = "a copy of the tree", sharedNotes(s), root
	if s.User != nil {
		s.notes = append(s.notes, "it runs as the user who builds")
	}
	s.notes = append(s.notes, "Python alone: an absolute path is this machine's")
	told := *s
	out, both := withoutRoot(s.Stdout, root), s.Stdout == s.Stderr
	told.Stdout, told.Stderr = out.orNil(), out.orNil()
	errOut := out
	if !both {
		errOut = withoutRoot(s.Stderr, root)
		told.Stderr = errOut.orNil()
	}
	err = launch(ctx, &told, &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}, cfg)
	err = errors.Join(err, out.flush(), errOut.flush())
	if r, ok := errors.AsType[*setupError](err); ok {
		return outcome{}, refusal("loader", r.Stage, r.err())
	}
	if err == nil {
		err = links.restore(root)
	}
	return outcome{after: rootfs.NewView(root), detail: s.detail, notes: s.notes, foreign: root}, err
}

func (r *Refusal) orNil() error {
	if r == nil {
		return nil
	}
	return r
}

// notPython refuses a command that is not Python, before anything is copied for it.
func notPython(s *step) (*Refusal, error) {
	if len(s.Argv) == 0 {
		return nil, nil // a probe
	}
	t := viewFiles{s.view()}
	cfg := s.config("")
	name, _, failed := findCommand(cfg, t)
	if failed != nil {
		return nil, failed
	}
	_, err := pythonOf(t, name, s.Argv)
	if no, ok := errors.AsType[*notPythonError](err); ok {
		return &Refusal{Reason: "loader: runs Python alone, and " + no.name + " is " + no.what}, nil
	}
	return nil, err
}

// notPythonError says that a command is not one of the tree's Python.
type notPythonError struct{ name, what string }

func (e *notPythonError) Error() string { return e.name + " is " + e.what }

// imageFiles are files that can be found and read by image path.
type imageFiles interface {
	files
	// locate follows symlinks inside the tree; real is where the file lies on this machine.
	locate(p string) (image, real string, err error)
}

// viewFiles reads a view.
type viewFiles struct{ view rootfs.View }

func (viewFiles) mkdirAll(string) error { return fs.ErrPermission }

func (viewFiles) writeFile(string, []byte) error { return fs.ErrPermission }

func (v viewFiles) mode(p string) (os.FileMode, error) {
	n, err := v.view.Resolve(p)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, unix.ENOENT
	}
	if err != nil {
		return 0, err
	}
	return n.Info.Mode(), nil
}

func (v viewFiles) locate(p string) (image, real string, err error) {
	n, err := v.view.Resolve(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", unix.ENOENT
	}
	if err != nil {
		return "", "", err
	}
	return path.Join("/", n.Path), n.Real(), nil
}

func (t *tree) locate(p string) (image, real string, err error) {
	at, err := t.walk("", p, true)
	if err == nil && !at.exists {
		err = unix.ENOENT
	}
	return imagePath(at.key), at.host, err
}

// python is a command of the tree's Python.
type python struct {
	called string   // the interpreter's image path, as it was called: a virtual environment's is a link
	file   string   // the program that it leads to
	interp string   // the dynamic loader that this names
	args   []string // what follows the interpreter
}

// pythonOf finds out how a command runs Python: it is an interpreter itself, or a script that names one. The error is a
// *notPythonError where it is neither.
func pythonOf(t imageFiles, name string, argv []string) (python, error) {
	p := python{called: name, args: argv[1:]}
	for range maxScripts {
		image, real, err := t.locate(p.called)
		if err != nil {
			return p, &StartError{Command: p.called, Reason: "the interpreter that it names is not in the image"}
		}
		interp, shebang, err := readProgram(real)
		if err != nil {
			return p, notStarted(p.called, err)
		}
		if shebang == nil {
			p.file, p.interp = image, interp
			break
		}
		if path.Base(shebang[0]) == "env" {
			return p, &notPythonError{name, "a script for env"}
		}
		p.args = append(append(shebang[1:len(shebang):len(shebang)], p.called), p.args...)
		p.called = shebang[0]
	}
	if !strings.HasPrefix(path.Base(p.file), "python") || p.interp == "" {
		return p, &notPythonError{name, "none of its commands"}
	}
	for _, a := range p.args {
		if len(a) < 2 || a[0] != '-' || a == "-c" || a == "-m" {
			break
		}
		if a[1] != '-' && strings.ContainsAny(a[1:], "EIS") {
			return p, &notPythonError{name, "called with " + a + ", which makes it not look where its modules are"}
		}
	}
	return p, nil
}

//go:embed sitecustomize.py
var siteCustomize []byte

// loaderInit is what the step's first process does on this rung.
func loaderInit(cfg config, h *host, answer *os.File) status {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return status{Refused: newSetupError("subreaper", err)}
	}
	t := newTree(cfg.Root)
	if failed := prepare(cfg, h, t); failed != nil {
		return status{Failed: failed}
	}
	site := filepath.Join(cfg.System, "site")
	if err := os.WriteFile(filepath.Join(site, "sitecustomize.py"), siteCustomize, 0o644); err != nil {
		return status{Refused: newSetupError("writing the hook", err)}
	}
	runtime.LockOSThread() // what is given up is this thread's
	if err := dropPrivileges(cfg); err != nil {
		return status{Refused: newSetupError("dropping privileges", err)}
	}
	if len(cfg.Argv) == 0 {
		return status{Done: &exit{}}
	}
	if err := restrict(grants(cfg)); err != nil {
		return status{Refused: newSetupError("landlock", err)}
	}
	return attend(cfg, h, answer, func(argv []string, files ...uintptr) (pid int, failed *StartError) {
		cfg.Argv = argv
		return startPython(cfg, t, files...)
	})
}

// startPython starts a command of the tree's Python with files as its first descriptors.
func startPython(cfg config, t *tree, files ...uintptr) (pid int, failed *StartError) {
	name, dir, failed := findCommand(cfg, t)
	if failed != nil {
		return 0, failed
	}
	p, err := pythonOf(t, name, cfg.Argv)
	if failed, ok := errors.AsType[*StartError](err); ok {
		return 0, failed
	}
	if no, ok := errors.AsType[*notPythonError](err); ok {
		return 0, &StartError{Command: no.name, Reason: "the loader sandbox runs Python alone, and it is " + no.what}
	}
	if err != nil {
		return 0, &StartError{Command: name, Reason: errnoName(err)}
	}
	ld, argv, err := p.command(t)
	if err != nil {
		return 0, notStarted(p.file, err)
	}
	at, err := t.walk("", dir, true)
	if err != nil {
		return 0, &StartError{Command: dir, Reason: errnoName(err)}
	}
	return fork(cfg, ld, at.host, argv, p.environment(cfg, t), files...)
}

// command is the dynamic loader with its arguments: where to find libraries, how the program was called, and the program.
func (p *python) command(t *tree) (ld string, argv []string, err error) {
	at, err := t.walk("", p.interp, true)
	if err == nil && !at.exists {
		err = unix.ENOENT
	}
	if err == nil {
		err = at.stat()
	}
	if err != nil {
		return "", nil, err
	}
	argv = []string{p.interp, "--library-path", strings.Join(libraryPath(t), ":")}
	called := t.hostPath(p.called)
	if newTracer(t, config{}).knowsArgv0(&at) {
		argv = append(argv, "--argv0", called)
	}
	argv = append(argv, t.root+p.file)
	for _, a := range p.args {
		if strings.HasPrefix(a, "/") {
			if _, real, err := t.locate(a); err == nil {
				a = real
			}
		}
		argv = append(argv, a)
	}
	return at.host, argv, nil
}

// hostPath is where an image path lies, its last component not followed.
func (t *tree) hostPath(p string) string {
	at, err := t.walk("", p, false)
	if err != nil {
		return t.root + p
	}
	return at.host
}

// libraryPath are the directories in which the tree's own dynamic loader would look.
func libraryPath(t *tree) (dirs []string) {
	seen := make(map[string]bool)
	add := func(p string) {
		image, real, err := t.locate(p)
		if err == nil && !seen[image] && !strings.Contains(real, ":") {
			seen[image] = true
			dirs = append(dirs, real)
		}
	}
	for _, p := range loaderConfig(t, "/etc/ld.so.conf", 0) {
		add(p)
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	for _, p := range []string{"/usr/local/lib", "/lib/" + triplet, "/usr/lib/" + triplet, "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		add(p)
	}
	return dirs
}

// loaderConfig reads the directories of ld.so.conf (ldconfig(8)) and of the files that it includes.
func loaderConfig(t *tree, name string, depth int) (dirs []string) {
	_, real, err := t.locate(name)
	if err != nil || depth > 4 {
		return nil
	}
	b, err := readStart(real, 64<<10)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n,:", r) })
		switch {
		case len(words) == 0:
		case words[0] != "include":
			dirs = append(dirs, words...)
		default:
			for _, pattern := range words[1:] {
				for _, name := range t.glob(path.Join(path.Dir(name), pattern), pattern) {
					dirs = append(dirs, loaderConfig(t, name, depth+1)...)
				}
			}
		}
	}
	return dirs
}

// glob finds the files of one directory of the tree that fit a pattern.
func (t *tree) glob(relative, pattern string) (names []string) {
	if !path.IsAbs(pattern) {
		pattern = relative
	}
	_, real, err := t.locate(path.Dir(pattern))
	if err != nil {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(real, path.Base(pattern))) // a pattern that is none fits nothing
	for _, f := range found {
		names = append(names, path.Join(path.Dir(pattern), filepath.Base(f)))
	}
	return names
}

// environment is the command's, with paths of this machine where Python itself looks at them.
func (p *python) environment(cfg config, t *tree) []string {
	home := path.Dir(path.Dir(p.file))
	env := []string{"PYTHONHOME=" + t.root + home, "TMPDIR=" + filepath.Join(cfg.System, "tmp"), "JUBAKO_ROOT=" + t.root,
		"JUBAKO_SYSTEM=" + cfg.System, "PYTHONTZPATH=" + t.root + "/usr/share/zoneinfo", "PYTHONDONTWRITEBYTECODE=1"}
	pythonPath := filepath.Join(cfg.System, "site")
	for _, kv := range cfg.Env {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "PYTHONHOME", "TMPDIR", "PYTHONTZPATH":
			continue
		case "PYTHONPATH":
			pythonPath += ":" + t.hostList(value)
			continue
		case "PATH", "HOME", "VIRTUAL_ENV":
			kv = name + "=" + t.hostList(value)
		}
		env = append(env, kv)
	}
	return append(env, "PYTHONPATH="+pythonPath)
}

// hostList makes paths of this machine of a list of image paths.
func (t *tree) hostList(list string) string {
	parts := strings.Split(list, ":")
	for i, p := range parts {
		if strings.HasPrefix(p, "/") {
			parts[i] = t.root + path.Clean(p)
			if _, real, err := t.locate(p); err == nil {
				parts[i] = real
			}
		}
	}
	return strings.Join(parts, ":")
}
