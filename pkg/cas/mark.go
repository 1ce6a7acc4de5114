package cas

import (
	"fmt"
	"io/fs"
	"syscall"
)

// Mark is what tells that a file has changed, without reading it. Two of one path are compared.
type Mark struct {
	Size, MTime, CTime int64 // bytes, and nanoseconds since 1970
	Inode              uint64
}

// MarkOf gives the mark of a file as it is now.
func MarkOf(fi fs.FileInfo) Mark {
	m := Mark{Size: fi.Size(), MTime: fi.ModTime().UnixNano()}
	if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
		m.Inode, m.CTime = sys.Ino, sys.Ctim.Nano()
	}
	return m
}

func (m Mark) String() string { return fmt.Sprint(m.Size, m.MTime, m.CTime, m.Inode) }
