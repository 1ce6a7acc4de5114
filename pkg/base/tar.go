package base

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/decompress"
)

// DiffIDError says that a layer's tar is not the one that the image's config means (OCI image-spec config.md, "rootfs").
type DiffIDError struct {
	Layer, Got, Want v1.Hash
}

func (e *DiffIDError) Error() string {
	return fmt.Sprintf("layer %s has the diffID %s, and the config says %s", e.Layer, e.Got, e.Want)
}

// Tar gives a layer's tar, whatever it is compressed with. At its end, where also the blob's digest is compared, a reader learns by
// a DiffIDError that it is another than the config says.
func Tar(l v1.Layer) (io.ReadCloser, error) {
	want, err := l.DiffID()
	if err != nil {
		return nil, err
	}
	blob, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	plain, err := decompress.NewReader(blob)
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	t := &layerTar{layer: l, blob: blob, plain: plain, hash: sha256.New(), want: want}
	t.ahead = decompress.Ahead(readerFunc(t.hashed))
	return t, nil
}

type layerTar struct {
	layer v1.Layer
	blob  io.ReadCloser
	plain io.ReadCloser // of blob
	ahead io.ReadCloser // of hashed
	hash  hash.Hash
	want  v1.Hash
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// hashed reads the tar, and compares its digest at the end.
func (t *layerTar) hashed(p []byte) (int, error) {
	n, err := t.plain.Read(p)
	t.hash.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	// What compressed the tar may have left something behind it.
	if _, err := io.Copy(io.Discard, t.blob); err != nil {
		return n, err
	}
	if got := (v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(t.hash.Sum(nil))}); got != t.want {
		digest, _ := t.layer.Digest()
		return n, &DiffIDError{Layer: digest, Got: got, Want: t.want}
	}
	return n, io.EOF
}

func (t *layerTar) Read(p []byte) (int, error) { return t.ahead.Read(p) }

func (t *layerTar) Close() error {
	return errors.Join(t.ahead.Close(), t.plain.Close(), t.blob.Close())
}
