package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// tracer is the one thread that answers for a step's system calls, for all of its processes. ptrace(2) knows threads:
// every method but those said to be otherwise must be called on the one thread that seizes processes.
type tracer struct {
	cfg      config
	template traced // what every process is told, but for its command
	net      *ownNetwork

	mu     sync.Mutex // of these two, which other threads ask for
	roots  map[int]*root
	ending bool

	tree  *tree
	calls map[uint64]handler
	uid   int // that the step runs with
	gid   int
	shown User // the ids that it sees in their place

	tasks   map[int]*task
	early   map[int]bool // threads that have stopped before their parent told of them
	adopted map[int]bool // those of them that went on without its word, which may still come
	main    int
	result  *exit
	current *task // whose call is being answered
	watch   *watcher
	trouble error // the first thing that went wrong here and not in the step

	argv0     map[uint64]bool   // whether a dynamic loader knows the option, by its inode
	shortcuts map[string]string // directories of this machine by shorter names
	sockets   map[string]string // how a socket's path was written when it was bound, by its key
	scoped    bool              // Landlock keeps the step from others' abstract sockets

	call call
	buf  [pageSize]byte
}

// task is a thread of the step.
type task struct {
	tid     int
	proc    *process
	scratch region
	exit    *atExit
}

// process is what the threads of a process share.
type process struct {
	tgid    int
	program string   // the image path of what it executes
	free    []region // scratch memory of threads that have ended
}

// region is memory of a process that is ours to write to.
type region struct{ addr, size uint64 }

// atExit is what is to be done when a system call returns.
type atExit struct {
	args   [6]uint64 // to be put back
	after  func(ret int64)
	inject *regs  // of the call before which memory is being mapped
	size   uint64 // of that memory
	exec   string // the program that execve starts
}

// traceOptions make the kernel tell of every new process, and end all of them with the tracer.
const traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL

func newTracer(t *tree, cfg config) *tracer {
	tr := &tracer{cfg: cfg, roots: make(map[int]*root), tree: t, uid: os.Geteuid(), gid: os.Getegid(), tasks: make(map[int]*task), early: make(map[int]bool), adopted: make(map[int]bool),
		argv0: make(map[uint64]bool), shortcuts: make(map[string]string), sockets: make(map[string]string),
		scoped: landlockVersion() >= landlockScope}
	if cfg.User != nil {
		tr.shown = *cfg.User
	}
	if cfg.OwnNetwork {
		tr.net = newOwnNetwork(cfg.Loopback)
	}
	t.procs = tr
	tr.calls = tr.handlers()
	return tr
}

// hides says whether the step sees other ids than it has.
func (t *tracer) hides() bool { return t.uid != t.shown.UID || t.gid != t.shown.GID }

// The tree asks these of the step's processes.

func (t *tracer) tgid(pid int) int {
	if k := t.tasks[pid]; k != nil {
		return k.proc.tgid
	}
	return 0
}

func (t *tracer) program(pid int) string {
	if k := t.tasks[pid]; k != nil {
		return k.proc.program
	}
	return "/"
}

func (t *tracer) caller() (tgid, tid int) {
	if t.current == nil {
		return t.main, t.main
	}
	return t.current.proc.tgid, t.current.tid
}

// loop answers until no process of the step is left. When its first one ends, so do all others.
func (t *tracer) loop() (*exit, error) {
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return t.result, t.trouble
		case err != nil:
			return nil, fmt.Errorf("waiting for the step's processes: %w", err)
		}
		if ws.Exited() || ws.Signaled() {
			t.ended(tid, ws)
			continue
		}
		if ws.Stopped() {
			t.stopped(tid, ws)
		}
	}
}

func (t *tracer) ended(tid int, ws unix.WaitStatus) {
	if k := t.tasks[tid]; k != nil {
		delete(t.tasks, tid)
		if k.scratch.size > 0 {
			k.proc.free = append(k.proc.free, k.scratch)
		}
	}
	delete(t.early, tid)
	e := exitOf(syscall.WaitStatus(ws))
	t.finished(tid, *e)
	if tid == t.main {
		t.result = e
		t.endAll()
	}
	for tid := range t.early { // its parent may be the one that has ended
		t.adopt(tid)
	}
}

