package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keeper answers what a service is asked while its command runs.
type keeper struct {
	pid     int // the command's
	control *net.UnixConn
	// start starts another command beside the first, and takes output, which is to have all that it prints. ended is given
	// its end; pid is 0 where it could not be started. It is called by several goroutines at once.
	start func(argv []string, output *os.File) (pid int, ended <-chan exit, failed *StartError)
	// dial connects to a port, from where others would reach it.
	dial func(ctx context.Context, port int) (net.Conn, error)
}

// newKeeper says that the command has started. The error is that whoever wanted to know is gone.
func newKeeper(pid int, answer *os.File) (*keeper, error) {
	debug.SetGCPercent(100) // which is off, since a step's first process has little to do
	control, err := unixConn(os.NewFile(controlFD, "control"))
	if err == nil {
		err = json.NewEncoder(answer).Encode(status{Started: true})
	}
	return &keeper{pid: pid, control: control}, err
}

// family are the processes of a service that are started by the one thread that has dropped its privileges.
type family struct {
	cfg    config
	pid    int // the command's
	starts chan *started
	ended  chan ended
}

// started is a command to be started by that thread.
type started struct {
	argv   []string
	output *os.File
	pid    chan int // 0 where it failed
	failed *StartError
	ended  chan exit
}

type ended struct {
	pid  int
	exit exit
}

// starter starts a command with files as its first descriptors.
type starter func(argv []string, files ...uintptr) (pid int, failed *StartError)

// keep is what supervise is for a step: it waits for the command, and answers what is asked meanwhile.
func keep(cfg config, pid int, h *host, answer *os.File, start starter) *exit {
	k, err := newKeeper(pid, answer)
	if err != nil {
		return &exit{Code: 255}
	}
	f := &family{cfg: cfg, pid: pid, starts: make(chan *started), ended: make(chan ended)}
	k.start, k.dial = f.start, f.dial
	go f.reap()
	go k.listen()
	children := make(map[int]*started)
	for {
		select {
		case s := <-f.starts:
			pid := s.run(start)
			if pid != 0 {
				children[pid] = s
			}
			s.pid <- pid
		case e := <-f.ended:
			if e.pid == f.pid {
				if !cfg.Mounts {
					killDescendants(h.proc)
				}
				return &e.exit
			}
			if s := children[e.pid]; s != nil {
				delete(children, e.pid)
				s.ended <- e.exit
			}
		}
	}
}

// told gives the signals that ask this process to end. It must be called before the command starts: one that came in between
// would end this process alone, and leave the command.
var told = sync.OnceValue(func() <-chan os.Signal {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return stop
})

// killWhenTold ends the command when this process is to end, which then goes on to end what the command has left. forget is
// for when the command is no more, and another may be started.
func killWhenTold(stop <-chan os.Signal, pid int) (forget func()) {
	gone := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				_ = syscall.Kill(pid, syscall.SIGKILL)
			case <-gone:
				return
			}
		}
	}()
	return func() { close(gone) }
}

func (f *family) start(argv []string, output *os.File) (pid int, _ <-chan exit, failed *StartError) {
	s := &started{argv: argv, output: output, pid: make(chan int), ended: make(chan exit, 1)}
	f.starts <- s
	pid = <-s.pid
	return pid, s.ended, s.failed
}

func (s *started) run(start starter) (pid int) {
	defer s.output.Close() // the command has it now, and the other side waits for its end
	null, err := os.Open("/dev/null")
	if err != nil {
		s.failed = &StartError{Command: s.argv[0], Reason: "/dev/null: " + errnoName(err)}
		return 0
	}
	defer null.Close()
	pid, s.failed = start(s.argv, null.Fd(), s.output.Fd(), s.output.Fd())
	return pid
}

func (f *family) dial(ctx context.Context, port int) (net.Conn, error) {
	host := "127.0.0.1"
	if f.cfg.OwnNetwork {
		host = net.IP(containerAddress[:]).String()
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
}

// reap waits for every process that ends, adopted ones among them, until the command itself has.
func (f *family) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			f.ended <- ended{f.pid, exit{Code: 255}} // cannot be: the command is our child
			return
		}
		f.ended <- ended{pid, *exitOf(ws)}
		if pid == f.pid {
			return
		}
	}
}

// listen takes requests until the other side is gone.
func (k *keeper) listen() {
	for {
		var req request
		files, err := receive(k.control, &req)
		if err != nil {
			return
		}
		if req.Signal != 0 {
			_ = syscall.Kill(k.pid, syscall.Signal(req.Signal))
			closeAll(files)
			continue
		}
		go k.answer(req, files)
	}
}

func (k *keeper) answer(req request, files []*os.File) {
	if len(files) == 0 {
		return
	}
	defer closeAll(files[1:])
	conn, err := unixConn(files[0])
	if err != nil {
		return
	}
	defer conn.Close()
	switch {
	case req.Dial != 0:
		k.connect(conn, req.Dial)
	case len(req.Exec) > 0 && len(files) == 2:
		_ = send(conn, k.exec(conn, req.Exec, files[1])) // whoever asked may be gone
	default:
		_ = send(conn, reply{Error: "not understood"})
	}
}

func (k *keeper) connect(conn *net.UnixConn, port int) {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	c, err := k.dial(ctx, port)
	if err != nil {
		r := reply{Error: err.Error()}
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			r.Exit = &exit{Code: int(errno)}
		}
		_ = send(conn, r)
		return
	}
	defer c.Close()
	if f, err := c.(*net.TCPConn).File(); err == nil {
		_ = send(conn, reply{}, f)
		_ = f.Close()
	}
}

func (k *keeper) exec(conn *net.UnixConn, argv []string, output *os.File) reply {
	pid, ended, failed := k.start(argv, output)
	if pid == 0 {
		return reply{Start: failed}
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = conn.Read(make([]byte, 1)) // nothing is sent there: it ends when nobody waits any more
	}()
	select {
	case e := <-ended:
		return reply{Exit: &e}
	case <-gone:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		e := <-ended
		return reply{Exit: &e}
	}
}

// addAddress gives the loopback device the address at which a service is reached.
func addAddress() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	set := func(request uintptr, address [4]byte) error {
		req, err := unix.NewIfreq("lo:1")
		if err != nil {
			return err
		}
		if err := req.SetInet4Addr(address[:]); err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(req))); errno != 0 {
			return errno
		}
		return nil
	}
	if err := set(unix.SIOCSIFADDR, containerAddress); err != nil {
		return err
	}
	return set(unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 255}) // that address alone
}
