package sandbox

import (
	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/observed"
)

// looking is a system call that a thread is about to make.
type looking struct {
	*watcher
	tid   int
	args  [6]uint64
	after func(ret int64) // when it has been made
}

// watchedCall notes what a system call asks. Where a call is to fail for what it is given, it may note more than is seen,
// and never less.
type watchedCall func(c *looking)

// note notes what a call asks, and gives what is to be done when it has been made, if anything is.
func (w *watcher) note(tid int, nr uint64, args [6]uint64) (after func(ret int64)) {
	if w == nil || w.unknown != "" || w.calls[nr] == nil {
		return nil
	}
	c := &looking{watcher: w, tid: tid, args: args}
	w.caller = tid
	w.calls[nr](c)
	return c.after
}

func (c *looking) fd(i int) int { return int(int32(c.args[i])) }

// path reads a path among the arguments; ok is false where there is none.
func (c *looking) path(arg int) (p string, ok bool) {
	if c.args[arg] == 0 {
		return "", false // the call fails, or is about its descriptor
	}
	p, err := readString(c.tid, c.args[arg], maxPath, c.buf[:])
	switch err {
	case nil:
		return p, p != ""
	case unix.ENAMETOOLONG:
		return "", false
	}
	c.hidden(err)
	return "", false
}

// hidden gives up for memory that cannot be read: that of a process that cannot be dumped (prctl(2)) is hidden from the tracer,
// and not from the kernel.
func (c *looking) hidden(err error) { c.giveUp("a process of it hides its memory: %s", errnoName(err)) }

// at notes the path at one argument, relative to the directory of the descriptor at another.
func (c *looking) at(dirArg, pathArg int, follow bool, kind observed.Kind) {
	p, ok := c.path(pathArg)
	if !ok || c.absolute[asked{p, follow, kind}] {
		return
	}
	c.find(dirArg, p, follow, kind)
	if p[0] == '/' && !c.tree.viaProc && !c.barred && c.absolute != nil {
		if len(c.absolute) >= maxSeen {
			clear(c.absolute)
		}
		c.absolute[asked{p, follow, kind}] = true
	}
}

// find notes a path and gives the place that it leads to; ok is false where the call fails on the way.
func (c *looking) find(dirArg int, p string, follow bool, kind observed.Kind) (at place, ok bool) {
	from := ""
	if p[0] != '/' {
		fd := unix.AT_FDCWD
		if dirArg != noDir {
			fd = c.fd(dirArg)
		}
		if from, ok = c.dirKey(c.tid, fd); !ok {
			return place{}, false
		}
	}
	return c.look(from, p, follow, kind)
}

// open notes what an open sees. A file that it makes or empties is the step's own afterwards, and not what it finds there.
func (c *looking) open(dirArg, pathArg, flags int) {
	byPath := flags&unix.O_PATH != 0
	if byPath {
		flags &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW // the kernel heeds no others
	}
	exclusive := flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL
	follow := flags&unix.O_NOFOLLOW == 0 && !exclusive
	empties := flags&unix.O_ACCMODE != unix.O_RDONLY && flags&unix.O_TRUNC != 0
	if flags&unix.O_TMPFILE == unix.O_TMPFILE {
		c.at(dirArg, pathArg, follow, observed.Stat)
		return
	}
	if !empties && flags&unix.O_CREAT == 0 && len(c.own) == 0 && !byPath {
		c.at(dirArg, pathArg, follow, observed.Read)
		return
	}
	p, ok := c.path(pathArg)
	if !ok || c.absolute[asked{p, follow, observed.Read}] {
		return
	}
	at, ok := c.find(dirArg, p, follow, observed.Stat)
	switch {
	case !ok || c.own[at.key] || byPath && at.dir:
		// What a directory's O_PATH leads to is asked for by calls of its own; a file can be executed by it, linked, and opened
		// anew in /proc.
	case at.exists && !empties && !exclusive:
		c.saw(at.key, observed.Read)
	case empties || flags&unix.O_CREAT != 0:
		c.after = func(ret int64) {
			if ret >= 0 && c.own != nil {
				c.own[at.key] = true
			}
		}
	}
}

// openHow is open with its flags in memory (openat2(2)).
func (c *looking) openHow() {
	var how unix.OpenHow
	if err := readMem(c.tid, c.args[2], bytesOf(&how)); err != nil {
		c.hidden(err)
		return
	}
	const rooted = unix.RESOLVE_IN_ROOT | unix.RESOLVE_BENEATH
	if how.Resolve&rooted != 0 {
		c.giveUp("it opened a file below another root (openat2)")
		return
	}
	c.open(0, 1, int(how.Flags))
}

