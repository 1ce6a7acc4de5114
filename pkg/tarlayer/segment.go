package tarlayer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/inflate"
)

// wholeMax is the largest DEFLATE stream, in bytes, that is read at once and goes out in one piece with what the member needs
// around it. It does not influence the bytes.
const wholeMax = chunkSize - 64

// piece is a part of the tar stream that goes into a run: bytes at hand, or a range of a file's content.
type piece struct {
	data    []byte
	entry   *fstree.Entry // whose content it is; nil for what stands around contents
	off, n  int64
	verdict bool // this piece ends its content: the reader must end there too
}

// segment is one gzip member in the making.
type segment struct {
	pieces []piece       // of a run
	size   int64         // bytes of tar, of a run
	fresh  int64         // of them, those of content that nobody has compressed before
	splice *fstree.Entry // set for a spliced file; its content is an fstree.Deflated

	raw  chan []byte   // the segment's tar bytes, in order; closed at its end
	comp []byte        // the finished gzip member, but for a splice that is streamed; valid once done is closed without error
	done chan struct{} // closed when the segment is worked off
	err  error         // valid once done is closed
}

func newSegment() *segment {
	return &segment{raw: make(chan []byte, 4), done: make(chan struct{})}
}

// length is how many bytes of tar it is.
func (s *segment) length() int64 {
	if s.splice != nil {
		return s.splice.Content.Size()
	}
	return s.size
}

// streamed says whether the segment's compressed bytes are copied by the writer, while they are still being checked.
func (s *segment) streamed() bool {
	return s.splice != nil && s.splice.Content.(fstree.Deflated).DeflatedSize() > wholeMax
}

// worker turns segments into bytes, with tables of its own that it uses again and again.
type worker struct {
	deflate map[int]*flate.Writer // by level
	inflate inflate.Reader
	plain   bool // runs are not compressed here
}

// workers have tables of a megabyte and more. An environment is some fifty layers.
var workers = sync.Pool{New: func() any { return &worker{deflate: make(map[int]*flate.Writer)} }}

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
	buf := getBuffer(s.size)[:s.size]
	at := buf
	for _, p := range s.pieces {
		if p.data != nil {
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
	level := againLevel
	if s.fresh > s.size/2 {
		level = freshLevel
	}
	out := &sliceWriter{b: append(getBuffer(s.size/3 + 64)[:0], gzipHeader...)}
	if err := w.compress(out, buf, level); err != nil {
		return err
	}
	s.comp = appendTrailer(out.b, crc32.ChecksumIEEE(buf), s.size)
	return send(ctx, s.raw, buf)
}

// compress writes b as one DEFLATE stream.
func (w *worker) compress(to io.Writer, b []byte, level int) (err error) {
	d := w.deflate[level]
	if d == nil {
		if d, err = flate.NewWriter(to, level); err != nil {
			return err
		}
		w.deflate[level] = d
	} else {
		d.Reset(to)
	}
	if _, err := d.Write(b); err != nil {
		return err
	}
	return d.Close()
}

// workSplice inflates the file once: for the digest of the tar, and to hold the stream against what its container says
// of it. The compressed bytes themselves are copied: here, or by the writer where there are many.
func (w *worker) workSplice(ctx context.Context, s *segment) (err error) {
	content := s.splice.Content.(fstree.Deflated)
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = reading(s.splice, err)
		}
	}()
	r, err := content.OpenDeflated()
	if err != nil {
		return err
	}
	defer r.Close()
	if s.streamed() {
		return w.check(ctx, s, io.LimitReader(r, content.DeflatedSize()))
	}
	member := append(getBuffer(chunkSize)[:0], gzipHeader...)
	stream := member[len(member) : len(member)+int(content.DeflatedSize())]
	if n, err := io.ReadFull(r, stream); err != nil {
		return fmt.Errorf("its compressed stream ends after %d bytes of %d: %w", n, len(stream), noEOF(err))
	}
	if err := w.check(ctx, s, bytes.NewReader(stream)); err != nil {
		return err
	}
	s.comp = appendTrailer(member[:len(member)+len(stream)], content.CRC32(), content.Size())
	return nil
}

// check inflates a stream to the segment's tar bytes, and holds it against what is declared of it.
func (w *worker) check(ctx context.Context, s *segment, stream io.Reader) error {
	content := s.splice.Content.(fstree.Deflated)
	w.inflate.Reset(stream)
	var sum uint32
	var total int64
	for {
		chunk := getBuffer(chunkSize)
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

// reading says in an error whose content it is about.
func reading(e *fstree.Entry, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading /%s of %s: %w", e.Path, e.Producer, err)
}

// readRange fills buf with a range of a file's content.
func readRange(p piece, buf []byte) (err error) {
	defer func() { err = reading(p.entry, err) }()
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
		return cut(p.off+int64(n), p.entry.Content.Size(), err)
	}
	if p.verdict {
		return atEnd(r, p.entry.Content.Size())
	}
	return nil
}

// cut is the error of a content that was to have more bytes.
func cut(at, size int64, err error) error {
	return fmt.Errorf("it ends at byte %d, and %d are declared: %w", at, size, noEOF(err))
}

// atEnd reads on where a content is to end, and gives the verdict that its reader has there.
func atEnd(r io.Reader, size int64) error {
	var one [1]byte
	if n, err := io.ReadFull(r, one[:]); n > 0 {
		return fmt.Errorf("it is longer than the %d bytes declared", size)
	} else if !errors.Is(err, io.EOF) {
		return err
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

// buffers are those that bytes travel in, chunkSize long.
var buffers = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// getBuffer gives a buffer of chunkSize bytes, or of n where that is more. What is in it is anybody's.
func getBuffer(n int64) []byte {
	if n > chunkSize {
		return make([]byte, n)
	}
	return buffers.Get().(*[chunkSize]byte)[:]
}

// putBuffer takes back what getBuffer gave, which nobody may use any more.
func putBuffer(b []byte) {
	if cap(b) == chunkSize {
		buffers.Put((*[chunkSize]byte)(b[:chunkSize]))
	}
}
