package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initName is the first word of the arguments of a process that is to be a step's first.
const initName = "jubako: step"

const (
	configFD = 3
	statusFD = 4
)

// Main returns at once in an ordinary process. In one that Run has started it sets the sandbox up, runs the command, and
// does not return. It must come before anything else that main or TestMain does.
func Main() {
	if len(os.Args) == 1 && os.Args[0] == tracedName {
		becomeTraced()
	}
	if len(os.Args) == 1 && os.Args[0] == watchedName {
		becomeWatched()
	}
	if len(os.Args) != 1 || os.Args[0] != initName {
		return
	}
	runtime.LockOSThread() // capabilities and filters belong to the thread that starts the command
	unix.CloseOnExec(configFD)
	unix.CloseOnExec(statusFD)
	unix.CloseOnExec(controlFD) // where it is one
	unix.CloseOnExec(seenFD)
	unix.CloseOnExec(sparseFD)
	answer := os.NewFile(statusFD, "status")
	if err := json.NewEncoder(answer).Encode(initProcess(answer)); err != nil {
		syscall.Exit(1) // whoever wanted to know is gone
	}
	syscall.Exit(0) // at once; in a pid namespace, everything else ends now
}

func initProcess(answer *os.File) status {
	var cfg config
	if err := json.NewDecoder(os.NewFile(configFD, "config")).Decode(&cfg); err != nil {
		return status{Refused: newSetupError("reading what to do", err)}
	}
	unix.Umask(0o022)
	host, err := openHost()
	if err != nil {
		return status{Refused: newSetupError("reading this machine", err)}
	}
	switch cfg.Rung {
	case Ptrace:
		return tracedInit(cfg, host, answer)
	case Loader:
		return loaderInit(cfg, host, answer)
	}
	var watched *watchable
	if cfg.Watch {
		watched = startWatchable()
	}
	if refused := enter(cfg, host); refused != nil {
		return status{Refused: refused}
	}
	if failed := prepare(cfg, host, ownRoot{}); failed != nil {
		return status{Failed: failed}
	}
	if err := dropPrivileges(cfg); err != nil {
		return status{Refused: newSetupError("dropping privileges", err)}
	}
	if len(cfg.Argv) == 0 {
		return status{Done: &exit{}} // a probe
	}
	sparse := newBringer(cfg)
	if st, ok := watched.watched(cfg, host, sparse); ok {
		return st
	}
	sparse.bringAll() // nobody says where it looks
	return attend(cfg, host, answer, func(argv []string, files ...uintptr) (pid int, failed *StartError) {
		cfg.Argv = argv
		return start(cfg, files...)
	})
}

// attend starts the command and stays with it to its end.
func attend(cfg config, h *host, answer *os.File, start starter) status {
	var stop <-chan os.Signal
	if !cfg.Mounts {
		// The end of a pid namespace ends all in it. Without one, the descendants have to be found one by one.
		stop = told()
	}
	pid, failed := start(cfg.Argv, 0, 1, 2)
	if failed != nil {
		return status{Failed: failed}
	}
	if stop != nil {
		killWhenTold(stop, pid)
	}
	if cfg.Control {
		return status{Done: keep(cfg, pid, h, answer, start)}
	}
	return status{Done: supervise(pid, cfg.Mounts, h)}
}

// host is what the first process keeps of the machine while it changes its root.
type host struct {
	root, proc *os.File
	resolv     []byte
}

func openHost() (*host, error) {
	root, err := os.Open("/")
	if err != nil {
		return nil, err
	}
	h := &host{root: root}
	h.proc, _ = os.Open("/proc")                  // where there is none, processes cannot be found, and few will be left behind
	h.resolv, _ = os.ReadFile("/etc/resolv.conf") // where there is none, the command has none either
	return h, nil
}

// files are the step's root, as its first process reaches it. Errors are the kernel's.
type files interface {
	mkdirAll(p string) error
	writeFile(p string, content []byte) error
	mode(p string) (os.FileMode, error)
}

// ownRoot is the process's own root.
type ownRoot struct{}

func (ownRoot) mkdirAll(p string) error { return os.MkdirAll(p, 0o755) }

func (ownRoot) writeFile(p string, content []byte) error { return os.WriteFile(p, content, 0o644) }

func (ownRoot) mode(p string) (os.FileMode, error) {
	fi, err := os.Stat(p)
	if err != nil {
		return 0, err
	}
	return fi.Mode(), nil
}