func (t *tracer) endAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ending = true
	for pid := range t.roots {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for tid := range t.tasks {
		_ = syscall.Kill(tid, syscall.SIGKILL)
	}
	for tid := range t.early {
		_ = syscall.Kill(tid, syscall.SIGKILL)
	}
}

// adopt lets a thread go on whose parent may have ended before it could tell of it.
func (t *tracer) adopt(tid int) {
	delete(t.early, tid)
	t.adopted[tid] = true
	like := &process{program: "/"}
	tgid := statusNumber(tid, "Tgid")
	for _, relative := range []int{tgid, statusNumber(tid, "PPid")} {
		if k := t.tasks[relative]; k != nil {
			like = k.proc
			break
		}
	}
	t.add(tid, tgid, like)
	t.resume(tid, 0)
}

// add makes the task of a new thread; like is the process that it belongs to or was forked from.
func (t *tracer) add(tid, tgid int, like *process) *task {
	p := like
	if tgid != like.tgid {
		p = &process{tgid: tgid, program: like.program}
	}
	k := &task{tid: tid, proc: p}
	t.tasks[tid] = k
	if t.ending {
		_ = syscall.Kill(tid, syscall.SIGKILL)
	}
	return k
}

// statusNumber reads a number from /proc/PID/status; 0 where there is none.
func statusNumber(tid int, name string) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), "\n"+name+":\t")
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	return number(line)
}

func (t *tracer) stopped(tid int, ws unix.WaitStatus) {
	sig := ws.StopSignal()
	event := int(ws >> 16)
	k := t.tasks[tid]
	if k == nil && event != unix.PTRACE_EVENT_EXEC {
		if p := t.waiting(tid); p != nil {
			t.begin(p)
			return
		}
		t.early[tid] = true
		if t.ending {
			_ = syscall.Kill(tid, syscall.SIGKILL)
		}
		return
	}
	switch event {
	case unix.PTRACE_EVENT_SECCOMP:
		t.answer(k)
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK, unix.PTRACE_EVENT_CLONE:
		t.forked(k, event)
		t.resume(tid, 0)
	case unix.PTRACE_EVENT_EXEC:
		t.executed(tid)
		t.resume(tid, 0)
	case unix.PTRACE_EVENT_STOP:
		switch sig {
		case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU: // a stop of the whole process: it stays stopped
			_ = ptrace(unix.PTRACE_LISTEN, tid, 0, 0)
		default:
			t.resume(tid, 0)
		}
	case 0:
		if sig == unix.SIGTRAP|0x80 {
			t.returned(k)
			return
		}
		t.resume(tid, sig)
	default:
		t.resume(tid, 0)
	}
}

// resume lets a thread go on, with the signal if it is not 0. A thread that is gone is no error: its end is told of.
func (t *tracer) resume(tid int, sig syscall.Signal) {
	request := unix.PTRACE_CONT
	if k := t.tasks[tid]; k != nil && k.exit != nil {
		request = unix.PTRACE_SYSCALL
	}
	_ = ptrace(request, tid, 0, uintptr(sig))
}

// forked adds the child that an event tells of.
func (t *tracer) forked(parent *task, event int) {
	msg, err := unix.PtraceGetEventMsg(parent.tid)
	if err != nil {
		return // the parent has been killed; its child is adopted when its end is told of
	}
	child := int(msg)
	if t.adopted[child] {
		delete(t.adopted, child)
		return
	}
	tgid := child
	if event == unix.PTRACE_EVENT_CLONE {
		if tgid = statusNumber(child, "Tgid"); tgid == 0 {
			tgid = child
		}
	}
	k := t.add(child, tgid, parent.proc)
	if event != unix.PTRACE_EVENT_CLONE {
		k.scratch = parent.scratch // a copy of it, or its own while the parent waits (vfork)
	}
	if t.early[child] {
		delete(t.early, child)
		t.resume(child, 0)
	}
}