// changes notes a path at which links or directories come, go or move.
func (c *looking) changes(dirArg, pathArg int, kind observed.Kind) {
	c.at(dirArg, pathArg, false, kind)
	c.moved()
	c.after = func(int64) { c.moved() }
}

// symlink makes a link. Another thread may follow it before this call has come to its end, and nobody has seen where it leads by then.
func (c *looking) symlink(dirArg, pathArg int) {
	c.tree.bringer.bringAll()
	c.changes(dirArg, pathArg, observed.Stat)
}

// rename carries away all that lies below its first path, and replaces what is at the second.
func (c *looking) rename(fromDir, from, toDir, to int, flags uint64) {
	defer c.moved()
	c.after = func(int64) { c.moved() }
	if p, ok := c.path(from); ok {
		if at, ok := c.find(fromDir, p, false, observed.Stat); ok && !c.own[at.key] {
			c.saw(at.key, observed.Whole)
			if at.dir || at.st.Mode&unix.S_IFMT == unix.S_IFLNK {
				c.tree.bringer.bringAll() // what lies below goes with it, or may be asked for by its new name
			}
		}
	}
	if p, ok := c.path(to); ok {
		at, ok := c.find(toDir, p, false, observed.Stat)
		switch {
		case ok && flags&unix.RENAME_EXCHANGE != 0:
			c.saw(at.key, observed.Whole)
			c.tree.bringer.bringAll()
		case ok && at.dir: // which has to be empty
			c.saw(at.key, observed.Read)
		}
	}
}

// link gives a file another name, under which its content can be read.
func (c *looking) link(fromDir, from, toDir, to int, flags int) {
	c.at(fromDir, from, flags&unix.AT_SYMLINK_FOLLOW != 0, observed.Read)
	c.changes(toDir, to, observed.Stat)
}

// execve reads the program, and of a script the one that its first line names, and of that the loader.
func (c *looking) execve(dirArg, pathArg, flags int) {
	var at place
	p, ok := c.path(pathArg)
	switch {
	case ok:
		at, ok = c.find(dirArg, p, follows(flags), observed.Read)
	case flags&unix.AT_EMPTY_PATH != 0:
		at, ok = c.opened(c.fd(dirArg))
	}
	for range maxScripts {
		if !ok || !at.exists || at.dir {
			return
		}
		interp, shebang, err := readProgram(at.host)
		switch {
		case err != nil:
			return
		case shebang != nil:
			interp = shebang[0]
		case interp == "":
			return
		}
		if at, ok = c.find(noDir, interp, true, observed.Read); shebang == nil {
			return
		}
	}
}

// opened notes the file that a descriptor has open, by the path that it has now.
func (c *looking) opened(fd int) (at place, ok bool) {
	key, ok := c.dirKey(c.tid, fd)
	if ok {
		at, ok = c.look("", imagePath(key), false, observed.Read)
	}
	if !ok || !at.exists {
		c.giveUp("it executed a file that has no path")
	}
	return at, ok
}

// socket notes the path of a socket's address.
func (c *looking) socket(addrArg, lenArg int) {
	a := call{task: &task{tid: c.tid}, args: c.args}
	switch p, ok, err := a.unixPath(addrArg, lenArg); {
	case err != nil:
		c.hidden(err)
	case ok && p != "":
		c.find(noDir, p, true, observed.Stat)
	}
}

// message gives up for one that names its receiver by a path, which no program is known to do.
func (c *looking) message(addr uint64) {
	switch family, err := receiver(c.tid, addr); {
	case err != nil:
		c.hidden(err)
	case family == unix.AF_UNIX:
		c.giveUp("it sent a message to a socket by its path")
	}
}

// clone gives up for what makes the paths of a process mean something else, or hides it.
func (c *looking) clone(flags uint64) {
	if flags&cloneRefused != 0 {
		c.giveUp("it made namespaces of its own")
	}
}

func (c *looking) clone3() {
	var flags uint64
	if c.args[1] < 8 {
		return // the call fails
	}
	if err := readMem(c.tid, c.args[0], bytesOf(&flags)); err != nil {
		c.hidden(err)
		return
	}
	c.clone(flags)
}

// follows says from a call's flags whether it follows a symlink, for those that do unless told otherwise.
func follows(flags int) bool { return flags&unix.AT_SYMLINK_NOFOLLOW == 0 }

