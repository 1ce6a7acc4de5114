package base

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// blobLayer is a layer of these bytes; it knows when its blob was read to the end, and when it was closed.
type blobLayer struct {
	v1.Layer
	blob   []byte
	diffID v1.Hash
	read   int
	closed int
}

func (l *blobLayer) Digest() (v1.Hash, error)            { return digestOf(l.blob), nil }
func (l *blobLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *blobLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l *blobLayer) Close() error                        { l.closed++; return nil }

func (l *blobLayer) Compressed() (io.ReadCloser, error) {
	r := bytes.NewReader(l.blob)
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		l.read += n
		return n, err
	}), l}, nil
}

func TestTar(t *testing.T) {
	plain := bytes.Repeat([]byte("a layer's tar, as far as Tar is concerned"), 30_000)
	var zipped, other bytes.Buffer
	z := gzip.NewWriter(&zipped)
	e, err := zstd.NewWriter(&other)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{z, e} {
		_, err := w.Write(plain)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for name, blob := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes(), "zstd": other.Bytes()} {
		l := &blobLayer{blob: blob, diffID: digestOf(plain)}
		r, err := Tar(l)
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain) || l.read != len(blob) {
			t.Errorf("%s: %d bytes of %d, of which %d of %d were read: %v", name, len(got), len(plain), l.read, len(blob), err)
		}
		if err := r.Close(); err != nil || l.closed != 1 {
			t.Errorf("%s: closed %d times, %v", name, l.closed, err)
		}
		l.diffID = digestOf(blob[1:])
		if r, err = Tar(l); err != nil {
			t.Fatal(name, err)
		}
		var wrong *DiffIDError
		if _, err := io.ReadAll(r); !errors.As(err, &wrong) || wrong.Got != digestOf(plain) || wrong.Want != l.diffID || wrong.Layer != digestOf(blob) {
			t.Errorf("%s, of another diffID: %v", name, err)
		}
		// Who does not read to the end is none the wiser, and leaves nothing open.
		if err := r.Close(); err != nil || l.closed != 2 {
			t.Errorf("%s: closed %d times, %v", name, l.closed, err)
		}
	}
}