// executed is told when execve has replaced a process: all its threads but one are gone, and that has the process's id.
func (t *tracer) executed(pid int) {
	former := pid
	if msg, err := unix.PtraceGetEventMsg(pid); err == nil {
		former = int(msg)
	}
	k := t.tasks[former]
	if k == nil {
		k = &task{proc: &process{tgid: pid, program: "/"}}
	}
	for tid, other := range t.tasks {
		if other.proc == k.proc {
			delete(t.tasks, tid)
		}
	}
	program := k.proc.program
	if k.exit != nil && k.exit.exec != "" {
		program = k.exit.exec
	}
	t.tasks[pid] = &task{tid: pid, proc: &process{tgid: pid, program: program}}
}

// answer says what becomes of a system call that the filter has stopped.
func (t *tracer) answer(k *task) {
	c := &t.call
	*c = call{tracer: t, task: k}
	if err := c.regs.get(k.tid); err != nil {
		t.resume(k.tid, 0) // it is being killed
		return
	}
	c.nr, c.args = c.regs.nr(), c.regs.args()
	t.current = k
	after := t.watch.note(k.tid, c.nr, c.args)
	v, err := c.handle()
	t.current = nil
	if need, ok := errors.AsType[needScratch](err); ok {
		t.mapScratch(c, uint64(need))
		return
	}
	if err != nil {
		v = verdict{answered: true, value: -int64(t.errno(err))}
	}
	v.alsoAfter(after)
	switch {
	case v.answered:
		_ = c.regs.setNr(k.tid, -1) // a thread that is gone needs no answer
		c.regs.setRet(v.value)
		_ = c.regs.put(k.tid)
	case c.changed || v.watch:
		k.exit = &atExit{args: c.args, after: v.after, exec: v.exec}
		_ = c.regs.put(k.tid)
	}
	t.resume(k.tid, 0)
}

// errno is what the step is told of an error; one that is not of its making is kept to be told to the caller.
func (t *tracer) errno(err error) unix.Errno {
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		errno = unix.EIO
	}
	switch errno {
	case unix.ENOSPC, unix.EDQUOT, unix.EACCES, unix.EPERM:
	default:
		if t.trouble == nil {
			t.trouble = err
		}
	}
	return errno
}

// scratchSize is what a thread gets for the paths of one system call.
const scratchSize = 16 << 10

// mapScratch makes the thread map memory for us, before it makes the call that needs it once more.
func (t *tracer) mapScratch(c *call, size uint64) {
	k := c.task
	if free := k.proc.free; len(free) > 0 && free[len(free)-1].size >= size {
		k.scratch = free[len(free)-1]
		k.proc.free = free[:len(free)-1]
		t.answer(k)
		return
	}
	size = max(size+pageSize-size%pageSize, scratchSize)
	var before regs
	if err := before.get(k.tid); err != nil {
		t.resume(k.tid, 0)
		return
	}
	call := before
	for i, v := range [6]uint64{0, size, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0), 0} {
		call.setArg(i, v)
	}
	_ = call.setNr(k.tid, unix.SYS_MMAP)
	_ = call.put(k.tid)
	k.exit = &atExit{inject: &before, size: size}
	t.resume(k.tid, 0)
}

// returned does what is left to do when a system call has returned.
func (t *tracer) returned(k *task) {
	todo := k.exit
	k.exit = nil
	var g regs
	if todo == nil || g.get(k.tid) != nil {
		t.resume(k.tid, 0)
		return
	}
	ret := g.ret()
	if todo.inject != nil {
		g = *todo.inject
		if ret < 0 && ret > -pageSize {
			g.setRet(ret)
		} else {
			k.scratch = region{addr: uint64(ret), size: todo.size}
			g.again(g.nr())
		}
	} else {
		for i, v := range todo.args {
			if i > 0 || !retIsArg0 {
				g.setArg(i, v)
			}
		}
	}
	if todo.after != nil {
		todo.after(ret)
	}
	_ = g.put(k.tid)
	t.resume(k.tid, 0)
}
