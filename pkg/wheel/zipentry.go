package wheel

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// The compression methods that a wheel may use (APPNOTE 6.3.10, section 4.4.5).
const (
	methodStored   = 0
	methodDeflated = 8
	methodZstd     = 93
)

// The general purpose flags that matter here (section 4.4.4).
const (
	flagEncrypted  = 1<<0 | 1<<6 | 1<<13
	flagDescriptor = 1 << 3
	flagPatch      = 1 << 5
	flagUTF8       = 1 << 11
)

// The extra fields that matter here (section 4.5).
const (
	extraZip64       = 0x0001
	extraUnicodePath = 0x7075
)

// deflateMax is the most bytes that one byte of a DEFLATE stream can yield.
const deflateMax = 1032

// entry is one entry of the archive, once both of its headers are read.
type entry struct {
	archive *Archive
	name    string // as the archive has it
	path    string // clean
	dir     bool
	mode    uint32 // the upper half of the external attributes: Unix permission bits and type, whoever made the archive
	method  uint16
	flags   uint16
	crc     uint32
	header  int64 // offset of the local header
	data    int64 // offset of the content
	packed  int64 // bytes of the content in the archive
	size    int64 // bytes of the content
}

func (e *entry) fault(err error) error {
	return &ArchiveError{Entry: e.name, Offset: e.header, Err: err}
}

// readEntries reads the whole directory and holds it against the local headers.
func readEntries(r io.ReaderAt, size int64, limits Limits) ([]*entry, error) {
	d, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	if d.entries > int64(limits.Entries) || d.size > limits.Directory {
		return nil, &ArchiveError{Offset: d.offset, Err: fmt.Errorf("it has %d entries in a directory of %d bytes, and at most %d in %d are allowed",
			d.entries, d.size, limits.Entries, limits.Directory)}
	}
	if d.entries*centralSize > d.size {
		return nil, &ArchiveError{Offset: d.offset, Err: fmt.Errorf("its directory of %d bytes cannot hold %d entries", d.size, d.entries)}
	}
	entries := make([]*entry, 0, d.entries)
	in := bufio.NewReaderSize(io.NewSectionReader(r, d.offset, d.size), 64<<10)
	at := d.offset
	var total int64
	for range d.entries {
		e, n, err := readCentral(in)
		if err != nil {
			return nil, &ArchiveError{Offset: at, Err: fmt.Errorf("reading the directory: %w", err)}
		}
		at += n
		if err := e.check(limits); err != nil {
			return nil, e.fault(err)
		}
		if total += e.size; total > limits.TotalSize {
			return nil, e.fault(fmt.Errorf("the archive's files come to more than the %d bytes allowed", limits.TotalSize))
		}
		entries = append(entries, e)
	}
	if at != d.offset+d.size {
		return nil, &ArchiveError{Offset: at, Err: errors.New("its directory holds more than its entries")}
	}
	if total > ratioFloor && total/limits.Ratio > size {
		return nil, &ArchiveError{Offset: 0, Err: fmt.Errorf("its %d bytes stand for %d, more than the %d times allowed", size, total, limits.Ratio)}
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.header, b.header) })
	headers := &window{r: r, size: size}
	var next int64
	for i, e := range entries {
		if e.header != next {
			return nil, e.fault(fmt.Errorf("it begins there, and what comes before ends at byte %d", next))
		}
		next = d.offset
		if i+1 < len(entries) {
			next = entries[i+1].header
		}
		if err := e.readLocal(headers, next); err != nil {
			return nil, e.fault(err)
		}
	}
	if next != d.offset {
		return nil, &ArchiveError{Offset: next, Err: errors.New("bytes stand between the entries and the directory")}
	}
	return entries, nil
}

// window reads an archive from its beginning to its end in small parts. It reads ahead: most files of a wheel are small, and the
// next header is near.
type window struct {
	r    io.ReaderAt
	size int64 // of the archive
	at   int64 // where in it held begins
	held []byte
}

const windowSize = 8 << 10

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); off < w.at || end > w.at+int64(len(w.held)) {
		if len(p) > windowSize || end > w.size {
			return w.r.ReadAt(p, off)
		}
		if w.held == nil {
			w.held = make([]byte, windowSize)
		}
		w.held, w.at = w.held[:min(windowSize, w.size-off)], off
		if err := readAt(w.r, w.held, off); err != nil {
			w.held = w.held[:0]
			return 0, err
		}
	}
	return copy(p, w.held[off-w.at:]), nil
}

