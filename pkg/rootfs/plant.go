package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
)

// Planted is a tree that was made of a layer's files before the layer was: it is what Unpack would make of the layer. It is not
// in the cache until Keep.
type Planted struct {
	store *cas.Store
	tmp   string
	Dir   string // of the tree, until Keep
}

// Plant makes a tree of a layer's files, whose times are epoch, in seconds since 1970. The caller keeps or discards it.
func Plant(ctx context.Context, store *cas.Store, tree *fstree.Tree, epoch int64) (_ *Planted, err error) {
	tmp, err := store.TempDir("tree-")
	if err != nil {
		return nil, fmt.Errorf("laying out a layer: %w", err)
	}
	p := &Planted{store: store, tmp: tmp, Dir: filepath.Join(tmp, "tree")}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Discard())
		}
	}()
	if err := os.Mkdir(p.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("laying out a layer: %w", err)
	}
	u, err := newUnpacker(p.Dir, false, DefaultLimits)
	if err != nil {
		return nil, fmt.Errorf("laying out a layer: %w", err)
	}
	defer func() { err = errors.Join(err, u.close()) }()
	u.made = make(map[string]bool)
	for e := range tree.All() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := u.plant(e, time.Unix(epoch, 0)); err != nil {
			return nil, fmt.Errorf("laying out a layer: /%s: %w", e.Path, err)
		}
	}
	return p, os.Chmod(p.Dir, 0o755) // whatever the umask was
}

func (u *unpacker) plant(e fstree.Entry, at time.Time) (err error) {
	hdr := &tar.Header{Name: e.Path, Mode: int64(e.Mode), Linkname: e.Link, ModTime: at}
	switch e.Kind {
	case fstree.Dir:
		hdr.Typeflag = tar.TypeDir
	case fstree.Symlink:
		hdr.Typeflag = tar.TypeSymlink
	case fstree.Hardlink:
		hdr.Typeflag = tar.TypeLink
	case fstree.Whiteout:
		hdr.Typeflag, hdr.Name = tar.TypeReg, filepath.Join(filepath.Dir(e.Path), whiteoutPrefix+filepath.Base(e.Path))
	case fstree.File:
		hdr.Typeflag, hdr.Size = tar.TypeReg, e.Content.Size()
		r, err := e.Content.Open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		all := &io.LimitedReader{R: r, N: hdr.Size + 1}
		if err := u.entry(hdr, all); err != nil || all.N == 1 {
			return err
		}
		return fmt.Errorf("its content is not of the %d bytes that it should have", hdr.Size)
	}
	return u.entry(hdr, nil)
}

// Keep puts the tree where Unpack finds it as that of the layer, once the layer's diffID is known: the SHA-256 of its tar, in hex.
func (p *Planted) Keep(diffID string) error {
	key, err := treeKey(Group{{DiffID: diffID}}, false)
	if err != nil {
		return err
	}
	to := p.store.TreePath(key)
	err = os.Rename(p.Dir, to)
	if fi, statErr := os.Lstat(to); err != nil && statErr == nil && fi.IsDir() {
		err = nil // it was there, or another process was quicker
	}
	return errors.Join(err, p.Discard())
}

// Discard removes what is not kept.
func (p *Planted) Discard() error { return cas.RemoveTree(p.tmp) }
