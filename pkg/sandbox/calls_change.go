package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func (c *call) mkdir(dirArg, pathArg int) (verdict, error) {
	at, err := c.path(dirArg, pathArg, false)
	if err != nil {
		return verdict{}, err
	}
	if at.exists {
		return verdict{}, unix.EEXIST
	}
	return verdict{after: func(ret int64) {
		if ret != 0 {
			return
		}
		if err := c.tree.made(at.key); err != nil {
			c.errno(err)
		}
	}}, c.setPath(pathArg, at.host)
}

func (c *call) mknod(dirArg, pathArg int) (verdict, error) {
	at, err := c.path(dirArg, pathArg, false)
	if err != nil {
		return verdict{}, err
	}
	if at.exists {
		return verdict{}, unix.EEXIST
	}
	if mode := uint32(c.args[pathArg+1]) & unix.S_IFMT; mode == unix.S_IFCHR || mode == unix.S_IFBLK {
		return verdict{}, unix.EPERM
	}
	return asItIs, c.setPath(pathArg, at.host)
}

func (c *call) unlink(dirArg, pathArg, flags int) (verdict, error) {
	at, err := c.existing(dirArg, pathArg, false)
	if err != nil {
		return verdict{}, err
	}
	if err := c.freeToGo(at.key); err != nil {
		return verdict{}, err
	}
	if err := unix.Unlinkat(unix.AT_FDCWD, at.host, flags); err != nil {
		return verdict{}, err
	}
	c.tree.forget(at.key)
	return answered(0)
}

func (c *call) rename(fromDir, from, toDir, to int, flags uint) (verdict, error) {
	old, err := c.existing(fromDir, from, false)
	if err != nil {
		return verdict{}, err
	}
	at, err := c.path(toDir, to, false)
	if err != nil {
		return verdict{}, err
	}
	if c.tree.apart(old.key, at.key) {
		return verdict{}, unix.EXDEV
	}
	for _, p := range []*place{&old, &at} {
		if err := c.freeToGo(p.key); err != nil {
			return verdict{}, err
		}
		if p.dir {
			if err := c.tree.fillAll(p.key); err != nil {
				return verdict{}, err
			}
		}
	}
	if err := unix.Renameat2(unix.AT_FDCWD, old.host, unix.AT_FDCWD, at.host, flags); err != nil {
		return verdict{}, err
	}
	c.tree.forget(old.key)
	c.tree.forget(at.key)
	return answered(0)
}

func (c *call) link(fromDir, from, toDir, to, flags int) (verdict, error) {
	p, err := c.readString(c.task.tid, c.args[from], maxPath)
	if err != nil {
		return verdict{}, err
	}
	at, err := c.path(toDir, to, false)
	if err != nil {
		return verdict{}, err
	}
	if at.exists {
		return verdict{}, unix.EEXIST
	}
	if p == "" && flags&unix.AT_EMPTY_PATH != 0 {
		if _, borrowed, err := c.borrowedFD(c.fd(fromDir)); err != nil || borrowed {
			return verdict{}, unix.EPERM
		}
		return done(unix.Linkat(unix.AT_FDCWD, c.procLink(c.fd(fromDir)), unix.AT_FDCWD, at.host, unix.AT_SYMLINK_FOLLOW))
	}
	old, err := c.find(fromDir, p, flags&unix.AT_SYMLINK_FOLLOW != 0)
	switch {
	case err != nil:
	case !old.exists:
		err = unix.ENOENT
	case !old.magic && c.tree.apart(old.key, at.key):
		err = unix.EXDEV
	default:
		err = c.makeOwn(&old, false)
	}
	if err != nil {
		return verdict{}, err
	}
	follow := 0
	if old.magic { // a file without a name (O_TMPFILE)
		follow = unix.AT_SYMLINK_FOLLOW
	}
	return done(unix.Linkat(unix.AT_FDCWD, old.host, unix.AT_FDCWD, at.host, follow))
}