// watchedCalls are the system calls that see or change what stands at a path. Those by descriptor alone see no more than
// the open did from which that is: a directory counts as listed, and a file as read, when it is opened.
func watchedCalls() map[uint64]watchedCall {
	const stat, read = observed.Stat, observed.Read
	m := map[uint64]watchedCall{
		unix.SYS_OPENAT:            func(c *looking) { c.open(0, 1, c.fd(2)) },
		unix.SYS_OPENAT2:           (*looking).openHow,
		sysNewfstatat:              func(c *looking) { c.at(0, 1, follows(c.fd(3)), stat) },
		unix.SYS_STATX:             func(c *looking) { c.at(0, 1, follows(c.fd(2)), stat) },
		unix.SYS_FACCESSAT:         func(c *looking) { c.at(0, 1, true, stat) },
		unix.SYS_FACCESSAT2:        func(c *looking) { c.at(0, 1, follows(c.fd(3)), stat) },
		unix.SYS_READLINKAT:        func(c *looking) { c.at(0, 1, false, stat) },
		unix.SYS_CHDIR:             func(c *looking) { c.at(noDir, 0, true, stat) },
		unix.SYS_STATFS:            func(c *looking) { c.at(noDir, 0, true, stat) },
		unix.SYS_INOTIFY_ADD_WATCH: func(c *looking) { c.at(noDir, 1, c.args[2]&unix.IN_DONT_FOLLOW == 0, stat) },
		unix.SYS_NAME_TO_HANDLE_AT: func(c *looking) { c.at(0, 1, c.fd(4)&unix.AT_SYMLINK_FOLLOW != 0, stat) },
		unix.SYS_MKDIRAT:           func(c *looking) { c.at(0, 1, false, stat) },
		unix.SYS_MKNODAT:           func(c *looking) { c.at(0, 1, false, stat) },
		unix.SYS_RENAMEAT:          func(c *looking) { c.rename(0, 1, 2, 3, 0) },
		unix.SYS_RENAMEAT2:         func(c *looking) { c.rename(0, 1, 2, 3, c.args[4]) },
		unix.SYS_LINKAT:            func(c *looking) { c.link(0, 1, 2, 3, c.fd(4)) },
		unix.SYS_SYMLINKAT:         func(c *looking) { c.symlink(1, 2) },
		unix.SYS_FCHMODAT:          func(c *looking) { c.at(0, 1, true, stat) },
		sysFchmodat2:               func(c *looking) { c.at(0, 1, follows(c.fd(3)), stat) },
		unix.SYS_FCHOWNAT:          func(c *looking) { c.at(0, 1, follows(c.fd(4)), stat) },
		unix.SYS_UTIMENSAT:         func(c *looking) { c.at(0, 1, follows(c.fd(3)), stat) },
		unix.SYS_TRUNCATE:          func(c *looking) { c.at(noDir, 0, true, read) },
		unix.SYS_EXECVE:            func(c *looking) { c.execve(noDir, 0, 0) },
		unix.SYS_EXECVEAT:          func(c *looking) { c.execve(0, 1, c.fd(4)) },
		unix.SYS_BIND:              func(c *looking) { c.socket(1, 2) },
		unix.SYS_CONNECT:           func(c *looking) { c.socket(1, 2) },
		unix.SYS_SENDTO:            func(c *looking) { c.socket(4, 5) },
		unix.SYS_SENDMSG:           func(c *looking) { c.message(c.args[1]) },
		unix.SYS_SENDMMSG:          (*looking).messages,
		unix.SYS_CLONE:             func(c *looking) { c.clone(c.args[0]) },
		unix.SYS_CLONE3:            (*looking).clone3,
		unix.SYS_UNLINKAT: func(c *looking) {
			if c.fd(2)&unix.AT_REMOVEDIR != 0 {
				c.changes(0, 1, read)
			} else {
				c.changes(0, 1, stat)
			}
		},
	}
	for _, nr := range []uint64{unix.SYS_GETXATTR, unix.SYS_LISTXATTR, unix.SYS_SETXATTR, unix.SYS_REMOVEXATTR} {
		m[nr] = func(c *looking) { c.at(noDir, 0, true, stat) }
	}
	for _, nr := range []uint64{unix.SYS_LGETXATTR, unix.SYS_LLISTXATTR, unix.SYS_LSETXATTR, unix.SYS_LREMOVEXATTR} {
		m[nr] = func(c *looking) { c.at(noDir, 0, false, stat) }
	}
	oldWatchedCalls(m)
	return m
}

func (c *looking) messages() {
	for i := range min(c.args[2], maxMessages) {
		c.message(c.args[1] + i*messageSize)
	}
}

// unwatchable are calls after which paths could mean something else than they seem to, or be seen without a call.
func unwatchable() []uint64 {
	var nrs []uint64
	watched := watchedCalls()
	for nr := range refusedCalls() {
		if watched[nr] == nil {
			nrs = append(nrs, nr)
		}
	}
	return nrs
}
