package sandboxtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/seekable"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// epoch is the time of what Indexed writes, in seconds.
const epoch = 1e9

// Layer is one that was written.
type Layer struct {
	rootfs.Indexed
	Blob, DiffID string // where the blob is, and what the tar's SHA-256
}

// Indexed writes what a folder holds as a layer.
func Indexed(t testing.TB, folder string) Layer {
	t.Helper()
	index := new(seekable.Index)
	blob := filepath.Join(t.TempDir(), "blob")
	var res tarlayer.Result
	f, err := os.Create(blob)
	if err == nil {
		res, err = tarlayer.Write(t.Context(), f, treeOf(t, folder), tarlayer.Options{Epoch: epoch, Index: index})
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	open := func() (*os.File, error) { return os.Open(blob) }
	return Layer{rootfs.Indexed{Index: index, Open: open, Time: time.Unix(epoch, 0)}, blob, res.DiffID}
}

// Sparse makes a sparse tree of layers, lowest first, for the time of a test.
func Sparse(t testing.TB, store *cas.Store, within string, layers ...Layer) *rootfs.Sparse {
	t.Helper()
	list := make([]rootfs.Indexed, len(layers))
	for i, l := range layers {
		list[i] = l.Indexed
	}
	s, err := rootfs.NewSparse(store, within, list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// treeOf is a folder as a layer's tree.
func treeOf(t testing.TB, folder string) *fstree.Tree {
	t.Helper()
	tree := new(fstree.Tree)
	err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == folder {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(folder, p)
		if err != nil {
			return err
		}
		e := fstree.Entry{Path: filepath.ToSlash(rel), Mode: uint32(fi.Mode().Perm())}
		switch {
		case d.IsDir():
			e.Kind = fstree.Dir
		case fi.Mode()&fs.ModeSymlink != 0:
			e.Kind = fstree.Symlink
			e.Link, err = os.Readlink(p)
		default:
			e.Kind = fstree.File
			e.Content = rootfs.FileContent{Path: p, Len: fi.Size()}
		}
		return errors.Join(err, tree.Add(e))
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
