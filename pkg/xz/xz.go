// Package xz decompresses the .xz format (version 1.2.1) with LZMA2, the form that Debian's packages and indexes have: several
// blocks and streams, all of the format's checks, no other filter.
//
// It is here since unpacking packages is mostly this: of the readers written in Go, the one that is kept up takes about twice as
// long, and those of its speed are years old (BenchmarkReader). Input comes from strangers: memory is bounded by the caller,
// and grows with what has come out. The package imports nothing of jubako.
package xz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// FormatError says where in the compressed bytes something is wrong, and what.
type FormatError struct {
	Offset int64 // bytes from the beginning
	Text   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("xz: at byte %d: %s", e.Offset, e.Text) }

// DictionaryError says that a block asks for a larger dictionary than is given.
type DictionaryError struct{ Asked, Given int64 } // bytes

func (e *DictionaryError) Error() string {
	return fmt.Sprintf("it asks for a dictionary of %d MiB, and at most %d are given", e.Asked>>20, e.Given>>20)
}

// Sizes of the format (section 2.1).
const (
	streamHeaderSize = 12
	maxRecords       = 1 << 20 // blocks of one stream; a block of xz -T has megabytes
)

var (
	headerMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	footerMagic = []byte{'Y', 'Z'}
	crc64Table  = crc64.MakeTable(crc64.ECMA)
)

// Reader yields what a .xz file holds. Reset makes it ready for another one, with the memory that it has.
type Reader struct {
	in      counter
	maxDict int64
	check   byte // the stream's kind of check (section 2.1.1.2)
	sum     hash.Hash
	records []record // of the stream's blocks so far
	lz      decoder
	block   blockState
	inBlock bool
	streams int
	err     error
}

// record is what the index says of a block: its size without padding, and that of its content, in bytes.
type record struct{ unpadded, plain int64 }

// blockState is the block that is being read.
type blockState struct {
	header        int64 // bytes of its header
	begin         int64 // offset of what follows the header
	packed, plain int64 // as the header declares them; -1 where it does not
	out           int64 // bytes that have come out
}

// NewReader makes a reader. maxDict bounds the dictionary that a block may ask for, in bytes; the reader takes at most
// half as much more, or 2 MiB. An empty input is an error.
func NewReader(r io.Reader, maxDict int64) *Reader {
	z := &Reader{}
	z.Reset(r, maxDict)
	return z
}

// Reset begins another file.
func (z *Reader) Reset(r io.Reader, maxDict int64) {
	z.in.reset(r)
	z.maxDict, z.records, z.inBlock, z.streams, z.err = maxDict, z.records[:0], false, 0, nil
	z.lz.clear()
}

// Read implements io.Reader. A cut file is io.ErrUnexpectedEOF; what is damaged is a *FormatError.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if b := z.lz.pending(); len(b) > 0 {
			n := copy(p, b)
			z.lz.read += n
			return n, nil
		}
		if z.err != nil {
			return 0, z.err
		}
		z.err = z.more()
	}
}

// more goes one step further: to the next block, or through a chunk of one.
func (z *Reader) more() error {
	if z.inBlock {
		return z.chunk()
	}
	if z.streams == 0 || z.check == noStream {
		return z.streamHeader()
	}
	size, err := z.in.byte()
	if err != nil {
		return unexpected(err)
	}
	if size == 0 {
		return z.index()
	}
	return z.blockHeader(size)
}

// noStream stands for the check between two streams.
const noStream = 0xff

func (z *Reader) fail(format string, args ...any) error {
	return &FormatError{z.in.n, fmt.Sprintf(format, args...)}
}

