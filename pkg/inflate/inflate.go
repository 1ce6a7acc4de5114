// Package inflate decodes raw DEFLATE streams (RFC 1951), about twice as fast as the libraries do: whoever makes a layer of
// wheels does little else. It reads far ahead of what it decodes, takes symbols from a register of 64 bits, and copies
// matches by words.
//
// It takes what zlib takes and nothing else, so that a stream which is passed on as it is can be read by others: a set of
// code lengths must be complete, but for a single code of one bit, and has an end of block. It says how many bytes the stream
// has taken, which a container's own size is to be held against.
//
// It imports nothing of jubako.
package inflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	windowSize = 32 << 10 // how far back a match may reach
	regionSize = 64 << 10
	slack      = 258 + 16 // what the longest match may write beyond the region
	inputSize  = 32 << 10
	lookahead  = 16 // bytes of input that the fast loop may read, at most
)

// CorruptError says where a stream is no DEFLATE stream.
type CorruptError struct {
	Offset int64 // bytes of the stream read before it was noticed; the fault lies at or before this
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt DEFLATE stream, about byte %d: %s", e.Offset, e.Reason)
}

type state uint8

const (
	atHeader state = iota
	inStored
	inCodes
	atEnd
)

// Reader inflates one stream after another. Its zero value needs a Reset.
type Reader struct {
	src    io.Reader
	srcErr error // what src said last; io.EOF at its end
	total  int64 // bytes read from it

	in         []byte
	inPos, inN int
	bits       uint64
	nbits      uint // valid bits in bits

	out    *[windowSize + regionSize + slack]byte
	outPos int // decoded up to here
	given  int // and given to the reader up to here
	start  int // the first byte that a match may reach

	state  state
	final  bool
	stored int // bytes left of a stored block
	err    error

	lit  litTable
	dist distTable
	lens [maxLitCodes + maxDistCodes]uint8
}

// NewReader gives a reader of the stream that begins at r's next byte. It may read from r beyond the stream's end.
func NewReader(r io.Reader) *Reader {
	z := &Reader{}
	z.Reset(r)
	return z
}

var used = sync.Pool{New: func() any { return &Reader{} }}

// Get is NewReader with the memory of a reader that was put back, where there is one: one takes 150 KB.
func Get(r io.Reader) *Reader {
	z := used.Get().(*Reader)
	z.Reset(r)
	return z
}

// Put takes back what Get gave, which nobody may use any more.
func Put(z *Reader) {
	z.src = nil
	used.Put(z)
}

// Reset begins with another stream.
func (z *Reader) Reset(r io.Reader) {
	if z.in == nil {
		z.in = make([]byte, inputSize)
		z.out = new([windowSize + regionSize + slack]byte)
	}
	z.src, z.srcErr, z.total = r, nil, 0
	z.inPos, z.inN, z.bits, z.nbits = 0, 0, 0, 0
	z.outPos, z.given, z.start = windowSize, windowSize, windowSize
	z.state, z.final, z.stored, z.err = atHeader, false, 0, nil
}

// Consumed is how many bytes of the input the stream has taken so far; at its end, its length.
func (z *Reader) Consumed() int64 {
	return z.total - int64(z.inN-z.inPos) - int64(z.nbits/8)
}

