package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// doMore are the verbs for what a rung without a root of its own has to get right one by one.
func doMore(verb string, args []string) error {
	switch verb {
	case "rename":
		return os.Rename(args[0], args[1])
	case "exchange":
		return unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE)
	case "link":
		return os.Link(args[0], args[1])
	case "across": // move or link something to where that may be refused, and change the file that has come there
		for _, move := range []func(from, to string) error{os.Rename, os.Link} {
			if err := move(args[0], args[1]); errors.Is(err, unix.EXDEV) {
				continue
			} else if err != nil {
				return err
			}
			file := filepath.Join(args[1:]...)
			return errors.Join(do("append", []string{file, "x"}), os.Chmod(file, 0o600))
		}
	case "readlink":
		target, err := os.Readlink(args[0])
		fmt.Println(target)
		return err
	case "truncate":
		return os.Truncate(args[0], 1)
	case "touch":
		return os.Chtimes(args[0], time.Unix(1, 0), time.Unix(1, 0))
	case "fchange": // by a descriptor that cannot write
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		tv := []unix.Timeval{{Sec: 1}, {Sec: 1}}
		_ = unix.Fsetxattr(int(f.Fd()), "user.x", []byte("y"), 0)
		return errors.Join(f.Chmod(0o600), unix.Futimes(int(f.Fd()), tv), f.Close())
	case "reopen": // a descriptor's file through /proc, for writing
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = w.WriteString(args[1])
		return errors.Join(err, w.Close())
	case "stale": // as reopen, when the name has come to mean another file
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		if err := errors.Join(os.Truncate(args[0], 1), f.Chmod(0o600)); err != nil {
			fmt.Println("fchmod:", errors.Is(err, os.ErrPermission))
		}
		_, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|os.O_TRUNC, 0)
		fmt.Println("open:", errors.Is(err, os.ErrPermission))
	case "xattr":
		if err := unix.Setxattr(args[0], "user.test", []byte("y"), 0); err != nil {
			return err
		}
		var b [256]byte
		n, err := unix.Listxattr(args[0], b[:])
		fmt.Printf("%q\n", b[:max(n, 0)])
		return err
	case "tmpfile":
		fd, err := unix.Open(args[0], unix.O_TMPFILE|unix.O_RDWR, 0o644)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte("anonymous"))
		return errors.Join(err, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, args[1], unix.AT_SYMLINK_FOLLOW))
	case "unix":
		return unixSocket(args[0])
	case "ids":
		var r, e, s int
		r, e, s = unix.Getresuid()
		groups, err := unix.Getgroups()
		fmt.Println(os.Getuid(), os.Geteuid(), os.Getgid(), r, e, s, len(groups))
		return errors.Join(err, unix.Setgroups([]int{5}), unix.Setresgid(7, 7, 7), unix.Setresuid(7, 7, 7), os.Lchown(args[0], 7, 7))
	case "stat":
		var st, fst unix.Stat_t
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		if err := errors.Join(unix.Lstat(args[0], &st), unix.Fstat(int(f.Fd()), &fst)); err != nil {
			return err
		}
		fmt.Println(st.Uid, st.Gid, st.Nlink, fst.Uid, fst.Gid, fst.Nlink, st.Ino == fst.Ino, st.Mtim.Sec == fst.Mtim.Sec)
	case "run":
		c := exec.Command(args[0], args[1:]...)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		return c.Run()
	case "args":
		fmt.Printf("%q\n", append([]string{os.Args[0]}, args...))
	case "signals": // to a thread, and what is asked of a child that has ended
		c := exec.Command("/bin/prog", "pwd")
		if err := errors.Join(unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGURG), unix.Prlimit(os.Getpid(), unix.RLIMIT_CORE, nil, nil), c.Start()); err != nil {
			return err
		}
		err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		fd, openErr := unix.PidfdOpen(c.Process.Pid, 0)
		return errors.Join(err, openErr, unix.Close(fd), c.Wait())
	case "crowd": // many threads and processes at once, all with paths
		return crowd(args[0])
	case "escape":
		return escape(args[0])
	default:
		return doLook(verb, args)
	}
	return nil
}

func unixSocket(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	fi, err := os.Lstat(path)
	if err == nil {
		fmt.Println("socket", fi.Mode().Type() == os.ModeSocket, c.RemoteAddr())
	}
	return errors.Join(err, c.Close())
}

func crowd(dir string) error {
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			at := filepath.Join(dir, fmt.Sprint(i))
			errs[i] = os.MkdirAll(at, 0o755)
			for n := range 20 {
				name := filepath.Join(at, fmt.Sprint(n))
				errs[i] = errors.Join(errs[i], os.WriteFile(name, []byte("x"), 0o644), os.Rename(name, name+"-"), os.Chmod(name+"-", 0o600))
			}
			errs[i] = errors.Join(errs[i], exec.Command("/bin/prog", "rm", at+"/0-", ";", "write", at+"/child", "y").Run())
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// escape prints each way in which it has reached what lies outside of its root; secret is a path of the machine.
func escape(secret string) error {
	for _, p := range []string{secret, "/.." + secret, "/proc/self/root/../../../../../../.." + secret, "/proc/1/root" + secret,
		fmt.Sprintf("/proc/%d/root%s", os.Getppid(), secret), "/proc/self/cwd/../../../../../../../.." + secret} {
		if _, err := os.Stat(p); err == nil {
			fmt.Println("stat", p)
		}
		if f, err := os.Open(p); err == nil {
			f.Close()
			fmt.Println("open", p)
		}
		if f, err := os.OpenFile(p, os.O_WRONLY, 0); err == nil {
			f.Close()
			fmt.Println("write", p)
		}
	}
	for _, link := range []string{"/tmp/out", "/tmp/up"} {
		target := map[string]string{"/tmp/out": secret, "/tmp/up": "../../../../../../../../../.." + secret}[link]
		if err := os.Symlink(target, link); err != nil {
			return err
		}
		if _, err := os.ReadFile(link); err == nil {
			fmt.Println("symlink", target)
		}
	}
	if err := unix.Kill(os.Getppid(), 0); err == nil && os.Getppid() != 0 {
		fmt.Println("can signal its parent")
	}
	if _, err := unix.Open("/proc/sys/kernel/hostname", unix.O_WRONLY, 0); err == nil {
		fmt.Println("can write to /proc/sys")
	}
	var how unix.OpenHow
	if fd, err := unix.Openat2(unix.AT_FDCWD, secret, &how); err == nil {
		fmt.Println("openat2", fd)
	}
	parent := uintptr(os.Getppid())
	for nr, args := range map[uintptr][4]uintptr{unix.SYS_TKILL: {parent}, unix.SYS_TGKILL: {parent, parent}, unix.SYS_RT_SIGQUEUEINFO: {parent},
		unix.SYS_RT_TGSIGQUEUEINFO: {parent, parent}, unix.SYS_PIDFD_OPEN: {parent}, unix.SYS_PRLIMIT64: {parent}} {
		if _, _, errno := unix.RawSyscall6(nr, args[0], args[1], args[2], args[3], 0, 0); errno != unix.ESRCH {
			fmt.Println("system call", nr, "reaches its parent:", errno)
		}
	}
	if fd, err := filter(true); err == nil {
		fmt.Println("seccomp listener", fd)
	}
	return nil
}
