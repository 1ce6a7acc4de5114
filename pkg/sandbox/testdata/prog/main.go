// Command prog is the only program in the trees of the sandbox's tests: a few verbs, run one after another, separated
// by ";".
package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	args := os.Args[1:]
	for len(args) > 0 {
		n := slices.Index(args, ";")
		if n < 0 {
			n = len(args)
		}
		if err := do(args[0], args[1:n]); err != nil {
			fmt.Fprintln(os.Stderr, "prog:", err)
			os.Exit(1)
		}
		args = args[min(n+1, len(args)):]
	}
}

func do(verb string, args []string) error {
	switch verb {
	case "write":
		return os.WriteFile(args[0], []byte(args[1]), 0o600)
	case "random":
		b := make([]byte, 16)
		_, _ = rand.Read(b)
		return os.WriteFile(args[0], b, 0o600)
	case "copy":
		b, err := os.ReadFile(args[0])
		return errors.Join(err, os.WriteFile(args[1], b, 0o600))
	case "append":
		f, err := os.OpenFile(args[0], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(args[1])
		return errors.Join(err, f.Close())
	case "cat":
		b, err := os.ReadFile(args[0])
		fmt.Print(string(b))
		return err
	case "await": // a file of another process's, for a while
		for range 500 {
			if _, err := os.Stat(args[0]); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("%s does not come", args[0])
	case "ls":
		entries, err := os.ReadDir(args[0])
		for _, e := range entries {
			fmt.Println(e.Name())
		}
		return err
	case "mkdir":
		return os.MkdirAll(args[0], 0o755)
	case "rm":
		return os.RemoveAll(args[0])
	case "symlink":
		return os.Symlink(args[0], args[1])
	case "fifo":
		return syscall.Mkfifo(args[0], 0o600)
	case "chmod":
		mode, err := strconv.ParseUint(args[0], 8, 32)
		if err != nil {
			return err
		}
		return os.Chmod(args[1], os.FileMode(mode))
	case "env":
		for _, kv := range os.Environ() {
			fmt.Println(kv)
		}
	case "pwd":
		dir, err := os.Getwd()
		fmt.Println(dir)
		return err
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(code)
	case "abort":
		return syscall.Kill(os.Getpid(), syscall.SIGTERM)
	case "sleep":
		d, err := time.ParseDuration(args[0])
		time.Sleep(d)
		return err
	case "daemon": // a process in a session of its own, which outlives its parent if it can
		c := exec.Command("/proc/self/exe", "sleep", "300s")
		if _, err := os.Stat("/proc/self/exe"); err != nil {
			c = exec.Command("/bin/prog", "sleep", "300s")
		}
		c.Args = append(c.Args, ";", "write", args[0], "x")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			return err
		}
		fmt.Println("started")
	case "dial":
		c, err := net.DialTimeout("tcp", args[0], 2*time.Second)
		if err != nil {
			fmt.Println("refused")
			return nil
		}
		fmt.Println("connected")
		return c.Close()
	case "loopback":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		fmt.Println("loopback", err == nil)
		if err == nil {
			return l.Close()
		}
	case "serve":
		return serve(args[0])
	case "probe":
		c, err := net.DialTimeout("tcp", args[0], 2*time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	case "network":
		return network(args[0])
	case "id":
		return id()
	case "deaf":
		return deaf()
	case "stdin":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "caps":
		return caps()
	case "alloc":
		mb, err := strconv.Atoi(args[0])
		b := make([]byte, mb<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return err
	case "tryall": // each of these must be refused
		for _, p := range []string{"/proc/sys/kernel/hostname", "/proc/sysrq-trigger"} {
			if f, err := os.OpenFile(p, os.O_WRONLY, 0); err == nil {
				f.Close()
				return fmt.Errorf("%s can be written", p)
			}
		}
		if err := syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""); err == nil {
			return errors.New("mount is allowed")
		}
		if err := syscall.Chroot("/tmp"); err == nil {
			return errors.New("chroot is allowed")
		}
	default:
		return doMore(verb, args)
	}
	return nil
}

// caps prints the capabilities that are left, which must be none.
func caps() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var c [2]unix.CapUserData
	if err := unix.Capget(&hdr, &c[0]); err != nil {
		return err
	}
	bounding := 0
	for i := range uintptr(64) {
		if n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, i, 0, 0, 0); err == nil {
			bounding += n
		}
	}
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	fmt.Println("effective", c[0].Effective|c[1].Effective, "permitted", c[0].Permitted|c[1].Permitted,
		"inheritable", c[0].Inheritable|c[1].Inheritable, "bounding", bounding, "no_new_privs", nnp)
	return err
}
