package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// config is what the step's first process is told, over a pipe.
type config struct {
	Rung        Rung     // where it is not told by what else is set
	Root        string   // the folder that becomes "/"
	Trees       []string // lowest first; mounted at Root when Upper is set
	Upper, Work string
	Sparse      string // the image path below which trees are laid out as far as is asked for at sparseFD; empty for none
	Shown       Shown
	System      string // a folder for what is to be seen at /dev and /tmp, where nothing can be mounted
	Lazy        bool   // Root is empty, and to be filled from Trees as it is looked at
	Mounts      bool   // the process has a mount and a pid namespace of its own
	OwnNetwork  bool   // and one for its network, or what stands in for it

	Argv, Env     []string
	Dir           string
	Writable      []string
	Network       bool
	RefuseSockets bool
	Memory        int64

	Loopback netip.Addr // the first address of what stands in for it
	Watch    bool       // it is to be told what the command looks at, at seenFD
	Control  bool       // it is a service, with a socket for requests
	User     *User      // whom the command is to believe itself to be, where that is not for the kernel to say
	Switch   *User      // whom the command is started as, where that is another than the first process's user
	Owners   []Owned    // the files that are not root's, then
}

// status is what it answers, one value an event. The pipe's end without Done means that it was killed.
type status struct {
	Refused *setupError // the set-up was refused; nothing has run
	Failed  *StartError
	Started bool // of a service, and another status follows
	Done    *exit
	Trouble string // what went wrong on our side while the command ran
}

type exit struct {
	Code   int
	Signal int // 0 when the command ended by itself
}

// setupError says which part of the set-up was refused.
type setupError struct {
	Stage string
	Errno int
	Text  string
}

func (e *setupError) Error() string { return fmt.Sprintf("%s: %v", e.Stage, e.err()) }

func (e *setupError) err() error {
	if e.Errno != 0 {
		return syscall.Errno(e.Errno)
	}
	return errors.New(e.Text)
}

func newSetupError(stage string, err error) *setupError {
	e := &setupError{Stage: stage, Text: err.Error()}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		e.Errno = int(errno)
	}
	return e
}

// killDelay is how long the first process may take to end the others, once it is told to.
const killDelay = 5 * time.Second

// launch re-executes this program as the step's first process and waits for its end, and for that of all others.
// The error is a *setupError when nothing of the command has run.
func launch(ctx context.Context, s *step, attr *syscall.SysProcAttr, cfg config) (err error) {
	configR, configW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer configW.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, configR.Close())
	}
	defer statusR.Close()

	closeSparse := func() error { return nil }
	var sparse *os.File
	if !s.Watch || s.Started != nil {
		cfg.Sparse = "" // all is laid out
	}
	if cfg.Sparse != "" {
		var end func()
		if ctx, sparse, end, err = s.serveSparse(ctx); err != nil {
			return errors.Join(err, configR.Close(), statusW.Close())
		}
		defer end()
		closeSparse = sparse.Close
	}

	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{initName}
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"} // of the first process, not of the command
	cmd.ExtraFiles = []*os.File{configR, statusW}
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	if s.Stdin != nil { // else it would be a nil pointer that is no nil interface
		cmd.Stdin = s.Stdin
	}
	var control *net.UnixConn
	closeChild := func() error { return nil }
	if s.Started != nil {
		ours, theirs, err := socketPair()
		if err != nil {
			return errors.Join(err, configR.Close(), statusW.Close())
		}
		defer ours.Close()
		control, closeChild, cfg.Control = ours, theirs.Close, true
		cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	} else if s.Watch {
		seen, seenErr := s.seenFile()
		if seenErr != nil {
			return errors.Join(seenErr, configR.Close(), statusW.Close(), closeSparse())
		}
		defer func() { err = s.takeSeen(seen, err) }()
		cfg.Watch, cmd.ExtraFiles = true, append(cmd.ExtraFiles, nil, seen)
		if sparse != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, sparse)
		}
	}
	cmd.SysProcAttr = attr
	cmd.WaitDelay = killDelay
	cmd.Cancel = func() error { return cmd.Process.Signal(attr.Pdeathsig) }

	// The death signal comes when the thread that started the process ends: it must be one that stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	closeErr := errors.Join(configR.Close(), statusW.Close(), closeChild(), closeSparse())
	if err != nil {
		return newSetupError(stageClone, err)
	}
	go func() {
		_ = json.NewEncoder(configW).Encode(cfg) // a process that is gone reads nothing, and its end says why
		_ = configW.Close()
	}()
	answers := json.NewDecoder(io.LimitReader(statusR, 64<<10))
	st, statusErr := readStatus(answers)
	if st.Started {
		end := s.begin(ctx, control, cfg)
		st, statusErr = readStatus(answers)
		end()
	}
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case closeErr != nil || statusErr != nil:
		return fmt.Errorf("running a step: %w", errors.Join(closeErr, statusErr))
	case st.Refused != nil:
		return st.Refused
	case st.Failed != nil:
		return st.Failed
	case st.Trouble != "":
		return fmt.Errorf("running a step: %s", st.Trouble)
	case st.Done == nil:
		return fmt.Errorf("running a step: its first process ended unexpectedly: %w", waitErr)
	case st.Done.Signal != 0:
		return &ExitError{Signal: syscall.Signal(st.Done.Signal).String(), signal: syscall.Signal(st.Done.Signal)}
	case st.Done.Code != 0:
		return &ExitError{Code: st.Done.Code}
	case waitErr != nil:
		return fmt.Errorf("running a step: taking its output: %w", waitErr)
	}
	return nil
}

func readStatus(r *json.Decoder) (status, error) {
	var st status
	err := r.Decode(&st)
	if errors.Is(err, io.EOF) {
		err = nil // killed before it could say anything
	}
	return st, err
}
