package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
)

// write fills a folder: "a/b=text", "a/c -> target", "d/" for a folder.
func write(t testing.TB, entries ...string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for _, e := range entries {
		if err := writeEntry(folder, e); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func writeEntry(folder, e string) error {
	var name, text string
	if n, _ := fmt.Sscanf(e, "%s -> %s", &name, &text); n == 2 {
		return errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755), os.Symlink(text, filepath.Join(folder, name)))
	}
	name, text, isFile := cut(e)
	p := filepath.Join(folder, name)
	if !isFile {
		return os.MkdirAll(p, 0o755)
	}
	return errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o640))
}

func cut(e string) (name, text string, isFile bool) {
	for i := range e {
		if e[i] == '=' {
			return e[:i], e[i+1:], true
		}
	}
	return e, "", false
}

// look gives everything in a view, with modes, times of files and contents.
func look(t testing.TB, v rootfs.View) (lines []string) {
	t.Helper()
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n rootfs.Node)
	walk = func(n rootfs.Node) {
		line := fmt.Sprint(n.Path, " ", n.Info.Mode())
		switch mode := n.Info.Mode(); {
		case mode.IsRegular():
			b, err := os.ReadFile(n.Real())
			if err != nil {
				t.Fatal(err)
			}
			line += fmt.Sprint(" ", n.Info.ModTime().Unix(), " ", string(b))
		case mode&fs.ModeSymlink != 0:
			to, err := os.Readlink(n.Real())
			if err != nil {
				t.Fatal(err)
			}
			line += " " + to
		}
		lines = append(lines, line)
		if !n.Info.IsDir() {
			return
		}
		children, err := n.Children()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range children {
			walk(c)
		}
	}
	walk(root)
	return lines
}

