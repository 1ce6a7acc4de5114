package debfile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/inflate"
	"github.com/jubako/jubako/pkg/ldcache"
)

// Content gives what a file of the package holds.
func (p *Package) Content(e Entry) fstree.Content {
	c := content{pkg: p, e: e}
	if e.Deflated {
		return deflated{c}
	}
	return c
}

// content is a file that is kept plain.
type content struct {
	pkg *Package
	e   Entry
}

func (c content) raw() *io.SectionReader {
	return io.NewSectionReader(c.pkg.blob, c.e.Offset, c.e.Packed)
}

// Size is the number of bytes.
func (c content) Size() int64 { return c.e.Size }

// Library is what ldconfig would take the file for; nil for none.
func (c content) Library() *ldcache.Library { return c.e.Library }

// Open yields the bytes, and compares their CRC-32 at the end.
func (c content) Open() (io.ReadCloser, error) { return &checked{e: c.e, r: c.raw()}, nil }

// deflated is a file that is kept as a DEFLATE stream, which goes into a layer as it is.
type deflated struct{ content }

// DeflatedSize is the length of the stream in bytes.
func (d deflated) DeflatedSize() int64 { return d.e.Packed }

// CRC32 is the checksum of the inflated bytes.
func (d deflated) CRC32() uint32 { return d.e.CRC }

// OpenDeflated yields the stream.
func (d deflated) OpenDeflated() (io.ReadCloser, error) { return io.NopCloser(d.raw()), nil }

// Open yields the inflated bytes, and compares their CRC-32 at the end.
func (d deflated) Open() (io.ReadCloser, error) {
	z := inflate.Get(d.raw())
	return &checked{e: d.e, r: z, inflater: z}, nil
}

// checked finds a damaged cache.
type checked struct {
	e   Entry
	r   io.Reader
	n   int64
	crc uint32

	inflater *inflate.Reader // nil for a plain file, and once closed
}

func (c *checked) Read(p []byte) (int, error) {
	if c.r == nil {
		return 0, errors.New("reading from a closed file")
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.crc = crc32.Update(c.crc, crc32.IEEETable, p[:n])
	if errors.Is(err, io.EOF) && (c.n != c.e.Size || c.crc != c.e.CRC) {
		err = fmt.Errorf("the cache's copy of %s is damaged", c.e.Name)
	}
	return n, err
}

func (c *checked) Close() error {
	if c.inflater != nil {
		inflate.Put(c.inflater)
		c.r, c.inflater = nil, nil
	}
	return nil
}
