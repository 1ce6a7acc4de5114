package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
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

// storeSource reads blobs out of the store. One that is damaged is gone then, so that the next build makes it again.
type storeSource struct{ store *cas.Store }

func (s storeSource) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	r, err := s.store.Reader(d.Digest.Hex, d.Size)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, fmt.Errorf("blob %s of the base that was made has left the cache: %w", d.Digest, err)
	}
	return r, err
}

// Scan is what the files of a tree say, before it is known which image they are.
type Scan struct{ s *scanner }

// ScanTree reads the tree of a base that is made of one layer, as its blob would be read: content is opened where it matters.
func ScanTree(ctx context.Context, t *fstree.Tree) (*Scan, error) {
	s := newScanner()
	s.fresh, s.below = make(map[string]bool), make(map[string]bool)
	types := map[fstree.Kind]byte{fstree.Dir: tar.TypeDir, fstree.File: tar.TypeReg, fstree.Symlink: tar.TypeSymlink, fstree.Hardlink: tar.TypeLink}
	for e := range t.All() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		kind, ok := types[e.Kind]
		if !ok {
			return nil, fmt.Errorf("/%s is a %s, which no lowest layer has", e.Path, e.Kind)
		}
		h := &tar.Header{Name: e.Path, Typeflag: kind, Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, Linkname: e.Link}
		if e.Kind == fstree.Symlink {
			h.Mode = 0o777
		}
		f := &treeFile{Content: e.Content}
		if e.Kind == fstree.File {
			h.Size = e.Content.Size()
		}
		if err := errors.Join(s.entry(h, f), f.close()); err != nil {
			return nil, fmt.Errorf("entry %q: %w", e.Path, err)
		}
	}
	return &Scan{s}, nil
}

// Keep puts into the store what Facts and Dpkg of the image with this manifest and config would find.
func (s *Scan) Keep(store *cas.Store, manifest, config []byte) error {
	_, _, err := s.s.conclude(store, &Image{Digest: digestOf(manifest), Config: config})
	return err
}

// knownLibrary is implemented by content of which is known whether ldconfig takes it, so that it is not read for that.
type knownLibrary interface {
	Library() *ldcache.Library // nil where it does not
}

// treeFile reads a file of a tree, which is opened once something is read of it.
type treeFile struct {
	fstree.Content
	r io.ReadCloser
}

func (f *treeFile) Read(p []byte) (n int, err error) {
	if f.r == nil {
		if f.r, err = f.Open(); err != nil {
			return 0, err
		}
	}
	return f.r.Read(p)
}

func (f *treeFile) close() error {
	if f.r == nil {
		return nil
	}
	return f.r.Close()
}
