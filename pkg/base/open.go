package base

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/regclient"
)

// maxManifest bounds manifests, indexes and configs in bytes.
const maxManifest = 8 << 20

// Options says what opening a source may use.
type Options struct {
	Client  *regclient.Client
	Store   *cas.Store // keeps what comes from registries; may be nil
	Offline bool       // no registry is asked; what the store keeps still serves
}

// Opened is a source that was found: an image, or an index of images.
type Opened struct {
	Source    Source
	Digest    v1.Hash // of the index, or of the image's manifest
	MediaType types.MediaType
	Raw       []byte // the index, or the manifest
	// Repository is where a Registry source lies.
	Repository *name.Repository

	blobs     blobSource
	manifests []v1.Descriptor // of an index
}

// blobSource reads blobs, manifests included, by their descriptors. What it yields is not verified yet.
type blobSource interface {
	open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// Open finds a source. No layer is read.
func Open(ctx context.Context, src Source, o Options) (*Opened, error) {
	var opened *Opened
	var err error
	switch src.Kind {
	case Registry:
		opened, err = openRegistry(ctx, src, o)
	case Layout:
		opened, err = openLayout(ctx, src)
	case Packages:
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s means a base made of Debian packages, and an image is wanted", src)), "for the image of that name write library/%s", src)
	default:
		opened, err = openArchive(ctx, src)
	}
	if err != nil {
		return nil, err
	}
	opened.Source = src
	opened.Digest = digestOf(opened.Raw)
	if len(opened.Raw) > maxManifest {
		return nil, errors.Join(fmt.Errorf("opening %s: its manifest has more than %d bytes", src, maxManifest), opened.Close())
	}
	if opened.MediaType.IsIndex() {
		m, err := v1.ParseIndexManifest(bytes.NewReader(opened.Raw))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reading the index of %s: %w", src, err), opened.Close())
		}
		opened.manifests = m.Manifests
	}
	return opened, nil
}

// Close releases an archive's file.
func (o *Opened) Close() error {
	if c, ok := o.blobs.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// IsIndex says whether the source holds an index rather than one image.
func (o *Opened) IsIndex() bool { return o.MediaType.IsIndex() }

// Platforms lists the platforms of an index; nil for a single image.
func (o *Opened) Platforms() []v1.Platform {
	var all []v1.Platform
	for _, d := range o.manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			all = append(all, *d.Platform)
		}
	}
	return all
}

// Manifest is an index's entry for a platform.
type Manifest struct {
	Platform v1.Platform
	Digest   v1.Hash
}

// Manifests lists the entries of an index that are for a platform; nil for a single image.
func (o *Opened) Manifests() []Manifest {
	var all []Manifest
	for _, d := range o.manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			all = append(all, Manifest{*d.Platform, d.Digest})
		}
	}
	return all
}

// Image is a base image for one platform.
type Image struct {
	v1.Image
	Source     Source
	Digest     v1.Hash // of the manifest
	Index      v1.Hash // of the index it was chosen from; zero where there is none
	Platform   v1.Platform
	Repository *name.Repository // where it lies in a registry; nil elsewhere
	Config     []byte           // raw
}

// Image gives the image for a platform. An index is narrowed; a single image must be for the platform, where one is asked
// for: the zero platform takes any.
func (o *Opened) Image(ctx context.Context, want v1.Platform) (*Image, error) {
	if !o.IsIndex() {
		img, err := o.image(ctx, o.Raw, v1.Descriptor{Digest: o.Digest, MediaType: o.MediaType})
		if err == nil && want.Architecture != "" && (img.Platform.OS != want.OS || img.Platform.Architecture != want.Architecture) {
			err = hint.Wrap(hint.Usage(fmt.Errorf("%s is for %s, and %s is wanted", o.Source, img.Platform, want)), "name a base for %s, or build with --platform %s", want, img.Platform)
		}
		if err != nil {
			return nil, err
		}
		return img, nil
	}
	d, err := o.choose(want)
	if err != nil {
		return nil, err
	}
	return o.entry(ctx, d)
}

// Images gives every image of an index, in its order, those for no platform (attestations) among them; of a single image,
// itself.
func (o *Opened) Images(ctx context.Context) ([]*Image, error) {
	if !o.IsIndex() {
		img, err := o.Image(ctx, v1.Platform{})
		return []*Image{img}, err
	}
	var all []*Image
	for _, d := range o.manifests {
		img, err := o.entry(ctx, d)
		if err != nil {
			return nil, err
		}
		if d.Platform != nil {
			img.Platform = *d.Platform
		}
		all = append(all, img)
	}
	return all, nil
}

