package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	case "namespace":
		c := exec.Command("/bin/prog", "pwd")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		fmt.Println("namespace", c.Run() == nil)
	default:
		return fmt.Errorf("no verb %q", verb)
	}
	return nil
}
