// Package sandbox runs one command inside trees of files that pkg/rootfs has unpacked, as if they were the root of a
// machine of its own, without privilege where the machine allows it. What the command writes goes to a folder beside the
// trees, which stay as they are; the caller takes from it what was declared as output, and the rest is dropped.
//
// There are several ways of doing this, the rungs of a ladder; Run takes the first that the machine allows and says
// which, and why the ones before were passed over:
//
//   - userns: a user namespace, and in it mounts, processes and a network of its own. No privilege needed.
//   - chroot: for root in a container; with a mount namespace where root may make one.
//   - ptrace: a chroot in user land. A seccomp filter stops those system calls that have a path in them, and the tracer
//     answers them or rewrites the path; all others run at full speed. It needs no more than that a process may trace its
//     own children, which the default profiles of container engines allow, and what it runs cannot tell it from the
//     rungs above but by /proc (other processes' numbers, the machine's paths in maps, environ and mountinfo) and by the
//     paths of sockets that are asked for.
//   - loader: the tree's own dynamic loader starts the tree's Python. It needs nothing, and runs Python alone, which
//     sees this machine's paths.
//
// ptrace comes before loader, though it needs more. Whether a command looks at absolute paths cannot be known from without,
// and where it does, the loader fails or, worse, differs; ptrace is as faithful as the rungs above, as quick as they are
// (collectstatic of a Django project takes 1.0 to 1.4 times as long as in a chroot), and starts sooner than the loader,
// for which the tree is copied. So the loader is for machines where even ptrace is refused, and for who asks for it.
//
// What ptrace and loader do not have from the kernel as a root, they have from Landlock as a second wall, where there is
// Landlock: a race for a path between two of a step's processes may fail, and cannot reach a file outside of the tree.
// The tracer is one thread, and makes all calls that move directories or make symlinks itself, one after another.
//
// A command that is watched may run in trees that are laid out only as far as it looks at them (rootfs.Sparse): whoever sees each call with a
// path in it before the kernel does has the folder brought first. What cannot be watched finds all of it. As with what is noted of a command,
// two of its threads that race for what a relative path means may be shown less than there is.
//
// A service runs on every rung too. On ptrace its network is made of addresses of this machine's loopback; the loader shares
// this machine's, since it changes nothing that Python asks for.
//
// A rung re-executes this program: Main must be the first thing that main (and TestMain) calls. The package imports rootfs,
// fstree and cas, and works on Linux alone, on amd64 and arm64.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/rootfs"
)

// Command is what runs in the sandbox.
type Command struct {
	// Trees are the folders that make up the root, lowest first (rootfs.Unpack). They are never written to.
	Trees []string
	// Sparse are those of the trees that are laid out as far as the command looks at them.
	Sparse rootfs.Sparses
	// Shown is a folder of this machine that the command finds at a path of the trees, with what is put there while it runs. A rung
	// without mounts cannot show it: there the command finds what the trees have.
	Shown Shown
	// Argv is the command; its first word is looked for in the PATH of Env, inside the trees.
	Argv []string
	// Env is the command's whole environment, "NAME=value" each. Nothing is inherited.
	Env []string
	// Dir is the image path in which the command starts; "/" when empty.
	Dir string
	// Writable are image paths of folders to be made, with mode 0755, before the command starts.
	Writable []string
	// Network lets the command use this machine's network. Without it, it has a loopback device at most.
	Network bool
	// Timeout bounds the command's time; 0 is without bound.
	Timeout time.Duration
	// MemoryLimit bounds the private memory of each of the command's processes, in bytes; 0 is without bound. It must be
	// at least MinMemoryLimit.
	MemoryLimit int64
	// User is who runs the command; nil is root, without any of its privileges. A rung that cannot have another user says
	// so in Choice.Notes.
	User *User
	// Owners gives the paths that do not belong to root, for a rung that has more than one user.
	Owners func(context.Context) ([]Owned, error)
	// Started, where it is set, makes the command a service: it is called once the command has started, with a context that
	// ends with the command, and Run returns only after it has.
	Started func(ctx context.Context, s *Service)
	// Watch asks for Result.Seen. It costs some time at each call that names a path.
	Watch bool
	// Stdin is the command's standard input; nil is an empty one.
	Stdin *os.File
	// Stdout and Stderr take what the command prints; nil drops it. One writer given for both gets one write at a time.
	Stdout, Stderr io.Writer
	// Rung is the one rung to use; Auto takes the first that works.
	Rung Rung
	// TempDir makes a folder on the trees' file system; cas.Store.TempDir is such a function.
	TempDir func(pattern string) (string, error)
}

