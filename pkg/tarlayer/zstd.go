package tarlayer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/patience"
)

// The constants since format 3 for zstd. To change one is to change every digest. A frame's window is its size, well below
// the 8 MiB that every decoder has to take (RFC 8878, section 3.1.1.1.2).
const (
	frameSize = 1 << 20 // bytes of tar in a frame; the last has what is left
	zstdLevel = zstd.SpeedBetterCompression
)

// maxEncoders bounds the encoders that work at once, each with some 6 MiB: beyond that, hashing is the slower part.
const maxEncoders = 8

// Encoders is a number of zstd encoders, with the buffers of their frames. Layers that are written side by side share one,
// which bounds their memory.
type Encoders struct {
	free    chan *zstd.Encoder // nil for one that has not been made yet
	raw     chan []byte        // spent buffers of frameSize
	written chan []byte        // spent frames
}

// buffer takes a buffer that was given back, or makes one.
func buffer(spent chan []byte, size int) []byte {
	select {
	case b := <-spent:
		return b[:0]
	default:
		return make([]byte, 0, size)
	}
}

func giveBack(spent chan []byte, b []byte) {
	select {
	case spent <- b:
	default:
	}
}

// NewEncoders gives at most jobs encoders; as many as there are processors where it is 0.
func NewEncoders(jobs int) *Encoders {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	n := min(jobs, maxEncoders)
	e := &Encoders{free: make(chan *zstd.Encoder, n), raw: make(chan []byte, 2*n), written: make(chan []byte, 2*n)}
	for range cap(e.free) {
		e.free <- nil
	}
	return e
}

// compress gives the bytes as one frame.
func (e *Encoders) compress(ctx context.Context, raw []byte) (frame []byte, err error) {
	var enc *zstd.Encoder
	select {
	case enc = <-e.free:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { e.free <- enc }()
	if enc == nil {
		enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstdLevel), zstd.WithWindowSize(frameSize),
			zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true))
		if err != nil {
			return nil, err
		}
	}
	return enc.EncodeAll(raw, buffer(e.written, frameSize/2)), nil
}

// frame is a zstd frame in the making.
type frame struct {
	raw  []byte
	comp []byte        // valid once done is closed without error
	done chan struct{} // closed when comp is there
	err  error         // valid once done is closed
}

// framer takes the tar stream, hashes it, and cuts it into frames. Where it cuts depends on the stream alone.
type framer struct {
	ctx      context.Context // of the writing that it is a part of: io.Writer takes none
	group    *errgroup.Group
	encoders *Encoders
	diffID   hash.Hash
	tar      int64
	raw      []byte
	ordered  chan *frame // its capacity bounds the memory
	written  int64       // valid when the group is done
}

// newFramer starts the part that writes the finished frames to w.
func newFramer(ctx context.Context, g *errgroup.Group, w io.Writer, e *Encoders) *framer {
	if e == nil {
		e = NewEncoders(0)
	}
	f := &framer{ctx: ctx, group: g, encoders: e, diffID: sha256.New(), ordered: make(chan *frame, cap(e.free))}
	g.Go(func() error {
		for fr := range f.ordered {
			select {
			case <-fr.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if fr.err != nil {
				return fr.err
			}
			n, err := w.Write(fr.comp)
			if err != nil {
				return err
			}
			f.written += int64(n)
			giveBack(e.raw, fr.raw)
			giveBack(e.written, fr.comp)
		}
		return nil
	})
	return f
}

func (f *framer) Write(p []byte) (int, error) {
	f.diffID.Write(p)
	f.tar += int64(len(p))
	for rest := p; len(rest) > 0; {
		if f.raw == nil {
			f.raw = buffer(f.encoders.raw, frameSize)
		}
		n := min(len(rest), frameSize-len(f.raw))
		f.raw = append(f.raw, rest[:n]...)
		rest = rest[n:]
		if len(f.raw) == frameSize {
			if err := f.cut(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// cut sends what has been gathered on its way.
func (f *framer) cut() error {
	fr := &frame{raw: f.raw, done: make(chan struct{})}
	f.raw = nil
	select {
	case f.ordered <- fr:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	f.group.Go(func() error {
		defer close(fr.done)
		fr.comp, fr.err = f.encoders.compress(f.ctx, fr.raw)
		return fr.err
	})
	return nil
}

// close ends the stream. It is called once, whatever has gone before; written is true once the group is done.
func (f *framer) close() error {
	defer close(f.ordered)
	if len(f.raw) == 0 {
		return nil
	}
	return f.cut()
}

func (f *framer) result() Result {
	return Result{DiffID: hex.EncodeToString(f.diffID.Sum(nil)), Size: f.written, Tar: f.tar}
}

// WriteTar writes a tar stream that Write has made, out of a blob that was compressed otherwise: the bytes are those that
// Write gives for the tree. It is for zstd alone, since the members of gzip depend on the tree's contents as well.
func WriteTar(ctx context.Context, w io.Writer, tar io.Reader, o Options) (Result, error) {
	if o.Compression != Zstd {
		return Result{}, fmt.Errorf("a tar stream cannot be compressed with %s so that its bytes are the tree's", o.Compression.name())
	}
	g, ctx := errgroup.WithContext(ctx)
	f := newFramer(ctx, g, w, o.Encoders)
	g.Go(func() (err error) {
		defer func() {
			if cerr := f.close(); err == nil {
				err = cerr
			}
		}()
		_, err = io.CopyBuffer(f, patience.Reader(ctx, tar), make([]byte, chunkSize))
		return err
	})
	if err := g.Wait(); err != nil {
		return Result{}, err
	}
	return f.result(), nil
}
