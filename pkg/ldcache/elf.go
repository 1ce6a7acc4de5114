// Package ldcache makes /etc/ld.so.cache as ldconfig(8) does: it reads what an ELF file says of itself, the folders that
// ld.so.conf names, and writes the cache's format (glibc, "new format", glibc-ld.so.cache1.1).
//
// It works on bytes and imports nothing of jubako.
package ldcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// Library is what an ELF shared object says of itself.
type Library struct {
	Soname string `json:",omitempty"` // DT_SONAME; "" where there is none
	Flags  int32  // of the cache's entry: the kind of C library, and the architecture
}

// maxPrefix is how many bytes of a file are held while it goes by. A linker puts the dynamic strings near the beginning.
const maxPrefix = 32 << 20

// ErrNotELF says that a file is no shared object that ldconfig takes into the cache.
var ErrNotELF = errors.New("it is no ELF shared object")

// The flags of cache entries (glibc, sysdeps/generic/ldconfig.h).
const (
	flagLibc6   = 0x0003
	flagX8664   = 0x0300
	flagAArch64 = 0x0a00
	flagX32     = 0x0800
	flagARMHF   = 0x0900
	flagRISCV64 = 0x1000 // double-precision floats in registers
	flagS390X   = 0x0400
	flagPPC64   = 0x0500
)

// ReadELF reads a shared object from its beginning to its end, without ever going back. It holds at most 32 MiB.
func ReadELF(r io.Reader) (Library, error) {
	var l Library
	head := make([]byte, 64)
	if _, err := io.ReadFull(r, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return l, ErrNotELF
		}
		return l, err
	}
	e, err := parseHeader(head)
	if err != nil {
		return l, err
	}
	l.Flags = e.flags
	w := &window{prefix: bytes.NewBuffer(head)}
	if err := w.fill(r, e.phoff+int64(e.phnum)*int64(e.phentsize)); err != nil {
		return l, err
	}
	segments := e.segments(w.prefix.Bytes())
	var dyn segment
	for _, s := range segments {
		if s.kind == ptDynamic {
			dyn = s
		}
	}
	if dyn.size == 0 || dyn.size > 1<<20 {
		return l, ErrNotELF // a static program, or separate debugging information
	}
	dynamic, err := w.read(r, dyn.off, dyn.size)
	if err != nil {
		return l, err
	}
	soname, strtab, ok := e.dynamic(dynamic)
	if !ok {
		return l, nil
	}
	for _, s := range segments {
		if s.kind == ptLoad && strtab >= s.vaddr && strtab < s.vaddr+s.size {
			if l.Soname, err = w.text(r, s.off+strtab-s.vaddr+soname); err != nil {
				return Library{}, err
			}
			break
		}
	}
	if strings.ContainsAny(l.Soname, "/\x00\n") || l.Soname == ".." {
		return Library{}, ErrNotELF // no folder can hold such a name
	}
	return l, nil
}

// window is what has been read of a file: its first bytes, up to maxPrefix.
type window struct {
	prefix *bytes.Buffer
	at     int64 // of the reader, once it has left a gap behind the prefix; else 0
}

// fill reads until the prefix holds n bytes.
func (w *window) fill(r io.Reader, n int64) error {
	if n > maxPrefix {
		return ErrNotELF
	}
	if more := n - int64(w.prefix.Len()); more > 0 {
		if _, err := io.CopyN(w.prefix, r, more); err != nil {
			return noSuch(err)
		}
	}
	return nil
}

// read gives a range of the file; what lies before it is kept, as far as it fits.
func (w *window) read(r io.Reader, off, size int64) ([]byte, error) {
	if off < 0 || off+size < 0 {
		return nil, ErrNotELF
	}
	if off+size <= maxPrefix {
		if err := w.fill(r, off+size); err != nil {
			return nil, err
		}
		return w.prefix.Bytes()[off : off+size], nil
	}
	if off < int64(w.prefix.Len()) {
		return nil, ErrNotELF
	}
	if err := w.fill(r, min(off, maxPrefix)); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, off-int64(w.prefix.Len())); err != nil {
		return nil, noSuch(err)
	}
	w.at = off + size
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, noSuch(err)
}

// text gives the text at an offset, up to its NUL; "" where there is none, or it lies too far behind.
func (w *window) text(r io.Reader, at int64) (string, error) {
	const longest = 4096
	if at < 0 || at+longest < 0 {
		return "", nil
	}
	if w.at == 0 && at+longest <= maxPrefix {
		if err := w.fill(r, at+longest); err != nil && !errors.Is(err, ErrNotELF) {
			return "", err
		}
	}
	return cString(w.prefix.Bytes(), at), nil
}

// noSuch makes of a file that is cut one that is no ELF file, as ldconfig passes over it.
func noSuch(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrNotELF
	}
	return err
}