func (c *call) symlink(targetArg, dirArg, pathArg int) (verdict, error) {
	target, err := c.readString(c.task.tid, c.args[targetArg], maxPath)
	if err != nil {
		return verdict{}, err
	}
	at, err := c.path(dirArg, pathArg, false)
	if err != nil {
		return verdict{}, err
	}
	if at.exists {
		return verdict{}, unix.EEXIST
	}
	return done(unix.Symlink(target, at.host))
}

func (c *call) chmod(dirArg, pathArg, modeArg, flags int) (verdict, error) {
	if flags&unix.AT_EMPTY_PATH != 0 {
		return verdict{}, unix.EINVAL // as by a kernel that does not know it
	}
	follow := flags&unix.AT_SYMLINK_NOFOLLOW == 0
	at, err := c.forWriting(dirArg, pathArg, follow, false)
	if err != nil {
		return verdict{}, err
	}
	if !follow {
		if err := at.stat(); err != nil {
			return verdict{}, err
		}
		if at.st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return verdict{}, unix.EOPNOTSUPP
		}
	}
	return done(unix.Chmod(at.host, uint32(c.args[modeArg])))
}

// fchmod changes the mode of a file by its descriptor, and then by its name where the descriptor is of a lower tree.
func (c *call) fchmod() (verdict, error) {
	at, borrowed, err := c.borrowedFD(c.fd(0))
	if err != nil || !borrowed {
		return asItIs, err
	}
	if err := c.tree.own(at.key, &at.st, false); err != nil {
		return verdict{}, err
	}
	return done(unix.Chmod(at.host, uint32(c.args[1])))
}

