package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Service is a command while it runs, as Command.Started is given it. Its methods may be called at the same time, and
// give errors once the command has ended.
type Service struct {
	// Choice says how the command runs.
	Choice Choice
	// HostNetwork says that it shares this machine's network, either because it was to or because the machine allows no
	// other: what it listens on is then to be reached without Dial, and not by this machine alone.
	HostNetwork bool

	control *net.UnixConn
	hidden  string // a path of this machine that is not to stand in what a command prints
}

// containerAddress is what a service has beside its loopback, in a network of its own. It is reached there as a
// container is in an engine's: a program that listens on 127.0.0.1 alone is not to be reached from outside.
var containerAddress = [4]byte{172, 17, 0, 2}

const (
	controlFD  = 5
	maxRequest = 64 << 10 // bytes of a request or reply, which are datagrams
	dialLimit  = 10 * time.Second
)

// request is what the first process of a service is asked. Each but Signal comes with a socket for the reply.
type request struct {
	Signal int      `json:",omitempty"`
	Dial   int      `json:",omitempty"` // a port; the reply brings the connection's descriptor
	Exec   []string `json:",omitempty"` // a command; the second descriptor takes what it prints
}

type reply struct {
	Error string      `json:",omitempty"`
	Start *StartError `json:",omitempty"`
	Exit  *exit       `json:",omitempty"`
}

// Signal sends the command's first process a signal.
func (s *Service) Signal(sig syscall.Signal) error {
	b, err := json.Marshal(request{Signal: int(sig)})
	if err == nil {
		_, err = s.control.Write(b)
	}
	if err != nil {
		return fmt.Errorf("sending %s: %w", unix.SignalName(sig), err)
	}
	return nil
}

// Dial connects to a TCP port of the service, from where others would reach it. The error is ECONNREFUSED where nothing
// listens there, or on the service's own loopback only.
func (s *Service) Dial(ctx context.Context, port int) (net.Conn, error) {
	r, files, err := s.ask(ctx, request{Dial: port})
	defer closeAll(files)
	switch {
	case err != nil:
		return nil, fmt.Errorf("connecting to port %d: %w", port, err)
	case r.Exit != nil && r.Exit.Code != 0: // an errno
		return nil, fmt.Errorf("connecting to port %d: %w", port, syscall.Errno(r.Exit.Code))
	case r.Error != "" || len(files) != 1:
		return nil, fmt.Errorf("connecting to port %d: %s", port, r.Error)
	}
	return net.FileConn(files[0])
}

// Exec runs another command beside the first one, with the same environment, folder and user, and gives its exit code: 128
// and the signal's number where a signal ended it. What it prints goes to out. When ctx ends, so does the command. An
// error is a *StartError where it could not be started.
func (s *Service) Exec(ctx context.Context, argv []string, out io.Writer) (code int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	copied := make(chan error, 1)
	go func() {
		to := out
		shown := withoutRoot(out, s.hidden)
		if s.hidden != "" {
			to = shown
		}
		_, err := io.Copy(to, r)
		copied <- errors.Join(err, shown.flush())
	}()
	got, files, err := s.ask(ctx, request{Exec: argv}, w)
	closeAll(files)
	// A process that the command has left behind may hold the pipe for ever.
	_ = r.SetReadDeadline(time.Now().Add(time.Second))
	if copyErr := <-copied; err == nil && copyErr != nil && !errors.Is(copyErr, os.ErrDeadlineExceeded) {
		err = copyErr
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("running %q: %w", argv, err)
	case got.Start != nil:
		return 0, got.Start
	case got.Exit == nil:
		return 0, fmt.Errorf("running %q: %s", argv, got.Error)
	case got.Exit.Signal != 0:
		return 128 + got.Exit.Signal, nil
	}
	return got.Exit.Code, nil
}

// ask sends a request with files, which it closes, and waits for the reply. The first process learns that nobody waits any
// more when the socket for the reply is closed.
func (s *Service) ask(ctx context.Context, req request, files ...*os.File) (r reply, got []*os.File, err error) {
	defer closeAll(files)
	ours, theirs, err := socketPair()
	if err != nil {
		return reply{}, nil, err
	}
	defer ours.Close()
	files = append([]*os.File{theirs}, files...)
	if err := send(s.control, req, files...); err != nil {
		return reply{}, nil, err
	}
	closeAll(files)
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	got, err = receive(ours, &r)
	if ctx.Err() != nil {
		closeAll(got)
		return reply{}, nil, context.Cause(ctx)
	}
	return r, got, err
}

// begin calls Started, and gives what is to be called when the command has ended.
func (s *step) begin(ctx context.Context, control *net.UnixConn, cfg config) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	choice := Choice{Rung: s.rung, Detail: s.detail, Refused: s.refused, Notes: s.notes}
	go func() {
		defer close(done)
		s.Started(ctx, &Service{Choice: choice, HostNetwork: !cfg.OwnNetwork, control: control, hidden: s.hidden})
	}()
	return func() {
		cancel()
		<-done
	}
}

// socketPair makes two connected sockets that keep datagrams apart.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := unixConn(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// unixConn makes a connection of a file, which it closes.
func unixConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a socket of this machine"), c.Close())
	}
	return u, nil
}

// send sends one datagram with the descriptors of files.
func send(c *net.UnixConn, v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxRequest {
		return fmt.Errorf("%d bytes are more than can be sent", len(b))
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, rights, nil)
	return err
}

// receive takes one datagram. The error is io.EOF when the other side is gone.
func receive(c *net.UnixConn, v any) ([]*os.File, error) {
	b, rights := make([]byte, maxRequest), make([]byte, unix.CmsgSpace(4*4))
	n, rn, _, _, err := c.ReadMsgUnix(b, rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	for _, m := range messages {
		fds, rightsErr := unix.ParseUnixRights(&m)
		err = errors.Join(err, rightsErr)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	switch {
	case err != nil:
	case n == 0:
		err = io.EOF
	default:
		err = json.Unmarshal(b[:n], v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