// The kinds of segments, and the dynamic tags that matter (System V gABI, chapter 5).
const (
	ptLoad    = 1
	ptDynamic = 2
	dtStrtab  = 5
	dtSoname  = 14
)

// header is an ELF file header.
type header struct {
	order            binary.ByteOrder
	wide             bool // 64-bit
	flags            int32
	phoff            int64
	phentsize, phnum int
}

type segment struct {
	kind             uint32
	off, vaddr, size int64
}

func parseHeader(b []byte) (header, error) {
	h := header{order: binary.LittleEndian}
	if string(b[:4]) != "\x7fELF" {
		return h, ErrNotELF
	}
	h.wide = b[4] == 2
	if b[5] == 2 {
		h.order = binary.BigEndian
	}
	const shared = 3 // ET_DYN
	if h.order.Uint16(b[16:]) != shared {
		return h, ErrNotELF
	}
	machine := h.order.Uint16(b[18:])
	if h.wide {
		h.phoff = int64(h.order.Uint64(b[32:]))
		h.phentsize, h.phnum = int(h.order.Uint16(b[54:])), int(h.order.Uint16(b[56:]))
	} else {
		h.phoff = int64(h.order.Uint32(b[28:]))
		h.phentsize, h.phnum = int(h.order.Uint16(b[42:])), int(h.order.Uint16(b[44:]))
	}
	if h.phoff < 0 || h.phoff > maxPrefix || h.phentsize < 32 || h.wide && h.phentsize < 56 {
		return h, ErrNotELF
	}
	h.flags = flagLibc6 | architecture(machine, h.wide)
	return h, nil
}

// architecture is a machine's part of the flags; 0 where the cache knows but one (32-bit x86 among them).
func architecture(machine uint16, wide bool) int32 {
	switch {
	case machine == 62 && wide:
		return flagX8664
	case machine == 62:
		return flagX32
	case machine == 183:
		return flagAArch64
	case machine == 40:
		return flagARMHF
	case machine == 243 && wide:
		return flagRISCV64
	case machine == 22 && wide:
		return flagS390X
	case machine == 21:
		return flagPPC64
	}
	return 0
}

// segments reads the program headers.
func (h header) segments(b []byte) []segment {
	var all []segment
	for i := range h.phnum {
		p := b[h.phoff+int64(i)*int64(h.phentsize):]
		s := segment{kind: h.order.Uint32(p)}
		if h.wide {
			s.off, s.vaddr, s.size = int64(h.order.Uint64(p[8:])), int64(h.order.Uint64(p[16:])), int64(h.order.Uint64(p[32:]))
		} else {
			s.off, s.vaddr, s.size = int64(h.order.Uint32(p[4:])), int64(h.order.Uint32(p[8:])), int64(h.order.Uint32(p[16:]))
		}
		if s.off < 0 || s.vaddr < 0 || s.size < 0 || s.vaddr+s.size < 0 || s.off+s.size < 0 {
			continue
		}
		all = append(all, s)
	}
	return all
}

// dynamic finds the soname's offset in the string table, and the table's address.
func (h header) dynamic(b []byte) (soname, strtab int64, ok bool) {
	step := 8
	if h.wide {
		step = 16
	}
	for ; len(b) >= step; b = b[step:] {
		var tag, value int64
		if h.wide {
			tag, value = int64(h.order.Uint64(b)), int64(h.order.Uint64(b[8:]))
		} else {
			tag, value = int64(h.order.Uint32(b)), int64(h.order.Uint32(b[4:]))
		}
		switch tag {
		case 0:
			return soname, strtab, ok && strtab > 0
		case dtStrtab:
			strtab = value
		case dtSoname:
			soname, ok = value, value >= 0
		}
	}
	return soname, strtab, ok && strtab > 0
}

// cString is the text at an offset, up to its NUL; "" where there is none.
func cString(b []byte, at int64) string {
	const longest = 4096
	if at < 0 || at >= int64(len(b)) {
		return ""
	}
	b = b[at:min(int64(len(b)), at+longest)]
	if end := bytes.IndexByte(b, 0); end > 0 {
		return string(b[:end])
	}
	return ""
}

// IsLibrary says whether ldconfig looks at a file of this name at all.
func IsLibrary(name string) bool {
	if strings.HasSuffix(name, "-gdb.py") || strings.HasSuffix(name, ".dpkg-new") || strings.HasSuffix(name, ".dpkg-tmp") {
		return false
	}
	if strings.HasPrefix(name, "lib") || strings.HasPrefix(name, "ld-") {
		return strings.Contains(name, ".so")
	}
	return strings.HasPrefix(name, "ld.so.") || strings.HasPrefix(name, "ld64.so.")
}
