package assemble

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/decompress"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// The places that a compression is chosen for, as --compression and -o call them.
const (
	toPush          = "push"
	toDockerArchive = "docker-archive"
)

// Compression is how layers are compressed: with one for all places, and others for some of them.
type Compression struct {
	All   tarlayer.Compression            // gzip where it is ""
	Place map[string]tarlayer.Compression // by "push", "oci", "oci-archive", "docker-archive"
}

// For gives the compression for a place. What docker save and docker load exchange stays gzip, unless it is asked for by name.
func (c Compression) For(place string) tarlayer.Compression {
	if own := c.Place[place]; own != "" {
		return own
	}
	if place == toDockerArchive {
		return tarlayer.Gzip
	}
	return cmp.Or(c.All, tarlayer.Gzip)
}

// check refuses what has no media type. Docker's schema 2 has one for gzip alone, and a docker-archive none at all.
func (c Compression) check(format output.Format) error {
	if c.Place[toDockerArchive] == tarlayer.Zstd {
		return hint.Wrap(hint.Usage(errors.New("a docker-archive does not say how its layers are compressed, and not every docker load takes zstd")),
			"leave docker-archive at gzip, or write an oci-archive with zstd")
	}
	if format != output.Docker {
		return nil
	}
	for _, place := range []string{"", toPush, "oci", "oci-archive"} {
		if c.For(place) == tarlayer.Zstd {
			return hint.Wrap(hint.Usage(errors.New("an image of format docker has no media type for layers compressed with zstd")), "use --format oci, or --compression gzip")
		}
	}
	return nil
}

// mainForm is the compression of the image whose digest is the result's: that which is pushed, else the first output's.
func (s Spec) mainForm() tarlayer.Compression {
	switch {
	case s.Push:
		return s.Compression.For(toPush)
	case len(s.Outputs) > 0:
		return s.Compression.For(s.Outputs[0].Kind)
	}
	return s.Compression.For("")
}

// forms are the compressions that the image is wanted in. Gzip comes first: zstd can be made of it, and not the other way
// round.
func (s Spec) forms() []tarlayer.Compression {
	all := []tarlayer.Compression{s.mainForm()}
	for _, o := range s.Outputs {
		if c := s.Compression.For(o.Kind); !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	slices.Sort(all)
	return all
}

// blobKey is the key of a layer's blob: that of its tar for gzip, of which there is one since format 1, and one of its own
// for zstd.
func blobKey(key layers.Key, c tarlayer.Compression) layers.Key {
	if c != tarlayer.Zstd {
		return key
	}
	return layers.KeyOf(string(tarlayer.Zstd), key)
}

// mediaType is the blob's (OCI image-spec layer.md).
func (m madeLayer) mediaType() types.MediaType {
	if m.compression == tarlayer.Zstd {
		return types.OCILayerZStd
	}
	return types.OCILayer
}

// reform gives layers in another form.
func (m *maker) reform(ctx context.Context, all []madeLayer, c tarlayer.Compression) ([]madeLayer, error) {
	out := make([]madeLayer, len(all))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(atOnce, m.jobs))
	for i, l := range all {
		g.Go(func() (err error) {
			out[i], err = m.reformed(ctx, l, c)
			return err
		})
	}
	return out, g.Wait()
}

// reformed finds a layer in another form, or makes that of the one which is there.
func (m *maker) reformed(ctx context.Context, l madeLayer, c tarlayer.Compression) (madeLayer, error) {
	out := l
	out.compression, out.state, out.from, out.took = c, Reused, nil, 0
	if d, ok := m.cached(blobKey(l.key, c)); ok {
		out.descriptor = d
		return out, nil
	}
	if r, ok := m.remote.lookUp(blobKey(l.key, c)); ok && !m.noCache {
		out.descriptor, out.from = r.descriptor, &r
		out.Summary = l.Summary
		return out, nil
	}
	open := func() (io.ReadCloser, error) { return m.store.Reader(l.Digest, l.Size) }
	if l.from != nil {
		open = func() (io.ReadCloser, error) { return l.from.open(ctx) }
	}
	start := m.now()
	d, err := m.recompress(ctx, l.descriptor, open)
	if err != nil {
		return out, fmt.Errorf("compressing the %s layer with %s: %w", l.name, c, err)
	}
	out.descriptor, out.state, out.took = d, Made, m.now().Sub(start)
	return out, m.remember(blobKey(l.key, c), d)
}

// recompress writes the tar of a gzip blob with zstd, into the cache.
func (m *maker) recompress(ctx context.Context, d descriptor, open func() (io.ReadCloser, error)) (_ descriptor, err error) {
	r, err := open()
	if err != nil {
		return d, err
	}
	tar, err := decompress.Tar(r, d.DiffID)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, tar.Close()) }()
	w, err := m.store.NewWriter()
	if err != nil {
		return d, err
	}
	defer w.Abort()
	res, err := tarlayer.WriteTar(ctx, w, tar, m.options(tarlayer.Zstd))
	if err != nil {
		return d, err
	}
	d.Digest, err = w.Commit("")
	d.Size = res.Size
	return d, err
}

// fromGzip makes a layer's zstd blob of the gzip blob that this machine has. What is damaged is discarded, and the layer is
// then made of its files.
func (m *maker) fromGzip(ctx context.Context, key layers.Key) (descriptor, bool) {
	d, ok := m.cached(key)
	if !ok || m.compression != tarlayer.Zstd || m.dry {
		return d, false
	}
	made, err := m.recompress(ctx, d, func() (io.ReadCloser, error) { return m.store.Open(d.Digest) })
	if err != nil {
		if ctx.Err() == nil {
			m.store.Discard(d.Digest)
		}
		return d, false
	}
	return made, true
}

// remember notes in the cache which blob a key leads to.
func (m *maker) remember(key layers.Key, d descriptor) error {
	record, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return m.store.PutRecord(layerRecords, string(key), record)
}

// artifacts are the image, or the index of several, in every form that a place wants.
type artifacts map[tarlayer.Compression]output.Artifact

// combine makes artifacts of the images of all platforms.
func (b *builder) combine(images map[tarlayer.Compression][]output.Image) (artifacts, error) {
	all := make(artifacts)
	for form, list := range images {
		if len(list) == 1 {
			all[form] = output.Single(list[0])
			continue
		}
		a, err := output.Several(list, b.spec.Format)
		if err != nil {
			return nil, err
		}
		all[form] = a
	}
	return all, nil
}

// outputDigests are the digests of what the outputs hold.
func (b *builder) outputDigests(all artifacts) (digests []v1.Hash) {
	for _, o := range b.spec.Outputs {
		digests = append(digests, all[b.spec.Compression.For(o.Kind)].Digest)
	}
	return digests
}
