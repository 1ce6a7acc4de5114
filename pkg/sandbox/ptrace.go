package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/rootfs"
)

// ptraceRung needs no more than that a process may trace its own children. The command's first process puts a filter
// before its own system calls that stops those with a path in them, and the tracer answers: it finds what the path means
// in the tree, and makes the call itself or has it made with another path.
type ptraceRung struct{}

func (ptraceRung) name() Rung { return Ptrace }

const stageTrace = "ptrace"

func (ptraceRung) run(ctx context.Context, s *step) (outcome, error) {
	dir, err := s.ownDir("root", "system/dev/shm", "system/tmp", "system/spare")
	if err != nil {
		return outcome{}, err
	}
	root := filepath.Join(dir, "root")
	cfg := s.config(root)
	cfg.Rung, cfg.System, cfg.User = Ptrace, filepath.Join(dir, "system"), s.User
	s.detail, s.notes = "links to the tree's files", append(sharedNotes(s), s.User.oneUserNote()...)
	if s.Started != nil && !s.Network {
		cfg.OwnNetwork, cfg.Loopback = true, randomLoopback()
		s.notes = append(s.notes, newOwnNetwork(cfg.Loopback).note())
	}
	out := outcome{after: s.view(root)}
	if cfg.Lazy, err = takesMarks(root); err != nil {
		return outcome{}, err
	}
	if !cfg.Lazy {
		if err := s.view().Copy(ctx, root); err != nil {
			return outcome{}, err
		}
		out.after, s.detail = rootfs.NewView(root), "a copy of the tree"
	}
	out.detail, out.notes = s.detail, s.notes
	err = launch(ctx, s, &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}, cfg)
	if r, ok := errors.AsType[*setupError](err); ok {
		return outcome{}, refusal("ptrace", r.Stage, r.err(), "kernel.yama.ptrace_scope=2", "kernel.yama.ptrace_scope=3")
	}
	return out, err
}

