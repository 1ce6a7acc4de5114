package sandbox

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// watchedName is the first word of the arguments of a process that is to be watched.
	watchedName = "jubako: watched"
	// seenFD is where the first process of a step tells what the step has looked at.
	seenFD = 6
	// watchedMark is the datum with which the filter stops a call that can be followed. One that comes with any other cannot:
	// it is a filter of the step's own that has stopped it, or ours at what it does not know.
	watchedMark = 1
)

// watchable is a process that is to become the command, and has been started while this program could still be found: in
// the root that becomes the step's, its loader may be missing. It shares this process's root until it begins.
type watchable struct {
	pid     int
	out, in *os.File
	err     error // why there is none
}

// beginning is what it is told.
type beginning struct {
	traced
	RefuseSockets bool
}

// watched runs the command in the process's own root and tells what it looks at. ok is false where that cannot be done
// here; nothing has run then.
func (p *watchable) watched(cfg config, h *host, sparse *bringer) (st status, ok bool) {
	if p == nil {
		return status{}, false
	}
	debug.SetGCPercent(50)
	w, err := watchOwnRoot(cfg, h, sparse)
	if err = cmp.Or(p.err, err); err == nil {
		st, err = w.run(cfg, h, p)
	}
	p.close()
	if err != nil {
		_ = writeUnknown(os.NewFile(seenFD, "seen"), "it cannot be traced here: "+err.Error()) // if this fails, it is not known either
		return status{}, false
	}
	return w.tell(st), true
}

// close lets one that has not begun end.
func (p *watchable) close() {
	if p.err == nil {
		_ = p.in.Close()
		_ = p.out.Close()
	}
}

func watchOwnRoot(cfg config, h *host, sparse *bringer) (*watcher, error) {
	proc := h.proc
	if cfg.Mounts {
		var err error
		if proc, err = os.Open(procDir); err != nil {
			return nil, err
		}
	}
	if proc == nil {
		return nil, errors.New("there is no /proc")
	}
	t := newTree("")
	t.bringer = sparse
	w, err := newWatcher(t, proc)
	if err != nil {
		return nil, err
	}
	t.procs = watchedProcs{w}
	return w, nil
}

// run lets the command begin and watches it to its end. An error says that it has not run.
func (w *watcher) run(cfg config, h *host, p *watchable) (st status, err error) {
	w.prepared(cfg)
	begin := beginning{traced{Argv: cfg.Argv, Env: cfg.Env, Memory: cfg.Memory}, cfg.RefuseSockets}
	var failed *StartError
	if begin.Program, begin.Dir, failed = findCommand(cfg, watchedFiles{ownRoot{}, w}); failed != nil {
		return status{Failed: failed}, nil
	}
	if begin.Filter, err = watchFilter(); err != nil {
		return status{}, err
	}
	var stop <-chan os.Signal
	if !cfg.Mounts {
		stop = told()
	}
	if err := p.seize(begin); err != nil {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(p.pid, nil, 0, nil)
		return status{}, err
	}
	if stop != nil {
		defer killWhenTold(stop, p.pid)()
	}
	end, err := w.loop(p.pid)
	if err != nil {
		return status{Trouble: err.Error()}, nil
	}
	if !cfg.Mounts {
		killDescendants(h.proc)
	}
	var said status
	switch err := json.NewDecoder(p.out).Decode(&said); {
	case err == nil && said.Refused != nil:
		return status{}, said.Refused
	case err == nil:
		return said, nil
	case !errors.Is(err, io.EOF):
		return status{Trouble: err.Error()}, nil
	}
	return status{Done: end}, nil
}

// startWatchable starts the process.
func startWatchable() *watchable {
	p := &watchable{}
	if p.pid, p.out, p.in, p.err = forkSelf(watchedName, []uintptr{0, 1, 2}, syscall.CLONE_FS); p.err != nil {
		return p
	}
	if _, err := io.ReadFull(p.out, make([]byte, 1)); err != nil { // until it needs no file any more
		p.close()
		p.err = err
	}
	return p
}

// seize tells the process what to do, traces it, and lets it go on.
func (p *watchable) seize(begin beginning) error {
	if err := json.NewEncoder(p.in).Encode(begin); err != nil {
		return err
	}
	var tid [4]byte
	if _, err := io.ReadFull(p.out, tid[:]); err != nil {
		return err
	}
	if err := ptrace(unix.PTRACE_SEIZE, int(binary.NativeEndian.Uint32(tid[:])), 0, traceOptions); err != nil {
		return err
	}
	return p.in.Close()
}