// Read gives inflated bytes. The error is io.EOF at the stream's own end, io.ErrUnexpectedEOF where the input ends before
// it, a *CorruptError, or the input's.
func (z *Reader) Read(p []byte) (int, error) {
	for z.given == z.outPos {
		if z.err != nil {
			return 0, z.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		z.err = z.advance()
	}
	n := copy(p, z.out[z.given:z.outPos])
	z.given += n
	return n, nil
}

// advance decodes until the region is full, or the stream has ended.
func (z *Reader) advance() error {
	if z.outPos >= windowSize+regionSize { // all of it has been given
		moved := z.outPos - windowSize
		copy(z.out[:], z.out[moved:z.outPos])
		z.outPos, z.given = windowSize, windowSize
		z.start = max(0, z.start-moved)
	}
	for z.outPos < windowSize+regionSize {
		var err error
		switch z.state {
		case atHeader:
			err = z.header()
		case inStored:
			err = z.copyStored()
		case inCodes:
			err = z.codes()
		case atEnd:
			return io.EOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (z *Reader) corrupt(reason string) error {
	return &CorruptError{Offset: z.Consumed(), Reason: reason}
}

// more reads input until there are lookahead bytes of it, or no more. The error is the input's, not its end.
func (z *Reader) more() error {
	if z.srcErr != nil {
		return nil
	}
	copy(z.in, z.in[z.inPos:z.inN])
	z.inN -= z.inPos
	z.inPos = 0
	for empty := 0; z.inN < lookahead && z.srcErr == nil; {
		n, err := z.src.Read(z.in[z.inN:])
		z.inN += n
		z.total += int64(n)
		z.srcErr = err
		if n > 0 {
			empty = 0
		} else if empty++; empty > 100 && err == nil {
			z.srcErr = io.ErrNoProgress
		}
	}
	if z.srcErr != nil && !errors.Is(z.srcErr, io.EOF) {
		return z.srcErr
	}
	return nil
}

// need makes n bits available, 32 at most. The error is io.ErrUnexpectedEOF where there are none.
func (z *Reader) need(n uint) error {
	if err := z.fill(n); err != nil {
		return err
	}
	if z.nbits < n {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// fill is need where fewer bits may do, at the end of the input.
func (z *Reader) fill(n uint) error {
	for z.nbits < n {
		if z.inPos == z.inN {
			if err := z.more(); err != nil {
				return err
			}
			if z.inPos == z.inN {
				return nil
			}
		}
		z.bits |= uint64(z.in[z.inPos]) << z.nbits
		z.inPos++
		z.nbits += 8
	}
	return nil
}

func (z *Reader) take(n uint) uint32 {
	v := uint32(z.bits & (1<<n - 1))
	z.bits >>= n
	z.nbits -= n
	return v
}

// header reads the beginning of a block (section 3.2.3).
func (z *Reader) header() error {
	if z.final {
		z.state = atEnd
		return nil
	}
	if err := z.need(3); err != nil {
		return err
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.take(z.nbits % 8)
		if err := z.need(32); err != nil {
			return err
		}
		size := z.take(16)
		if z.take(16) != size^0xffff {
			return z.corrupt("the length of a stored block and its complement differ")
		}
		z.stored, z.state = int(size), inStored
	case 1:
		z.fixed()
		z.state = inCodes
	case 2:
		if err := z.dynamic(); err != nil {
			return err
		}
		z.state = inCodes
	default:
		return z.corrupt("a block of the reserved type")
	}
	return nil
}

func (z *Reader) copyStored() error {
	for z.stored > 0 && z.outPos < windowSize+regionSize {
		if z.nbits > 0 { // whole bytes, which were read ahead
			z.out[z.outPos] = byte(z.take(8))
			z.outPos++
			z.stored--
			continue
		}
		if z.inPos == z.inN {
			if err := z.more(); err != nil {
				return err
			}
			if z.inPos == z.inN {
				return io.ErrUnexpectedEOF
			}
		}
		n := copy(z.out[z.outPos:windowSize+regionSize], z.in[z.inPos:min(z.inN, z.inPos+z.stored)])
		z.inPos += n
		z.outPos += n
		z.stored -= n
	}
	if z.stored == 0 {
		z.state = atHeader
	}
	return nil
}

// codes decodes the symbols of a block, to its end or to that of the region.
func (z *Reader) codes() error {
	for z.outPos < windowSize+regionSize {
		if z.inN-z.inPos < lookahead {
			if err := z.more(); err != nil {
				return err
			}
		}
		if z.inN-z.inPos >= lookahead {
			if err := z.fast(); err != nil || z.state != inCodes {
				return err
			}
			continue
		}
		if err := z.slow(); err != nil || z.state != inCodes {
			return err
		}
	}
	return nil
}

// fast decodes while there is plenty of input and room.
func (z *Reader) fast() error {
	in, out := z.in[:z.inN], z.out
	pos, at := z.inPos, z.outPos
	bits, nbits := z.bits, z.nbits
	lastIn, lastOut := len(in)-lookahead, windowSize+regionSize
	lit, dist := &z.lit, &z.dist
	var reason string
loop:
	for pos <= lastIn && at < lastOut {
		bits |= binary.LittleEndian.Uint64(in[pos:]) << (nbits & 63)
		pos += int((63 - nbits) >> 3)
		nbits |= 56
		e := lit[bits&(1<<litBits-1)]
		if e&isLiteral != 0 {
			bits >>= e & 63
			nbits -= uint(e & 63)
			out[at] = byte(e >> 16)
			at++
			e = lit[bits&(1<<litBits-1)]
			if e&isLiteral != 0 {
				bits >>= e & 63
				nbits -= uint(e & 63)
				out[at] = byte(e >> 16)
				at++
				e = lit[bits&(1<<litBits-1)]
				if e&isLiteral != 0 {
					bits >>= e & 63
					nbits -= uint(e & 63)
					out[at] = byte(e >> 16)
					at++
					continue
				}
			}
			bits |= binary.LittleEndian.Uint64(in[pos:]) << (nbits & 63)
			pos += int((63 - nbits) >> 3)
			nbits |= 56
		}
		if e&isSpecial != 0 {
			if e&isSubtable != 0 {
				bits >>= litBits
				nbits -= litBits
				e = lit[e>>16+uint32(bits)&(1<<(e>>8&15)-1)]
				if e&isLiteral != 0 {
					bits >>= e & 63
					nbits -= uint(e & 63)
					out[at] = byte(e >> 16)
					at++
					continue
				}
			}
			if e&isEnd != 0 {
				bits >>= e & 63
				nbits -= uint(e & 63)
				z.state = atHeader
				break loop
			}
			if e&isBad != 0 {
				reason = "a symbol that no code has"
				break loop
			}
		}
		bits >>= e & 63
		nbits -= uint(e & 63)
		extra := e >> 8 & 15
		length := int(e>>16 + uint32(bits)&(1<<extra-1))
		bits >>= extra
		nbits -= uint(extra)

		d := dist[bits&(1<<distBits-1)]
		if d&isSpecial != 0 {
			if d&isSubtable != 0 {
				bits >>= distBits
				nbits -= distBits
				d = dist[d>>16+uint32(bits)&(1<<(d>>8&15)-1)]
			}
			if d&isBad != 0 {
				reason = "a distance that no code has"
				break loop
			}
		}
		bits >>= d & 63
		nbits -= uint(d & 63)
		extra = d >> 8 & 15
		back := int(d>>16 + uint32(bits)&(1<<extra-1))
		bits >>= extra
		nbits -= uint(extra)
		from := at - back
		if from < z.start {
			reason = "a match that reaches back before the stream's begin"
			break loop
		}
		end := at + length
		if back >= 8 {
			binary.LittleEndian.PutUint64(out[at:], binary.LittleEndian.Uint64(out[from:]))
			at += 8
			from += 8
			for at < end {
				binary.LittleEndian.PutUint64(out[at:], binary.LittleEndian.Uint64(out[from:]))
				at += 8
				from += 8
			}
			at = end
			continue
		}
		if back == 1 {
			word := uint64(out[from]) * 0x0101010101010101
			for ; at < end; at += 8 {
				binary.LittleEndian.PutUint64(out[at:], word)
			}
			at = end
			continue
		}
		for ; at < end; at++ {
			out[at] = out[from]
			from++
		}
	}
	z.inPos, z.outPos = pos, at
	z.bits, z.nbits = bits&(1<<nbits-1), nbits
	if reason != "" {
		return z.corrupt(reason)
	}
	return nil
}

// slow decodes one symbol, near the end of the input.
func (z *Reader) slow() error {
	e, err := z.symbol(z.lit[:], litBits)
	if err != nil {
		return err
	}
	switch {
	case e&isLiteral != 0:
		z.out[z.outPos] = byte(e >> 16)
		z.outPos++
		return nil
	case e&isEnd != 0:
		z.state = atHeader
		return nil
	case e&isBad != 0:
		return z.corrupt("a symbol that no code has")
	}
	if err := z.need(uint(e >> 8 & 15)); err != nil {
		return err
	}
	length := int(e>>16 + z.take(uint(e>>8&15)))
	d, err := z.symbol(z.dist[:], distBits)
	if err != nil {
		return err
	}
	if d&isBad != 0 {
		return z.corrupt("a distance that no code has")
	}
	if err := z.need(uint(d >> 8 & 15)); err != nil {
		return err
	}
	from := z.outPos - int(d>>16+z.take(uint(d>>8&15)))
	if from < z.start {
		return z.corrupt("a match that reaches back before the stream's begin")
	}
	for range length {
		z.out[z.outPos] = z.out[from]
		z.outPos++
		from++
	}
	return nil
}

// symbol takes one code. Where fewer bits are left than it may have, they are enough as long as it ends within them.
func (z *Reader) symbol(table []entry, primary uint) (entry, error) {
	if err := z.fill(maxCodeBits); err != nil {
		return 0, err
	}
	e := table[z.bits&(1<<primary-1)]
	used := uint(0)
	if e&isSubtable != 0 {
		used = primary
		e = table[e>>16+uint32(z.bits>>primary)&(1<<(e>>8&15)-1)]
	}
	if e&isBad != 0 {
		return e, nil
	}
	if used += uint(e & 63); used > z.nbits {
		return 0, io.ErrUnexpectedEOF
	}
	z.take(used)
	return e, nil
}
