// Package output brings finished images to where they are wanted: a registry, an OCI layout, an OCI archive, a
// docker-archive.
//
// An image here is bytes and descriptors: the manifest and config as they will be hashed, and blobs that can be opened.
// Nothing is compressed, decompressed or typed on the way, so that what arrives has the digests that were promised. It may
// import pkg/regclient, pkg/cas and what lies below.
package output

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
)

// KeyAnnotation carries a layer's key on its descriptor, so that a later build can find the layer by it.
const KeyAnnotation = "dev.jubako.key"

// KeyComment begins the comment in the config's history that carries the key in an image of Docker's format, whose
// descriptors have no annotations.
const KeyComment = KeyAnnotation + "="

// KeyOf gives a layer's key, "" where it has none: from its descriptor, or the comment in the history.
func KeyOf(annotations map[string]string, comment string) string {
	if key := annotations[KeyAnnotation]; key != "" {
		return key
	}
	if key, ok := strings.CutPrefix(comment, KeyComment); ok {
		return key
	}
	return ""
}

// Format says which media types an image has.
type Format string

// The formats.
const (
	OCI    Format = "oci"
	Docker Format = "docker"
)

// Blob is a layer's blob: what is known of it, and how to read it.
type Blob struct {
	Name        string // for messages: "venv"
	Digest      v1.Hash
	Size        int64
	MediaType   types.MediaType
	Annotations map[string]string
	// Open yields the compressed bytes. Whoever reads them compares digest and size: see verified.
	Open func(context.Context) (io.ReadCloser, error)
	// From is a repository that holds the blob, where one is known: a registry can mount it from there.
	From *name.Repository
}

// Image is an image of one platform, ready to go out.
type Image struct {
	Manifest  []byte
	MediaType types.MediaType
	Digest    v1.Hash // of Manifest
	Config    []byte
	Layers    []Blob
	Platform  *v1.Platform
}

// ConfigDigest is the config's digest, which covers the diffIDs, and so all that is in the image.
func (i Image) ConfigDigest() v1.Hash { return digestOf(i.Config) }

// Artifact is what a tag leads to: one image, or an index of several.
type Artifact struct {
	Images    []Image
	Index     []byte // nil for a single image
	MediaType types.MediaType
	Digest    v1.Hash // of the index, or of the single image's manifest
}

// Base is what an image is built upon.
type Base struct {
	Layers []Blob
	Name   string // as it was asked for; for the annotation
	Digest v1.Hash
}

