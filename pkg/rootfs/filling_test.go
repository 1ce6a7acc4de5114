package rootfs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
)

// fill writes a tar in parts.
func fill(t *testing.T, ctx context.Context, store *cas.Store, tarball []byte) *Filling {
	t.Helper()
	f, err := Fill(ctx, store, false)
	if err != nil {
		t.Fatal(err)
	}
	for part := 1; len(tarball) > 0; part = part*3%1999 + 1 {
		n := min(part, len(tarball))
		if m, err := f.Write(tarball[:n]); m != n || err != nil {
			t.Fatalf("%d of %d: %v", m, n, err)
		}
		tarball = tarball[n:]
	}
	return f
}

// left fails the test where anything but whole trees is left in the store, and gives their number.
func left(t *testing.T, store *cas.Store) (trees int) {
	t.Helper()
	tmp, err := os.ReadDir(filepath.Join(store.Dir(), "tmp"))
	for _, e := range tmp {
		t.Errorf("left behind: %s", e.Name())
	}
	all, err2 := filepath.Glob(store.TreePath("*"))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestFilling: a tree that is filled while its tar is written is the one that is unpacked of its blob, which nobody opens then.
func TestFilling(t *testing.T) {
	base := Group{layer(archive(t, "a/x=1", "b/y=2", "c=3"))}
	tarball := archive(t, "a/.wh.x", ".wh.c", "b/.wh..wh..opq", "b/z=4", "d/e/f=5", "d/s -> e/f", "d/h => d/e/f", "big="+strings.Repeat("x", 3<<20))
	top := layer(tarball)
	want, err := Unpack(t.Context(), castest.Open(t), []Group{base, {top}}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	store := castest.Open(t)
	f := fill(t, t.Context(), store, tarball)
	if err := f.Place(Group{top}); err != nil {
		t.Fatal(err)
	}
	f.Drop()
	if n := left(t, store); n != 1 {
		t.Errorf("%d trees", n)
	}
	top.Open = func() (io.ReadCloser, error) { return nil, errors.New("it is not to be opened") }
	got, err := Unpack(t.Context(), store, []Group{base, {top}}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(list(t, NewView(want...)), list(t, NewView(got...))); d != "" {
		t.Error(d)
	}
	if entries, err := Changes(NewView(want[1]), NewView(got[1]), "."); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	// Whoever comes second finds the tree there, and as good.
	if err := fill(t, t.Context(), store, tarball).Place(Group{top}); err != nil || left(t, store) != 2 {
		t.Error(err)
	}
}

// TestFillingOfGroup: layers that become one tree are filled into it one after another, each over those before it.
func TestFillingOfGroup(t *testing.T) {
	tars := [][]byte{archive(t, "a/x=1", "b/y=2", "c=3", "s -> a"), archive(t, "a/.wh.x", ".wh.c", "b/.wh..wh..opq", "b/z=4", "s/new=5"), archive(t), archive(t, "b/z=6")}
	var group Group
	for _, b := range tars {
		group = append(group, layer(b))
	}
	want, err := Unpack(t.Context(), castest.Open(t), []Group{group}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	store := castest.Open(t)
	f, err := Fill(t.Context(), store, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range tars {
		if i > 0 {
			f.Next()
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Place(group); err != nil || left(t, store) != 1 {
		t.Fatal(err)
	}
	for i := range group {
		group[i].Open = func() (io.ReadCloser, error) { return nil, errors.New("it is not to be opened") }
	}
	got, err := Unpack(t.Context(), store, []Group{group}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(list(t, NewView(want...)), list(t, NewView(got...))); d != "" {
		t.Error(d)
	}
	// One of the layers that cannot be unpacked spoils the tree, and nobody waits for those after it.
	if f, err = Fill(t.Context(), store, true); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{tars[0], archive(t, "h => none"), tars[1]} {
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		f.Next()
	}
	if err := f.Place(group[:3]); err == nil || !strings.Contains(err.Error(), `hard link to "none"`) {
		t.Error(err)
	}
	if n := left(t, store); n != 1 {
		t.Errorf("%d trees", n)
	}
	var none *Filling
	none.Next()
}

func TestFillingThatEnds(t *testing.T) {
	store := castest.Open(t)
	diffID := strings.Repeat("a", 64)
	for want, entries := range hostile {
		if strings.HasPrefix(want, "it holds more") {
			continue // than the limits, which are others here
		}
		f := fill(t, t.Context(), store, archive(t, entries...))
		if err := f.Place(Group{{DiffID: diffID}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %s", err, want)
		}
	}
	tarball := archive(t, "a=1", "b="+strings.Repeat("x", 1<<20))
	if err := fill(t, t.Context(), store, tarball[:1<<19]).Place(Group{{DiffID: diffID}}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("one that is cut: %v", err)
	}
	if err := fill(t, t.Context(), store, tarball).Place(Group{{DiffID: "../../x"}}); err == nil {
		t.Error("it was placed where no diffID leads")
	}
	f := fill(t, t.Context(), store, tarball[:1<<19])
	f.Drop()
	f.Drop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fill(t, ctx, store, tarball).Place(Group{{DiffID: diffID}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	var none *Filling
	if n, err := none.Write(tarball); n != len(tarball) || err != nil || none.Place(nil) != nil {
		t.Errorf("%d, %v", n, err)
	}
	none.Drop()
	if n := left(t, store); n != 0 {
		t.Errorf("%d trees", n)
	}
}
