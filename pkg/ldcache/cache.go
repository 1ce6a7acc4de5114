package ldcache

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// File is a library's file, or a link to one, in a folder that ldconfig looks through.
type File struct {
	Name string // in its folder
	// Link says that Name is a symlink; Library is then that of the file which it leads to.
	Link    bool
	Library Library
}

// Entry is one line of the cache: where the loader finds a soname.
type Entry struct {
	Soname, Path string
	Flags        int32
}

// Link is a symlink that ldconfig makes in a folder, from a soname to the file that bears it.
type Link struct{ Name, Target string }

// Folder gives the cache's entries for one folder, whose path dir is as ld.so.conf writes it, and the links that the
// loader needs there and that do not stand among the files.
func Folder(dir string, files []File) ([]Entry, []Link) {
	type candidate struct {
		File
		soname string
	}
	var all []candidate
	names := make(map[string]bool)
	for _, f := range files {
		names[f.Name] = true
		c := candidate{File: f, soname: f.Library.Soname}
		if c.soname == "" {
			c.soname = f.Name
		}
		// A link of the soname's own name, or one for the linker (libz.so), is entered under its own name; any other counts
		// as a file.
		if c.Link && c.Name != c.soname && !(strings.HasSuffix(c.Name, ".so") && strings.HasPrefix(c.soname, c.Name)) {
			c.Link = false
		}
		if c.Link {
			c.soname = c.Name
		}
		i := slices.IndexFunc(all, func(o candidate) bool { return o.soname == c.soname && o.Library.Flags == c.Library.Flags })
		switch {
		case i < 0:
			all = append(all, c)
		case !c.Link && all[i].Link || c.Link == all[i].Link && Compare(all[i].Name, c.Name) < 0:
			all[i] = c
		}
	}
	var entries []Entry
	var links []Link
	for _, c := range all {
		entries = append(entries, Entry{Soname: c.soname, Path: dir + "/" + c.soname, Flags: c.Library.Flags})
		if !names[c.soname] {
			links = append(links, Link{Name: c.soname, Target: c.Name})
		}
	}
	return entries, links
}

// Compare orders names as the loader does: runs of digits by their value, all else bytewise.
func Compare(a, b string) int {
	for a != "" && b != "" {
		if digit(a[0]) != digit(b[0]) {
			if digit(a[0]) {
				return 1
			}
			return -1
		}
		if digit(a[0]) {
			x, restA := number(a)
			y, restB := number(b)
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = restA, restB
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// number cuts a run of digits off, without its leading zeros.
func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

const (
	magic          = "glibc-ld.so.cache1.1"
	headerSize     = len(magic) + 4 + 4 + 1 + 3 + 4 + 3*4
	entrySize      = 24
	extensionMagic = 0xEAA42174
	littleEndian   = 2
)

// Bytes writes the cache (glibc, sysdeps/generic/dl-cache.h) for a little-endian machine. generator names who has made it.
// Entries of one soname and flags stay in the order in which they are given.
func Bytes(entries []Entry, generator string) []byte {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b Entry) int {
		return cmp.Or(-Compare(a.Soname, b.Soname), -cmp.Compare(a.Flags, b.Flags))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Entry) bool { return a == b })
	base := headerSize + entrySize*len(sorted)
	var text []byte
	at := make(map[string]uint32)
	place := func(s string) uint32 {
		if p, ok := at[s]; ok {
			return p
		}
		p := uint32(base + len(text))
		at[s] = p
		text = append(append(text, s...), 0)
		return p
	}
	le := binary.LittleEndian
	var lines []byte
	for _, e := range sorted {
		path := place(e.Path)
		key := path + uint32(strings.LastIndexByte(e.Path, '/')+1)
		if !strings.HasSuffix(e.Path, "/"+e.Soname) {
			key = place(e.Soname)
		}
		lines = le.AppendUint32(lines, uint32(e.Flags))
		lines = le.AppendUint32(lines, key)
		lines = le.AppendUint32(lines, path)
		lines = le.AppendUint32(lines, 0) // was the operating system's version
		lines = le.AppendUint64(lines, 0) // no hardware capability is asked for
	}
	extension := (base + len(text) + 3) &^ 3
	out := []byte(magic)
	out = le.AppendUint32(out, uint32(len(sorted)))
	out = le.AppendUint32(out, uint32(len(text)))
	out = append(out, littleEndian, 0, 0, 0)
	out = le.AppendUint32(out, uint32(extension))
	out = append(out, make([]byte, 3*4)...)
	out = append(append(out, lines...), text...)
	out = append(out, make([]byte, extension-len(out))...)
	// One section: who has made the cache.
	const sectionsHeader, section = 8, 16
	out = le.AppendUint32(out, extensionMagic)
	out = le.AppendUint32(out, 1)
	out = le.AppendUint32(out, 0) // its tag: the generator
	out = le.AppendUint32(out, 0)
	out = le.AppendUint32(out, uint32(extension+sectionsHeader+section))
	out = le.AppendUint32(out, uint32(len(generator)))
	return append(out, generator...)
}
