package tarlayer

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/inflate"
)

// piece is a part of the tar stream that goes into a run: bytes at hand, or a range of a file's content.
type piece struct {
	data    []byte
	entry   *fstree.Entry
	off, n  int64
	verdict bool // this piece ends its content: the reader must end there too
}

// segment is one gzip member in the making.
type segment struct {
	pieces []piece       // of a run
	size   int64         // bytes of tar
	splice *fstree.Entry // set for a spliced file; its content is an fstree.Deflated

	raw  chan []byte   // the segment's tar bytes, in order; closed at its end
	comp []byte        // the finished gzip member of a run, valid once done is closed without error
	done chan struct{} // closed when the segment is worked off
	err  error         // valid once done is closed
}

func newSegment() *segment {
	return &segment{raw: make(chan []byte, 4), done: make(chan struct{})}
}

// worker turns segments into bytes, with buffers of its own that it uses again and again.
type worker struct {
	deflate *flate.Writer
	inflate inflate.Reader
	chunks  *chunkPool
	plain   bool // runs are not compressed here
}

// work makes the segment's bytes. It never blocks but on the consumer of raw.
func (w *worker) work(ctx context.Context, s *segment) {
	defer close(s.done)
	defer close(s.raw)
	if s.splice != nil {
		s.err = w.workSplice(ctx, s)
	} else {
		s.err = w.workRun(ctx, s)
	}
}

// workRun reads the run's pieces and, unless they are wanted plain, compresses them as one gzip member.
func (w *worker) workRun(ctx context.Context, s *segment) error {
	var buf []byte
	if w.plain {
		buf = w.chunks.get()[:s.size]
	} else {
		buf = make([]byte, s.size)
	}
	at := buf
	for _, p := range s.pieces {
		if p.entry == nil {
			at = at[copy(at, p.data):]
			continue
		}
		if err := readRange(p, at[:p.n]); err != nil {
			return err
		}
		at = at[p.n:]
	}
	if w.plain {
		return send(ctx, s.raw, buf)
	}
	out := &sliceWriter{b: append(make([]byte, 0, len(buf)/3+64), gzipHeader...)}
	if w.deflate == nil {
		var err error
		if w.deflate, err = flate.NewWriter(out, compressionLevel); err != nil {
			return err
		}
	} else {
		w.deflate.Reset(out)
	}
	if _, err := w.deflate.Write(buf); err != nil {
		return err
	}
	if err := w.deflate.Close(); err != nil {
		return err
	}
	s.comp = appendTrailer(out.b, crc32.ChecksumIEEE(buf), s.size)
	return send(ctx, s.raw, buf)
}

// workSplice inflates the file once: for the digest of the tar, and to hold the stream against what its container says
// of it. The compressed bytes themselves are copied by the writer.
func (w *worker) workSplice(ctx context.Context, s *segment) (err error) {
	content := s.splice.Content.(fstree.Deflated)
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("reading /%s of %s: %w", s.splice.Path, s.splice.Producer, err)
		}
	}()
	r, err := content.OpenDeflated()
	if err != nil {
		return err
	}
	defer r.Close()
	w.inflate.Reset(io.LimitReader(r, content.DeflatedSize()))
	var sum uint32
	var total int64
	for {
		chunk := w.chunks.get()
		n, err := io.ReadFull(&w.inflate, chunk)
		sum = crc32.Update(sum, crc32.IEEETable, chunk[:n])
		total += int64(n)
		if total > content.Size() {
			return fmt.Errorf("it inflates to more than the %d bytes declared", content.Size())
		}
		if n > 0 {
			if err := send(ctx, s.raw, chunk[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && streamEnded(&w.inflate) {
			break
		}
		if err != nil {
			return fmt.Errorf("inflating, at byte %d: %w", total, err)
		}
	}
	switch consumed := w.inflate.Consumed(); {
	case total != content.Size():
		return fmt.Errorf("it inflates to %d bytes, and %d are declared", total, content.Size())
	case sum != content.CRC32():
		return fmt.Errorf("its CRC-32 is %08x, and %08x is declared", sum, content.CRC32())
	case consumed != content.DeflatedSize():
		return fmt.Errorf("its compressed stream ends after %d bytes of %d", consumed, content.DeflatedSize())
	}
	return nil
}

// streamEnded says whether the stream is at its true end: io.ReadFull reports a short last chunk and a cut stream alike.
func streamEnded(r io.Reader) bool {
	var one [1]byte
	n, err := r.Read(one[:])
	return n == 0 && errors.Is(err, io.EOF)
}

// readRange fills buf with a range of a file's content.
func readRange(p piece, buf []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading /%s of %s: %w", p.entry.Path, p.entry.Producer, err)
		}
	}()
	r, err := p.entry.Content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if p.off > 0 {
		if s, ok := r.(io.Seeker); ok {
			_, err = s.Seek(p.off, io.SeekStart)
		} else {
			_, err = io.CopyN(io.Discard, r, p.off)
		}
		if err != nil {
			return err
		}
	}
	if n, err := io.ReadFull(r, buf); err != nil {
		return fmt.Errorf("it ends at byte %d, and %d are declared: %w", p.off+int64(n), p.entry.Content.Size(), noEOF(err))
	}
	if p.verdict {
		var one [1]byte
		if n, err := r.Read(one[:]); n > 0 {
			return fmt.Errorf("it is longer than the %d bytes declared", p.entry.Content.Size())
		} else if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func send(ctx context.Context, c chan<- []byte, b []byte) error {
	select {
	case c <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type sliceWriter struct{ b []byte }

func (s *sliceWriter) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// chunkPool hands out the buffers that inflated bytes and plain runs travel in, and takes them back.
type chunkPool struct{ free chan []byte }

func (c *chunkPool) get() []byte {
	select {
	case b := <-c.free:
		return b
	default:
		return make([]byte, chunkSize)
	}
}

func (c *chunkPool) put(b []byte) {
	if cap(b) != chunkSize {
		return
	}
	select {
	case c.free <- b[:chunkSize]:
	default:
	}
}
