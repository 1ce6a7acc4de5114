package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// call is a system call that a thread is about to make.
type call struct {
	*tracer
	task    *task
	nr      uint64
	args    [6]uint64
	regs    regs
	changed bool
	used    uint64 // of the scratch memory
}

// handler decides on a system call. An error is the call's answer.
type handler func(c *call) (verdict, error)

// verdict is what becomes of a call: the kernel makes it, with arguments that may have been changed, or it is answered.
type verdict struct {
	answered bool
	value    int64
	after    func(ret int64) // when the call has been made; it needs an argument changed, or watch
	watch    bool
	exec     string // the program that it starts
}

var asItIs verdict

func answered(v int) (verdict, error) { return verdict{answered: true, value: int64(v)}, nil }

// done is the answer of a call that was made here.
func done(err error) (verdict, error) { return verdict{answered: true}, err }

func (c *call) handle() (verdict, error) {
	h := c.calls[c.nr]
	if h == nil {
		return verdict{}, unix.ENOSYS
	}
	return h(c)
}

// needScratch says that a call needs more memory in its process than there is.
type needScratch uint64

func (n needScratch) Error() string { return fmt.Sprintf("%d bytes of memory needed", uint64(n)) }

// put writes bytes into the thread's memory and gives their address.
func (c *call) put(b []byte) (uint64, error) {
	size := (uint64(len(b)) + 15) &^ 15
	if c.used+size > c.task.scratch.size {
		return 0, needScratch(c.used + size + scratchSize/2)
	}
	at := c.task.scratch.addr + c.used
	c.used += size
	return at, writeMem(c.task.tid, at, b)
}

// setArg changes an argument for the time of the call.
func (c *call) setArg(i int, v uint64) {
	c.regs.setArg(i, v)
	c.changed = true
}

// setPath makes a call take another path.
func (c *call) setPath(i int, p string) error {
	at, err := c.put(append([]byte(p), 0))
	if err != nil {
		return err
	}
	c.setArg(i, at)
	return nil
}

func (c *call) fd(i int) int { return int(int32(c.args[i])) }

// noDir is the place of a descriptor among the arguments of a call that has none.
const noDir = -1

// path finds the place that a path among the arguments names, relative to the directory of the descriptor at dirArg.
func (c *call) path(dirArg, pathArg int, follow bool) (place, error) {
	p, err := c.readString(c.task.tid, c.args[pathArg], maxPath)
	if err != nil {
		return place{}, err
	}
	return c.find(dirArg, p, follow)
}

// pathOrNone reads a path that may be left out where the flags say that a descriptor is meant (Linux 6.11).
func (c *call) pathOrNone(pathArg, flags int) (string, error) {
	if c.args[pathArg] == 0 && flags&unix.AT_EMPTY_PATH != 0 {
		return "", nil
	}
	return c.readString(c.task.tid, c.args[pathArg], maxPath)
}

func (c *call) find(dirArg int, p string, follow bool) (place, error) {
	if p == "" {
		return place{}, unix.ENOENT
	}
	from := ""
	if p[0] != '/' {
		fd := unix.AT_FDCWD
		if dirArg != noDir {
			fd = c.fd(dirArg)
		}
		var err error
		if from, err = c.dirKey(fd); err != nil {
			return place{}, err
		}
	}
	return c.tree.walk(from, p, follow)
}

// procLink names a link of the thread in /proc.
func (c *call) procLink(fd int) string {
	if fd == unix.AT_FDCWD {
		return "/proc/" + strconv.Itoa(c.task.tid) + "/cwd"
	}
	return "/proc/" + strconv.Itoa(c.task.tid) + "/fd/" + strconv.Itoa(fd)
}

// dirKey finds where a descriptor, or the working directory, lies in the tree.
func (c *call) dirKey(fd int) (string, error) {
	host, err := c.fdPath(fd)
	if err != nil {
		return "", err
	}
	key, ok := c.tree.key(host)
	switch {
	case !ok && strings.HasPrefix(host, "/"):
		return "", unix.EACCES // nothing outside is a place to start from
	case !ok:
		return "", unix.ENOTDIR // a pipe, a socket
	case strings.HasSuffix(host, deletedSuffix) && c.tree.dirs[key] == nil:
		return "", unix.ENOENT
	}
	return key, nil
}

func (c *call) fdPath(fd int) (string, error) {
	if fd < 0 && fd != unix.AT_FDCWD {
		return "", unix.EBADF
	}
	n, err := unix.Readlink(c.procLink(fd), c.buf[:])
	if errors.Is(err, unix.ENOENT) {
		return "", unix.EBADF
	}
	if err != nil {
		return "", err
	}
	return string(c.buf[:n]), nil
}

// existing is path for a call that needs something to be there.
func (c *call) existing(dirArg, pathArg int, follow bool) (place, error) {
	at, err := c.path(dirArg, pathArg, follow)
	if err == nil && !at.exists {
		err = unix.ENOENT
	}
	return at, err
}

// stat makes sure that what lstat says of a place is known.
func (p *place) stat() error {
	if p.known || !p.exists {
		return nil
	}
	if err := unix.Lstat(p.host, &p.st); err != nil {
		return err
	}
	p.known = true
	return nil
}

// forWriting is existing for a call that changes what is there: it becomes the step's own.
func (c *call) forWriting(dirArg, pathArg int, follow, truncate bool) (place, error) {
	at, err := c.existing(dirArg, pathArg, follow)
	if err != nil {
		return at, err
	}
	return at, c.makeOwn(&at, truncate)
}

func (c *call) makeOwn(at *place, truncate bool) error {
	if err := c.mayChange(at.key); err != nil || at.magic {
		return err
	}
	if err := at.stat(); err != nil {
		return err
	}
	return c.tree.own(at.key, &at.st, truncate)
}

// mayChange refuses to change what in /proc is the machine's.
func (c *call) mayChange(key string) error {
	if !inProc(key) || key == procDir {
		return nil
	}
	if pid, _ := splitPID(key); pid != 0 && c.tgid(pid) != 0 {
		return nil
	}
	return unix.EACCES
}

// freeToGo refuses to move or remove what is mounted.
func (c *call) freeToGo(key string) error {
	if key == "" || inProc(key) {
		return unix.EBUSY
	}
	for _, m := range c.tree.mounts {
		if within(m.image, key) {
			return unix.EBUSY
		}
	}
	return nil
}

// borrowedFD finds the path of a descriptor whose file is one of the lower trees' own.
func (c *call) borrowedFD(fd int) (at place, borrowed bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(c.procLink(fd), &st); err != nil || !c.tree.isBorrowed(&st) {
		return place{}, false, nil
	}
	host, err := c.fdPath(fd)
	if err != nil {
		return place{}, false, err
	}
	key, ok := c.tree.key(host)
	if !ok {
		return place{}, true, unix.EACCES
	}
	at = place{key: key, host: host, exists: true}
	if err := at.stat(); err != nil || at.st.Ino != st.Ino {
		return place{}, true, unix.EACCES // it has lost its name; what is left is not the step's
	}
	return at, true, nil
}