// Shown shows a folder of this machine at an image path at which the trees have one. Whatever the command does there is no output.
// The zero value shows nothing.
type Shown struct {
	Path   string // in the image, absolute and clean
	Folder string // on this machine, absolute
}

// MinMemoryLimit is the least MemoryLimit: an interpreter hardly starts with less.
const MinMemoryLimit = 64 << 20

// Result is a command that ended with exit code 0. Close frees what it wrote.
type Result struct {
	// Choice says how the command was run.
	Choice Choice
	// Seen is what it looked at, where Command.Watch asked for it; nil else.
	Seen    *Seen
	before  rootfs.View
	after   rootfs.View
	scratch string
	foreign string
}

// Output gives what stands at and below an image path beyond what the trees had there: new and different files, and a
// whiteout for each that is gone (rootfs.Changes). Files can be read until Close. The error is fs.ErrNotExist where there
// is nothing at all at the path.
func (r *Result) Output(path string) ([]fstree.Entry, error) {
	entries, err := rootfs.Changes(r.before, r.after, path)
	if err != nil || r.foreign == "" {
		return entries, err
	}
	return entries, withoutForeign(entries, r.foreign)
}

// withoutForeign refuses files that hold a path of this machine.
func withoutForeign(entries []fstree.Entry, foreign string) error {
	for _, e := range entries {
		if e.Content == nil {
			continue
		}
		r, err := e.Content.Open()
		if err != nil {
			return err
		}
		found, err := mentions(r, foreign)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		if found {
			return fmt.Errorf("/%s holds the path of the folder that the command ran in on this machine, as the loader sandbox cannot hide it "+
				"(another sandbox can)", e.Path)
		}
	}
	return nil
}

// View is the whole tree as the command left it, but for what was there for its time alone: /proc, /dev, /tmp and what was shown.
func (r *Result) View() rootfs.View { return r.after }

// Close removes everything that the command wrote. It may be called more than once.
func (r *Result) Close() error {
	if r.scratch == "" {
		return nil
	}
	scratch := r.scratch
	r.scratch = ""
	return cas.RemoveTree(scratch)
}

// step is a command on its way through the rungs.
type step struct {
	Command
	scratch string
	tries   int
	seen    *Seen // of the last attempt

	// What is known of the attempt that is under way, for a Service's Choice.
	rung    Rung
	refused []*Refusal
	detail  string
	notes   []string
	hidden  string // a path of this machine that the command sees
}

// view is of the trees, and of more upon them.
func (s *step) view(upper ...string) rootfs.View {
	return rootfs.NewView(append(slices.Clone(s.Trees), upper...)...).With(s.Sparse)
}

// attemptDir makes a new folder for one attempt, so that what a refused one left does not disturb the next.
func (s *step) attemptDir() string {
	s.tries++
	return filepath.Join(s.scratch, fmt.Sprint(s.tries))
}

// outcome is what a rung has to say about a command that ended well.
type outcome struct {
	after   rootfs.View
	detail  string
	notes   []string
	foreign string // a path of this machine that outputs must not hold
}

// rung is one way of running a step. Each lives in a file of its own, and all pass the same suite of tests.
type rung interface {
	name() Rung
	// run runs the step to its end, and leaves no process and no mount behind, however it ends. A *Refusal says that
	// the machine does not allow the rung, and that nothing of the command has run.
	run(ctx context.Context, s *step) (outcome, error)
}

// Run runs the command to its end. An error is an *ExitError when the command ran and failed, a *StartError when it could
// not be started, a *RefusedError when no rung could be used, ErrTimeout, or the context's.
// When ctx ends, so do all of the command's processes, before Run returns.
func Run(ctx context.Context, c Command) (_ *Result, err error) {
	rungs, err := rungsFor(c.Rung)
	if err != nil {
		return nil, err
	}
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, errors.New("running a step: no command")
	}
	if c.MemoryLimit != 0 && c.MemoryLimit < MinMemoryLimit {
		return nil, fmt.Errorf("running a step: a memory limit of %d bytes is below %d", c.MemoryLimit, MinMemoryLimit)
	}
	giveBack()
	defer frugal.begin()()
	return climb(ctx, c, rungs)
}