// both makes layers of folders, unpacked and sparse.
func both(t testing.TB, folders ...string) (whole rootfs.View, sparse *rootfs.Sparse) {
	t.Helper()
	store := castest.Open(t)
	var groups []rootfs.Group
	var list []sandboxtest.Layer
	for _, folder := range folders {
		layer := sandboxtest.Indexed(t, folder)
		list = append(list, layer)
		groups = append(groups, rootfs.Group{{DiffID: layer.DiffID, Open: func() (io.ReadCloser, error) { return os.Open(layer.Blob) }}})
	}
	dirs, err := rootfs.Unpack(t.Context(), store, groups, rootfs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return rootfs.NewView(dirs...), sandboxtest.Sparse(t, store, "app/env", list...)
}

// TestSparse: what a sparse tree shows is what the same layers show when they are unpacked, whatever is looked for first, and by however many.
func TestSparse(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		var folders []string
		for range 1 + random.IntN(3) {
			var entries []string
			for range random.IntN(20) {
				at := "app/env"
				for range random.IntN(4) {
					at += "/" + string(rune('a'+random.IntN(3)))
				}
				at += "/" + string(rune('p'+random.IntN(6)))
				switch random.IntN(4) {
				case 0:
					entries = append(entries, at+" -> ../"+string(rune('a'+random.IntN(6))))
				case 1:
					entries = append(entries, at+"d/")
				default:
					entries = append(entries, at+"f="+fmt.Sprint(random.Uint32()))
				}
			}
			folder := write(t, "app/env/")
			for _, e := range entries {
				_ = writeEntry(folder, e) // some names are taken
			}
			folders = append(folders, folder)
		}
		whole, s := both(t, folders...)
		if n := sparseFiles(t, s); n > 0 {
			t.Errorf("round %d: %d files are laid out before anybody has looked", round, n)
		}
		view := rootfs.NewView(s.Dir()).With(rootfs.Sparses{s})
		want := look(t, whole)
		var together sync.WaitGroup
		for range 3 {
			together.Go(func() {
				for _, i := range rand.Perm(len(want)) {
					var p string
					fmt.Sscan(want[i], &p)
					if _, err := view.Resolve(filepath.Dir(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
				}
			})
		}
		together.Wait()
		if d := cmp.Diff(want, look(t, view)); d != "" {
			t.Errorf("round %d: %s", round, d)
		}
		again := rootfs.NewView(s.Dir())
		if err := s.All(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, look(t, again)); d != "" {
			t.Errorf("round %d, laid out whole: %s", round, d)
		}
	}
}

func sparseFiles(t testing.TB, s *rootfs.Sparse) (n int) {
	t.Helper()
	if err := filepath.WalkDir(s.Dir(), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSparseKinds: a layer over another may have a file where that has a folder, and the other way round.
func TestSparseKinds(t *testing.T) {
	whole, s := both(t, write(t, "app/env/x/y=1", "app/env/f=2", "app/env/l -> x"), write(t, "app/env/x=3", "app/env/f/g=4", "app/env/l/z=5"))
	view := rootfs.NewView(s.Dir()).With(rootfs.Sparses{s})
	want := look(t, whole)
	if d := cmp.Diff(want, look(t, view)); d != "" {
		t.Error(d)
	}
	if err := s.All(t.Context()); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(want, look(t, rootfs.NewView(s.Dir()))); d != "" {
		t.Errorf("laid out whole: %s", d)
	}
	// The lowest are asked for first.
	_, s = both(t, write(t, "app/env/a/x/y=1", "app/env/z/x/w=1"), write(t, "app/env/a -> z"))
	if err := errors.Join(s.Bring("app/env/a/x"), s.All(t.Context())); err != nil {
		t.Error(err)
	}
	if n := sparseFiles(t, s); n != 2 { // z/x/w, and the link
		t.Errorf("%d files", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, s = both(t, write(t, "app/env/x=1")); !errors.Is(s.All(ended), context.Canceled) || sparseFiles(t, s) != 0 {
		t.Error("it was laid out when nobody waited for it any more")
	}
}

// TestNotSparse refuses layers that hold anything beside the folder in which they are to be sparse.
func TestNotSparse(t *testing.T) {
	store := castest.Open(t)
	for _, entries := range [][]string{{"app/env/x=1", "app/other=2"}, {"x=1"}, {"app/env=1"}, {"app/environment/x=1"}, {"app -> env"}} {
		layer := sandboxtest.Indexed(t, write(t, entries...))
		if _, err := rootfs.NewSparse(store, "app/env", []rootfs.Indexed{layer.Indexed}); !errors.Is(err, rootfs.ErrNotSparse) {
			t.Errorf("%v: %v", entries, err)
		}
	}
	layer := sandboxtest.Indexed(t, write(t, "app/env/x=1"))
	layer.Index.Odd()
	if _, err := rootfs.NewSparse(store, "app/env", []rootfs.Indexed{layer.Indexed}); !errors.Is(err, rootfs.ErrNotSparse) {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSparseDamaged says which file cannot be laid out, leaves its folder to be asked for again, and removes the tree.
func TestSparseDamaged(t *testing.T) {
	store := castest.Open(t)
	layer := sandboxtest.Indexed(t, write(t, "app/env/x/y=1", "app/env/z=2"))
	content, err := os.ReadFile(layer.Blob)
	if err != nil {
		t.Fatal(err)
	}
	s := sandboxtest.Sparse(t, store, "app/env", layer)
	if err := errors.Join(s.Bring("app/env"), os.Truncate(layer.Blob, 20)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Bring("app/env/x"); !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "laying out /app/env/x: looking for y in its layer: unexpected EOF" {
			t.Error(err)
		}
	}
	if err := os.WriteFile(layer.Blob, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Bring("app/env/x"), s.Bring("app/env/none"), s.Bring("elsewhere")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(s.Dir(), "app/env/x/y")); string(b) != "1" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	dir := s.Dir()
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if s.Bring("app/env/x") == nil {
		t.Error("a tree that was removed is laid out")
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	if !slices.Equal(rootfs.SparseOf([]rootfs.Group{{{Sparse: s}}, {{}}, {{}, {}}}), rootfs.Sparses{s}) {
		t.Error("it is not found among groups")
	}
}
