package step

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// normalise takes out of a file what differs between two runs that collect the same: the time in the header of a gzip
// file (RFC 1952, §2.3.1, MTIME), which compressing storages leave there.
func normalise(p string, c fstree.Content) (fstree.Content, error) {
	if !strings.HasSuffix(p, ".gz") || c.Size() < gzipHeader {
		return c, nil
	}
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	head := make([]byte, gzipHeader)
	_, err = io.ReadFull(r, head)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("reading /%s: %w", p, err)
	}
	const hasHeaderCRC = 0x02 // FHCRC: the header has a checksum, which a changed time would belie
	if !bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}) || head[3]&hasHeaderCRC != 0 || bytes.Equal(head[4:8], make([]byte, 4)) {
		return c, nil
	}
	return timeless{c}, nil
}

const gzipHeader = 10 // bytes, without the optional fields

// timeless is a gzip file whose MTIME reads as 0, "no time stamp is available".
type timeless struct{ fstree.Content }

// Open yields the file with the four bytes at offset 4 zeroed. The length stays, and so does all that follows.
func (t timeless) Open() (io.ReadCloser, error) {
	r, err := t.Content.Open()
	if err != nil {
		return nil, err
	}
	head := make([]byte, gzipHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	clear(head[4:8])
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), r), r}, nil
}
