package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/jubako/jubako/pkg/cas"
)

// Filling makes the tree of a layer while the layer's tar is written to it, so that nobody has to decompress and to hash that once
// more. Nothing depends on it: where it does not come to its end, Unpack makes the tree of the layer's blob.
//
// It is of one goroutine. A nil one takes nothing.
type Filling struct {
	store *cas.Store
	tmp   string // holds the tree
	pipe  *io.PipeWriter
	ended chan struct{}
	err   error // of unpacking, once ended is closed
}

// Fill begins a tree that will lie upon others. With ctx it comes to an end.
func Fill(ctx context.Context, store *cas.Store) (*Filling, error) {
	tmp, tree, err := newTree(store)
	if err != nil {
		return nil, err
	}
	u, err := newUnpacker(tree, false, DefaultLimits)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unpacking layers: %w", err), cas.RemoveTree(tmp))
	}
	r, w := io.Pipe()
	f := &Filling{store: store, tmp: tmp, pipe: w, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		bounded := &boundedReader{ctx: ctx, r: r, left: &u.bytesLeft}
		f.err = u.layer(bounded)
		if f.err == nil {
			_, f.err = io.Copy(io.Discard, bounded) // what pads the tar
		}
		f.err = errors.Join(f.err, u.close(), r.CloseWithError(io.ErrClosedPipe))
	}()
	return f, nil
}

// Write takes the next bytes of the tar. It never fails, so that nothing ends with it.
func (f *Filling) Write(p []byte) (int, error) {
	if f != nil {
		_, _ = f.pipe.Write(p) // its error is that of unpacking, and known when it has ended
	}
	return len(p), nil
}

// Place puts the tree where Unpack finds it, once the whole tar was written: diffID is what whoever wrote it has found its SHA-256
// to be.
func (f *Filling) Place(diffID string) error {
	if f == nil {
		return nil
	}
	defer f.Drop()
	_ = f.pipe.Close() // it has none to give
	<-f.ended
	if f.err != nil {
		return f.err
	}
	key, err := treeKey(Group{{DiffID: diffID}}, false)
	if err != nil {
		return err
	}
	return settle(filepath.Join(f.tmp, "tree"), f.store.TreePath(key))
}

// Drop gives the tree up, unless it was placed. It may be called more than once.
func (f *Filling) Drop() {
	if f == nil || f.tmp == "" {
		return
	}
	_ = f.pipe.CloseWithError(context.Canceled)
	<-f.ended
	_ = cas.RemoveTree(f.tmp) // a later run does that, where it fails
	f.tmp = ""
}

// newTree makes an empty folder for a tree. It lies one level down, out of reach of others: the folder around it has mode 0700.
func newTree(store *cas.Store) (tmp, tree string, err error) {
	if tmp, err = store.TempDir("tree-"); err == nil {
		tree = filepath.Join(tmp, "tree")
		if err = os.Mkdir(tree, 0o755); err != nil {
			err = errors.Join(err, cas.RemoveTree(tmp))
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("unpacking layers: %w", err)
	}
	return tmp, tree, nil
}

// settle puts a tree that is whole at its place.
func settle(tree, dir string) error {
	if err := os.Chmod(tree, 0o755); err != nil { // whatever the umask was
		return fmt.Errorf("unpacking layers: %w", err)
	}
	if err := os.Rename(tree, dir); err != nil {
		if fi, statErr := os.Lstat(dir); statErr == nil && fi.IsDir() {
			return nil // another was quicker, with the same tree
		}
		return fmt.Errorf("unpacking layers: %w", err)
	}
	return nil
}
