package wheel

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/inflate"
)

// maxZstdWindow bounds the memory in bytes that a zstd entry may ask for.
const maxZstdWindow = 32 << 20

// content gives the entry's bytes in the form that fits its method; nil for a directory.
func (e *entry) content() fstree.Content {
	switch {
	case e.dir:
		return nil
	case e.method == methodDeflated:
		return deflated{e}
	case e.method == methodZstd:
		return zstandard{e}
	}
	return stored{e}
}

// raw reads the entry's bytes as they stand in the archive.
func (e *entry) raw() *io.SectionReader { return io.NewSectionReader(e.archive.r, e.data, e.packed) }

// verdict checks, at the end of the content, that it was what the directory declares.
func (e *entry) verdict(n int64, crc uint32) error {
	switch {
	case n != e.size:
		return e.archive.named(e.fault(fmt.Errorf("it has %d bytes, and %d are declared", n, e.size)))
	case crc != e.crc:
		return e.archive.named(e.fault(fmt.Errorf("its CRC-32 is %08x, and %08x is declared", crc, e.crc)))
	}
	return nil
}

// stored is the content of an entry that is not compressed.
type stored struct{ *entry }

// Size is the number of bytes.
func (s stored) Size() int64 { return s.size }

// Open yields the bytes, and checks their CRC-32 at the end. The reader is no io.Seeker: who left out a part could not check.
func (s stored) Open() (io.ReadCloser, error) { return &storedReader{entry: s.entry, r: s.raw()}, nil }

type storedReader struct {
	entry *entry
	r     *io.SectionReader
	n     int64
	crc   uint32
}

func (r *storedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	r.crc = crc32.Update(r.crc, crc32.IEEETable, p[:n])
	if errors.Is(err, io.EOF) {
		err = cmp.Or(r.entry.verdict(r.n, r.crc), err)
	}
	return n, err
}

func (r *storedReader) Close() error { return nil }

// deflated is the content of a deflated entry; it can be had as the stream that it is stored as.
type deflated struct{ *entry }

// Size is the number of bytes.
func (d deflated) Size() int64 { return d.size }

// DeflatedSize is the length of the raw stream in bytes.
func (d deflated) DeflatedSize() int64 { return d.packed }

// CRC32 is the checksum of the inflated bytes that the archive declares.
func (d deflated) CRC32() uint32 { return d.crc }

// OpenDeflated yields the raw stream.
func (d deflated) OpenDeflated() (io.ReadCloser, error) { return io.NopCloser(d.raw()), nil }

// Open yields the inflated bytes, and checks at their end that the stream ends there too, with the declared size and
// CRC-32.
func (d deflated) Open() (io.ReadCloser, error) {
	return &inflatedReader{entry: d.entry, inflater: inflate.Get(d.raw())}, nil
}

type inflatedReader struct {
	entry    *entry
	inflater *inflate.Reader // nil once closed
	n        int64
	crc      uint32
	err      error
}

func (r *inflatedReader) Read(p []byte) (int, error) {
	if r.err != nil || r.inflater == nil {
		if r.err == nil {
			r.err = errors.New("reading from a closed entry")
		}
		return 0, r.err
	}
	n, err := r.inflater.Read(p)
	r.n += int64(n)
	r.crc = crc32.Update(r.crc, crc32.IEEETable, p[:n])
	switch {
	case r.n > r.entry.size:
		err = r.entry.archive.named(r.entry.fault(fmt.Errorf("it inflates to more than the %d bytes declared", r.entry.size)))
	case errors.Is(err, io.EOF):
		err = r.end()
	case err != nil:
		err = r.entry.archive.named(r.entry.fault(fmt.Errorf("inflating, at byte %d: %w", r.n, err)))
	}
	r.err = err
	return n, err
}

// end gives io.EOF where everything is as declared.
func (r *inflatedReader) end() error {
	if r.inflater.Consumed() != r.entry.packed {
		return r.entry.archive.named(r.entry.fault(errors.New("bytes follow its compressed stream")))
	}
	if err := r.entry.verdict(r.n, r.crc); err != nil {
		return err
	}
	return io.EOF
}

func (r *inflatedReader) Close() error {
	if r.inflater != nil {
		inflate.Put(r.inflater)
		r.inflater = nil
	}
	return nil
}

// zstandard is the content of an entry compressed with zstd (RFC 8878).
type zstandard struct{ *entry }

// Size is the number of bytes.
func (z zstandard) Size() int64 { return z.size }

// Open yields the bytes, and checks their number and CRC-32 at the end.
func (z zstandard) Open() (io.ReadCloser, error) {
	d, err := zstd.NewReader(z.raw(), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return nil, z.archive.named(z.fault(err))
	}
	return &zstdReader{entry: z.entry, d: d}, nil
}

type zstdReader struct {
	entry *entry
	d     *zstd.Decoder
	n     int64
	crc   uint32
}

func (r *zstdReader) Read(p []byte) (int, error) {
	n, err := r.d.Read(p)
	r.n += int64(n)
	r.crc = crc32.Update(r.crc, crc32.IEEETable, p[:n])
	switch {
	case r.n > r.entry.size:
		err = r.entry.archive.named(r.entry.fault(fmt.Errorf("it inflates to more than the %d bytes declared", r.entry.size)))
	case errors.Is(err, io.EOF):
		if v := r.entry.verdict(r.n, r.crc); v != nil {
			err = v
		}
	case err != nil:
		err = r.entry.archive.named(r.entry.fault(fmt.Errorf("inflating, at byte %d: %w", r.n, err)))
	}
	return n, err
}

func (r *zstdReader) Close() error {
	r.d.Close()
	return nil
}
