package decompress

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// DiffIDError says that a layer's tar is another than the one that is meant (OCI image-spec config.md, "rootfs"). Both are
// SHA-256 in hex.
type DiffIDError struct{ Got, Want string }

func (e *DiffIDError) Error() string {
	return fmt.Sprintf("its tar has the diffID sha256:%s, and it should be sha256:%s", e.Got, e.Want)
}

// Tar reads a layer's tar out of its blob, whatever that is compressed with (NewReader), ahead of whoever reads it (Ahead).
// At its end, where the blob was read to its own end too, it gives a DiffIDError if the tar is another than diffID says: 64 lower-case
// hex digits. To close it closes the blob.
func Tar(blob io.ReadCloser, diffID string) (io.ReadCloser, error) {
	plain, err := NewReader(blob)
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	t := &layerTar{blob: blob, plain: plain, hash: sha256.New(), want: diffID}
	t.ahead = Ahead(readerFunc(t.hashed))
	return t, nil
}

type layerTar struct {
	blob  io.ReadCloser
	plain io.ReadCloser // of blob
	ahead io.ReadCloser // of hashed
	hash  hash.Hash
	want  string
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// hashed reads the tar, and compares its digest at the end.
func (t *layerTar) hashed(p []byte) (int, error) {
	n, err := t.plain.Read(p)
	t.hash.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if err != io.EOF { // where the blob is not what its digest says, it is the blob that says so, at its end
		_, end := io.Copy(io.Discard, t.blob)
		return n, cmp.Or(end, err)
	}
	// What compressed the tar may have left something behind it.
	if _, err := io.Copy(io.Discard, t.blob); err != nil {
		return n, err
	}
	if got := hex.EncodeToString(t.hash.Sum(nil)); got != t.want {
		return n, &DiffIDError{Got: got, Want: t.want}
	}
	return n, io.EOF
}

func (t *layerTar) Read(p []byte) (int, error) { return t.ahead.Read(p) }

func (t *layerTar) Close() error {
	return errors.Join(t.ahead.Close(), t.plain.Close(), t.blob.Close())
}
