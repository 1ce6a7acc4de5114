package sandbox

import "golang.org/x/sys/unix"

// nlink is the type of a number of links in unix.Stat_t.
type nlink = uint32

const sysNewfstatat = unix.SYS_FSTATAT

// oldRefused are calls with paths that no program makes any more.
var oldRefused []uint64

// oldCalls are those that this architecture has beside the newest form of each.
func oldCalls() map[uint64]handler {
	return map[uint64]handler{
		unix.SYS_RENAMEAT: func(c *call) (verdict, error) { return c.rename(0, 1, 2, 3, 0) },
	}
}
