package sandbox

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parts of a seccomp filter (seccomp(2), linux/bpf_common.h).
const (
	bpfLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEquals  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	bpfAnyOf   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bpfRet     = unix.BPF_RET | unix.BPF_K

	// Offsets into struct seccomp_data; the low half of an argument comes first on little-endian machines.
	offNr, offArch, offArgs = 0, 4, 16

	x32Bit = 0x40000000 // a second table of system calls on amd64
)

// auditArch is the value by which a seccomp filter knows the system calls of this architecture (linux/audit.h).
var auditArch = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}

func retErrno(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// newest is the last system call that is known here not to take a path (mseal, Linux 6.10); later ones answer ENOSYS.
const newest = 462

// System calls that x/sys does not know by name on every architecture; they have one number on all.
const (
	sysStatmount = 457
	sysListmount = 458
)

// refusedCalls are those for which the root and the users that the step sees would not hold, or that lead out of the
// tree; each with the answer that makes programs do without.
func refusedCalls() map[uint64]unix.Errno {
	m := map[uint64]unix.Errno{
		unix.SYS_CLONE3: unix.ENOSYS, unix.SYS_OPENAT2: unix.ENOSYS, sysStatmount: unix.ENOSYS, sysListmount: unix.ENOSYS,
		unix.SYS_IO_URING_SETUP: unix.ENOSYS, unix.SYS_IO_URING_ENTER: unix.ENOSYS, unix.SYS_IO_URING_REGISTER: unix.ENOSYS,
		unix.SYS_NAME_TO_HANDLE_AT: unix.EOPNOTSUPP, unix.SYS_OPEN_BY_HANDLE_AT: unix.EPERM,
	}
	for _, nr := range []uint64{unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE,
		unix.SYS_SETNS, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOVE_MOUNT,
		unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
		unix.SYS_PIDFD_GETFD, unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
		unix.SYS_REQUEST_KEY, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_REBOOT, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
		unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
		unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK, unix.SYS_SYSLOG, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME} {
		m[nr] = unix.EPERM
	}
	for _, nr := range oldRefused {
		m[nr] = unix.ENOSYS
	}
	return m
}

// wellDone are calls that change the owner of something or the step's user: all of them succeed and do nothing.
func wellDone(asRoot bool) []uint64 {
	nrs := []uint64{unix.SYS_FCHOWN, unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID,
		unix.SYS_SETRESGID, unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SETGROUPS, unix.SYS_GETGROUPS}
	if asRoot { // and who asks is told that they are root
		nrs = append(nrs, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID)
	}
	return nrs
}

// Requests that change a file by any descriptor (linux/fs.h).
const (
	fsIocSetflags   = 0x40086602
	fsIocFssetxattr = 0x401c5820
)

// cloneRefused are the flags of clone(2) that a step may not use.
const cloneRefused = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_UNTRACED

// listens is the flag of seccomp(2) that makes a step's own filter ask another process about a call. The kernel asks that one
// and not the tracer, and makes the call as it is when the answer is that it may go on (seccomp_unotify(2)).
const listens = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER

// bpf is a seccomp filter in the making.
type bpf []unix.SockFilter

func (b *bpf) add(code int, k uint32, jt, jf uint8) {
	*b = append(*b, unix.SockFilter{Code: uint16(code), K: k, Jt: jt, Jf: jf})
}

// on answers one system call with a verdict.
func (b *bpf) on(nr uint64, verdict uint32) {
	b.add(bpfEquals, uint32(nr), 0, 1)
	b.add(bpfRet, verdict, 0, 0)
}

// onArg answers one system call with a verdict when the test of the low half of an argument holds, and allows it else.
func (b *bpf) onArg(nr uint64, arg int, test int, k, verdict, otherwise uint32) {
	b.add(bpfEquals, uint32(nr), 0, 4)
	b.add(bpfLoad, uint32(offArgs+8*arg), 0, 0)
	b.add(test, k, 0, 1)
	b.add(bpfRet, verdict, 0, 0)
	b.add(bpfRet, otherwise, 0, 0)
}

func (b *bpf) start(arch uint32) {
	b.add(bpfLoad, offArch, 0, 0)
	b.add(bpfEquals, arch, 1, 0)
	b.add(bpfRet, retErrno(unix.ENOSYS), 0, 0)
	b.add(bpfLoad, offNr, 0, 0)
	b.add(bpfAtLeast, x32Bit, 0, 1)
	b.add(bpfRet, retErrno(unix.ENOSYS), 0, 0)
}

// network is what a process may have of it where the kernel makes none for it alone.
type network int

const (
	noNetwork  network = iota // sockets for processes of this machine (AF_UNIX), and for asking about interfaces (AF_NETLINK)
	ownSockets                // and TCP's and UDP's, whose addresses the tracer changes (ownNetwork)
	hostNetwork
)

// sockets refuses those that the network has not.
func (b *bpf) sockets(n network) {
	families := []uint32{unix.AF_UNIX, unix.AF_NETLINK}
	switch n {
	case hostNetwork:
		return
	case ownSockets:
		families = append(families, unix.AF_INET, unix.AF_INET6)
		// Its addresses of IPv6 are really those of IPv4, which such a socket would not take (ipv6(7)).
		b.add(bpfEquals, unix.SYS_SETSOCKOPT, 0, 6)
		b.add(bpfLoad, offArgs+8, 0, 0)
		b.add(bpfEquals, unix.IPPROTO_IPV6, 0, 3)
		b.add(bpfLoad, offArgs+16, 0, 0)
		b.add(bpfEquals, unix.IPV6_V6ONLY, 0, 1)
		b.add(bpfRet, retErrno(0), 0, 0)
		b.add(bpfRet, unix.SECCOMP_RET_ALLOW, 0, 0)
	}
	b.add(bpfEquals, unix.SYS_SOCKET, 0, uint8(len(families)+3))
	b.add(bpfLoad, offArgs, 0, 0)
	for i, family := range families {
		b.add(bpfEquals, family, uint8(len(families)-i), 0)
	}
	b.add(bpfRet, retErrno(unix.EACCES), 0, 0)
	b.add(bpfRet, unix.SECCOMP_RET_ALLOW, 0, 0)
}

// traceFilter stops the calls that the tracer is to answer, and lets all run that it need not know of.
func traceFilter(traced []uint64, asRoot bool, network network) ([]unix.SockFilter, error) {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("no filter for system calls is known for %s", runtime.GOARCH)
	}
	const allow = unix.SECCOMP_RET_ALLOW
	var b bpf
	b.start(arch)
	b.sockets(network)
	b.onArg(unix.SYS_CLONE, 0, bpfAnyOf, cloneRefused, retErrno(unix.EPERM), allow)
	b.onArg(unix.SYS_PRCTL, 0, bpfEquals, unix.PR_SET_DUMPABLE, retErrno(0), allow) // its memory must stay readable
	b.onArg(unix.SYS_SENDTO, 4, bpfEquals, 0, allow, unix.SECCOMP_RET_TRACE)
	b.onArg(unix.SYS_SECCOMP, 1, bpfAnyOf, listens, retErrno(unix.EINVAL), allow)
	b.onArg(unix.SYS_PRLIMIT64, 0, bpfEquals, 0, allow, unix.SECCOMP_RET_TRACE) // 0 is who asks
	b.add(bpfEquals, unix.SYS_IOCTL, 0, 5)
	b.add(bpfLoad, offArgs+8, 0, 0)
	b.add(bpfEquals, fsIocSetflags, 1, 0)
	b.add(bpfEquals, fsIocFssetxattr, 0, 1)
	b.add(bpfRet, retErrno(unix.EOPNOTSUPP), 0, 0)
	b.add(bpfRet, allow, 0, 0)
	for _, nr := range slices.Sorted(slices.Values(traced)) {
		b.on(nr, unix.SECCOMP_RET_TRACE)
	}
	for _, nr := range wellDone(asRoot) {
		b.on(nr, retErrno(0))
	}
	refused := refusedCalls()
	for _, nr := range slices.Sorted(maps.Keys(refused)) {
		b.on(nr, retErrno(refused[nr]))
	}
	b.add(bpfAtLeast, newest+1, 0, 1)
	b.add(bpfRet, retErrno(unix.ENOSYS), 0, 0)
	b.add(bpfRet, allow, 0, 0)
	return b, nil
}

// refuseSockets cuts the network where it cannot be taken away. io_uring would be a way around, and is refused too.
func refuseSockets() error {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no filter for system calls is known for %s", runtime.GOARCH)
	}
	var b bpf
	b.start(arch)
	b.sockets(noNetwork)
	b.on(unix.SYS_IO_URING_SETUP, retErrno(unix.ENOSYS))
	b.add(bpfRet, unix.SECCOMP_RET_ALLOW, 0, 0)
	return install(b)
}

// install puts a filter before the system calls of the calling thread and all that it starts.
func install(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return fmt.Errorf("setting a filter for system calls: %w", e)
	}
	return nil
}
