package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropPrivileges makes the calling thread, and all that it starts, unable to gain or use any privilege, and leaves no
// core file.
func dropPrivileges(cfg config) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	var keep []int
	if cfg.Switch != nil { // what is needed to start and end processes of somebody else, who has none of it
		keep = []int{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL}
	}
	if err := dropCapabilities(keep...); err != nil {
		return err
	}
	if cfg.RefuseSockets {
		return refuseSockets()
	}
	return nil
}

// dropCapabilities empties the bounding set, so that root gets none back when it executes a program, and then all others
// but those that the calling thread is to keep for itself.
func dropCapabilities(keep ...int) error {
	for c := uintptr(0); c < 64; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // beyond the last that this kernel knows
		}
		if errors.Is(err, unix.EPERM) {
			break // not allowed to: with no_new_privs set, what is left can only be root's own
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var left [2]unix.CapUserData
	for _, c := range keep {
		left[0].Permitted |= 1 << c
		left[0].Effective |= 1 << c
	}
	return unix.Capset(&hdr, &left[0])
}

// auditArch is the value by which a seccomp filter knows the system calls of this architecture (linux/audit.h).
var auditArch = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}

// refuseSockets cuts the network where it cannot be taken away: no socket can be made but for processes of this machine
// (AF_UNIX) and for asking about interfaces (AF_NETLINK). io_uring would be a way around, and is refused too.
func refuseSockets() error {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no filter for system calls is known for %s", runtime.GOARCH)
	}
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equals  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K

		// Offsets into struct seccomp_data; the low half of an argument comes first on little-endian machines.
		offNr, offArch, offArg0 = 0, 4, 16

		x32Bit = 0x40000000 // a second table of system calls on amd64
	)
	const errno = unix.SECCOMP_RET_ERRNO
	filter := []unix.SockFilter{
		{Code: load, K: offArch},
		{Code: equals, K: arch, Jt: 1},
		{Code: ret, K: errno | uint32(unix.ENOSYS)},
		{Code: load, K: offNr},
		{Code: atLeast, K: x32Bit, Jt: 1},
		{Code: equals, K: unix.SYS_IO_URING_SETUP, Jf: 1},
		{Code: ret, K: errno | uint32(unix.ENOSYS)},
		{Code: equals, K: unix.SYS_SOCKET, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		{Code: load, K: offArg0},
		{Code: equals, K: unix.AF_UNIX, Jt: 2},
		{Code: equals, K: unix.AF_NETLINK, Jt: 1},
		{Code: ret, K: errno | uint32(unix.EACCES)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return fmt.Errorf("setting the filter that refuses sockets: %w", e)
	}
	return nil
}

// withMemoryLimit starts a process that is bound by a limit of n bytes, which it cannot raise; 0 is without bound. Of the
// limits that can be had without cgroups, RLIMIT_DATA is the one that counts what a process could fill: private writable
// memory, and not address space that is only set aside.
func withMemoryLimit(n int64, start func() (pid int, err error)) (pid int, err error) {
	if n <= 0 {
		return start()
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &before); err != nil {
		return 0, err
	}
	// Our own hard limit stays, so that the soft one can be put back: the child inherits both, and loses the first.
	limit := unix.Rlimit{Cur: min(uint64(n), before.Max), Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return 0, err
	}
	pid, err = start()
	if restoreErr := unix.Setrlimit(unix.RLIMIT_DATA, &before); err == nil {
		err = restoreErr
	}
	if err == nil {
		limit.Max = limit.Cur
		if err = unix.Prlimit(pid, unix.RLIMIT_DATA, &limit, nil); err == unix.ESRCH {
			err = nil // it has ended already
		}
	}
	return pid, err
}
