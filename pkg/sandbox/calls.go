package sandbox

import (
	"encoding/binary"
	"maps"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handlers are the system calls that the filter stops. What depends on the process alone (its umask, its descriptors, its
// working directory) is left to the process, with another path; everything else is done here, which takes one stop
// instead of two: the tracer has the same user and the same privileges, which are none.
func (t *tracer) handlers() map[uint64]handler {
	h := map[uint64]handler{
		unix.SYS_OPENAT:            func(c *call) (verdict, error) { return c.open(0, 1, 2) },
		unix.SYS_STATX:             (*call).statx,
		unix.SYS_FACCESSAT:         func(c *call) (verdict, error) { return c.access(0, 1, 2, noArg) },
		unix.SYS_FACCESSAT2:        func(c *call) (verdict, error) { return c.access(0, 1, 2, 3) },
		unix.SYS_READLINKAT:        func(c *call) (verdict, error) { return c.readlink(0, 1) },
		unix.SYS_GETCWD:            (*call).getcwd,
		unix.SYS_CHDIR:             (*call).chdir,
		unix.SYS_STATFS:            (*call).statfs,
		unix.SYS_INOTIFY_ADD_WATCH: (*call).watch,

		unix.SYS_MKDIRAT:   func(c *call) (verdict, error) { return c.mkdir(0, 1) },
		unix.SYS_MKNODAT:   func(c *call) (verdict, error) { return c.mknod(0, 1) },
		unix.SYS_UNLINKAT:  func(c *call) (verdict, error) { return c.unlink(0, 1, c.fd(2)) },
		unix.SYS_RENAMEAT2: func(c *call) (verdict, error) { return c.rename(0, 1, 2, 3, uint(c.args[4])) },
		unix.SYS_LINKAT:    func(c *call) (verdict, error) { return c.link(0, 1, 2, 3, c.fd(4)) },
		unix.SYS_SYMLINKAT: func(c *call) (verdict, error) { return c.symlink(0, 1, 2) },
		unix.SYS_FCHMODAT:  func(c *call) (verdict, error) { return c.chmod(0, 1, 2, 0) },
		sysFchmodat2:       func(c *call) (verdict, error) { return c.chmod(0, 1, 2, c.fd(3)) },
		unix.SYS_FCHMOD:    (*call).fchmod,
		unix.SYS_FCHOWNAT:  func(c *call) (verdict, error) { return c.chown(0, 1, c.fd(4)) },
		unix.SYS_UTIMENSAT: (*call).utimensat,
		unix.SYS_TRUNCATE:  (*call).truncate,

		unix.SYS_GETXATTR:     func(c *call) (verdict, error) { return c.getxattr(true) },
		unix.SYS_LGETXATTR:    func(c *call) (verdict, error) { return c.getxattr(false) },
		unix.SYS_LISTXATTR:    func(c *call) (verdict, error) { return c.listxattr(true) },
		unix.SYS_LLISTXATTR:   func(c *call) (verdict, error) { return c.listxattr(false) },
		unix.SYS_SETXATTR:     func(c *call) (verdict, error) { return c.setxattr(true) },
		unix.SYS_LSETXATTR:    func(c *call) (verdict, error) { return c.setxattr(false) },
		unix.SYS_REMOVEXATTR:  func(c *call) (verdict, error) { return c.removexattr(true) },
		unix.SYS_LREMOVEXATTR: func(c *call) (verdict, error) { return c.removexattr(false) },
		unix.SYS_FSETXATTR:    (*call).fxattr,
		unix.SYS_FREMOVEXATTR: (*call).fxattr,

		unix.SYS_EXECVE:   func(c *call) (verdict, error) { return c.execve(noDir, 0, 1, 0) },
		unix.SYS_EXECVEAT: func(c *call) (verdict, error) { return c.execve(0, 1, 2, c.fd(4)) },
		unix.SYS_KILL:     (*call).kill,

		unix.SYS_TKILL:             func(c *call) (verdict, error) { return c.ofStep(0) },
		unix.SYS_TGKILL:            func(c *call) (verdict, error) { return c.ofStep(1) },
		unix.SYS_RT_SIGQUEUEINFO:   func(c *call) (verdict, error) { return c.ofStep(0) },
		unix.SYS_RT_TGSIGQUEUEINFO: func(c *call) (verdict, error) { return c.ofStep(1) },
		unix.SYS_PIDFD_OPEN:        func(c *call) (verdict, error) { return c.ofStep(0) }, // for pidfd_send_signal(2)
		unix.SYS_PRLIMIT64:         func(c *call) (verdict, error) { return c.ofStep(0) },

		unix.SYS_BIND:        (*call).bind,
		unix.SYS_CONNECT:     (*call).connect,
		unix.SYS_SENDTO:      (*call).sendto,
		unix.SYS_SENDMMSG:    (*call).sendmmsg,
		unix.SYS_GETSOCKNAME: (*call).socketName,
		unix.SYS_GETPEERNAME: (*call).socketName,
		unix.SYS_SENDMSG:     (*call).sendmsg,
	}
	h[sysNewfstatat] = func(c *call) (verdict, error) { return c.fstatat(0, 1, 2, c.fd(3)) }
	h[unix.SYS_FSTAT] = func(c *call) (verdict, error) { return c.fstat(0, 1) }
	if t.net != nil {
		h[unix.SYS_LISTEN] = (*call).listen
	}
	if t.hides() {
		h[unix.SYS_GETRESUID] = func(c *call) (verdict, error) { return c.getres(c.shown.UID) }
		h[unix.SYS_GETRESGID] = func(c *call) (verdict, error) { return c.getres(c.shown.GID) }
	}
	if t.shown.UID != 0 || t.shown.GID != 0 { // else the filter answers
		for _, nr := range []uint64{unix.SYS_GETUID, unix.SYS_GETEUID} {
			h[nr] = func(c *call) (verdict, error) { return answered(c.shown.UID) }
		}
		for _, nr := range []uint64{unix.SYS_GETGID, unix.SYS_GETEGID} {
			h[nr] = func(c *call) (verdict, error) { return answered(c.shown.GID) }
		}
	}
	maps.Copy(h, oldCalls())
	return h
}

// sysFchmodat2 has one number on all architectures, as every call since Linux 5.1.
const sysFchmodat2 = 452

const noArg = -1

func (c *call) open(dirArg, pathArg, flagsArg int) (verdict, error) {
	if c.task.scratch.size == 0 {
		return verdict{}, needScratch(scratchSize / 2) // first, since a file must not be made the step's own twice
	}
	flags := unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC // as creat(2) has them
	if flagsArg != noArg {
		flags = c.fd(flagsArg)
	}
	exclusive := flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL
	at, err := c.path(dirArg, pathArg, flags&unix.O_NOFOLLOW == 0 && !exclusive)
	if err != nil {
		return verdict{}, err
	}
	if !at.exists && flags&unix.O_CREAT == 0 {
		return verdict{}, unix.ENOENT
	}
	if flags&unix.O_PATH == 0 && (flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0) && at.exists && !at.dir {
		if err := c.writable(&at, flags&unix.O_TRUNC != 0); err != nil {
			return verdict{}, err
		}
	}
	if flagsArg != noArg && !at.magic {
		c.setArg(flagsArg, c.args[flagsArg]|unix.O_NOFOLLOW) // whatever comes to stand there in the meantime
	}
	return asItIs, c.setPath(pathArg, at.host)
}

// writable prepares what is there to be opened for writing.
func (c *call) writable(at *place, truncate bool) error {
	if at.magic {
		var st unix.Stat_t
		if err := unix.Stat(at.host, &st); err == nil && c.tree.isBorrowed(&st) {
			return unix.EACCES
		}
		return nil
	}
	return c.makeOwn(at, truncate)
}

// seen makes of what this machine says of a file what the step is to see.
func (c *call) seen(st *unix.Stat_t) {
	if int(st.Uid) == c.uid {
		st.Uid = uint32(c.shown.UID)
	}
	if int(st.Gid) == c.gid {
		st.Gid = uint32(c.shown.GID)
	}
	if c.tree.isBorrowed(st) {
		st.Nlink = 1
	}
}

func (c *call) giveStat(at *place, addr uint64) (verdict, error) {
	if !at.exists {
		return verdict{}, unix.ENOENT
	}
	st := at.st
	var err error
	if at.magic {
		err = unix.Stat(at.host, &st)
	} else if err = at.stat(); err == nil {
		st = at.st
	}
	if err != nil {
		return verdict{}, err
	}
	c.seen(&st)
	return done(writeMem(c.task.tid, addr, bytesOf(&st)))
}

func (c *call) fstatat(dirArg, pathArg, stArg, flags int) (verdict, error) {
	p, err := c.pathOrNone(pathArg, flags)
	if err != nil {
		return verdict{}, err
	}
	if p == "" && flags&unix.AT_EMPTY_PATH != 0 {
		return c.fstat(dirArg, stArg)
	}
	at, err := c.find(dirArg, p, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	if err != nil {
		return verdict{}, err
	}
	return c.giveStat(&at, c.args[stArg])
}

// fstat shows what a descriptor has open as the step is to see it: its owner, and how many names it has.
func (c *call) fstat(fdArg, stArg int) (verdict, error) {
	var st unix.Stat_t
	if err := unix.Stat(c.procLink(c.fd(fdArg)), &st); err != nil {
		return asItIs, nil // the kernel has the right answer
	}
	c.seen(&st)
	return done(writeMem(c.task.tid, c.args[stArg], bytesOf(&st)))
}

func (c *call) statx() (verdict, error) {
	flags := c.fd(2)
	p, err := c.pathOrNone(1, flags)
	if err != nil {
		return verdict{}, err
	}
	var host string
	if p == "" && flags&unix.AT_EMPTY_PATH != 0 {
		host = c.procLink(c.fd(0))
	} else {
		at, err := c.find(0, p, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
		if err != nil {
			return verdict{}, err
		}
		if host = at.host; !at.magic {
			flags |= unix.AT_SYMLINK_NOFOLLOW
		}
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, host, flags&^unix.AT_EMPTY_PATH, int(c.args[3]), &st); err != nil {
		return verdict{}, err
	}
	seen := unix.Stat_t{Uid: st.Uid, Gid: st.Gid, Ino: st.Ino, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Mode: uint32(st.Mode),
		Nlink: nlink(st.Nlink)}
	c.seen(&seen)
	st.Uid, st.Gid, st.Nlink = seen.Uid, seen.Gid, uint32(seen.Nlink)
	return done(writeMem(c.task.tid, c.args[4], bytesOf(&st)))
}

func (c *call) access(dirArg, pathArg, modeArg, flagsArg int) (verdict, error) {
	flags := 0
	if flagsArg != noArg {
		flags = c.fd(flagsArg)
	}
	p, err := c.readString(c.task.tid, c.args[pathArg], maxPath)
	if err != nil {
		return verdict{}, err
	}
	if p == "" && flags&unix.AT_EMPTY_PATH != 0 {
		return asItIs, nil
	}
	at, err := c.find(dirArg, p, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	if err != nil {
		return verdict{}, err
	}
	if !at.exists {
		return verdict{}, unix.ENOENT
	}
	mode := uint32(c.args[modeArg])
	if mode&unix.W_OK != 0 {
		if err := c.mayChange(at.key); err != nil {
			return verdict{}, err
		}
	}
	if at.known && at.st.Mode&unix.S_IFMT == unix.S_IFLNK && !at.magic {
		return answered(0) // a symlink has no mode of its own
	}
	if mode == unix.F_OK {
		return answered(0)
	}
	host, err := unix.BytePtrFromString(at.host)
	if err != nil {
		return verdict{}, unix.EINVAL
	}
	fdcwd := unix.AT_FDCWD
	_, _, e := unix.RawSyscall(unix.SYS_FACCESSAT, uintptr(fdcwd), uintptr(unsafe.Pointer(host)), uintptr(mode))
	if e != 0 {
		return verdict{}, e
	}
	return answered(0)
}

func (c *call) readlink(dirArg, pathArg int) (verdict, error) {
	bufArg, sizeArg := pathArg+1, pathArg+2
	p, err := c.readString(c.task.tid, c.args[pathArg], maxPath)
	if err != nil {
		return verdict{}, err
	}
	if p == "" && dirArg != noDir {
		return asItIs, nil // of a descriptor that is a symlink
	}
	at, err := c.find(dirArg, p, false)
	if err != nil {
		return verdict{}, err
	}
	if !at.exists {
		return verdict{}, unix.ENOENT
	}
	if err := at.stat(); err != nil {
		return verdict{}, err
	}
	if at.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return verdict{}, unix.EINVAL
	}
	var target string
	if inProc(at.key) {
		if target = c.tree.ownProcess(at.key); target == "" {
			target, _, err = c.tree.readProcLink(at.key, at.host)
		}
	} else {
		target, err = os.Readlink(at.host)
	}
	if err != nil {
		return verdict{}, errnoOf(err)
	}
	size := int(int32(c.args[sizeArg]))
	if size <= 0 {
		return verdict{}, unix.EINVAL
	}
	target = target[:min(len(target), size)]
	if err := writeMem(c.task.tid, c.args[bufArg], []byte(target)); err != nil {
		return verdict{}, err
	}
	return answered(len(target))
}

func (c *call) getcwd() (verdict, error) {
	key, err := c.dirKey(unix.AT_FDCWD)
	if err != nil {
		return verdict{}, unix.ENOENT
	}
	b := append([]byte(imagePath(key)), 0)
	if uint64(len(b)) > c.args[1] {
		return verdict{}, unix.ERANGE
	}
	if err := writeMem(c.task.tid, c.args[0], b); err != nil {
		return verdict{}, err
	}
	return answered(len(b))
}

func (c *call) chdir() (verdict, error) {
	at, err := c.existing(noDir, 0, true)
	if err != nil {
		return verdict{}, err
	}
	if !at.dir {
		return verdict{}, unix.ENOTDIR
	}
	return asItIs, c.setPath(0, at.host)
}

func (c *call) statfs() (verdict, error) {
	at, err := c.existing(noDir, 0, true)
	if err != nil {
		return verdict{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at.host, &st); err != nil {
		return verdict{}, err
	}
	return done(writeMem(c.task.tid, c.args[1], bytesOf(&st)))
}

func (c *call) watch() (verdict, error) {
	at, err := c.existing(noDir, 1, c.args[2]&unix.IN_DONT_FOLLOW == 0)
	if err != nil {
		return verdict{}, err
	}
	return asItIs, c.setPath(1, at.host)
}

// getres gives the three ids that getresuid(2) and getresgid(2) ask for.
func (c *call) getres(id int) (verdict, error) {
	for _, addr := range c.args[:3] {
		if err := writeMem(c.task.tid, addr, binary.NativeEndian.AppendUint32(nil, uint32(id))); err != nil {
			return verdict{}, err
		}
	}
	return answered(0)
}
