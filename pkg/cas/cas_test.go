package cas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const helloDigest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestBlob(t *testing.T) {
	s := open(t, t.TempDir())
	if s.Has(helloDigest, -1) {
		t.Fatal("an empty store has a blob")
	}
	digest, size, err := s.Put(strings.NewReader("hello"), helloDigest)
	if err != nil || digest != helloDigest || size != 5 {
		t.Fatalf("Put gave %s, %d, %v", digest, size, err)
	}
	f, err := s.Verified(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestWrongDigestStoresNothing(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, err := s.Put(strings.NewReader("hullo"), helloDigest)
	var de *DigestError
	if !errors.As(err, &de) || de.Want != helloDigest {
		t.Fatalf("got %v", err)
	}
	assertEmpty(t, s)
}

// failing yields some bytes and then an error, as a cut connection does.
type failing struct{ r io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("connection reset")
	}
	return n, err
}

func TestCutStreamStoresNothing(t *testing.T) {
	s := open(t, t.TempDir())
	if _, _, err := s.Put(failing{strings.NewReader("hello")}, ""); err == nil {
		t.Fatal("no error")
	}
	assertEmpty(t, s)
}

func assertEmpty(t *testing.T, s *Store) {
	t.Helper()
	us, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range us {
		if u.Entries != 0 {
			t.Errorf("%d %s were left", u.Entries, u.Kind)
		}
	}
}

func TestDamagedBlobIsDiscarded(t *testing.T) {
	for name, damage := range map[string]string{"cut": "hel", "changed": "jello"} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			if _, _, err := s.Put(strings.NewReader("hello"), ""); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.BlobPath(helloDigest), []byte(damage), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Verified(helloDigest); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v", err)
			}
			if s.Has(helloDigest, -1) {
				t.Error("the damaged blob is still there")
			}
		})
	}
	s := open(t, t.TempDir())
	if _, _, err := s.Put(strings.NewReader("hello"), ""); err != nil {
		t.Fatal(err)
	}
	if s.Has(helloDigest, 6) || s.Has(helloDigest, 5) {
		t.Error("a blob of another size was kept")
	}
}

func TestRecord(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Record("layer", "k"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"", "one", "two\nlines\n"} {
		if err := s.PutRecord("layer", "k", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Record("layer", "k"); err != nil || string(got) != want {
			t.Errorf("got %q, %v", got, err)
		}
	}
	name := s.recordPath("layer", "k")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{b[:len(b)-1], nil, bytes.Replace(b, []byte("two"), []byte("tow"), 1)} {
		if err := os.WriteFile(name, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Record("layer", "k"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %v", damaged, err)
		}
	}
}

func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		s := open(t, dir)
		wg.Go(func() {
			for j := range 20 {
				if _, _, err := s.Put(strings.NewReader(fmt.Sprint(j)), ""); err != nil {
					t.Error(err)
				}
				if err := s.PutRecord("n", fmt.Sprint(j), []byte(fmt.Sprint(j))); err != nil {
					t.Error(err)
				}
				if b, err := s.Record("n", fmt.Sprint(j)); err != nil || string(b) != fmt.Sprint(j) {
					t.Errorf("writer %d: record %d is %q, %v", i, j, b, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestPrunedTree: a tree is gone from its place before anything of it is, since a prune may be killed at any time.
func TestPrunedTree(t *testing.T) {
	s := open(t, t.TempDir())
	tree := s.TreePath("x")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "f"), []byte("f"), 0o644); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, tree, unix.IN_DELETE|unix.IN_MOVE_SELF); err != nil {
		t.Fatal(err)
	}
	if removed, err := s.Prune(0); err != nil || removed.Entries != 1 || removed.Kind != "" {
		t.Fatalf("%+v, %v", removed, err)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil || n < unix.SizeofInotifyEvent || binary.NativeEndian.Uint32(events[4:])&unix.IN_MOVE_SELF == 0 {
		t.Errorf("a file of the tree went first: %x, %v", events[:max(n, 0)], err)
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir(), "t*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var digests []string
	for i := range 3 {
		d, _, err := s.Put(strings.NewReader(strings.Repeat(fmt.Sprint(i), 1000)), "")
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1000*(i+1)), 0)
		if err := os.Chtimes(s.BlobPath(d), at, at); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	left, err := s.TempDir("crashed-")
	if err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(left, "a", "b")
	if err := os.MkdirAll(locked, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(left, "a"), 0o500); err != nil {
		t.Fatal(err)
	}

	other := open(t, dir)
	if _, err := s.Prune(0); !errors.Is(err, ErrInUse) {
		t.Fatalf("while another works: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Prune(2500)
	if err != nil {
		t.Fatal(err)
	}
	if removed.Entries != 2 || s.Has(digests[0], -1) || !s.Has(digests[1], -1) || !s.Has(digests[2], -1) {
		t.Errorf("removed %+v; the oldest blob and the left-over were to go", removed)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a crash left is still there")
	}
}