// prepare makes in the tree what the command is to find there.
func prepare(cfg config, h *host, root files) *StartError {
	for _, dir := range cfg.Writable {
		if err := root.mkdirAll("/" + dir); err != nil {
			return &StartError{Command: dir, Reason: "making a writable folder: " + errnoName(err)}
		}
	}
	if err := giveFiles(cfg); err != nil {
		return &StartError{Command: cfg.Argv[0], Reason: "giving files their owners: " + errnoName(err)}
	}
	// A container's engine would write these two files; programs that ask for "localhost" need the first.
	files := map[string][]byte{"/etc/hosts": []byte("127.0.0.1\tlocalhost\n::1\tlocalhost\n")}
	if cfg.Network {
		files["/etc/resolv.conf"] = h.resolv
	}
	if err := root.mkdirAll("/etc"); err != nil {
		return &StartError{Command: "/etc", Reason: errnoName(err)}
	}
	for name, content := range files {
		if content == nil {
			continue
		}
		if err := root.writeFile(name, content); err != nil {
			return &StartError{Command: name, Reason: errnoName(err)}
		}
	}
	return nil
}

// findCommand finds the program to be run, and the folder to run it in.
func findCommand(cfg config, root files) (name, dir string, failed *StartError) {
	dir = path.Join("/", cfg.Dir)
	if mode, err := root.mode(dir); err != nil {
		return "", "", &StartError{Command: dir, Reason: "the folder it is to start in: " + errnoName(err)}
	} else if !mode.IsDir() {
		return "", "", &StartError{Command: dir, Reason: "it is to start there, and it is no folder"}
	}
	name, failed = lookPath(cfg, dir, root)
	return name, dir, failed
}

// start starts the command in the process's own root, with files as its first descriptors.
func start(cfg config, files ...uintptr) (pid int, failed *StartError) {
	name, dir, failed := findCommand(cfg, ownRoot{})
	if failed != nil {
		return 0, failed
	}
	return fork(cfg, name, dir, cfg.Argv, cfg.Env, files...)
}

// fork starts a program on the calling thread, whose privileges it inherits, with files as its first descriptors.
func fork(cfg config, name, dir string, argv, env []string, files ...uintptr) (pid int, failed *StartError) {
	attr := &syscall.ProcAttr{Dir: dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true, Credential: cfg.Switch.credential()}}
	pid, err := withMemoryLimit(cfg.Memory, func() (pid int, err error) {
		// In a tree that was copied a moment ago, a file may still be open for writing in a process that another step was
		// just then starting, until that executes its own program.
		for range 200 {
			if pid, err = syscall.ForkExec(name, argv, attr); !errors.Is(err, syscall.ETXTBSY) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return pid, err
	})
	if pid != 0 && err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it must not run without its limit
		return 0, &StartError{Command: name, Reason: "limiting its memory: " + errnoName(err)}
	}
	if err != nil {
		return 0, notStarted(name, err)
	}
	return pid, nil
}

// notStarted says why execve(2) has refused a program.
func notStarted(name string, err error) *StartError {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return &StartError{Command: name, Reason: "it is made for another kind of machine than this one (" + runtime.GOARCH + ")"}
	case errors.Is(err, syscall.ENOENT):
		return &StartError{Command: name, Reason: "the interpreter that it names is not in the image"}
	}
	return &StartError{Command: name, Reason: errnoName(err)}
}

// lookPath finds the command as execvp(3) would, with the PATH that the command is to have.
func lookPath(cfg config, dir string, root files) (string, *StartError) {
	name := cfg.Argv[0]
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if _, err := root.mode(name); err != nil {
			return "", &StartError{Command: name, Reason: errnoName(err)}
		}
		return name, nil
	}
	var search string
	for _, kv := range cfg.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	for _, d := range filepath.SplitList(search) {
		p := filepath.Join(dir, d, name)
		if path.IsAbs(d) {
			p = filepath.Join(d, name)
		}
		if mode, err := root.mode(p); err == nil && mode.IsRegular() && mode&0o111 != 0 {
			return p, nil
		}
	}
	return "", &StartError{Command: name, Reason: fmt.Sprintf("it is in no folder of PATH (%s)", search)}
}

// supervise waits for the command, takes care of what it leaves behind, and says how it ended.
func supervise(pid int, namespaced bool, h *host) *exit {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return &exit{Code: 255} // cannot be: the command is our child
		}
		if got != pid {
			continue // an orphan, adopted
		}
		if !namespaced {
			killDescendants(h.proc)
		}
		return exitOf(ws)
	}
}

func exitOf(ws syscall.WaitStatus) *exit {
	if ws.Signaled() {
		return &exit{Signal: int(ws.Signal())}
	}
	return &exit{Code: ws.ExitStatus()}
}
