package decompress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/jubako/jubako/pkg/inflate"
)

// gunzip reads a gzip file of any number of members (RFC 1952, section 2.2). The members' own checksums are not looked at: what
// comes out is held against the layer's diffID.
type gunzip struct {
	src   rewinder
	z     *inflate.Reader // nil once closed
	given int64           // what src had given when the member's stream began
	err   error
}

func newGunzip(r io.Reader) *gunzip {
	g := &gunzip{src: rewinder{r: r}}
	if g.err = g.header(); g.err != nil {
		g.err = noEOF(g.err)
		return g
	}
	g.z, g.given = inflate.Get(&g.src), g.src.given
	return g
}

func (g *gunzip) Read(p []byte) (int, error) {
	for g.err == nil {
		n, err := g.z.Read(p)
		if n > 0 || err == nil {
			return n, nil // an error comes again
		}
		if g.err = err; errors.Is(err, io.EOF) {
			g.err = g.next()
		}
	}
	return 0, g.err
}

// next goes from the end of a member's stream to the beginning of the next one's. The error is io.EOF where there is none.
func (g *gunzip) next() error {
	if err := g.src.unread(g.src.given - g.given - g.z.Consumed()); err != nil {
		return err
	}
	var trailer [8]byte // CRC-32 and size
	if _, err := io.ReadFull(&g.src, trailer[:]); err != nil {
		return noEOF(err)
	}
	if err := g.header(); err != nil {
		return err
	}
	g.z.Reset(&g.src)
	g.given = g.src.given
	return nil
}

// The flags of a member's header (RFC 1952, section 2.3.1) that say what follows it.
const (
	gzipHeaderCRC = 1 << 1
	gzipExtra     = 1 << 2
	gzipName      = 1 << 3
	gzipComment   = 1 << 4
)

// header reads a member's header. The error is io.EOF where the file ends before it.
func (g *gunzip) header() error {
	var h [10]byte
	if _, err := io.ReadFull(&g.src, h[:]); err != nil {
		return err
	}
	if h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		return fmt.Errorf("%x is no header of a gzip member", h[:3])
	}
	return noEOF(g.skip(h[3]))
}

// skip reads what a header's flags say that follows it.
func (g *gunzip) skip(flags byte) error {
	if flags&gzipExtra != 0 {
		var size [2]byte
		if _, err := io.ReadFull(&g.src, size[:]); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, &g.src, int64(binary.LittleEndian.Uint16(size[:]))); err != nil {
			return err
		}
	}
	for _, text := range []byte{gzipName, gzipComment} {
		for b := [1]byte{1}; flags&text != 0 && b[0] != 0; {
			if _, err := io.ReadFull(&g.src, b[:]); err != nil {
				return err
			}
		}
	}
	if flags&gzipHeaderCRC == 0 {
		return nil
	}
	_, err := io.ReadFull(&g.src, make([]byte, 2))
	return err
}

func (g *gunzip) Close() error {
	if g.z != nil {
		inflate.Put(g.z)
		g.z = nil
	}
	if g.err == nil {
		g.err = errors.New("it is closed")
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// rewinder reads, and takes back some of what it has given: an inflate.Reader reads beyond the end of its stream.
type rewinder struct {
	r      io.Reader
	buf    []byte
	pos, n int   // buf[pos:n] is still to be given
	given  int64 // bytes given, less those taken back
	err    error
}

const (
	rewinderSize = 128 << 10
	rewinds      = 40 << 10 // what can be taken back: more than the input of an inflate.Reader
)

func (w *rewinder) Read(p []byte) (int, error) {
	if w.pos == w.n {
		if w.err != nil {
			return 0, w.err
		}
		if w.buf == nil {
			w.buf = make([]byte, rewinderSize)
		}
		keep := min(w.pos, rewinds)
		copy(w.buf, w.buf[w.pos-keep:w.pos])
		n, err := w.r.Read(w.buf[keep:])
		w.pos, w.n, w.err = keep, keep+n, err
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.pos:w.n])
	w.pos += n
	w.given += int64(n)
	return n, nil
}

func (w *rewinder) unread(n int64) error {
	if n < 0 || n > int64(w.pos) || n > rewinds {
		return fmt.Errorf("%d bytes cannot be taken back", n)
	}
	w.pos -= int(n)
	w.given -= n
	return nil
}
