package rootfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/tarlayer"
)

func openStore(t *testing.T) *cas.Store {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// randomTree holds every kind of entry that a layer can.
func randomTree(t *testing.T, r *rand.Rand) *fstree.Tree {
	t.Helper()
	var tree fstree.Tree
	var files []string
	dir := func() string { return strings.Join([]string{"a", "b", "opt/x", "z"}[:1+r.IntN(4)], "/") }
	for i := range 40 {
		e := fstree.Entry{Path: fmt.Sprintf("%s/%c%d", dir(), 'a'+rune(r.IntN(26)), i), Mode: []uint32{0o644, 0o755, 0o400, 0o4755, 0o2750, 0}[r.IntN(6)], UID: r.IntN(3)}
		switch r.IntN(6) {
		case 0:
			e.Kind = fstree.Dir
		case 1:
			e.Kind, e.Link = fstree.Symlink, []string{"../x", "/etc", "nowhere/at all"}[r.IntN(3)]
		case 2:
			e.Kind = fstree.Whiteout
		case 3:
			before := slices.DeleteFunc(slices.Clone(files), func(p string) bool { return p > e.Path })
			if len(before) == 0 {
				continue
			}
			e.Kind, e.Link = fstree.Hardlink, before[r.IntN(len(before))]
		default:
			e.Kind, e.Content = fstree.File, fstree.Bytes(strings.Repeat("x", r.IntN(3000)))
			files = append(files, e.Path)
		}
		if err := tree.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.AddParents(func(dir string) fstree.Entry { return fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o711} }); err != nil {
		t.Fatal(err)
	}
	return &tree
}

// look says all that a command could see of a tree, and how its whiteouts are marked.
func look(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		s := fmt.Sprintf("%s %d %d", fi.Mode(), st.Nlink, st.Rdev)
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" %s %s", fi.ModTime(), b)
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s += " " + target
		}
		var value [16]byte
		if n, err := syscall.Getxattr(p, "user.overlay.opaque", value[:]); err == nil {
			s += " opaque " + string(value[:n])
		}
		all[strings.TrimPrefix(p, dir)] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPlant: what is made of a layer's files is what is made of the layer, and is taken for it.
func TestPlant(t *testing.T) {
	const epoch = 1_000_000_000
	ctx := context.Background()
	for seed := range uint64(30) {
		tree := randomTree(t, rand.New(rand.NewPCG(seed, 1)))
		var tar bytes.Buffer
		res, err := tarlayer.Write(ctx, &tar, tree, tarlayer.Options{Epoch: epoch, Jobs: 1, Encoders: tarlayer.NewEncoders(1)})
		if err != nil {
			t.Fatal(err)
		}
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil }
		one, two := openStore(t), openStore(t)
		if err := rootfs.UnpackAhead(ctx, one, rootfs.Group{{DiffID: res.DiffID, Open: open}}, false); err != nil {
			t.Fatal(err)
		}
		p, err := rootfs.Plant(ctx, two, tree, epoch)
		if err != nil {
			t.Fatal(err)
		}
		planted := look(t, p.Dir)
		if err := p.Keep(res.DiffID); err != nil {
			t.Fatal(err)
		}
		never := func() (io.ReadCloser, error) { return nil, errors.New("it is there") }
		if err := rootfs.UnpackAhead(ctx, two, rootfs.Group{{DiffID: res.DiffID, Open: never}}, false); err != nil {
			t.Fatal(err)
		}
		trees, err := os.ReadDir(filepath.Join(one.Dir(), "trees"))
		if err != nil || len(trees) != 1 {
			t.Fatal(trees, err)
		}
		want := look(t, filepath.Join(one.Dir(), "trees", trees[0].Name()))
		if d := cmp.Diff(want, planted); d != "" {
			t.Fatalf("seed %d (-unpacked +planted):\n%s", seed, d)
		}
		if d := cmp.Diff(want, look(t, filepath.Join(two.Dir(), "trees", trees[0].Name()))); d != "" {
			t.Fatalf("seed %d (-unpacked +kept):\n%s", seed, d)
		}
		again, err := rootfs.Plant(ctx, two, tree, epoch)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Keep(res.DiffID); err != nil { // it is there already
			t.Fatal(err)
		}
	}
}

type faulty struct{ fstree.Bytes }

func (faulty) Open() (io.ReadCloser, error) { return nil, errors.New("gone") }

// lying is content of another size than it says.
type lying struct {
	fstree.Bytes
	size int64
}

func (l lying) Size() int64 { return l.size }

// TestPlantLeavesNothing: neither a fault nor an end of patience leaves anything behind, nor does what is not kept.
func TestPlantLeavesNothing(t *testing.T) {
	store := openStore(t)
	var tree fstree.Tree
	if err := errors.Join(tree.Add(fstree.Entry{Path: "a", Kind: fstree.File, Content: fstree.Bytes("a")}), tree.Add(fstree.Entry{Path: "b", Kind: fstree.File, Content: faulty{}})); err != nil {
		t.Fatal(err)
	}
	if _, err := rootfs.Plant(context.Background(), store, &tree, 0); err == nil || !strings.Contains(err.Error(), "/b: gone") {
		t.Error(err)
	}
	tree.Remove("b")
	for _, size := range []int64{0, 3} {
		if err := tree.Replace(fstree.Entry{Path: "b", Kind: fstree.File, Content: lying{fstree.Bytes("bb"), size}}); err != nil {
			t.Fatal(err)
		}
		if _, err := rootfs.Plant(context.Background(), store, &tree, 0); err == nil || !strings.Contains(err.Error(), "/b: its content is not of the") {
			t.Error(size, err)
		}
	}
	tree.Remove("b")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := rootfs.Plant(ctx, store, &tree, 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p, err := rootfs.Plant(context.Background(), store, &tree, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Keep("no digest"); err == nil {
		t.Error("no diffID, and kept")
	}
	if err := p.Discard(); err != nil {
		t.Error(err)
	}
}