// descriptor is a descriptor with its keys in the order of format 1.
type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      v1.Hash           `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *v1.Platform      `json:"platform,omitempty"`
}

// manifest is a manifest, or an index, with its keys in the order of format 1.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Assemble makes the image of a base's layers, further layers, and a config.
func Assemble(base Base, layers []Blob, config []byte, platform v1.Platform, format Format) (Image, error) {
	if format == "" {
		format = OCI
	}
	m := manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	c := &descriptor{MediaType: types.OCIConfigJSON, Digest: digestOf(config), Size: int64(len(config))}
	if format == Docker {
		m.MediaType, c.MediaType = types.DockerManifestSchema2, types.DockerConfigJSON
	}
	m.Config = c
	img := Image{Config: config, MediaType: m.MediaType, Platform: &platform}
	for _, b := range append(base.Layers[:len(base.Layers):len(base.Layers)], layers...) {
		var err error
		if b.MediaType, err = layerType(b.MediaType, format); err != nil {
			return Image{}, fmt.Errorf("layer %s: %w", b.Digest, err)
		}
		if format == Docker {
			b.Annotations = nil // Docker's schema has none
		}
		img.Layers = append(img.Layers, b)
		m.Layers = append(m.Layers, descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size, Annotations: b.Annotations})
	}
	if format == OCI && base.Digest.Hex != "" {
		m.Annotations = map[string]string{"org.opencontainers.image.base.digest": base.Digest.String()}
		if base.Name != "" {
			m.Annotations["org.opencontainers.image.base.name"] = base.Name
		}
	}
	var err error
	if img.Manifest, err = encode(m); err != nil {
		return Image{}, err
	}
	img.Digest = digestOf(img.Manifest)
	return img, nil
}

// layerType gives a layer's media type in the image's format.
func layerType(t types.MediaType, format Format) (types.MediaType, error) {
	pairs := [][2]types.MediaType{
		{types.OCILayer, types.DockerLayer},
		{types.OCIUncompressedLayer, types.DockerUncompressedLayer},
		{types.OCIRestrictedLayer, types.DockerForeignLayer},
	}
	for _, p := range pairs {
		if t == p[0] || t == p[1] {
			if format == Docker {
				return p[1], nil
			}
			return p[0], nil
		}
	}
	if t == types.OCILayerZStd && format == OCI {
		return t, nil
	}
	return "", hint.Wrap(fmt.Errorf("its media type %s has no place in an image of format %s", t, format), "try --format oci")
}

// Single wraps one image.
func Single(img Image) Artifact {
	return Artifact{Images: []Image{img}, MediaType: img.MediaType, Digest: img.Digest}
}

// Several makes an index of images for different platforms, in their order.
func Several(images []Image, format Format) (Artifact, error) {
	m := manifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if format == Docker {
		m.MediaType = types.DockerManifestList
	}
	for _, img := range images {
		m.Manifests = append(m.Manifests, descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.Manifest)), Platform: img.Platform})
	}
	b, err := encode(m)
	return Artifact{Images: images, Index: b, MediaType: m.MediaType, Digest: digestOf(b)}, err
}

// FromImage takes an image as it stands elsewhere, unchanged.
func FromImage(img v1.Image, from *name.Repository) (Image, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return Image{}, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return Image{}, err
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return Image{}, err
	}
	out := Image{Manifest: raw, MediaType: mediaType, Digest: digestOf(raw), Config: config}
	out.Layers, err = BlobsOf(img, from)
	return out, err
}

// BlobsOf gives an image's layers, without opening one.
func BlobsOf(img v1.Image, from *name.Repository) ([]Blob, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	blobs := make([]Blob, 0, len(m.Layers))
	for i, d := range m.Layers {
		blobs = append(blobs, Blob{
			Name: fmt.Sprintf("layer %d", i+1), Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, Annotations: d.Annotations, From: from,
			Open: func(context.Context) (io.ReadCloser, error) {
				l, err := img.LayerByDigest(d.Digest)
				if err != nil {
					return nil, err
				}
				return l.Compressed()
			},
		})
	}
	return blobs, nil
}

// PodmanWarning is what to say where an image's health check would be lost: podman keeps one in Docker's format only.
// It is "" where there is nothing to say.
func PodmanWarning(config []byte, format Format) string {
	var c struct {
		Config struct{ Healthcheck struct{ Test []string } } `json:"config"`
	}
	if format == Docker || json.Unmarshal(config, &c) != nil {
		return ""
	}
	if test := c.Config.Healthcheck.Test; len(test) == 0 || test[0] == "NONE" {
		return ""
	}
	return "podman ignores the health check of an image in OCI format; --format docker keeps it"
}

func digestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// encode is json.Marshal without the escapes for HTML, whose bytes are part of format 1.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// blobs gives every blob of the artifact once: layers and configs.
func (a Artifact) blobs() []Blob {
	var all []Blob
	seen := make(map[v1.Hash]bool)
	for _, img := range a.Images {
		for _, b := range append(img.Layers[:len(img.Layers):len(img.Layers)], bytesBlob("config", img.Config)) {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				all = append(all, b)
			}
		}
	}
	return all
}

func bytesBlob(what string, b []byte) Blob {
	return Blob{Name: what, Digest: digestOf(b), Size: int64(len(b)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

// verified opens a blob and compares size and digest at its end, before its last bytes are handed out as the last.
func (b Blob) verified(ctx context.Context) (io.ReadCloser, error) {
	r, err := b.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s (%s): %w", b.Digest, b.Name, err)
	}
	return cas.Verify(r, fmt.Sprintf("blob %s (%s)", b.Digest, b.Name), b.Digest.Hex, b.Size), nil
}

// repoTag gives a reference as Docker writes it in archives: short for its default registry.
func repoTag(ref name.Reference) string {
	repo := ref.Context().RepositoryStr()
	if ref.Context().RegistryStr() == name.DefaultRegistry {
		return strings.TrimPrefix(repo, "library/") + ":" + ref.Identifier()
	}
	return ref.Context().RegistryStr() + "/" + repo + ":" + ref.Identifier()
}

// fullName gives a reference as containerd names images.
func fullName(ref name.Reference) string {
	registry := ref.Context().RegistryStr()
	if registry == name.DefaultRegistry {
		registry = strings.TrimPrefix(registry, "index.")
	}
	return registry + "/" + ref.Context().RepositoryStr() + ":" + ref.Identifier()
}