// manyBytes is how much of this process's memory is worth the time that it takes to find out what of it is garbage.
const manyBytes = 16 << 20

// giveBack returns the memory that this process has no use for: a command needs some of its own. The collector would do so too, but
// within minutes.
func giveBack() {
	if heldMemory() > manyBytes {
		debug.FreeOSMemory()
	}
}

// frugal has this process collect its garbage sooner while commands run: the least that it may hold at the peak of theirs.
var frugal thrift

type thrift struct {
	mu    sync.Mutex
	users int
	usual int // what the collector's percentage was
}

// begin begins, and gives what ends it.
func (t *thrift) begin() (end func()) {
	const sooner = 20
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users++; t.users == 1 {
		if t.usual = debug.SetGCPercent(sooner); t.usual < sooner {
			debug.SetGCPercent(t.usual)
		}
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.users--; t.users == 0 {
			debug.SetGCPercent(t.usual)
		}
	}
}

// heldMemory is what the runtime has of the machine, in bytes.
func heldMemory() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}

func climb(ctx context.Context, c Command, rungs []rung) (_ *Result, err error) {
	scratch, err := c.TempDir("step-")
	if err != nil {
		return nil, fmt.Errorf("running a step: %w", err)
	}
	s := &step{Command: c, scratch: scratch}
	res := &Result{before: s.view(), scratch: scratch}
	defer func() {
		if err != nil {
			err = errors.Join(err, res.Close())
		}
	}()
	if err := s.wholeTrees(ctx); err != nil {
		return nil, err
	}
	var refused []*Refusal
	for _, r := range rungs {
		s.rung, s.refused, s.detail, s.notes, s.hidden = r.name(), refused, "", nil, ""
		out, err := runBounded(ctx, r, s)
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			refusal.Rung = r.name()
			refused = append(refused, refusal)
			continue
		}
		res.Choice = Choice{Rung: r.name(), Detail: out.detail, Refused: refused, Notes: out.notes}
		if err != nil {
			if exit, ok := errors.AsType[*ExitError](err); ok {
				exit.Choice = res.Choice
			}
			return nil, err
		}
		res.after, res.foreign, res.Seen = out.after, out.foreign, s.seen
		if s.Watch && res.Seen == nil {
			res.Seen = &Seen{Unknown: "the " + string(r.name()) + " sandbox does not trace"}
		}
		return res, nil
	}
	return nil, &RefusedError{Refused: refused}
}

// runBounded tells the step's own time limit from the end of the caller's patience.
func runBounded(ctx context.Context, r rung, s *step) (outcome, error) {
	if s.Timeout <= 0 {
		return r.run(ctx, s)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, s.Timeout, ErrTimeout)
	defer cancel()
	out, err := r.run(bounded, s)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return out, fmt.Errorf("%w (%s)", ErrTimeout, s.Timeout)
	}
	return out, err
}

// ErrTimeout says that a command took longer than its Timeout.
var ErrTimeout = errors.New("the command took longer than it may")

// ExitError says that a command ran and failed.
type ExitError struct {
	Code   int    // 1 to 255; 0 when a signal ended it
	Signal string // the name of the signal that ended it: "killed"
	Choice Choice

	signal syscall.Signal
}

// Status is how a shell would give it: the exit code, or 128 and the signal's number.
func (e *ExitError) Status() int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.Code
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "ended by a signal: " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// StartError says why a command could not be started in its tree.
type StartError struct {
	Command string // the first word of Argv, or the folder it was to start in
	Reason  string
}

func (e *StartError) Error() string { return fmt.Sprintf("starting %q: %s", e.Command, e.Reason) }

// RefusedError says why no rung could be used.
type RefusedError struct{ Refused []*Refusal }

func (e *RefusedError) Error() string {
	reasons := make([]string, len(e.Refused))
	for i, r := range e.Refused {
		reasons[i] = fmt.Sprintf("%s (%s)", r.Rung, r.Reason)
	}
	return "this machine allows no way of running a command in a tree: " + strings.Join(reasons, "; ")
}
