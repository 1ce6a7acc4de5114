package sandbox

import "golang.org/x/sys/unix"

// nlink is the type of a number of links in unix.Stat_t.
type nlink = uint64

const sysNewfstatat = unix.SYS_NEWFSTATAT

// oldRefused are calls with paths that no program makes any more.
var oldRefused = []uint64{unix.SYS_USELIB, unix.SYS__SYSCTL}

// oldCalls are those that newer architectures do without.
func oldCalls() map[uint64]handler {
	return map[uint64]handler{
		unix.SYS_OPEN:     func(c *call) (verdict, error) { return c.open(noDir, 0, 1) },
		unix.SYS_CREAT:    func(c *call) (verdict, error) { return c.open(noDir, 0, noArg) },
		unix.SYS_STAT:     func(c *call) (verdict, error) { return c.fstatat(noDir, 0, 1, 0) },
		unix.SYS_LSTAT:    func(c *call) (verdict, error) { return c.fstatat(noDir, 0, 1, unix.AT_SYMLINK_NOFOLLOW) },
		unix.SYS_ACCESS:   func(c *call) (verdict, error) { return c.access(noDir, 0, 1, noArg) },
		unix.SYS_READLINK: func(c *call) (verdict, error) { return c.readlink(noDir, 0) },
		unix.SYS_MKDIR:    func(c *call) (verdict, error) { return c.mkdir(noDir, 0) },
		unix.SYS_MKNOD:    func(c *call) (verdict, error) { return c.mknod(noDir, 0) },
		unix.SYS_RMDIR:    func(c *call) (verdict, error) { return c.unlink(noDir, 0, unix.AT_REMOVEDIR) },
		unix.SYS_UNLINK:   func(c *call) (verdict, error) { return c.unlink(noDir, 0, 0) },
		unix.SYS_RENAME:   func(c *call) (verdict, error) { return c.rename(noDir, 0, noDir, 1, 0) },
		unix.SYS_RENAMEAT: func(c *call) (verdict, error) { return c.rename(0, 1, 2, 3, 0) },
		unix.SYS_LINK:     func(c *call) (verdict, error) { return c.link(noDir, 0, noDir, 1, 0) },
		unix.SYS_SYMLINK:  func(c *call) (verdict, error) { return c.symlink(0, noDir, 1) },
		unix.SYS_CHMOD:    func(c *call) (verdict, error) { return c.chmod(noDir, 0, 1, 0) },
		unix.SYS_CHOWN:    func(c *call) (verdict, error) { return c.chown(noDir, 0, 0) },
		unix.SYS_LCHOWN:   func(c *call) (verdict, error) { return c.chown(noDir, 0, unix.AT_SYMLINK_NOFOLLOW) },
		unix.SYS_UTIME:    (*call).utime,
		unix.SYS_UTIMES:   func(c *call) (verdict, error) { return c.utimesOld(noDir, 0, 1) },
		unix.SYS_FUTIMESAT: func(c *call) (verdict, error) {
			if c.args[1] == 0 {
				return verdict{}, unix.ENOSYS
			}
			return c.utimesOld(0, 1, 2)
		},
	}
}

// utime takes seconds.
func (c *call) utime() (verdict, error) {
	if c.args[1] == 0 {
		return c.utimes(noDir, 0, true, nil)
	}
	var in [2]int64
	if err := readMem(c.task.tid, c.args[1], bytesOf(&in)); err != nil {
		return verdict{}, err
	}
	return c.utimes(noDir, 0, true, &[2]unix.Timespec{{Sec: in[0]}, {Sec: in[1]}})
}

// utimesOld takes microseconds.
func (c *call) utimesOld(dirArg, pathArg, timesArg int) (verdict, error) {
	if c.args[timesArg] == 0 {
		return c.utimes(dirArg, pathArg, true, nil)
	}
	var in [2]unix.Timeval
	if err := readMem(c.task.tid, c.args[timesArg], bytesOf(&in)); err != nil {
		return verdict{}, err
	}
	var times [2]unix.Timespec
	for i, tv := range in {
		if tv.Usec < 0 || tv.Usec >= 1e6 {
			return verdict{}, unix.EINVAL
		}
		times[i] = unix.Timespec{Sec: tv.Sec, Nsec: tv.Usec * 1000}
	}
	return c.utimes(dirArg, pathArg, true, &times)
}
