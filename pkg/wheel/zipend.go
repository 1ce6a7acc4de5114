package wheel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The signatures and fixed sizes of a zip's structures (APPNOTE 6.3.10, section 4.3).
const (
	localSignature      = "PK\x03\x04"
	descriptorSignature = "PK\x07\x08"
	centralSignature    = "PK\x01\x02"
	end64Signature      = "PK\x06\x06"
	locatorSignature    = "PK\x06\x07"
	endSignature        = "PK\x05\x06"

	localSize   = 30
	centralSize = 46
	end64Size   = 56
	locatorSize = 20
	endSize     = 22

	max16 = 0xffff
	max32 = 0xffffffff
)

// tailSize is how much of an archive's end is searched for its last record: the longest comment, and as many NULs.
const tailSize = 2*max16 + endSize

// directory is where the central directory lies, and how many entries it has.
type directory struct {
	offset, size int64
	entries      int64
}

// findDirectory reads the end of central directory record, and its ZIP64 form where there is one. After the record
// nothing but NULs may stand, and before it nothing but the directory.
func findDirectory(r io.ReaderAt, size int64) (directory, error) {
	tail := make([]byte, min(size, tailSize))
	tailAt := size - int64(len(tail))
	if err := readAt(r, tail, tailAt); err != nil {
		return directory{}, err
	}
	// A comment must not hold a signature, so the last one is the record's.
	i := bytes.LastIndex(tail, []byte(endSignature))
	if i < 0 || len(tail)-i < endSize {
		return directory{}, &ArchiveError{Offset: size, Err: errors.New("it is no zip archive, or is cut: the end of the directory is missing")}
	}
	at, end := tailAt+int64(i), tail[i:]
	fault := func(format string, args ...any) (directory, error) {
		return directory{}, &ArchiveError{Offset: at, Err: fmt.Errorf(format, args...)}
	}
	commentLen := int(binary.LittleEndian.Uint16(end[20:]))
	if len(end) < endSize+commentLen {
		return fault("its comment is cut")
	}
	if bytes.ContainsAny(end[endSize:endSize+commentLen], "\x01\x02\x03\x04\x05\x06\x07\x08") {
		return fault("its comment holds bytes that a signature may hold")
	}
	if len(bytes.Trim(end[endSize+commentLen:], "\x00")) > 0 {
		return fault("bytes follow the end of the archive")
	}
	disk, dirDisk := binary.LittleEndian.Uint16(end[4:]), binary.LittleEndian.Uint16(end[6:])
	here, total := binary.LittleEndian.Uint16(end[8:]), binary.LittleEndian.Uint16(end[10:])
	size32, offset32 := binary.LittleEndian.Uint32(end[12:]), binary.LittleEndian.Uint32(end[16:])
	if here != total || (disk != 0 && disk != max16) || (dirDisk != 0 && dirDisk != max16) {
		return fault("it is one part of several")
	}
	d := directory{offset: int64(offset32), size: int64(size32), entries: int64(total)}
	dirEnd := at
	d64, at64, err := findDirectory64(r, at)
	if err != nil {
		return directory{}, err
	}
	if d64 != nil {
		if (total != max16 && d.entries != d64.entries) || (size32 != max32 && d.size != d64.size) || (offset32 != max32 && d.offset != d64.offset) {
			return fault("its ZIP64 record contradicts the plain one")
		}
		d, dirEnd = *d64, at64
	} else if disk == max16 || dirDisk == max16 || size32 == max32 || offset32 == max32 {
		return fault("its ZIP64 record is missing")
	}
	if d.offset > dirEnd || d.size != dirEnd-d.offset {
		return fault("the directory is said to fill bytes %d to %d, and ends at %d", d.offset, d.offset+d.size, dirEnd)
	}
	return d, nil
}

// findDirectory64 reads the ZIP64 records that may stand before the plain one at byte end. It gives nil where there are
// none.
func findDirectory64(r io.ReaderAt, end int64) (d *directory, at int64, err error) {
	if end < locatorSize+end64Size {
		return nil, 0, nil
	}
	locator := make([]byte, locatorSize)
	if err := readAt(r, locator, end-locatorSize); err != nil {
		return nil, 0, err
	}
	if !bytes.HasPrefix(locator, []byte(locatorSignature)) {
		return nil, 0, nil
	}
	fault := func(reason string) (*directory, int64, error) {
		return nil, 0, &ArchiveError{Offset: end - locatorSize, Err: errors.New(reason)}
	}
	offset := binary.LittleEndian.Uint64(locator[8:])
	if offset != uint64(end-locatorSize-end64Size) {
		return fault("its ZIP64 record does not stand right before the locator, or has data of its own")
	}
	if binary.LittleEndian.Uint32(locator[4:]) != 0 || binary.LittleEndian.Uint32(locator[16:]) > 1 {
		return fault("it is one part of several")
	}
	rec := make([]byte, end64Size)
	if err := readAt(r, rec, int64(offset)); err != nil {
		return nil, 0, err
	}
	here, total := binary.LittleEndian.Uint64(rec[24:]), binary.LittleEndian.Uint64(rec[32:])
	size, dirOffset := binary.LittleEndian.Uint64(rec[40:]), binary.LittleEndian.Uint64(rec[48:])
	switch {
	case !bytes.HasPrefix(rec, []byte(end64Signature)) || binary.LittleEndian.Uint64(rec[4:]) != end64Size-12:
		return fault("its ZIP64 record is damaged or has data of its own")
	case binary.LittleEndian.Uint64(rec[16:]) != 0 || here != total:
		return fault("it is one part of several")
	case size > uint64(end) || dirOffset > uint64(end) || total > uint64(end):
		return fault("its ZIP64 record points beyond the archive")
	}
	return &directory{offset: int64(dirOffset), size: int64(size), entries: int64(total)}, int64(offset), nil
}

// readAt fills b from byte off on; an end too soon is io.ErrUnexpectedEOF.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("at byte %d: %w", off+int64(n), err)
}