// entry opens the image that an index's entry leads to.
func (o *Opened) entry(ctx context.Context, d v1.Descriptor) (*Image, error) {
	raw, err := o.read(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s of %s: %w", d.Digest, o.Source, err)
	}
	img, err := o.image(ctx, raw, d)
	if err != nil {
		return nil, err
	}
	img.Index = o.Digest
	return img, nil
}

// image makes an image of its manifest.
func (o *Opened) image(ctx context.Context, raw []byte, d v1.Descriptor) (*Image, error) {
	img := &Image{Source: o.Source, Digest: d.Digest, Repository: o.Repository}
	c := &core{ctx: ctx, blobs: o.blobs, manifest: raw, mediaType: d.MediaType}
	if err := json.Unmarshal(raw, &c.parsed); err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", o.Source, err)
	}
	if d.MediaType == types.DockerManifestSchema1 || d.MediaType == types.DockerManifestSchema1Signed || c.parsed.SchemaVersion == 1 {
		return nil, hint.Wrap(fmt.Errorf("%s has a manifest of schema 1, which no registry has made for years", o.Source), "push it anew with a current client")
	}
	if !d.MediaType.IsImage() {
		return nil, fmt.Errorf("%s leads to a %s, and only images are understood", o.Source, d.MediaType)
	}
	if c.parsed.Config.Digest == (v1.Hash{}) {
		return nil, fmt.Errorf("reading the manifest of %s: it names no config", o.Source)
	}
	var err error
	if c.config, err = o.read(ctx, c.parsed.Config); err != nil {
		return nil, fmt.Errorf("reading the config of %s: %w", o.Source, err)
	}
	img.Config = c.config
	if err := json.Unmarshal(c.config, &img.Platform); err != nil {
		return nil, fmt.Errorf("reading the config of %s: %w", o.Source, err)
	}
	img.Image, err = partial.CompressedToImage(c)
	return img, err
}

// choose finds the manifest for a platform in an index.
func (o *Opened) choose(want v1.Platform) (v1.Descriptor, error) {
	if want.Architecture == "" && len(o.Platforms()) == 1 {
		want = o.Platforms()[0]
	}
	var there []string
	for _, d := range o.manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" {
			continue
		}
		there = append(there, d.Platform.String())
		if d.Platform.OS == want.OS && d.Platform.Architecture == want.Architecture && (want.Variant == "" || variant(*d.Platform) == variant(want)) {
			return d, nil
		}
	}
	slices.Sort(there)
	if want.Architecture == "" && len(there) > 0 {
		return v1.Descriptor{}, hint.Wrap(hint.Usage(fmt.Errorf("%s has images for several platforms", o.Source)), "choose one with --platform: it is there for %s", strings.Join(there, ", "))
	}
	return v1.Descriptor{}, hint.Wrap(hint.Usage(fmt.Errorf("%s has no image for %s", o.Source, want)), "it is there for %s", strings.Join(there, ", "))
}

// variant gives a platform's variant, also where it is left out because there is but one (image-spec image-index.md).
func variant(p v1.Platform) string {
	if p.Variant == "" && p.Architecture == "arm64" {
		return "v8"
	}
	return p.Variant
}

// read reads a small blob whole, and compares it with its descriptor.
func (o *Opened) read(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	return readBlob(ctx, o.blobs, d)
}

func readBlob(ctx context.Context, blobs blobSource, d v1.Descriptor) ([]byte, error) {
	r, err := blobs.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxManifest {
		return nil, fmt.Errorf("blob %s has more than %d bytes", d.Digest, maxManifest)
	}
	if got := digestOf(b); got != d.Digest {
		return nil, fmt.Errorf("blob %s is damaged: it has the digest %s", d.Digest, got)
	}
	return b, nil
}

// core is what ggcr's partial makes an image of.
type core struct {
	ctx       context.Context // of the build that opened the image: v1.Image's methods take none
	blobs     blobSource
	manifest  []byte
	mediaType types.MediaType
	parsed    v1.Manifest
	config    []byte
}

