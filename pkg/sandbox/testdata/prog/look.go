package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// doLook are the verbs for the ways of looking at files.
func doLook(verb string, args []string) error {
	switch verb {
	case "lstat": // of what may not be there
		_, _ = os.Lstat(args[0])
	case "access":
		return unix.Access(args[0], unix.R_OK)
	case "in":
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
		return do(args[1], args[2:])
	case "dirfd":
		dir, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer dir.Close()
		fd, err := unix.Openat(int(dir.Fd()), args[1], unix.O_RDONLY, 0)
		return errors.Join(err, unix.Close(fd))
	case "threads":
		var wg sync.WaitGroup
		errs := make([]error, len(args))
		for i, name := range args {
			wg.Go(func() { _, errs[i] = os.ReadFile(name) })
		}
		wg.Wait()
		return errors.Join(errs...)
	case "child":
		return exec.Command("prog", args...).Run()
	case "self": // by a link of /proc, where there is one
		if err := os.Chdir(filepath.Dir(args[0])); err != nil {
			return err
		}
		if _, err := os.ReadFile("/proc/self/cwd/" + filepath.Base(args[0])); err == nil {
			return nil
		}
		_, err := os.ReadFile(args[0])
		return err
	case "path", "fexec": // a descriptor that cannot be read, and executing it
		fd, err := unix.Open(args[0], unix.O_PATH, 0)
		if err != nil || verb == "path" {
			return errors.Join(err, unix.Close(fd))
		}
		return fexec(fd)
	case "failexec":
		fmt.Println(syscall.Exec(args[0], args, nil))
	case "exec":
		return syscall.Exec(args[0], args, nil)
	case "rmdir":
		_ = unix.Rmdir(args[0])
	case "open2":
		fd, err := unix.Openat2(unix.AT_FDCWD, args[0], &unix.OpenHow{})
		if errors.Is(err, unix.ENOSYS) {
			fd, err = unix.Open(args[0], unix.O_RDONLY, 0)
		}
		return errors.Join(err, unix.Close(fd))
	case "survey": // into a file, or to standard output
		seen := survey(args[1:])
		if args[0] == "-" {
			_, err := os.Stdout.Write(seen)
			return err
		}
		return errors.Join(os.MkdirAll(filepath.Dir(args[0]), 0o755), os.WriteFile(args[0], seen, 0o644))
	case "uring":
		var params [120]byte // struct io_uring_params
		fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		fmt.Println("io_uring", errno == 0)
		if errno == 0 {
			return unix.Close(int(fd))
		}
	case "gone":
		if err := errors.Join(os.Mkdir(args[0], 0o755), os.Chdir(args[0]), os.Remove(args[0])); err != nil {
			return err
		}
		_, err := os.ReadFile("../" + args[1])
		fmt.Println("gone", err == nil)
	case "devfd": // a file in several folders, each by the same number of a descriptor, where there is /proc
		for _, dir := range args[1:] {
			f, err := os.Open(dir)
			if err == nil {
				err = errors.Join(unix.Dup3(int(f.Fd()), 20, 0), f.Close())
			}
			if err != nil {
				return err
			}
			from := "/dev/fd/20"
			if _, err := os.Stat("/proc/self"); err != nil {
				from = dir
			}
			_, _ = os.ReadFile(filepath.Join(from, args[0]))
		}
	case "undumpable":
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return err
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		fmt.Println("undumpable", dumpable == 0)
		return errors.Join(err, do(args[0], args[1:]))
	case "clone3": // what no kernel does
		cloneArgs := [8]uint64{unix.CLONE_NEWUSER | unix.CLONE_FS}
		_, _, _ = unix.Syscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&cloneArgs)), unsafe.Sizeof(cloneArgs), 0)
	case "connect":
		_, _ = net.Dial("unix", args[0])
	case "message": // whose receiver it names
		if c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err == nil {
			_, _, err = c.WriteMsgUDP([]byte("x"), nil, c.LocalAddr().(*net.UDPAddr))
			return errors.Join(err, c.Close())
		}
	case "listener", "filter": // one that asks another process, or who traces
		fd, err := filter(verb == "listener")
		fmt.Println(verb, err == nil)
		if fd > 0 {
			return unix.Close(fd)
		}
	case "namespace":
		c := exec.Command("/bin/prog", "pwd")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		fmt.Println("namespace", c.Run() == nil)
	default:
		return fmt.Errorf("no verb %q", verb)
	}
	return nil
}

// filter puts a filter before the system calls of this thread, which stops but one that does not matter.
func filter(listener bool) (fd int, err error) {
	runtime.LockOSThread()
	what, flags := uint32(unix.SECCOMP_RET_TRACE), 0
	if listener {
		what, flags = unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_GETPGID, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: what},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return 0, errno
	}
	if !listener {
		_, _ = unix.Getpgid(0)
	}
	return int(r), nil
}

func fexec(fd int) error {
	argv, err := syscall.SlicePtrFromStrings([]string{"fexec"})
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(new(byte))), uintptr(unsafe.Pointer(&argv[0])), 0, unix.AT_EMPTY_PATH, 0)
	return errno
}
