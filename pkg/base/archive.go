package base

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/decompress"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// maxArchiveEntries bounds the entries of an archive.
const maxArchiveEntries = 100_000

// archiveSource reads blobs out of a tar file, which is scanned once and never unpacked.
type archiveSource struct {
	f       *os.File
	entries map[string]*io.SectionReader
	// layers leads from digests to entries of a docker-archive, whose names are not digests.
	layers map[v1.Hash]string
}

func (s *archiveSource) Close() error { return s.f.Close() }

func (s *archiveSource) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	entry, ok := s.layers[d.Digest]
	if !ok {
		entry = "blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex
	}
	r, ok := s.entries[entry]
	if !ok {
		return nil, fmt.Errorf("the archive %s lacks blob %s", s.f.Name(), d.Digest)
	}
	return io.NopCloser(io.NewSectionReader(r, 0, r.Size())), nil
}

// small reads an entry whole.
func (s *archiveSource) small(name string) ([]byte, error) {
	r, ok := s.entries[name]
	if !ok {
		return nil, fmt.Errorf("the archive lacks %s", name)
	}
	if r.Size() > maxManifest {
		return nil, fmt.Errorf("%s in the archive has more than %d bytes", name, maxManifest)
	}
	return io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
}

// scanArchive notes where each file of a tar lies. Links, which `docker save` of old wrote between equal layers, are
// followed within the archive.
func scanArchive(f *os.File) (*archiveSource, error) {
	s := &archiveSource{f: f, entries: make(map[string]*io.SectionReader), layers: make(map[v1.Hash]string)}
	links := make(map[string]string)
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n := 0
	for r := tar.NewReader(f); ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("after %d entries: %w", n, err)
		}
		if n >= maxArchiveEntries {
			return nil, fmt.Errorf("it has more than %d entries", maxArchiveEntries)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if at+h.Size > fi.Size() {
				return nil, fmt.Errorf("%s reaches beyond the file's end: %w", h.Name, io.ErrUnexpectedEOF)
			}
			s.entries[name] = io.NewSectionReader(f, at, h.Size)
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean(h.Linkname)
		}
	}
	for name := range links {
		target := name
		for i := 0; i < fstree.MaxLinks && links[target] != ""; i++ {
			target = links[target]
		}
		if r, ok := s.entries[target]; ok && links[target] == "" {
			s.entries[name] = r
		}
	}
	return s, nil
}

func openArchive(ctx context.Context, src Source) (_ *Opened, err error) {
	f, err := os.Open(src.Path)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("opening %s: %w", src, err))
	}
	s, err := scanArchive(f)
	if err != nil {
		return nil, errors.Join(hint.Wrap(fmt.Errorf("opening %s: %w", src, err), "the archive is cut or damaged, or compressed: gunzip it first"), f.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, ok := s.entries["index.json"]; ok && (src.Kind == OCIArchive || s.entries["manifest.json"] == nil) {
		b, err := s.small("index.json")
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", src, err)
		}
		return fromIndexJSON(ctx, src, b, s)
	}
	if src.Kind == OCIArchive {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("opening %s: it holds no OCI layout", src)), "it may be a docker-archive:%s", src.Path)
	}
	return openDockerArchive(src, s)
}

// savedImage is an entry of the manifest.json of `docker save`.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// openDockerArchive makes a manifest for what `docker save` has written. Its layers are hashed, since the archive does not
// say their digests.
func openDockerArchive(src Source, s *archiveSource) (*Opened, error) {
	b, err := s.small("manifest.json")
	if err != nil {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("opening %s: %w", src, err)), "a docker-archive is what docker save writes")
	}
	var saved []savedImage
	if err := json.Unmarshal(b, &saved); err != nil {
		return nil, fmt.Errorf("opening %s: reading manifest.json: %w", src, err)
	}
	var names []string
	matching := slices.DeleteFunc(saved, func(i savedImage) bool {
		names = append(names, i.RepoTags...)
		return src.Tag != "" && !slices.Contains(i.RepoTags, src.Tag)
	})
	if len(matching) != 1 {
		return nil, noneOrMany(src, len(matching), names)
	}
	config, err := s.small(path.Clean(matching[0].Config))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", src, err)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2}
	m.Config = v1.Descriptor{MediaType: types.DockerConfigJSON, Digest: digestOf(config), Size: int64(len(config))}
	s.layers[m.Config.Digest] = path.Clean(matching[0].Config)
	for _, l := range matching[0].Layers {
		d, err := s.describe(path.Clean(l))
		if err != nil {
			return nil, fmt.Errorf("opening %s: layer %s: %w", src, l, err)
		}
		m.Layers = append(m.Layers, d)
	}
	if slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return d.MediaType == types.OCILayerZStd }) {
		ofOCI(&m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &Opened{Raw: raw, MediaType: m.MediaType, blobs: s}, nil
}

// ofOCI gives a manifest OCI's media types in place of Docker's, which has none for zstd.
func ofOCI(m *v1.Manifest) {
	m.MediaType, m.Config.MediaType = types.OCIManifestSchema1, types.OCIConfigJSON
	for i, d := range m.Layers {
		switch d.MediaType {
		case types.DockerLayer:
			m.Layers[i].MediaType = types.OCILayer
		case types.DockerUncompressedLayer:
			m.Layers[i].MediaType = types.OCIUncompressedLayer
		}
	}
}

// describe hashes a layer of a docker-archive and looks whether it is compressed.
func (s *archiveSource) describe(entry string) (v1.Descriptor, error) {
	r, ok := s.entries[entry]
	if !ok {
		return v1.Descriptor{}, errors.New("the archive lacks it")
	}
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: types.DockerUncompressedLayer, Size: r.Size()}
	switch {
	case decompress.IsGzip(magic[:]):
		d.MediaType = types.DockerLayer
	case decompress.IsZstd(magic[:]):
		d.MediaType = types.OCILayerZStd
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, r.Size())); err != nil {
		return v1.Descriptor{}, err
	}
	d.Digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
	s.layers[d.Digest] = entry
	return d, nil
}