func (c *core) RawManifest() ([]byte, error)        { return c.manifest, nil }
func (c *core) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c *core) MediaType() (types.MediaType, error) { return c.mediaType, nil }
func (c *core) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range append(c.parsed.Layers[:len(c.parsed.Layers):len(c.parsed.Layers)], c.parsed.Config) {
		if d.Digest == h {
			return &coreLayer{c, d}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

type coreLayer struct {
	core *core
	d    v1.Descriptor
}

func (l *coreLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l *coreLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l *coreLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }

// DiffID is what the config says of the layer: to find it out would be to inflate it. Who unpacks the layer compares.
func (l *coreLayer) DiffID() (v1.Hash, error) {
	conf, err := v1.ParseConfigFile(bytes.NewReader(l.core.config))
	if err != nil {
		return v1.Hash{}, err
	}
	list := l.core.parsed.Layers
	if len(conf.RootFS.DiffIDs) != len(list) {
		return v1.Hash{}, fmt.Errorf("the image has %d layers, and its config names %d", len(list), len(conf.RootFS.DiffIDs))
	}
	i := slices.IndexFunc(list, func(d v1.Descriptor) bool { return d.Digest == l.d.Digest })
	if i < 0 {
		return v1.Hash{}, fmt.Errorf("the image has no layer %s", l.d.Digest)
	}
	return conf.RootFS.DiffIDs[i], nil
}

func (l *coreLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.core.blobs.open(l.core.ctx, l.d)
	if err != nil {
		return nil, err
	}
	return cas.Verify(r, "blob "+l.d.Digest.String(), l.d.Digest.Hex, l.d.Size), nil
}

// layoutSource reads the blobs of an OCI layout in a folder.
type layoutSource struct{ dir string }

func (s layoutSource) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 {
		return nil, fmt.Errorf("%s is no digest that jubako reads", d.Digest)
	}
	f, err := os.Open(filepath.Join(s.dir, "blobs", d.Digest.Algorithm, d.Digest.Hex))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the layout %s lacks blob %s", s.dir, d.Digest)
	}
	return f, err
}

func openLayout(ctx context.Context, src Source) (*Opened, error) {
	b, err := os.ReadFile(filepath.Join(src.Path, "index.json"))
	if err != nil {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("opening %s: %w", src, err)), "an OCI layout is a folder with index.json and blobs/")
	}
	return fromIndexJSON(ctx, src, b, layoutSource{src.Path})
}

// refName is the annotation that names an image in a layout (image-spec annotations.md).
const refName = "org.opencontainers.image.ref.name"

// noneOrMany is the error where not one image, but n of those that a layout or an archive holds, match a source.
func noneOrMany(src Source, n int, names []string) error {
	err := hint.Usage(fmt.Errorf("opening %s: %d images in it match", src, n))
	switch {
	case len(names) > 0:
		return hint.Wrap(err, "it holds %s; choose one with :TAG behind the path", strings.Join(names, ", "))
	case n == 0 && src.Tag != "":
		return hint.Wrap(err, "nothing in it has a name: leave :%s out", src.Tag)
	}
	return hint.Wrap(err, "nothing in it has a name to choose by: it has to hold one image")
}

// fromIndexJSON chooses an entry of a layout's index: the one with the tag, else the only one.
func fromIndexJSON(ctx context.Context, src Source, index []byte, blobs blobSource) (*Opened, error) {
	if len(index) > maxManifest {
		return nil, fmt.Errorf("opening %s: its index.json has more than %d bytes", src, maxManifest)
	}
	m, err := v1.ParseIndexManifest(bytes.NewReader(index))
	if err != nil {
		return nil, fmt.Errorf("opening %s: reading index.json: %w", src, err)
	}
	var found []v1.Descriptor
	var names []string
	for _, d := range m.Manifests {
		n := d.Annotations[refName]
		if n != "" {
			names = append(names, n)
		}
		if src.Tag == "" || n == src.Tag || d.Annotations["io.containerd.image.name"] == src.Tag {
			if !slices.ContainsFunc(found, func(f v1.Descriptor) bool { return f.Digest == d.Digest }) {
				found = append(found, d)
			}
		}
	}
	if len(found) != 1 {
		return nil, noneOrMany(src, len(found), names)
	}
	raw, err := readBlob(ctx, blobs, found[0])
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", src, err)
	}
	return &Opened{Raw: raw, MediaType: found[0].MediaType, blobs: blobs}, nil
}
