//go:build unix

package registry

import (
	"io/fs"
	"syscall"
)

// links says how many names a file has; 0 where that is not known.
func links(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) // of another width on other systems
	}
	return 0
}
