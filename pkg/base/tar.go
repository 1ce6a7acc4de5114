package base

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/decompress"
	"github.com/jubako/jubako/pkg/patience"
)

// ReadTar has a layer's tar read, whatever it is compressed with, and then reads the rest of it. One that is not what its descriptor or the
// config says (decompress.DiffIDError) is reported as such, whatever read made of it before that was known.
func ReadTar(ctx context.Context, l v1.Layer, read func(tar io.Reader) error) error {
	diffID, err := l.DiffID()
	if err != nil {
		return err
	}
	blob, err := l.Compressed()
	if err != nil {
		return err
	}
	tar, err := decompress.Tar(blob, diffID.Hex)
	if err != nil {
		return err
	}
	r := patience.Reader(ctx, tar)
	err = read(r)
	if _, damage := io.Copy(io.Discard, r); damage != nil {
		err = damage
	}
	return errors.Join(err, tar.Close())
}
