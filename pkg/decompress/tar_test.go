package decompress

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// blob knows how much of it was read, and how often it was closed.
type blob struct {
	r      io.Reader
	read   int
	closed int
}

func (b *blob) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.read += n
	return n, err
}

func (b *blob) Close() error { b.closed++; return nil }

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
	sum := sha256.Sum256(plain)
	diffID, another := hex.EncodeToString(sum[:]), hex.EncodeToString(make([]byte, 32))
	for name, content := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes(), "zstd": other.Bytes()} {
		for _, want := range []string{diffID, another} {
			b := &blob{r: bytes.NewReader(content)}
			r, err := Tar(b, want)
			if err != nil {
				t.Fatal(name, err)
			}
			got, err := io.ReadAll(r)
			if !bytes.Equal(got, plain) || b.read != len(content) {
				t.Errorf("%s: %d bytes of %d, of which %d of %d were read", name, len(got), len(plain), b.read, len(content))
			}
			if wrong, ok := errors.AsType[*DiffIDError](err); want == diffID && err != nil ||
				want != diffID && (!ok || *wrong != DiffIDError{Got: diffID, Want: another}) {
				t.Errorf("%s, where %s is wanted: %v", name, want, err)
			}
			if err := r.Close(); err != nil || b.closed != 1 {
				t.Errorf("%s: closed %d times, %v", name, b.closed, err)
			}
		}
		// Who does not read to the end is none the wiser, and leaves nothing open.
		b := &blob{r: bytes.NewReader(content)}
		r, err := Tar(b, another)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.Close(); err != nil || b.closed != 1 {
			t.Errorf("%s: closed %d times, %v", name, b.closed, err)
		}
	}
	fault := errors.New("the disk is gone")
	b := &blob{r: iotest.ErrReader(fault)}
	if _, err := Tar(b, diffID); !errors.Is(err, fault) || b.closed != 1 {
		t.Errorf("a blob that cannot be read: %v, closed %d times", err, b.closed)
	}
}
