package sandbox

import (
	"errors"

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
