package debfile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds, in bytes, the memory that a compressed member may ask for. xz -9 takes 64 MiB.
const maxWindow = 128 << 20

// decompress finds the compression by the member's name (deb(5)), and bounds what comes out.
func (u *unpacker) decompress(m member, l Limits) (io.ReadCloser, error) {
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
		u.tools.unxz.Reset(m, maxWindow)
		r = io.NopCloser(&u.tools.unxz)
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
	return &bounded{ctx: u.ctx, ReadCloser: r, name: m.name, left: most, most: most}, nil
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