// readCentral reads one header of the directory (section 4.3.12); n is its length.
func readCentral(in *bufio.Reader) (e *entry, n int64, err error) {
	var h [centralSize]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return nil, 0, err
	}
	if string(h[:4]) != centralSignature {
		return nil, 0, errors.New("an entry's signature is missing")
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(h[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(h[at:])) }
	nameLen, extraLen, commentLen := u16(28), u16(30), u16(32)
	rest := make([]byte, nameLen+extraLen+commentLen)
	if _, err := io.ReadFull(in, rest); err != nil {
		return nil, 0, err
	}
	e = &entry{
		name: string(rest[:nameLen]), flags: uint16(u16(8)), method: uint16(u16(10)), crc: uint32(u32(16)),
		packed: u32(20), size: u32(24), mode: uint32(u32(38) >> 16), header: u32(42),
	}
	e.dir = len(e.name) > 0 && e.name[len(e.name)-1] == '/'
	disk := int64(u16(34))
	x, err := parseExtra(rest[nameLen:nameLen+extraLen], e.name)
	if err == nil {
		err = x.resolve(&e.size, &e.packed, &e.header, &disk)
	}
	if err == nil && disk != 0 {
		err = errors.New("it lies in another part of the archive")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("entry %q: %w", e.name, err)
	}
	return e, int64(len(h) + len(rest)), nil
}

