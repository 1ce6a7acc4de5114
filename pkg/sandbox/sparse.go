package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where trees are sparse (rootfs.Sparse), the step's first process asks for a folder before the command looks there: for whoever watches
// which paths a command asks something about knows that beforehand. What cannot be watched finds all of it.

// sparseFD is where the first process asks for folders: image paths without leading slash, each with a zero byte behind it, or "" for
// all of them. An answer is one byte, which comes when the folder is there; where it cannot be brought, the step ends.
const sparseFD = 7

// bringer is the first process's end.
type bringer struct {
	within string // the key below which trees are sparse
	asked  map[string]bool
	all    bool
	conn   *os.File
	answer [1]byte
}

// newBringer gives the one that a step was given; nil for none.
func newBringer(cfg config) *bringer {
	if cfg.Sparse == "" {
		return nil
	}
	return &bringer{within: "/" + cfg.Sparse, asked: make(map[string]bool), conn: os.NewFile(sparseFD, "sparse")}
}

// bring has a folder laid out, unless it was.
func (b *bringer) bring(key string) {
	if b == nil || b.all || !within(key, b.within) || b.asked[key] {
		return
	}
	b.ask(key[1:])
	b.asked[key] = true
}

// bringAll has everything laid out.
func (b *bringer) bringAll() {
	if b == nil || b.all {
		return
	}
	b.ask("")
	b.all = true
}

// ask waits for the answer. Where none comes, the step is being ended, before the command can miss anything: all of it ends with its first
// process.
func (b *bringer) ask(folder string) {
	_, err := io.WriteString(b.conn, folder+"\x00")
	if err == nil {
		_, err = io.ReadFull(b.conn, b.answer[:])
	}
	if err != nil {
		syscall.Exit(1)
	}
}

// serveSparse gives the step's first process what it asks for in sparse trees. What goes wrong ends the step with that as its cause.
func (s *step) serveSparse(ctx context.Context) (_ context.Context, theirs *os.File, end func(), err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("a socket for the trees: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "sparse")
	theirs = os.NewFile(uintptr(fds[1]), "sparse")
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := bufio.NewReader(ours); ; {
			request, err := r.ReadString(0)
			if err != nil {
				return // the process has ended
			}
			if folder := strings.TrimSuffix(request, "\x00"); folder == "" {
				err = s.Sparse.All(ctx)
			} else {
				err = s.Sparse.Bring(folder)
			}
			if err != nil {
				cancel(err)
				_ = unix.Shutdown(fds[0], unix.SHUT_RDWR) // nobody waits for an answer any more
				return
			}
			if _, err := ours.Write([]byte{0}); err != nil {
				return
			}
		}
	}()
	return ctx, theirs, func() {
		_ = unix.Shutdown(fds[0], unix.SHUT_RDWR) // which the reader waits for
		<-done
		_ = ours.Close()
		cancel(nil)
	}, nil
}

// wholeTrees lays sparse trees out for a command that is not followed, or that changes what it finds before it is.
func (s *step) wholeTrees(ctx context.Context) error {
	if len(s.Sparse) == 0 {
		return nil
	}
	whole := !s.Watch || s.Started != nil || s.User != nil || s.Owners != nil
	for _, dir := range append(slices.Clone(s.Writable), s.Shown.Path) {
		whole = whole || within(strings.TrimPrefix(dir, "/"), s.Sparse.Within())
	}
	if !whole {
		return nil
	}
	if err := s.Sparse.All(ctx); err != nil {
		return fmt.Errorf("running a step: %w", err)
	}
	return nil
}
