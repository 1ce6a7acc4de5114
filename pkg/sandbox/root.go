package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// root is a process that the tracer has started itself: the step's command or, for a service, one beside it. It stops
// itself before it does anything, and waits for the tracer's thread to seize it.
type root struct {
	argv []string
	pid  int
	tid  int      // its thread that is to be seized
	r, w *os.File // what it says, and what it is told

	seized bool
	begun  chan status // what the tracer has to say of its start; empty when all is well
	ended  chan exit
}

// launch starts a process that is to become a command, with files as its first descriptors. It may be called by any
// goroutine. The error is ESRCH where the service is ending.
func (t *tracer) launch(argv []string, files ...uintptr) (*root, error) {
	t.mu.Lock() // held until the process is known by its number, for which its stop waits
	defer t.mu.Unlock()
	if t.ending {
		return nil, unix.ESRCH
	}
	p := &root{argv: argv, begun: make(chan status, 1), ended: make(chan exit, 1)}
	if err := p.fork(files); err != nil {
		return nil, err
	}
	t.roots[p.pid] = p
	return p, nil
}

// fork starts the process, which says its thread's number at once.
func (p *root) fork(files []uintptr) (err error) {
	if p.pid, p.r, p.w, err = forkSelf(tracedName, files, 0); err != nil {
		return err
	}
	var tid [4]byte
	if _, err := io.ReadFull(p.r, tid[:]); err != nil {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		p.close()
		return err
	}
	p.tid = int(binary.NativeEndian.Uint32(tid[:]))
	return nil
}

// forkSelf starts this program under a name, in a process group of its own, with files as its first descriptors. r is what it
// says, at statusFD where files are three, and w what it is told, at configFD.
func forkSelf(name string, files []uintptr, flags uintptr) (pid int, r, w *os.File, err error) {
	inR, w, err := os.Pipe()
	if err != nil {
		return 0, nil, nil, err
	}
	defer inR.Close()
	r, outW, err := os.Pipe()
	if err != nil {
		return 0, nil, nil, errors.Join(err, w.Close())
	}
	defer outW.Close()
	pid, err = syscall.ForkExec("/proc/self/exe", []string{name}, &syscall.ProcAttr{Env: []string{"GOMAXPROCS=1", "GOGC=off"},
		Files: append(files, inR.Fd(), outW.Fd()), Sys: &syscall.SysProcAttr{Setpgid: true, Cloneflags: flags}})
	if err != nil {
		return 0, nil, nil, errors.Join(err, r.Close(), w.Close())
	}
	return pid, r, w, nil
}

func (p *root) close() {
	_ = p.r.Close()
	_ = p.w.Close()
}

// waiting is the process that has stopped itself under this number.
func (t *tracer) waiting(pid int) *root {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.roots[pid]; p != nil && !p.seized {
		return p
	}
	return nil
}

// begin seizes a process that waits for it, and tells it what to become.
func (t *tracer) begin(p *root) {
	p.seized = true
	st, begin := t.prepared(p)
	if st == (status{}) {
		if err := ptrace(unix.PTRACE_SEIZE, p.tid, 0, traceOptions); err != nil {
			st = status{Refused: newSetupError("PTRACE_SEIZE", err)}
		}
	}
	p.begun <- st
	if st != (status{}) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		return
	}
	t.tasks[p.tid] = &task{tid: p.tid, proc: &process{tgid: p.pid, program: "/"}}
	go func() {
		_ = json.NewEncoder(p.w).Encode(begin) // a process that is gone reads nothing, and its end says why
		_ = p.w.Close()
	}()
	_ = syscall.Kill(p.pid, syscall.SIGCONT)
}

// prepared finds a process's command in the tree.
func (t *tracer) prepared(p *root) (st status, begin traced) {
	begin = t.template
	if len(p.argv) == 0 {
		return st, begin // a probe
	}
	cfg := t.cfg
	cfg.Argv, begin.Argv = p.argv, p.argv
	begin.Program, begin.Dir, st.Failed = findCommand(cfg, t.watch.files(t.tree))
	return st, begin
}

// outcome waits until the process has become its command, and is empty then; else it says why it has not. Of a probe, it is
// empty when all went well.
func (p *root) outcome() (st status) {
	defer p.close()
	if st := <-p.begun; st != (status{}) {
		return st
	}
	err := json.NewDecoder(p.r).Decode(&st)
	if err != nil && !errors.Is(err, io.EOF) {
		return status{Trouble: err.Error()}
	}
	return st
}

// finished takes a process that has ended, which need not be a root.
func (t *tracer) finished(pid int, e exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.roots[pid]
	if p == nil {
		return
	}
	delete(t.roots, pid)
	if !p.seized {
		p.begun <- status{Refused: newSetupError("fork", unix.ECHILD)}
	}
	p.ended <- e
}

// start starts a command beside the service's own.
func (t *tracer) start(argv []string, output *os.File) (pid int, ended <-chan exit, failed *StartError) {
	defer output.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, nil, &StartError{Command: argv[0], Reason: "/dev/null: " + errnoName(err)}
	}
	defer null.Close()
	p, err := t.launch(argv, null.Fd(), output.Fd(), output.Fd())
	if err != nil {
		return 0, nil, notStarted(argv[0], err)
	}
	switch st := p.outcome(); {
	case st.Failed != nil:
		return 0, nil, st.Failed
	case st.Refused != nil:
		return 0, nil, &StartError{Command: argv[0], Reason: st.Refused.Error()}
	case st.Trouble != "":
		return 0, nil, &StartError{Command: argv[0], Reason: st.Trouble}
	}
	return p.pid, p.ended, nil
}

// serve answers what the service is asked, from when its command has started. done is called when it is not to.
func (t *tracer) serve(pid int, answer *os.File) {
	k, err := newKeeper(pid, answer)
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL) // whoever wanted to know is gone
		return
	}
	k.start, k.dial = t.start, t.dial
	k.listen()
}

// dial connects to a port of the service.
func (t *tracer) dial(ctx context.Context, port int) (net.Conn, error) {
	var d net.Dialer
	address := "127.0.0.1"
	if t.net != nil {
		address, port = t.net.outside(port)
	}
	return d.DialContext(ctx, "tcp4", net.JoinHostPort(address, strconv.Itoa(port)))
}
