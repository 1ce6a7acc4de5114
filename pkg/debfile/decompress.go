package debfile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds, in bytes, the memory that a compressed member may ask for. xz -9 takes 64 MiB.
const maxWindow = 128 << 20

// decompress finds the compression by the member's name (deb(5)), and bounds what comes out.
func decompress(ctx context.Context, m member, l Limits) (io.ReadCloser, error) {
	most := min(l.Bytes, l.base()+l.Ratio*m.size)
	var r io.ReadCloser
	var err error
	in := bufio.NewReaderSize(m, 64<<10)
	switch ext := m.name[strings.LastIndex(m.name, ".tar")+len(".tar"):]; ext {
	case "":
		r = io.NopCloser(in)
	case ".gz":
		r, err = gzip.NewReader(in)
	case ".xz":
		r, err = newXZ(in)
	case ".zst":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			r = d.IOReadCloser()
		}
	default:
		return nil, fmt.Errorf("the compression %q of %s is not known", ext, m.name)
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", m.name, whole(err))
	}
	return &bounded{ctx: ctx, ReadCloser: r, name: m.name, left: most, most: most}, nil
}

// newXZ looks at the first block's dictionary before the decoder makes room for it (xz file format 1.0.4, section 3.1).
func newXZ(in *bufio.Reader) (io.ReadCloser, error) {
	const streamHeader = 12
	b, err := in.Peek(streamHeader + 2)
	if err != nil {
		return nil, err
	}
	if size := (int(b[streamHeader]) + 1) * 4; b[streamHeader] != 0 {
		if b, err = in.Peek(streamHeader + size); err != nil {
			return nil, err
		}
		if dict := dictionary(b[streamHeader:]); dict > maxWindow {
			return nil, fmt.Errorf("it asks for a dictionary of %d MiB, and at most %d are given", dict>>20, maxWindow>>20)
		}
	}
	r, err := xz.NewReader(in)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

// dictionary reads the LZMA2 dictionary's size out of a block header; 0 where the header is not understood, which the
// decoder then says.
func dictionary(b []byte) int64 {
	const lzma2, hasPacked, hasPlain = 0x21, 0x40, 0x80
	flags, at := b[1], 2
	for _, f := range []byte{hasPacked, hasPlain} {
		if flags&f == 0 {
			continue
		}
		for at < len(b) && b[at]&0x80 != 0 {
			at++
		}
		at++
	}
	if at+3 > len(b) || flags&3 != 0 || b[at] != lzma2 || b[at+1] != 1 {
		return 0
	}
	bits := int64(b[at+2])
	if bits >= 40 {
		return 1 << 32
	}
	return (2 | bits&1) << (bits/2 + 11)
}

// bounded ends with an error when more comes out than any package should hold, or nobody waits any more.
type bounded struct {
	io.ReadCloser
	ctx        context.Context
	name       string
	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%s unpacks to more than %d bytes, which is more than any package should hold", b.name, b.most)
	}
	return n, err
}
