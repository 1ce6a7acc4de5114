// Package tarlayer writes a tree as one layer blob: the only tar writer of jubako, and its only compressor.
//
// The blob is a gzip file of many members (RFC 1952, section 2.2). A file that came out of a wheel goes in as the DEFLATE
// stream that the wheel holds, a member of its own; everything between such files is compressed in runs of at most 1 MiB,
// each a member. Members are made on all cores, ahead of the two hashes, in memory that does not grow with the layer.
//
// Where zstd is asked for, the blob is a row of frames (RFC 8878), each of 1 MiB of the same tar stream: nothing is
// spliced, the diffID is that of the gzip blob, and the frames are made on all cores.
//
// The bytes are a pure function of the tree and the options (not of Jobs): see layers.Format. It imports fstree, seekable and
// inflate.
package tarlayer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/seekable"
)

// The constants since format 3. To change one is to change every digest. Format 2 compressed everything at freshLevel, and
// spliced from 4 KiB on: for the 83 wheels of make bench that is 2.1 % smaller, and takes a seventh more of the processor's
// time.
const (
	freshLevel = 5       // of runs that are content, for the most part, that nobody has compressed before
	againLevel = 1       // of others: headers, and small files that a wheel holds compressed
	runSize    = 1 << 20 // bytes of tar in a compressed run, at most
	spliceMin  = 2 << 10 // bytes of a DEFLATE stream from which on it is spliced
)

// chunkSize is how much of an inflated file travels at once. It does not influence the bytes.
const chunkSize = 128 << 10

// gzipHeader opens every member: no name, no time, unknown system (RFC 1952, section 2.3).
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// appendTrailer closes a member.
func appendTrailer(b []byte, crc uint32, size int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, crc)
	return binary.LittleEndian.AppendUint32(b, uint32(size))
}

// Compression says how a layer's tar is compressed.
type Compression string

// The compressions. The empty one is Gzip.
const (
	Gzip Compression = "gzip" // RFC 1952
	Zstd Compression = "zstd" // RFC 8878
)

func (c Compression) name() string {
	if c == "" {
		return string(Gzip)
	}
	return string(c)
}

// Options says how a tree is written.
type Options struct {
	// Epoch is the time of every entry, in seconds since 1970.
	Epoch int64
	// Jobs is how many members are made at once; the number of processors where it is 0.
	Jobs        int
	Compression Compression
	// Tar takes the tar too, uncompressed, while it is written; nil is fine. Its error is Write's.
	Tar io.Writer
	// Index is filled with where the contents lie in the blob; nil is fine. There is none for zstd.
	Index *seekable.Index
	// Encoders are for zstd; where it is nil, the layer has some of its own.
	Encoders *Encoders
}

// Result is what is known of a blob once it is written. Its digest is the writer's to know.
type Result struct {
	DiffID string // SHA-256 of the uncompressed tar, in hex
	Size   int64  // bytes written
	Tar    int64  // bytes of the uncompressed tar
}

