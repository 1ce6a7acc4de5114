package sandbox

import (
	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/observed"
)

// oldWatchedCalls adds those that newer architectures do without.
func oldWatchedCalls(m map[uint64]watchedCall) {
	const stat, read = observed.Stat, observed.Read
	m[unix.SYS_OPEN] = func(c *looking) { c.open(noDir, 0, c.fd(1)) }
	m[unix.SYS_CREAT] = func(c *looking) { c.open(noDir, 0, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC) }
	for _, nr := range []uint64{unix.SYS_STAT, unix.SYS_ACCESS, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_UTIME, unix.SYS_UTIMES} {
		m[nr] = func(c *looking) { c.at(noDir, 0, true, stat) }
	}
	for _, nr := range []uint64{unix.SYS_LSTAT, unix.SYS_READLINK, unix.SYS_MKDIR, unix.SYS_MKNOD, unix.SYS_LCHOWN} {
		m[nr] = func(c *looking) { c.at(noDir, 0, false, stat) }
	}
	m[unix.SYS_FUTIMESAT] = func(c *looking) { c.at(0, 1, true, stat) }
	m[unix.SYS_RMDIR] = func(c *looking) { c.changes(noDir, 0, read) }
	m[unix.SYS_UNLINK] = func(c *looking) { c.changes(noDir, 0, stat) }
	m[unix.SYS_RENAME] = func(c *looking) { c.rename(noDir, 0, noDir, 1, 0) }
	m[unix.SYS_LINK] = func(c *looking) { c.link(noDir, 0, noDir, 1, 0) }
	m[unix.SYS_SYMLINK] = func(c *looking) { c.symlink(noDir, 1) }
}
