// Command lockdown runs a command as a container without privileges would have it run: with no new privileges, and with a
// filter that refuses namespaces, mounts and changes of root, as the default profiles of Docker and Kubernetes do.
//
//	lockdown COMMAND [ARGUMENT…]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "lockdown: which command?")
		os.Exit(2)
	}
	runtime.LockOSThread()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lockdown:", err)
		os.Exit(1)
	}
}

func run(argv []string) error {
	name, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := profile()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return e
	}
	return syscall.Exec(name, argv, os.Environ())
}

func profile() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equals = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyOf  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K

		namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
			unix.CLONE_NEWPID | unix.CLONE_NEWNET
	)
	refuse := func(errno unix.Errno) unix.SockFilter {
		return unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // the number; its low half first
		{Code: equals, K: unix.SYS_CLONE3, Jf: 1},
		refuse(unix.ENOSYS),
		{Code: equals, K: unix.SYS_CLONE, Jf: 4},
		{Code: load, K: 16},
		{Code: anyOf, K: namespaces, Jf: 1},
		refuse(unix.EPERM),
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	for _, nr := range []uint32{unix.SYS_UNSHARE, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_CHROOT, unix.SYS_SETNS,
		unix.SYS_PIVOT_ROOT, unix.SYS_FSOPEN, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE} {
		filter = append(filter, unix.SockFilter{Code: equals, K: nr, Jf: 1}, refuse(unix.EPERM))
	}
	return append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}
