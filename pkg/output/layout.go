package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/atomicfile"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience"
)

// Annotations on an index's entries, by which clients find an image in a layout.
const (
	refNameAnnotation   = "org.opencontainers.image.ref.name" // image-spec annotations.md
	containerdImageName = "io.containerd.image.name"
)

// layoutFile marks a folder as an OCI layout (image-spec image-layout.md).
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// WriteLayout adds the artifact to the OCI layout in dir, which is made where there is none, under a tag, which may be "".
// An entry that has the tag already is replaced. Blobs are written beside their place and renamed, and the index comes
// last, so that a reader never finds half of an image.
func WriteLayout(ctx context.Context, dir, tag string, a Artifact) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	for _, b := range a.files() {
		if err := writeBlob(ctx, filepath.Join(blobs, b.Digest.Hex), b); err != nil {
			return fmt.Errorf("writing the layout %s: %w", dir, err)
		}
	}
	// The folder itself is locked: a lock file would stay behind, or be removed while another process waits for it.
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("writing the layout: locking %s: %w", lock.Path(), err)
	}
	defer lock.Close()
	if err := atomicfile.WriteBytes(filepath.Join(dir, "oci-layout"), 0o644, []byte(layoutFile)); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	index, err := mergeIndex(filepath.Join(dir, "index.json"), a.entry(tag, ""))
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, "index.json"), 0o644, index); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	return nil
}

// files gives everything of the artifact that a layout keeps: layers, configs, manifests, the index.
func (a Artifact) files() []Blob {
	all := a.blobs()
	for _, img := range a.Images {
		all = append(all, bytesBlob("manifest", img.Manifest))
	}
	if a.Index != nil {
		all = append(all, bytesBlob("index", a.Index))
	}
	return all
}

// entry is the artifact's line in a layout's index.
func (a Artifact) entry(tag, fullName string) descriptor {
	d := descriptor{MediaType: a.MediaType, Digest: a.Digest, Size: int64(len(a.top()))}
	if a.Index == nil {
		d.Platform = a.Images[0].Platform
	}
	if tag != "" {
		d.Annotations = map[string]string{refNameAnnotation: tag}
	}
	if fullName != "" {
		d.Annotations[containerdImageName] = fullName
	}
	return d
}

// mergeIndex reads a layout's index, if there is one, and puts the entry in the place of one with the same tag, or, like
// it, with none.
func mergeIndex(file string, entry descriptor) ([]byte, error) {
	// The others' entries stay to the byte, whatever else they hold.
	var index struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     types.MediaType   `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &index)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(fmt.Errorf("reading %s: %w", file, err), "the folder holds no OCI layout that can be read; name another one")
	}
	index.SchemaVersion, index.MediaType = 2, types.OCIImageIndex
	var kept []json.RawMessage
	for _, raw := range index.Manifests {
		var d v1.Descriptor
		if err := json.Unmarshal(raw, &d); err != nil {
			return nil, hint.Wrap(fmt.Errorf("reading %s: %w", file, err), "the folder holds no OCI layout that can be read; name another one")
		}
		if d.Annotations[refNameAnnotation] != entry.Annotations[refNameAnnotation] {
			kept = append(kept, raw)
		}
	}
	raw, err := encode(entry)
	if err != nil {
		return nil, err
	}
	index.Manifests = append(kept, raw)
	return encode(index)
}

// writeBlob writes a blob beside its place and renames it. One that is there at its size stays.
func writeBlob(ctx context.Context, name string, b Blob) error {
	if fi, err := os.Stat(name); err == nil && fi.Size() == b.Size {
		return nil
	}
	r, err := b.verified(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return atomicfile.Write(name, 0o644, func(f io.Writer) error {
		_, err := io.Copy(f, patience.Reader(ctx, r))
		return err
	})
}