// streamHeader begins a stream; io.EOF where there is none any more. Padding between streams is a multiple of four NULs.
func (z *Reader) streamHeader() error {
	var b [streamHeaderSize]byte
	for {
		if err := z.in.full(b[:4]); err != nil {
			if errors.Is(err, io.EOF) && z.streams > 0 {
				return io.EOF
			}
			return unexpected(err)
		}
		if z.streams == 0 || b[0]|b[1]|b[2]|b[3] != 0 {
			break
		}
	}
	if err := z.in.full(b[4:]); err != nil {
		return unexpected(err)
	}
	if !bytes.Equal(b[:6], headerMagic) {
		return z.fail("it is no .xz file")
	}
	if b[6] != 0 || b[7]&0xf0 != 0 || crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return z.fail("the stream's header is damaged, or of a later version of the format")
	}
	switch z.check = b[7]; z.check {
	case 0:
		z.sum = nil
	case 1:
		z.sum = crc32.NewIEEE()
	case 4:
		z.sum = crc64.New(crc64Table)
	case 10:
		z.sum = sha256.New()
	default:
		return z.fail("the check %d is not known", z.check)
	}
	z.streams++
	z.records = z.records[:0]
	return nil
}

// blockHeader reads a block's header (section 3.1).
func (z *Reader) blockHeader(first byte) error {
	size := (int(first) + 1) * 4
	b := make([]byte, size)
	b[0] = first
	if err := z.in.full(b[1:]); err != nil {
		return unexpected(err)
	}
	if crc32.ChecksumIEEE(b[:size-4]) != binary.LittleEndian.Uint32(b[size-4:]) {
		return z.fail("the block's header is damaged")
	}
	flags, rest := b[1], b[2:size-4]
	if flags&0x3f != 0 {
		return z.fail("the block has a filter beside LZMA2, or is of a later version of the format")
	}
	s := blockState{header: int64(size), begin: z.in.n, packed: -1, plain: -1}
	for _, f := range []struct {
		bit byte
		to  *int64
	}{{0x40, &s.packed}, {0x80, &s.plain}} {
		if flags&f.bit == 0 {
			continue
		}
		v, n := uvarint(rest)
		if n <= 0 {
			return z.fail("the block's header is damaged")
		}
		*f.to, rest = v, rest[n:]
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 || rest[2] > 40 {
		return z.fail("the block's filter is not LZMA2")
	}
	for _, pad := range rest[3:] {
		if pad != 0 {
			return z.fail("the block's header is damaged")
		}
	}
	dict := dictionary(rest[2])
	if dict > z.maxDict {
		return &DictionaryError{dict, z.maxDict}
	}
	z.lz.begin(int(dict))
	z.block, z.inBlock = s, true
	if z.sum != nil {
		z.sum.Reset()
	}
	return nil
}

// dictionary is the size in bytes that a filter's property stands for (section 5.3.1).
func dictionary(bits byte) int64 {
	if bits == 40 {
		return 1<<32 - 1
	}
	return (2 | int64(bits)&1) << (bits/2 + 11)
}

// chunk reads one LZMA2 chunk, or the end of the block.
func (z *Reader) chunk() error {
	s := &z.block
	more, err := z.lz.chunk(&z.in)
	if err != nil {
		if e := (*corrupt)(nil); errors.As(err, &e) {
			return z.fail("%s", e.text)
		}
		return unexpected(err)
	}
	if more {
		b := z.lz.pending()
		s.out += int64(len(b))
		if s.plain >= 0 && s.out > s.plain {
			z.lz.clear()
			return z.fail("the block is longer than its header says")
		}
		if z.sum != nil {
			z.sum.Write(b)
		}
		return nil
	}
	z.inBlock = false
	packed := z.in.n - s.begin
	if s.packed >= 0 && packed != s.packed || s.plain >= 0 && s.out != s.plain {
		return z.fail("the block is not as long as its header says")
	}
	if err := z.padding(packed); err != nil {
		return err
	}
	size := int64(0)
	if z.sum != nil {
		var b, want [sha256.Size]byte
		size = int64(z.sum.Size())
		if err := z.in.full(b[:size]); err != nil {
			return unexpected(err)
		}
		z.sum.Sum(want[:0])
		if z.check != 10 { // CRCs are written the little end first
			for i := range size / 2 {
				want[i], want[size-1-i] = want[size-1-i], want[i]
			}
		}
		if !bytes.Equal(b[:size], want[:size]) {
			return z.fail("the content's checksum does not hold")
		}
	}
	if len(z.records) == maxRecords {
		return z.fail("it has more than %d blocks", maxRecords)
	}
	z.records = append(z.records, record{s.header + packed + size, s.out})
	return nil
}

// padding reads the NULs that fill n bytes up to a multiple of four.
func (z *Reader) padding(n int64) error {
	for ; n%4 != 0; n++ {
		b, err := z.in.byte()
		if err != nil {
			return unexpected(err)
		}
		if b != 0 {
			return z.fail("what fills it up is not empty")
		}
	}
	return nil
}

// index compares the stream's index with the blocks, and reads the footer (sections 4 and 2.1.2).
func (z *Reader) index() error {
	begin := z.in.n - 1
	z.in.crc, z.in.summing = crc32.Update(0, crc32.IEEETable, []byte{0}), true
	defer func() { z.in.summing = false }()
	numbers := make([]int64, 0, 1+2*len(z.records))
	numbers = append(numbers, int64(len(z.records)))
	for _, r := range z.records {
		numbers = append(numbers, r.unpadded, r.plain)
	}
	for _, want := range numbers {
		got, err := z.uvarint()
		if err != nil {
			return err
		}
		if got != want {
			return z.fail("the index does not say what the blocks are")
		}
	}
	if err := z.padding(z.in.n - begin); err != nil {
		return err
	}
	size := z.in.n - begin + 4
	sum := z.in.crc
	z.in.summing = false
	var b [4 + streamHeaderSize]byte
	if err := z.in.full(b[:]); err != nil {
		return unexpected(err)
	}
	le, f := binary.LittleEndian, b[4:]
	switch {
	case le.Uint32(b[:]) != sum:
		return z.fail("the index is damaged")
	case !bytes.Equal(f[10:], footerMagic) || crc32.ChecksumIEEE(f[4:10]) != le.Uint32(f):
		return z.fail("the stream's footer is damaged")
	case (int64(le.Uint32(f[4:]))+1)*4 != size || f[8] != 0 || f[9] != z.check:
		return z.fail("the stream's footer is not that of its header and index")
	}
	z.check = noStream
	return nil
}

// uvarint reads a number of the index.
func (z *Reader) uvarint() (int64, error) {
	var b [9]byte
	for i := range b {
		c, err := z.in.byte()
		if err != nil {
			return 0, unexpected(err)
		}
		b[i] = c
		if c&0x80 == 0 {
			if v, n := uvarint(b[:i+1]); n > 0 {
				return v, nil
			}
			break
		}
	}
	return 0, z.fail("the index is damaged")
}

// uvarint decodes a number (section 1.2), which has nine bytes at most, and says how many it took; 0 for none.
func uvarint(b []byte) (v int64, n int) {
	for i := 0; i < len(b) && i < 9; i++ {
		v |= int64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			if b[i] == 0 && i > 0 {
				return 0, 0
			}
			return v, i + 1
		}
	}
	return 0, 0
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// counter reads through a buffer, and counts.
type counter struct {
	r       io.Reader
	n       int64 // bytes given away
	buf     []byte
	from    int
	to      int
	crc     uint32
	summing bool
}

func (c *counter) reset(r io.Reader) {
	if c.buf == nil {
		c.buf = make([]byte, 64<<10)
	}
	*c = counter{r: r, buf: c.buf}
}

// full fills b; io.EOF where nothing came, io.ErrUnexpectedEOF where it was cut.
func (c *counter) full(b []byte) error {
	for done := 0; done < len(b); {
		if c.from == c.to {
			if len(b)-done >= len(c.buf) {
				n, err := io.ReadFull(c.r, b[done:])
				c.n += int64(n)
				return err
			}
			n, err := io.ReadAtLeast(c.r, c.buf, 1)
			if n == 0 {
				if done > 0 {
					return unexpected(err)
				}
				return err
			}
			c.from, c.to = 0, n
		}
		n := copy(b[done:], c.buf[c.from:c.to])
		if c.summing {
			c.crc = crc32.Update(c.crc, crc32.IEEETable, b[done:done+n])
		}
		c.from += n
		c.n += int64(n)
		done += n
	}
	return nil
}

func (c *counter) byte() (byte, error) {
	var b [1]byte
	err := c.full(b[:])
	return b[0], err
}