// Write writes the tree to w. Every directory that an entry needs must be in the tree (fstree.Tree.AddParents). On an
// error, what w has received is worthless.
func Write(ctx context.Context, w io.Writer, t *fstree.Tree, o Options) (Result, error) {
	jobs := o.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	if o.Compression != "" && o.Compression != Gzip && o.Compression != Zstd {
		return Result{}, fmt.Errorf("there is no compression %q", o.Compression)
	}
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan *segment)
	ordered := make(chan *segment, jobs+2) // together with jobs, the bound on memory

	g.Go(func() error {
		defer close(work)
		defer close(ordered)
		p := planner{epoch: o.Epoch, most: runSize, index: o.Index, emit: func(s *segment) error {
			for _, c := range []chan<- *segment{ordered, work} {
				select {
				case c <- s:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		}}
		if o.Compression == Zstd {
			p.most = chunkSize // frames are cut elsewhere, and a run is a chunk on its way there
		}
		return p.plan(t)
	})
	for range jobs {
		g.Go(func() error {
			wk := workers.Get().(*worker)
			defer workers.Put(wk)
			wk.plain = o.Compression == Zstd
			for s := range work {
				wk.work(ctx, s)
			}
			return nil
		})
	}
	if o.Compression == Zstd {
		if o.Index != nil {
			o.Index.Odd()
		}
		encoders := o.Encoders
		if encoders == nil {
			encoders = NewEncoders(jobs)
		}
		f := newFramer(ctx, g, w, encoders)
		g.Go(func() error { return frameSegments(ctx, f, o.Tar, ordered) })
		if err := g.Wait(); err != nil {
			return Result{}, err
		}
		return f.result(), nil
	}
	return writeMembers(ctx, g, w, o, ordered)
}

// both is a writer, and another that may be nil.
func both(w, other io.Writer) io.Writer {
	if other == nil {
		return w
	}
	return io.MultiWriter(w, other)
}

// frameSegments feeds the tar stream to the framer.
func frameSegments(ctx context.Context, f *framer, tar io.Writer, ordered <-chan *segment) (err error) {
	defer func() {
		if cerr := f.close(); err == nil {
			err = cerr
		}
	}()
	to := both(f, tar)
	for s := range ordered {
		if _, err := feedSegment(ctx, to, s); err != nil {
			return err
		}
	}
	return nil
}

// writeMembers writes segments as gzip members, and waits for the group.
func writeMembers(ctx context.Context, g *errgroup.Group, w io.Writer, o Options, ordered <-chan *segment) (Result, error) {
	var res Result
	toHash := make(chan *segment, 2)
	diffID := sha256.New()
	g.Go(func() error {
		to := both(diffID, o.Tar)
		for s := range toHash {
			n, err := feedSegment(ctx, to, s)
			if err != nil {
				return err
			}
			res.Tar += n
		}
		res.DiffID = hex.EncodeToString(diffID.Sum(nil))
		return nil
	})
	g.Go(func() error {
		defer close(toHash)
		at := int64(0) // of the tar
		for s := range ordered {
			if o.Index != nil {
				o.Index.Member(at, res.Size)
			}
			at += s.length()
			select {
			case toHash <- s:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			n, err := writeSegment(ctx, w, s)
			if err != nil {
				return err
			}
			res.Size += n
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return Result{}, err
	}
	if o.Index != nil {
		o.Index.Seal()
	}
	return res, nil
}

// feedSegment feeds the segment's tar bytes to the diffID, and to the frames of zstd.
func feedSegment(ctx context.Context, to io.Writer, s *segment) (n int64, err error) {
	for {
		select {
		case b, ok := <-s.raw:
			if !ok {
				<-s.done
				return n, s.err
			}
			if _, err := to.Write(b); err != nil {
				return n, err
			}
			n += int64(len(b))
			putBuffer(b)
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// writeSegment writes the segment's gzip member. A large spliced one is copied while it is still being checked: an error then
// makes the whole blob worthless, as every error does.
func writeSegment(ctx context.Context, w io.Writer, s *segment) (int64, error) {
	if !s.streamed() {
		select {
		case <-s.done:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		if s.err != nil {
			return 0, s.err
		}
		n, err := w.Write(s.comp)
		putBuffer(s.comp)
		s.comp = nil
		return int64(n), err
	}
	content := s.splice.Content.(fstree.Deflated)
	if _, err := w.Write(gzipHeader); err != nil {
		return 0, err
	}
	r, err := content.OpenDeflated()
	if err != nil {
		return 0, reading(s.splice, err)
	}
	defer r.Close()
	buffer := getBuffer(chunkSize)
	defer putBuffer(buffer)
	n, err := io.CopyBuffer(w, r, buffer)
	if err != nil {
		return 0, fmt.Errorf("copying /%s of %s: %w", s.splice.Path, s.splice.Producer, err)
	}
	if n != content.DeflatedSize() {
		return 0, fmt.Errorf("copying /%s of %s: %d bytes came, and %d are declared", s.splice.Path, s.splice.Producer, n, content.DeflatedSize())
	}
	trailer := appendTrailer(nil, content.CRC32(), content.Size())
	if _, err := w.Write(trailer); err != nil {
		return 0, err
	}
	select {
	case <-s.done:
		return int64(len(gzipHeader)) + n + int64(len(trailer)), s.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// planner cuts the tar stream into segments. Where it cuts depends on the tree alone.
type planner struct {
	epoch int64
	most  int64 // bytes of tar in a run
	emit  func(*segment) error
	index *seekable.Index // nil for none
	sent  int64           // bytes of tar in segments that were emitted
	run   *segment
	room  []byte // for headers to come: its length is 0
}

// zeros fill blocks up, and end the archive.
var zeros [2 * blockSize]byte

// header gives an entry's header blocks.
func (p *planner) header(e fstree.Entry) ([]byte, error) {
	const enough = 16 * blockSize
	if cap(p.room) < enough {
		p.room = make([]byte, 0, 4*enough)
	}
	b, err := appendHeader(p.room, e, p.epoch)
	if err != nil || len(b) > cap(p.room) { // a longer one has memory of its own
		return b, err
	}
	p.room = b[len(b):]
	return b[:len(b):len(b)], nil
}

func (p *planner) plan(t *fstree.Tree) error {
	for e := range t.All() {
		if err := p.check(t, e); err != nil {
			return err
		}
		header, err := p.header(e)
		if err != nil {
			return err
		}
		if err := p.data(header); err != nil {
			return err
		}
		p.note(e)
		if e.Kind != fstree.File {
			continue
		}
		if err := p.content(&e); err != nil {
			return err
		}
		if err := p.data(zeros[:padding(e.Content.Size())]); err != nil {
			return err
		}
	}
	if err := p.data(zeros[:]); err != nil { // the end of the archive
		return err
	}
	return p.flush()
}

// note adds an entry to the index, if there is one, when what comes next is its content.
func (p *planner) note(e fstree.Entry) {
	if p.index == nil {
		return
	}
	at := seekable.Entry{Name: path.Base(e.Path), Mode: e.Mode}
	switch e.Kind {
	case fstree.Dir:
		at.Kind = seekable.Dir
	case fstree.File:
		at.Kind, at.Size, at.At = seekable.File, e.Content.Size(), p.sent+p.pending()
	case fstree.Symlink:
		at.Kind, at.Link = seekable.Symlink, e.Link
	default:
		p.index.Odd()
		return
	}
	p.index.Add(fstree.Parent(e.Path), at)
}

// check refuses what no layer may hold.
func (p *planner) check(t *fstree.Tree, e fstree.Entry) error {
	if e.Kind == fstree.File && e.Content == nil {
		return fmt.Errorf("/%s of %s has no content", e.Path, e.Producer)
	}
	if e.Kind == fstree.Hardlink {
		if target, ok := t.Lookup(e.Link); !ok || target.Kind != fstree.File || e.Link >= e.Path {
			return fmt.Errorf("/%s of %s is a hard link to /%s, which is no file before it in the layer", e.Path, e.Producer, e.Link)
		}
	}
	return nil
}

// content adds a file's bytes: as a splice where it has a DEFLATE stream worth it, else as ranges of runs.
func (p *planner) content(e *fstree.Entry) error {
	if d, ok := e.Content.(fstree.Deflated); ok && d.DeflatedSize() >= spliceMin {
		if err := p.flush(); err != nil {
			return err
		}
		s := newSegment()
		s.splice = e
		p.sent += s.length()
		return p.emit(s)
	}
	size := e.Content.Size()
	if size == 0 {
		return readRange(piece{entry: e, verdict: true}, nil)
	}
	if size > p.most-p.pending() { // of several runs
		if r, err := e.Content.Open(); err != nil {
			return reading(e, err)
		} else if _, ok := r.(io.Seeker); !ok {
			return errors.Join(reading(e, p.sequence(e, r)), r.Close())
		} else if err := r.Close(); err != nil {
			return reading(e, err)
		}
	}
	for off := int64(0); off < size; {
		n := min(size-off, p.most-p.pending())
		if err := p.add(piece{entry: e, off: off, n: n, verdict: off+n == size}, n); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// sequence adds a file's bytes as they come: what cannot seek would have to be read anew from its start for each run that it has a part in,
// and is checked only by who reads all of it.
func (p *planner) sequence(e *fstree.Entry, r io.Reader) error {
	for off, size := int64(0), e.Content.Size(); off < size; {
		b := make([]byte, min(size-off, p.most-p.pending()))
		if n, err := io.ReadFull(r, b); err != nil {
			return cut(off+int64(n), size, err)
		}
		off += int64(len(b))
		if off == size {
			if err := atEnd(r, size); err != nil {
				return err
			}
		}
		if err := p.add(piece{entry: e, data: b}, int64(len(b))); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) data(b []byte) error {
	for len(b) > 0 {
		n := min(int64(len(b)), p.most-p.pending())
		if err := p.add(piece{data: b[:n]}, n); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (p *planner) pending() int64 {
	if p.run == nil {
		return 0
	}
	return p.run.size
}

// add puts a piece into the run, and sends the run on its way when it is full.
func (p *planner) add(pc piece, n int64) error {
	if p.run == nil {
		p.run = newSegment()
	}
	if pc.entry != nil {
		if _, packed := pc.entry.Content.(fstree.Deflated); !packed {
			p.run.fresh += n
		}
	}
	p.run.pieces = append(p.run.pieces, pc)
	p.run.size += n
	if p.run.size == p.most {
		return p.flush()
	}
	return nil
}

func (p *planner) flush() error {
	s := p.run
	if s == nil {
		return nil
	}
	p.run = nil
	p.sent += s.length()
	return p.emit(s)
}