// ownDir makes a new folder for an attempt, with folders in it, and gives it the name that the kernel has for it.
func (s *step) ownDir(folders ...string) (string, error) {
	dir := s.attemptDir()
	for _, d := range folders {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// sharedNotes say what a rung without namespaces does not isolate.
func sharedNotes(s *step) []string {
	var notes []string
	if landlockVersion() == 0 {
		notes = append(notes, "no Landlock as a second wall around the tree (Linux 5.19)")
	}
	if s.Started != nil {
		notes = append(notes, "it sees this machine's processes")
	} else if !s.Network {
		notes = append(notes, "no network of its own: sockets are refused")
	}
	return notes
}

// takesMarks says whether a directory can be marked as one that hides those below it.
func takesMarks(dir string) (bool, error) {
	err := unix.Setxattr(dir, opaqueMark, []byte("y"), 0)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, unix.Removexattr(dir, opaqueMark)
}

// tracedInit is what the step's first process does on this rung: it traces another.
func tracedInit(cfg config, h *host, answer *os.File) status {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return status{Refused: newSetupError("subreaper", err)}
	}
	if err := dropPrivileges(config{}); err != nil {
		return status{Refused: newSetupError("dropping privileges", err)}
	}
	lower := rootfs.NewView(cfg.Trees...)
	t := newTree(cfg.Root)
	if cfg.Lazy {
		var err error
		if t, err = newLazyTree(cfg.Root, filepath.Join(cfg.System, "spare"), lower); err != nil {
			return status{Refused: newSetupError("filling the tree", err)}
		}
	}
	t.bringer = newBringer(cfg)
	if err := t.mountSystem(cfg.System); err != nil {
		return status{Refused: newSetupError("making /dev", err)}
	}
	if err := t.show(cfg.Shown); err != nil {
		return status{Refused: newSetupError("showing a folder", err)}
	}
	if failed := prepare(cfg, h, t); failed != nil {
		return status{Failed: failed}
	}
	tr := newTracer(t, cfg)
	if err := tr.watchCommand(cfg); err != nil {
		return status{Refused: newSetupError(stageTrace, err)}
	}
	st := tr.watch.tell(trace(cfg, tr, answer))
	if cfg.Lazy && st.Done != nil {
		if err := t.settle(); err != nil {
			return status{Trouble: err.Error()}
		}
	}
	return st
}

// grants are what Landlock leaves to a step of this rung.
func grants(cfg config) []grant {
	g := []grant{{cfg.Root, landlockAll}, {cfg.System, landlockAll}, {procDir, landlockRead | landlockFile&^unix.LANDLOCK_ACCESS_FS_EXECUTE}}
	if cfg.Shown.Folder != "" {
		g = append(g, grant{cfg.Shown.Folder, landlockRead})
	}
	for _, name := range deviceNames() {
		g = append(g, grant{"/dev/" + name, landlockFile &^ unix.LANDLOCK_ACCESS_FS_EXECUTE})
	}
	return g
}

func deviceNames() []string {
	names := []string{"tty"}
	for _, d := range devices {
		names = append(names, d.name)
	}
	return names
}

// mountSystem shows this machine's /proc and devices in the tree, and folders of the step's own at /tmp and /dev.
func (t *tree) mountSystem(system string) error {
	for _, name := range deviceNames() {
		if _, err := os.Stat("/dev/" + name); err != nil {
			continue
		}
		// What a listing of /dev is to show.
		if err := os.WriteFile(filepath.Join(system, "dev", name), nil, 0o666); err != nil {
			return err
		}
		t.mounts = append(t.mounts, mount{"/dev/" + name, "/dev/" + name})
	}
	for link, target := range deviceLinkTargets {
		if err := os.Symlink(target, filepath.Join(system, "dev", link)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"dev/shm", "tmp"} {
		if err := os.Chmod(filepath.Join(system, dir), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	for _, dir := range []string{procDir, "/dev", "/tmp"} {
		if err := t.mkdirAll(dir); err != nil {
			return err
		}
	}
	t.mounts = append(t.mounts, mount{"/dev", filepath.Join(system, "dev")}, mount{"/tmp", filepath.Join(system, "tmp")},
		mount{procDir, procDir})
	for _, m := range t.mounts {
		t.forget(m.image)
	}
	return nil
}

// show shows a folder of this machine in the tree.
func (t *tree) show(s Shown) error {
	folder, err := filepath.EvalSymlinks(s.Folder) // the name that the kernel has for it
	if s.Folder == "" || err != nil {
		return nil // as where it cannot be mounted
	}
	if err := t.mkdirAll(s.Path); err != nil {
		return err
	}
	t.mounts = append(t.mounts, mount{s.Path, folder})
	t.forget(s.Path)
	return nil
}

// mode is stat(2) as far as finding a command needs it.
func (t *tree) mode(p string) (os.FileMode, error) {
	at, err := t.walk("", p, true)
	if err != nil {
		return 0, err
	}
	if !at.exists {
		return 0, unix.ENOENT
	}
	fi, err := os.Lstat(at.host)
	if err != nil {
		return 0, err
	}
	return fi.Mode(), nil
}

// tracedName is the first word of the arguments of a process that is to be traced.
const tracedName = "jubako: traced"

// traced is what such a process is told.
type traced struct {
	Program, Dir string // image paths
	Argv, Env    []string
	Memory       int64
	Filter       []unix.SockFilter
	Grants       []grant
}

// trace runs the command under the tracer.
func trace(cfg config, t *tracer, answer *os.File) status {
	defer t.removeShortcuts()
	filter, err := traceFilter(slices.Collect(maps.Keys(t.calls)), t.hides() && t.shown.UID == 0 && t.shown.GID == 0, t.network())
	if err != nil {
		return status{Refused: newSetupError(stageTrace, err)}
	}
	t.template = traced{Env: cfg.Env, Memory: cfg.Memory, Grants: grants(cfg), Filter: filter}
	stop := told()
	command, err := t.launch(cfg.Argv, 0, 1, 2)
	if err != nil {
		return status{Refused: newSetupError("fork", err)}
	}
	t.main = command.pid
	killWhenTold(stop, command.pid) // and with it, the loop ends all others
	said := make(chan status, 1)
	go func() {
		st := command.outcome()
		said <- st
		if st == (status{}) && cfg.Control {
			t.serve(command.pid, answer)
		}
	}()
	end, err := t.loop()
	if err != nil {
		return status{Trouble: err.Error()}
	}
	if st := <-said; st != (status{}) {
		return st
	}
	return status{Done: end}
}

// network is what the filter leaves of it.
func (t *tracer) network() network {
	switch {
	case t.cfg.Network:
		return hostNetwork
	case t.net != nil:
		return ownSockets
	}
	return noNetwork
}

// becomeTraced makes this process the command.
func becomeTraced() {
	runtime.LockOSThread() // all that follows is of this thread alone, until the command replaces it
	unix.CloseOnExec(configFD)
	unix.CloseOnExec(statusFD)
	// The thread that has started this process may still have privileges, which the tracer's has not.
	if err := dropPrivileges(config{}); err != nil {
		syscall.Exit(1)
	}
	out := os.NewFile(statusFD, "status")
	tid := binary.NativeEndian.AppendUint32(nil, uint32(unix.Gettid()))
	if _, err := out.Write(tid); err != nil {
		syscall.Exit(1)
	}
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP) // until the tracer has seized this thread
	var cfg traced
	st := status{}
	if err := json.NewDecoder(os.NewFile(configFD, "config")).Decode(&cfg); err != nil {
		st.Refused = newSetupError("reading what to do", err)
	} else {
		st = runTraced(cfg)
	}
	if st.Done == nil {
		_ = json.NewEncoder(out).Encode(st)
		syscall.Exit(1)
	}
	syscall.Exit(0)
}

func runTraced(cfg traced) status {
	if cfg.Grants != nil { // else the root is a real one
		if err := restrict(cfg.Grants); err != nil {
			return status{Refused: newSetupError("landlock", err)}
		}
	}
	if err := install(cfg.Filter); err != nil {
		return status{Refused: newSetupError("seccomp", err)}
	}
	// From here on, a path is an image path.
	if cfg.Program == "" {
		return probeTraced()
	}
	if err := unix.Chdir(cfg.Dir); err != nil {
		return status{Failed: &StartError{Command: cfg.Dir, Reason: "the folder it is to start in: " + errnoName(err)}}
	}
	if cfg.Memory > 0 {
		var limit unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_DATA, &limit)
		if n := min(uint64(cfg.Memory), limit.Max); err == nil {
			err = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n})
		}
		if err != nil {
			return status{Failed: &StartError{Command: cfg.Program, Reason: "limiting its memory: " + errnoName(err)}}
		}
	}
	err := syscall.Exec(cfg.Program, cfg.Argv, cfg.Env)
	for range 200 { // as in fork, and without another thread, which a timer would want
		if !errors.Is(err, syscall.ETXTBSY) {
			break
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 10e6}, nil)
		err = syscall.Exec(cfg.Program, cfg.Argv, cfg.Env)
	}
	return status{Failed: notStarted(cfg.Program, err)}
}

// probeTraced makes one call of each kind, which shows that all of it is allowed here.
func probeTraced() status {
	var st unix.Stat_t
	fd, err := unix.Open("/", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Fstat(fd, &st), unix.Stat("/etc", &st), unix.Close(fd))
	}
	if err != nil {
		return status{Refused: newSetupError("a traced call", err)}
	}
	return status{Done: &exit{}}
}
