package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/cas"
)

// Made gives a base that was made on this machine, as if it had been opened: raw is its index or manifest, and the store
// holds every blob that it names.
func Made(src Source, store *cas.Store, raw []byte, mediaType types.MediaType) (*Opened, error) {
	o := &Opened{Source: src, Raw: raw, MediaType: mediaType, Digest: digestOf(raw), blobs: storeSource{store}}
	if mediaType.IsIndex() {
		m, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("reading the index of %s: %w", src, err)
		}
		o.manifests = m.Manifests
	}
	return o, nil
}

// storeSource reads blobs out of the store.
type storeSource struct{ store *cas.Store }

func (s storeSource) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := s.store.Open(d.Digest.Hex)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, fmt.Errorf("blob %s of the base that was made has left the cache: %w", d.Digest, err)
	}
	return f, err
}
