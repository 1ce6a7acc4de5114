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
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keeper is the first process of a service: it waits for the command, and meanwhile does what it is asked.
type keeper struct {
	cfg     config
	pid     int
	control *net.UnixConn
	starts  chan *started
	ended   chan ended
}

// started is a command to be started by the thread that has dropped its privileges.
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

// keep says that the command has started, and is what supervise is for a step.
func keep(cfg config, pid int, h *host, answer *os.File) *exit {
	debug.SetGCPercent(100) // which is off, since a step's first process has little to do
	control, err := unixConn(os.NewFile(controlFD, "control"))
	if err == nil {
		err = json.NewEncoder(answer).Encode(status{Started: true})
	}
	if err != nil {
		return &exit{Code: 255} // whoever wanted to know is gone
	}
	k := &keeper{cfg: cfg, pid: pid, control: control, starts: make(chan *started), ended: make(chan ended)}
	if !cfg.Mounts {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		go func() {
			for range stop {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}()
	}
	go k.reap()
	go k.listen()
	children := make(map[int]*started)
	for {
		select {
		case s := <-k.starts:
			pid := k.start(s)
			if pid != 0 {
				children[pid] = s
			}
			s.pid <- pid
		case e := <-k.ended:
			if e.pid == k.pid {
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

func (k *keeper) start(s *started) (pid int) {
	null, err := os.Open("/dev/null")
	if err != nil {
		s.failed = &StartError{Command: s.argv[0], Reason: "/dev/null: " + errnoName(err)}
		return 0
	}
	defer null.Close()
	cfg := k.cfg
	cfg.Argv = s.argv
	pid, s.failed = start(cfg, null.Fd(), s.output.Fd(), s.output.Fd())
	return pid
}

// reap waits for every process that ends, adopted ones among them, until the command itself has.
func (k *keeper) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			k.ended <- ended{k.pid, exit{Code: 255}} // cannot be: the command is our child
			return
		}
		k.ended <- ended{pid, *exitOf(ws)}
		if pid == k.pid {
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
		k.dial(conn, req.Dial)
	case len(req.Exec) > 0 && len(files) == 2:
		_ = send(conn, k.exec(conn, req.Exec, files[1])) // whoever asked may be gone
	default:
		_ = send(conn, reply{Error: "not understood"})
	}
}

func (k *keeper) dial(conn *net.UnixConn, port int) {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	host := "127.0.0.1"
	if k.cfg.OwnNetwork {
		host = net.IP(containerAddress[:]).String()
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
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
	s := &started{argv: argv, output: output, pid: make(chan int), ended: make(chan exit, 1)}
	k.starts <- s
	pid := <-s.pid
	_ = output.Close() // the command has it now; the other side waits for its end
	if pid == 0 {
		return reply{Start: s.failed}
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = conn.Read(make([]byte, 1)) // nothing is sent there: it ends when nobody waits any more
	}()
	select {
	case e := <-s.ended:
		return reply{Exit: &e}
	case <-gone:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		e := <-s.ended
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
