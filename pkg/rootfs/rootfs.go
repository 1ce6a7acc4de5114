// Package rootfs makes trees of files out of layers, so that a command can run in them: each layer is unpacked once
// into the cache, in the form that overlayfs takes for a lower directory; or, where little of it will be looked at, only what is
// (Sparse). A View reads several such trees as one, and Changes says what one view holds beyond another.
//
// Layers come from strangers. Nothing that a tar says makes this package write outside the tree that it fills: see
// unpacker. It imports fstree, cas, decompress and seekable.
package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/decompress"
)

// treeFormat is part of every tree's key. It changes with the way in which layers are unpacked.
const treeFormat = 1

// Layer is one layer to be unpacked.
type Layer struct {
	// DiffID is the SHA-256 of the uncompressed tar: 64 lower-case hex digits. It is compared while the layer is
	// unpacked.
	DiffID string
	// Open yields the tar: plain, or compressed with gzip (of any number of members) or zstd.
	Open func() (io.ReadCloser, error)
	// Sparse, where it is set, is the tree, alone in its group, in place of all else.
	Sparse *Sparse
}

// Group is layers that become one tree, lowest first. All layers of a base are one group, since they change together;
// every layer that jubako makes is a group of its own, so that a changed line of code unpacks the app layer alone.
type Group []Layer

// Limits bounds what a group may hold. The zero value stands for DefaultLimits.
type Limits struct {
	Entries int   // tar entries of all layers of the group
	Bytes   int64 // uncompressed bytes of all its tars
}

// DefaultLimits is far above any image that Python runs in.
var DefaultLimits = Limits{Entries: 4 << 20, Bytes: 64 << 30}

// Unpack makes a tree of each group, lowest first, and gives their folders in the same order. Trees that are there
// already, and whole (cas.Store.Tree), are used. It may run in any number of processes at once: a tree appears whole or not at all.
//
// All files belong to whoever unpacks, and owners are not kept: an ordinary user could not set them, and a step is to
// see the same whoever runs it.
func Unpack(ctx context.Context, store *cas.Store, groups []Group, limits Limits) ([]string, error) {
	if limits == (Limits{}) {
		limits = DefaultLimits
	}
	dirs := make([]string, len(groups))
	each, ctx := errgroup.WithContext(ctx)
	each.SetLimit(runtime.GOMAXPROCS(0))
	for i, g := range groups {
		if s := g.sparse(); s != nil {
			dirs[i] = s.Dir()
			continue
		}
		each.Go(func() (err error) {
			dirs[i], err = unpack(ctx, store, g, i == 0, limits)
			return err
		})
	}
	if err := each.Wait(); err != nil {
		return nil, err
	}
	return dirs, nil
}

// UnpackAhead makes the tree of one group for an Unpack to come, in which it is the lowest or lies upon others.
func UnpackAhead(ctx context.Context, store *cas.Store, g Group, lowest bool) error {
	_, err := unpack(ctx, store, g, lowest, DefaultLimits)
	return err
}

func unpack(ctx context.Context, store *cas.Store, g Group, lowest bool, limits Limits) (string, error) {
	key, err := treeKey(g, lowest)
	if err != nil {
		return "", err
	}
	return place(store, key, func(tree string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return unpackGroup(ctx, tree, g, lowest, limits)
	})
}

// treeKey names a tree by what it depends on. The user is part of it: in a user namespace with a single id, files of
// another user could be read only as far as their modes let anybody.
func treeKey(g Group, lowest bool) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "jubako tree %d lowest %t uid %d\n", treeFormat, lowest, os.Geteuid())
	for _, l := range g {
		if b, err := hex.DecodeString(l.DiffID); err != nil || len(b) != sha256.Size {
			return "", fmt.Errorf("unpacking a layer: %q is no diffID", l.DiffID)
		}
		fmt.Fprintln(h, l.DiffID)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Place gives a tree that fill makes, in the folder that it is handed, unless the cache holds the one of that key. What of it
// depends on whom it belongs to is to be part of the key. Like Unpack it may run in any number of processes at once.
func Place(store *cas.Store, key string, fill func(dir string) error) (string, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "jubako placed tree %d uid %d %s", treeFormat, os.Geteuid(), key))
	return place(store, hex.EncodeToString(sum[:]), fill)
}

// placing is the trees that this process is at work on: whoever wants one of them waits for it.
var placing sync.Map // folder to *sync.Mutex

func place(store *cas.Store, key string, fill func(dir string) error) (dir string, err error) {
	mu, _ := placing.LoadOrStore(store.TreePath(key), new(sync.Mutex))
	mu.(*sync.Mutex).Lock()
	defer mu.(*sync.Mutex).Unlock()
	dir, ok, err := store.Tree(key)
	if ok || err != nil {
		return dir, err
	}
	tmp, tree, err := newTree(store)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, cas.RemoveTree(tmp)) }()
	if err := fill(tree); err != nil {
		return "", err
	}
	return settle(store, key, tree)
}

// unpackGroup fills dir, which must be empty and out of reach of others, with the layers.
func unpackGroup(ctx context.Context, dir string, g Group, lowest bool, limits Limits) (err error) {
	u, err := newUnpacker(dir, lowest, limits)
	if err != nil {
		return fmt.Errorf("unpacking layers: %w", err)
	}
	defer func() { err = errors.Join(err, u.close()) }()
	for _, l := range g {
		if err := unpackLayer(ctx, u, l); err != nil {
			return fmt.Errorf("unpacking layer sha256:%s: %w", l.DiffID, err)
		}
	}
	return nil
}

func unpackLayer(ctx context.Context, u *unpacker, l Layer) error {
	blob, err := l.Open()
	if err != nil {
		return err
	}
	r, err := decompress.Tar(blob, l.DiffID)
	if err != nil {
		return err
	}
	if err = u.whole(ctx, r); err != nil { // a blob that is damaged says so at its end
		if _, damage := io.Copy(io.Discard, &boundedReader{ctx: ctx, r: r, left: &u.bytesLeft}); damage != nil {
			err = damage
		}
	}
	return errors.Join(err, r.Close())
}

// whole unpacks one tar, and reads what follows its end, which is part of the diffID.
func (u *unpacker) whole(ctx context.Context, tar io.Reader) error {
	r := &boundedReader{ctx: ctx, r: tar, left: &u.bytesLeft}
	if err := u.layer(r); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

// boundedReader ends with an error when the bytes of the group are used up, or nobody waits for them any more.
type boundedReader struct {
	ctx  context.Context
	r    io.Reader
	left *int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, errors.New("it holds more bytes than any image should")
	}
	return n, err
}