// becomeWatched makes this process the command.
func becomeWatched() {
	runtime.LockOSThread() // all that follows is of this thread alone, until the command replaces it
	unix.CloseOnExec(configFD)
	unix.CloseOnExec(statusFD)
	in, out := os.NewFile(configFD, "config"), os.NewFile(statusFD, "status")
	if _, err := out.Write([]byte{0}); err != nil {
		syscall.Exit(1)
	}
	var begin beginning
	if json.NewDecoder(in).Decode(&begin) != nil {
		syscall.Exit(1) // it is not to be
	}
	err := unix.Unshare(unix.CLONE_FS)
	if err == nil {
		err = dropPrivileges(config{RefuseSockets: begin.RefuseSockets})
	}
	if err != nil {
		syscall.Exit(1)
	}
	if _, err := out.Write(binary.NativeEndian.AppendUint32(nil, uint32(unix.Gettid()))); err != nil {
		syscall.Exit(1)
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // until the tracer has seized this thread
		syscall.Exit(1)
	}
	_ = json.NewEncoder(out).Encode(runTraced(begin.traced))
	syscall.Exit(1)
}

// watchFilter stops the calls that see or change what stands at a path, and those that cannot be followed. Nothing is
// refused: a step is to run as it would unwatched.
func watchFilter() ([]unix.SockFilter, error) {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return nil, errors.New("no filter for system calls is known for " + runtime.GOARCH)
	}
	const trace, unwatched = unix.SECCOMP_RET_TRACE | watchedMark, unix.SECCOMP_RET_TRACE
	var b bpf
	b.add(bpfLoad, offArch, 0, 0)
	b.add(bpfEquals, arch, 1, 0)
	b.add(bpfRet, unwatched, 0, 0)
	b.add(bpfLoad, offNr, 0, 0)
	b.add(bpfAtLeast, newest+1, 0, 1) // x32's are beyond it
	b.add(bpfRet, unwatched, 0, 0)
	b.onArg(unix.SYS_CLONE, 0, bpfAnyOf, cloneRefused, unwatched, unix.SECCOMP_RET_ALLOW)
	b.onArg(unix.SYS_SENDTO, 4, bpfEquals, 0, unix.SECCOMP_RET_ALLOW, trace)
	b.onArg(unix.SYS_SECCOMP, 1, bpfAnyOf, listens, unwatched, unix.SECCOMP_RET_ALLOW)
	for _, nr := range slices.Sorted(maps.Keys(watchedCalls())) {
		b.on(nr, trace)
	}
	for _, nr := range slices.Sorted(slices.Values(unwatchable())) {
		b.on(nr, unwatched)
	}
	b.add(bpfRet, unix.SECCOMP_RET_ALLOW, 0, 0)
	return b, nil
}

// loop watches until the first process ends, and ends all others.
func (w *watcher) loop(pid int) (*exit, error) {
	tids := make(map[int]bool)
	after := make(map[int]func(int64))
	var g regs
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if ws.Exited() || ws.Signaled() {
			delete(tids, tid)
			delete(after, tid)
			if tid == pid {
				for tid := range tids {
					_ = syscall.Kill(tid, syscall.SIGKILL)
				}
				return exitOf(syscall.WaitStatus(ws)), nil
			}
			continue
		}
		if !ws.Stopped() {
			continue
		}
		tids[tid] = true
		request, sig := unix.PTRACE_CONT, uintptr(0)
		switch event, stop := int(ws>>16), ws.StopSignal(); {
		case event == unix.PTRACE_EVENT_SECCOMP:
			if todo := w.stopped(tid, &g); todo != nil {
				after[tid] = todo
				request = unix.PTRACE_SYSCALL
			}
		case event == unix.PTRACE_EVENT_EXEC:
			delete(after, tid)
		case event == unix.PTRACE_EVENT_STOP:
			if stop == unix.SIGSTOP || stop == unix.SIGTSTP || stop == unix.SIGTTIN || stop == unix.SIGTTOU {
				request = unix.PTRACE_LISTEN // a stop of the whole process: it stays stopped
			}
		case event == 0 && stop == unix.SIGTRAP|0x80:
			if todo := after[tid]; todo != nil && g.get(tid) == nil {
				todo(g.ret())
			}
			delete(after, tid)
		case event == 0:
			sig = uintptr(stop)
		}
		if after[tid] != nil && request == unix.PTRACE_CONT { // a signal, or the event of a fork, before the call's end
			request = unix.PTRACE_SYSCALL
		}
		_ = ptrace(request, tid, 0, sig) // a thread that is gone is told of when its end is
	}
}

// stopped notes the call before which a thread has stopped.
func (w *watcher) stopped(tid int, g *regs) (after func(int64)) {
	mark, err := unix.PtraceGetEventMsg(tid)
	if err != nil {
		return nil // it is being killed
	}
	if mark != watchedMark {
		w.giveUp("it made a system call whose paths cannot be followed")
		return nil
	}
	if g.get(tid) != nil {
		return nil
	}
	return w.note(tid, g.nr(), g.args())
}
