package output

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/atomicfile"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience"
)

// WriteOCIArchive writes an OCI layout as a tar file: one that skopeo, podman, containerd and Docker load. For Docker, an
// archive of a single image also has Docker's own manifest.json, whose paths lead to the layout's blobs. The first tag, if
// there is one, names the image.
func WriteOCIArchive(ctx context.Context, file string, a Artifact, tags []name.Reference) error {
	return writeArchive(file, func(w io.Writer) error { return WriteOCIArchiveTo(ctx, w, a, tags) })
}

// WriteOCIArchiveTo is WriteOCIArchive for a stream.
func WriteOCIArchiveTo(ctx context.Context, w io.Writer, a Artifact, tags []name.Reference) error {
	index := manifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, t := range tags {
		index.Manifests = append(index.Manifests, a.entry(t.Identifier(), fullName(t)))
	}
	if len(tags) == 0 {
		index.Manifests = append(index.Manifests, a.entry("", ""))
	}
	b, err := encode(index)
	if err != nil {
		return err
	}
	t := &archive{tar.NewWriter(w)}
	t.add("oci-layout", []byte(layoutFile))
	t.add("index.json", b)
	if a.Index == nil {
		img := a.Images[0]
		m, err := dockerManifest(img, "blobs/sha256/"+digestOf(img.Config).Hex, func(b Blob) string { return "blobs/sha256/" + b.Digest.Hex }, tags)
		if err != nil {
			return err
		}
		t.add("manifest.json", m)
	}
	files := a.files()
	slices.SortFunc(files, func(a, b Blob) int { return strings.Compare(a.Digest.Hex, b.Digest.Hex) })
	files = slices.CompactFunc(files, func(a, b Blob) bool { return a.Digest == b.Digest })
	for _, f := range files {
		if err := t.blob(ctx, "blobs/sha256/"+f.Digest.Hex, f); err != nil {
			return err
		}
	}
	return t.Close()
}

// WriteDockerArchive writes the image in the form of `docker save`.
func WriteDockerArchive(ctx context.Context, file string, a Artifact, tags []name.Reference) error {
	return writeArchive(file, func(w io.Writer) error { return WriteDockerArchiveTo(ctx, w, a, tags) })
}

// WriteDockerArchiveTo is WriteDockerArchive for a stream.
func WriteDockerArchiveTo(ctx context.Context, w io.Writer, a Artifact, tags []name.Reference) error {
	if a.Index != nil {
		return hint.Wrap(hint.Usage(errors.New("a docker-archive holds one platform, and this image has several")), "build one platform, or write an oci-archive")
	}
	img := a.Images[0]
	config := digestOf(img.Config).Hex + ".json"
	layerName := func(b Blob) string { return b.Digest.Hex + ".tar.gz" }
	m, err := dockerManifest(img, config, layerName, tags)
	if err != nil {
		return err
	}
	t := &archive{tar.NewWriter(w)}
	t.add("manifest.json", m)
	t.add(config, img.Config)
	seen := make(map[string]bool)
	for _, l := range img.Layers {
		if n := layerName(l); !seen[n] {
			seen[n] = true
			if err := t.blob(ctx, n, l); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

// dockerManifest is the manifest.json of `docker save`.
func dockerManifest(img Image, config string, layerName func(Blob) string, tags []name.Reference) ([]byte, error) {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: config, RepoTags: []string{}, Layers: []string{}}
	for _, t := range tags {
		e.RepoTags = append(e.RepoTags, repoTag(t))
	}
	for _, l := range img.Layers {
		e.Layers = append(e.Layers, layerName(l))
	}
	return encode([]entry{e})
}

// writeArchive writes a file beside its place and renames it. A link is followed, and what is no regular file, such as a
// pipe or a device, is written into: to put a file in its place would destroy it.
func writeArchive(file string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	if fi, err := os.Stat(file); err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		return nil
	}
	if err := atomicfile.Write(file, 0o644, write); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// archive writes tar entries that depend on nothing but their content.
type archive struct{ *tar.Writer }

// add adds a small file. An error comes again at the next call that returns one (archive/tar).
func (t *archive) add(name string, b []byte) {
	if t.WriteHeader(header(name, int64(len(b)))) == nil {
		_, _ = t.Write(b)
	}
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}
}

func (t *archive) blob(ctx context.Context, name string, b Blob) error {
	r, err := b.verified(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := t.WriteHeader(header(name, b.Size)); err != nil {
		return err
	}
	_, err = io.Copy(t, patience.Reader(ctx, r))
	return err
}