// check holds what the directory says of an entry against the rules that need no other header.
func (e *entry) check(limits Limits) error {
	switch {
	case e.flags&flagEncrypted != 0:
		return errors.New("it is encrypted")
	case e.flags&flagPatch != 0:
		return errors.New("it is a patch")
	case e.size > limits.FileSize:
		return fmt.Errorf("it has %d bytes, and at most %d are allowed", e.size, limits.FileSize)
	case e.flags&flagUTF8 == 0 && !isASCII(e.name):
		return errors.New("its name is not ASCII and not flagged as UTF-8")
	case e.size == 0 && e.crc != 0:
		return fmt.Errorf("it is empty, and its CRC-32 is declared to be %08x", e.crc)
	case e.dir && (e.size != 0 || e.crc != 0 || e.packed > 2):
		return errors.New("it is a directory with content")
	}
	switch e.method {
	case methodStored:
		if e.packed != e.size {
			return fmt.Errorf("it is stored, and its sizes %d and %d differ", e.packed, e.size)
		}
	case methodDeflated:
		if e.size/deflateMax > e.packed {
			return fmt.Errorf("its %d bytes cannot stand for %d", e.packed, e.size)
		}
	case methodZstd:
	default:
		return fmt.Errorf("its compression method %d is not one of stored, deflate and zstd", e.method)
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// readLocal reads the entry's local header (section 4.3.7), holds it against the central one, and checks that content
// and data descriptor end at next.
func (e *entry) readLocal(r io.ReaderAt, next int64) error {
	h := make([]byte, localSize+len(e.name)+32) // most extra fields fit: one read
	if short := next - e.header; short < int64(len(h)) {
		h = h[:max(short, 0)]
	}
	if len(h) < localSize+len(e.name) {
		return errors.New("its local header reaches into what follows")
	}
	if err := readAt(r, h, e.header); err != nil {
		return err
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(h[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(h[at:])) }
	if string(h[:4]) != localSignature {
		return errors.New("its local header's signature is missing")
	}
	nameLen, extraLen := u16(26), u16(28)
	e.data = e.header + localSize + int64(nameLen+extraLen)
	flags, method := uint16(u16(6)), uint16(u16(8))
	crc, packed, size := uint32(u32(14)), u32(18), u32(22)
	if nameLen != len(e.name) || string(h[localSize:localSize+nameLen]) != e.name {
		return errors.New("its local header has another name")
	}
	if e.data+e.packed > next || e.data+e.packed < e.data {
		return errors.New("its content overlaps what follows")
	}
	extra := make([]byte, extraLen)
	if err := readAt(r, extra, e.data-int64(extraLen)); err != nil {
		return err
	}
	x, err := parseExtra(extra, e.name)
	if err == nil {
		err = x.resolve(&size, &packed, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("its local header: %w", err)
	}
	if method != e.method || flags&(flagEncrypted|flagPatch) != 0 || (flags^e.flags)&flagDescriptor != 0 ||
		(flags^e.flags)&flagUTF8 != 0 && !isASCII(e.name) {
		return errors.New("its local header has another method or other flags than the directory")
	}
	differs := crc != e.crc || packed != e.packed || size != e.size
	if flags&flagDescriptor == 0 {
		if differs {
			return errors.New("its local header has another CRC-32 or other sizes than the directory")
		}
		if e.data+e.packed != next {
			return fmt.Errorf("%d bytes follow it that belong to nothing", next-e.data-e.packed)
		}
		return nil
	}
	if differs && (crc != 0 && crc != e.crc || packed != 0 && packed != e.packed || size != 0 && size != e.size) {
		return errors.New("its local header has another CRC-32 or other sizes than the directory")
	}
	return e.checkDescriptor(r, next)
}

// checkDescriptor holds the data descriptor (section 4.3.9), which fills everything up to next, against the directory.
func (e *entry) checkDescriptor(r io.ReaderAt, next int64) error {
	at := e.data + e.packed
	n := next - at
	if n < 12 || n > 24 || n%4 != 0 {
		return fmt.Errorf("%d bytes follow its content, which are no data descriptor", n)
	}
	got := make([]byte, n)
	if err := readAt(r, got, at); err != nil {
		return err
	}
	var want []byte
	if n%8 == 0 {
		want = append(want, descriptorSignature...)
	}
	want = binary.LittleEndian.AppendUint32(want, e.crc)
	for _, size := range []int64{e.packed, e.size} {
		if n >= 20 {
			want = binary.LittleEndian.AppendUint64(want, uint64(size))
		} else {
			want = binary.LittleEndian.AppendUint32(want, uint32(size))
		}
	}
	if !bytes.Equal(got, want) {
		return errors.New("its data descriptor differs from the directory")
	}
	return nil
}

// extras are the extra fields of a header that change what it says.
type extras struct{ zip64 []byte }

// parseExtra reads the extra fields of a header (section 4.5.1), each of which may be there once.
func parseExtra(b []byte, name string) (x extras, err error) {
	var ids []uint16
	for len(b) > 0 {
		if len(b) < 4 {
			return x, errors.New("its extra fields are cut")
		}
		id, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if b = b[4:]; n > len(b) {
			return x, errors.New("its extra fields are cut")
		}
		if slices.Contains(ids, id) || len(ids) >= 64 {
			return x, fmt.Errorf("its extra field %#04x is there twice", id)
		}
		ids = append(ids, id)
		switch field := b[:n]; id {
		case extraZip64:
			x.zip64 = field
		case extraUnicodePath: // section 4.6.9: another name for the same entry
			if n < 5 || binary.LittleEndian.Uint32(field[1:]) != crc32.ChecksumIEEE([]byte(name)) || string(field[5:]) != name {
				return x, errors.New("its extra field gives it another name")
			}
		}
		b = b[n:]
	}
	return x, nil
}

// resolve puts the ZIP64 values (section 4.5.3) in place of those that a header could not hold. header and disk are nil
// for a local header.
func (x extras) resolve(size, packed, header, disk *int64) error {
	values := []*int64{size, packed}
	if header != nil {
		values = append(values, header)
	}
	var needed []*int64
	for _, v := range values {
		if *v == max32 {
			needed = append(needed, v)
		}
	}
	if x.zip64 == nil {
		return nil // a file of exactly 2³²-1 bytes needs no ZIP64 field
	}
	b := x.zip64
	if disk != nil && len(b)%8 == 4 {
		if got := int64(binary.LittleEndian.Uint32(b[len(b)-4:])); *disk != max16 && *disk != got {
			return errors.New("its ZIP64 field contradicts the header")
		} else {
			*disk = got
		}
		b = b[:len(b)-4]
	}
	if len(b) != 8*len(needed) {
		// Some writers give every value, also where the header holds it. Most readers take those that they need from the field's
		// beginning: both have to come to the same.
		if len(b)%8 != 0 || len(b)/8 > len(values) || len(b)/8 < len(needed) {
			return fmt.Errorf("its ZIP64 field has %d bytes", len(x.zip64))
		}
		if !slices.Equal(needed, values[:len(needed)]) {
			return errors.New("its ZIP64 field can be read in two ways")
		}
		needed = values[:len(b)/8]
	}
	for i, v := range needed {
		got := int64(binary.LittleEndian.Uint64(b[8*i:]))
		if got < 0 || *v != max32 && *v != got {
			return errors.New("its ZIP64 field contradicts the header")
		}
		*v = got
	}
	return nil
}
