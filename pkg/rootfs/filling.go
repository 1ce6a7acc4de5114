package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/jubako/jubako/pkg/cas"
)

// Filling makes the tree of a group while its layers' tars are written to it, lowest first, so that nobody has to decompress and to hash
// them once more. Nothing depends on it: where it does not come to its end, Unpack makes the tree of the layers' blobs.
//
// It is of one goroutine. A nil one takes nothing.
type Filling struct {
	store  *cas.Store
	tmp    string // holds the tree
	lowest bool
	layers chan<- *io.PipeReader // what is written of each
	pipe   *io.PipeWriter        // of the layer that is being written
	ended  chan struct{}
	err    error  // of unpacking, once ended is closed
	end    func() // says that no more layers come, and waits for that
}

// Fill begins a tree that will be the lowest or lie upon others, with its first layer. With ctx it comes to an end.
func Fill(ctx context.Context, store *cas.Store, lowest bool) (*Filling, error) {
	tmp, tree, err := newTree(store)
	if err != nil {
		return nil, err
	}
	u, err := newUnpacker(tree, lowest, DefaultLimits)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unpacking layers: %w", err), cas.RemoveTree(tmp))
	}
	layers := make(chan *io.PipeReader)
	f := &Filling{store: store, tmp: tmp, lowest: lowest, layers: layers, ended: make(chan struct{})}
	f.end = sync.OnceFunc(func() {
		close(layers)
		<-f.ended
	})
	go func() {
		defer close(f.ended)
		for r := range layers {
			f.err = u.whole(ctx, r)
			if f.err = errors.Join(f.err, r.CloseWithError(io.ErrClosedPipe)); f.err != nil {
				break
			}
		}
		f.err = errors.Join(f.err, u.close())
	}()
	f.begin()
	return f, nil
}

// begin goes on to a layer.
func (f *Filling) begin() {
	var r *io.PipeReader
	r, f.pipe = io.Pipe()
	select {
	case f.layers <- r:
	case <-f.ended:
		_ = r.CloseWithError(io.ErrClosedPipe) // nobody reads it
	}
}

// Next says that a layer was written whole, and that another one follows.
func (f *Filling) Next() {
	if f != nil {
		_ = f.pipe.Close() // it has none to give
		f.begin()
	}
}

// Write takes the next bytes of the tar. It never fails, so that nothing ends with it.
func (f *Filling) Write(p []byte) (int, error) {
	if f != nil {
		_, _ = f.pipe.Write(p) // its error is that of unpacking, and known when it has ended
	}
	return len(p), nil
}

// Place puts the tree where Unpack finds it, once all layers were written whole: they are those of the group, whose diffIDs whoever wrote
// them has found their SHA-256 to be.
func (f *Filling) Place(g Group) error {
	if f == nil {
		return nil
	}
	defer f.Drop()
	_ = f.pipe.Close() // it has none to give
	f.end()
	if f.err != nil {
		return f.err
	}
	key, err := treeKey(g, f.lowest)
	if err != nil {
		return err
	}
	_, err = settle(f.store, key, filepath.Join(f.tmp, "tree"))
	return err
}

// Drop gives the tree up, unless it was placed. It may be called more than once.
func (f *Filling) Drop() {
	if f == nil || f.tmp == "" {
		return
	}
	_ = f.pipe.CloseWithError(context.Canceled)
	f.end()
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
func settle(store *cas.Store, key, tree string) (string, error) {
	if err := os.Chmod(tree, 0o755); err != nil { // whatever the umask was
		return "", fmt.Errorf("unpacking layers: %w", err)
	}
	return store.PutTree(key, tree)
}
