package cas

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// bootAs starts the machine anew, for a test.
func bootAs(t *testing.T, id string) {
	was := boot
	boot = func() string { return id }
	t.Cleanup(func() { boot = was })
}

// makeTree makes a tree of a folder with a file, and gives where it stands.
func makeTree(s *Store, key string) (string, error) {
	tmp, err := s.TempDir("tree-")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(tmp, "lib"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, "lib", "a.py"), []byte("a = 1\n"), 0o644); err != nil {
		return "", err
	}
	return s.PutTree(key, tmp)
}

func putTree(t *testing.T, s *Store, key string) string {
	t.Helper()
	dir, err := makeTree(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantTree asks for a tree.
func wantTree(t *testing.T, s *Store, key string, want bool) {
	t.Helper()
	dir, ok, err := s.Tree(key)
	if err != nil || ok != want || dir != s.TreePath(key) {
		t.Fatalf("Tree gave %s, %t, %v; want %t", dir, ok, err, want)
	}
	if !ok && isDir(dir) {
		t.Error("a tree that is not whole stays where it is")
	}
}

// TestTree: a tree is trusted until the machine is started anew, and then counted once.
func TestTree(t *testing.T) {
	bootAs(t, "first")
	s := open(t, t.TempDir())
	wantTree(t, s, "x", false)
	file := filepath.Join(putTree(t, s, "x"), "lib", "a.py")
	wantTree(t, s, "x", true)

	bootAs(t, "second")
	wantTree(t, s, "x", true)
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, "x", true) // it was counted since the machine was started

	bootAs(t, "") // not told
	wantTree(t, s, "x", true)

	bootAs(t, "third")
	wantTree(t, s, "x", false)
	putTree(t, s, "x")
	wantTree(t, s, "x", true)
}

// TestTreeLost: what a power cut may leave of a tree is none.
func TestTreeLost(t *testing.T) {
	for what, lose := range map[string]func(s *Store, dir string) error{
		"the content of a file": func(_ *Store, dir string) error { return os.Truncate(filepath.Join(dir, "lib", "a.py"), 0) },
		"a file":                func(_ *Store, dir string) error { return os.Remove(filepath.Join(dir, "lib", "a.py")) },
		"its record's content":  func(s *Store, _ string) error { return os.Truncate(s.recordPath(treeRecords, "x"), 0) },
	} {
		t.Run(what, func(t *testing.T) {
			bootAs(t, "first")
			s := open(t, t.TempDir())
			dir := putTree(t, s, "x")
			bootAs(t, "second")
			if err := lose(s, dir); err != nil {
				t.Fatal(err)
			}
			wantTree(t, s, "x", false)
		})
	}
}

// TestTreeUnknown: a tree of which nothing is known, as one of an earlier version, counts from now on for what it is.
func TestTreeUnknown(t *testing.T) {
	bootAs(t, "first")
	s := open(t, t.TempDir())
	dir := putTree(t, s, "x")
	if err := os.Remove(s.recordPath(treeRecords, "x")); err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, "x", true)
	bootAs(t, "second")
	if err := os.Truncate(filepath.Join(dir, "lib", "a.py"), 0); err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, "x", false)
}

// TestPutTreeOver: a tree takes the place of one that is damaged, and of no other.
func TestPutTreeOver(t *testing.T) {
	bootAs(t, "first")
	s := open(t, t.TempDir())
	file := filepath.Join(putTree(t, s, "x"), "lib", "a.py")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	putTree(t, s, "x")
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("a whole tree was replaced: %v", err)
	}
	bootAs(t, "second")
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	putTree(t, s, "x")
	if b, err := os.ReadFile(file); err != nil || string(b) != "a = 1\n" {
		t.Errorf("a damaged tree was kept: %q, %v", b, err)
	}
	wantTree(t, s, "x", true)
}

// TestTreeReadOnly: a cache that cannot be written to serves what is whole in it.
func TestTreeReadOnly(t *testing.T) {
	bootAs(t, "first")
	s := open(t, t.TempDir())
	file := filepath.Join(putTree(t, s, "x"), "lib", "a.py")
	bootAs(t, "second")
	lock := filepath.Join(s.Dir(), "trees.lock")
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(lock, 0o755); err != nil { // root too cannot open it so
		t.Fatal(err)
	}
	wantTree(t, s, "x", true)
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Tree("x"); ok || err == nil {
		t.Errorf("a damaged tree that cannot be removed: %t, %v", ok, err)
	}
}

// TestTreesAtOnce: processes that find a damaged tree at the same time remove none that one of them has made anew.
func TestTreesAtOnce(t *testing.T) {
	cache := t.TempDir()
	bootAs(t, "first")
	dir := putTree(t, open(t, cache), "x")
	if err := os.Truncate(filepath.Join(dir, "lib", "a.py"), 0); err != nil {
		t.Fatal(err)
	}
	bootAs(t, "second")
	var wait sync.WaitGroup
	for range 8 {
		s := open(t, cache)
		wait.Go(func() {
			_, ok, err := s.Tree("x")
			if err == nil && !ok {
				_, err = makeTree(s, "x")
			}
			if err != nil {
				t.Error(err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "lib", "a.py")); err != nil || string(b) != "a = 1\n" {
				t.Errorf("the tree that was made holds %q, %v", b, err)
			}
		})
	}
	wait.Wait()
	wantTree(t, open(t, cache), "x", true)
}

// TestTreeClosedFolder: a folder of an image that nobody may read keeps no tree from being made.
func TestTreeClosedFolder(t *testing.T) {
	s := open(t, t.TempDir())
	tmp, err := s.TempDir("tree-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tmp, "closed"), 0o000); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutTree("x", tmp); err != nil {
		t.Fatal(err)
	}
	bootAs(t, "another")
	wantTree(t, s, "x", true)
}