// chown has no effect: in an image, every file belongs to root, and so it is shown.
func (c *call) chown(dirArg, pathArg, flags int) (verdict, error) {
	p, err := c.readString(c.task.tid, c.args[pathArg], maxPath)
	if err != nil {
		return verdict{}, err
	}
	if p == "" && flags&unix.AT_EMPTY_PATH != 0 {
		return answered(0)
	}
	at, err := c.find(dirArg, p, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	if err == nil && !at.exists {
		err = unix.ENOENT
	}
	return done(err)
}

func (c *call) utimensat() (verdict, error) {
	var times *[2]unix.Timespec
	if c.args[2] != 0 {
		times = new([2]unix.Timespec)
		if err := readMem(c.task.tid, c.args[2], bytesOf(times)); err != nil {
			return verdict{}, err
		}
	}
	if c.args[1] == 0 {
		at, borrowed, err := c.borrowedFD(c.fd(0))
		if err != nil || !borrowed {
			return asItIs, err
		}
		if err := c.tree.own(at.key, &at.st, false); err != nil {
			return verdict{}, err
		}
		return done(setTimes(at.host, times))
	}
	return c.utimes(0, 1, c.fd(3)&unix.AT_SYMLINK_NOFOLLOW == 0, times)
}

func (c *call) utimes(dirArg, pathArg int, follow bool, times *[2]unix.Timespec) (verdict, error) {
	at, err := c.forWriting(dirArg, pathArg, follow, false)
	if err != nil {
		return verdict{}, err
	}
	return done(setTimes(at.host, times))
}

// setTimes is utimensat(2) without following; nil is now.
func setTimes(host string, times *[2]unix.Timespec) error {
	p, err := unix.BytePtrFromString(host)
	if err != nil {
		return unix.EINVAL
	}
	fdcwd := unix.AT_FDCWD
	_, _, e := unix.RawSyscall6(unix.SYS_UTIMENSAT, uintptr(fdcwd), uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(times)),
		unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func (c *call) truncate() (verdict, error) {
	at, err := c.forWriting(noDir, 0, true, false)
	if err != nil {
		return verdict{}, err
	}
	return done(unix.Truncate(at.host, int64(c.args[1])))
}

// maxXattr is the most that the kernel takes or gives for one attribute, and for a list of names.
const maxXattr = 64 << 10

func (c *call) attribute() (string, error) { return c.readString(c.task.tid, c.args[1], 256) }

func (c *call) getxattr(follow bool) (verdict, error) {
	at, err := c.existing(noDir, 0, follow)
	if err != nil {
		return verdict{}, err
	}
	name, err := c.attribute()
	if err != nil {
		return verdict{}, err
	}
	if name == opaqueMark {
		return verdict{}, unix.ENODATA
	}
	buf := make([]byte, min(c.args[3], maxXattr))
	n, err := unix.Lgetxattr(at.host, name, buf)
	if err != nil {
		return verdict{}, err
	}
	if err := writeMem(c.task.tid, c.args[2], buf[:min(n, len(buf))]); err != nil {
		return verdict{}, err
	}
	return answered(n)
}

func (c *call) listxattr(follow bool) (verdict, error) {
	at, err := c.existing(noDir, 0, follow)
	if err != nil {
		return verdict{}, err
	}
	buf := make([]byte, maxXattr)
	n, err := unix.Llistxattr(at.host, buf)
	if err != nil {
		return verdict{}, err
	}
	buf = withoutMark(buf[:n])
	switch size := c.args[2]; {
	case size == 0:
		return answered(len(buf))
	case uint64(len(buf)) > size:
		return verdict{}, unix.ERANGE
	}
	if err := writeMem(c.task.tid, c.args[1], buf); err != nil {
		return verdict{}, err
	}
	return answered(len(buf))
}

// withoutMark takes our own mark out of a list of names, each of which ends with a zero byte.
func withoutMark(list []byte) (out []byte) {
	for start, i := 0, 0; i < len(list); i++ {
		if list[i] == 0 {
			if string(list[start:i]) != opaqueMark {
				out = append(out, list[start:i+1]...)
			}
			start = i + 1
		}
	}
	return out
}

// attributeForWriting gives the file and the name of an attribute that is to be changed: any but the mark that is ours.
func (c *call) attributeForWriting(follow bool) (place, string, error) {
	at, err := c.forWriting(noDir, 0, follow, false)
	if err != nil {
		return place{}, "", err
	}
	name, err := c.attribute()
	if err == nil && name == opaqueMark {
		err = unix.EPERM
	}
	return at, name, err
}

func (c *call) setxattr(follow bool) (verdict, error) {
	at, name, err := c.attributeForWriting(follow)
	if err != nil {
		return verdict{}, err
	}
	if c.args[3] > maxXattr {
		return verdict{}, unix.E2BIG
	}
	value := make([]byte, c.args[3])
	if len(value) > 0 {
		if err := readMem(c.task.tid, c.args[2], value); err != nil {
			return verdict{}, err
		}
	}
	return done(unix.Lsetxattr(at.host, name, value, c.fd(4)))
}

func (c *call) removexattr(follow bool) (verdict, error) {
	at, name, err := c.attributeForWriting(follow)
	if err != nil {
		return verdict{}, err
	}
	return done(unix.Lremovexattr(at.host, name))
}

// fxattr lets attributes be set by a descriptor, but not on a file of the lower trees.
func (c *call) fxattr() (verdict, error) {
	_, borrowed, err := c.borrowedFD(c.fd(0))
	if err == nil && borrowed {
		err = unix.EOPNOTSUPP
	}
	return asItIs, err
}

// ofStep leaves a call to the kernel that is about one of the step's own threads, or a process of it that has ended and that
// its parent has not waited for. There is no other.
func (c *call) ofStep(arg int) (verdict, error) {
	pid := c.fd(arg)
	if c.tgid(pid) == 0 && c.tgid(statusNumber(pid, "PPid")) == 0 {
		return verdict{}, unix.ESRCH
	}
	return asItIs, nil
}

// kill reaches the step's own processes alone.
func (c *call) kill() (verdict, error) {
	pid := c.fd(0)
	if pid == 0 || c.tgid(pid) != 0 {
		return asItIs, nil
	}
	if pid > 0 {
		return verdict{}, unix.ESRCH
	}
	if pid == -1 {
		for tid, k := range c.tasks {
			if tid == k.proc.tgid && tid != c.task.proc.tgid {
				_ = unix.Kill(tid, unix.Signal(c.args[1]))
			}
		}
		return answered(0)
	}
	for tid, k := range c.tasks {
		if tid != k.proc.tgid {
			continue
		}
		if group, err := unix.Getpgid(tid); err == nil && group == -pid {
			return asItIs, nil
		}
	}
	return verdict{}, unix.ESRCH
}
