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
	// What cannot be decompressed is read to its end all the same, where the blob may say that it is another.
	fault := errors.New("the disk is gone")
	for name, content := range map[string][]byte{"gzip": zipped.Bytes(), "zstd": other.Bytes()} {
		for _, end := range []error{nil, fault} {
			bad := bytes.Clone(content)
			copy(bad[20:], bytes.Repeat([]byte{0xff}, 20))
			var rest io.Reader = bytes.NewReader(nil)
			if end != nil {
				rest = iotest.ErrReader(end)
			}
			b := &blob{r: io.MultiReader(bytes.NewReader(bad), rest)}
			r, err := Tar(b, diffID)
			if err != nil {
				t.Fatal(name, err)
			}
			if _, err = io.Copy(io.Discard, r); err == nil || errors.Is(err, fault) != (end != nil) || b.read != len(bad) {
				t.Errorf("%s: %v, and %d of %d bytes were read", name, err, b.read, len(bad))
			}
			if err := r.Close(); err != nil || b.closed != 1 {
				t.Errorf("%s: closed %d times, %v", name, b.closed, err)
			}
		}
	}
	b := &blob{r: iotest.ErrReader(fault)}
	if _, err := Tar(b, diffID); !errors.Is(err, fault) || b.closed != 1 {
		t.Errorf("a blob that cannot be read: %v, closed %d times", err, b.closed)
	}
}
