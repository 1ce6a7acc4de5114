package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/rootfs"
)

// testTree is a lazy tree over a lower one with links of every kind.
func testTree(t *testing.T) *tree {
	t.Helper()
	dir := t.TempDir()
	lower := filepath.Join(dir, "lower")
	for _, d := range []string{"lower/usr/lib/deep", "lower/etc", "root", "spare"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for p, target := range map[string]string{"lib": "usr/lib", "abs": "/usr", "up": "../../../../etc", "loop": "loop", "a": "b", "b": "a",
		"usr/lib/back": "..", "dangling": "/none/x", "new": "etc/new"} {
		if err := os.Symlink(target, filepath.Join(lower, p)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"usr/lib/file", "etc/passwd"} {
		if err := os.WriteFile(filepath.Join(lower, p), []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := newLazyTree(filepath.Join(dir, "root"), filepath.Join(dir, "spare"), rootfs.NewView(lower))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestWalk(t *testing.T) {
	tr := testTree(t)
	for _, c := range []struct {
		from, path string
		keep       bool
		key        string
		err        error
	}{
		{path: "/", key: ""},
		{path: "/../..", key: ""},
		{path: "/usr/lib/file", key: "/usr/lib/file"},
		{path: "//lib/./file", key: "/usr/lib/file"},
		{path: "/abs/lib/deep/", key: "/usr/lib/deep"},
		{path: "/lib/back/lib/back/lib/file", key: "/usr/lib/file"},
		{path: "/lib/../..", key: ""}, // what lib leads to lies in usr
		{path: "/up/passwd", key: "/etc/passwd"},
		{path: "/up", keep: true, key: "/up"},
		{path: "/up/", keep: true, key: "/etc"},
		{from: "/usr/lib", path: "file", key: "/usr/lib/file"},
		{from: "/usr/lib", path: "../../etc", key: "/etc"},
		{path: "/new", key: "/etc/new"},
		{path: "/dangling", err: unix.ENOENT},
		{path: "/none/x", err: unix.ENOENT},
		{path: "/usr/lib/file/", err: unix.ENOTDIR},
		{path: "/usr/lib/file/x", err: unix.ENOTDIR},
		{path: "/usr/lib/file/..", err: unix.ENOTDIR},
		{path: "/loop", err: unix.ELOOP},
		{path: "/a/x", err: unix.ELOOP},
		{path: "", err: unix.ENOENT},
		{path: "/" + strings.Repeat("x", maxPath), err: unix.ENAMETOOLONG},
		{path: "/" + strings.Repeat("x", 300), err: unix.ENAMETOOLONG},
	} {
		got, err := tr.walk(c.from, c.path, !c.keep)
		if !errors.Is(err, c.err) {
			t.Errorf("%q: %v, want %v", c.path, err, c.err)
		}
		if err == nil && (got.key != c.key || got.host != tr.root+c.key) {
			t.Errorf("%q leads to %q (%s), want %q", c.path, got.key, got.host, c.key)
		}
	}
}

// FuzzWalk follows paths that a step may ask for: none leads out of the tree, or past a symlink.
func FuzzWalk(f *testing.F) {
	for _, p := range []string{"/lib/back/../../etc/passwd", "up/..//./", "../../..", "/loop/x", "abs/lib/deep/../back/lib", "/dangling/../..", "new"} {
		f.Add(p, true)
		f.Add(p, false)
	}
	f.Fuzz(func(t *testing.T, p string, follow bool) {
		if strings.ContainsRune(p, 0) {
			return // the kernel's strings end there
		}
		tr := testTree(t)
		if _, err := tr.walk("", "/usr/lib", true); err != nil { // a process has been led to where it stands
			t.Fatal(err)
		}
		at, err := tr.walk("/usr/lib", p, follow)
		if err != nil {
			return
		}
		if !within(at.host, tr.root) || filepath.Clean(at.host) != at.host {
			t.Errorf("%q leads to %s", p, at.host)
		}
		if real, err := filepath.EvalSymlinks(filepath.Dir(at.host)); at.key != "" && (err != nil || real != filepath.Dir(at.host)) {
			t.Errorf("%q leads to %s, which lies in %s (%v)", p, at.host, real, err)
		}
	})
}

func TestWithoutRoot(t *testing.T) {
	const root = "/tmp/step/root"
	in := "a " + root + "/x " + root + " /tmp/step/rooted /tmp/" + root + "/\n"
	want := "a /x " + root + " /tmp/step/rooted /tmp//\n"
	for size := 1; size <= len(in); size++ {
		var out strings.Builder
		f := withoutRoot(&out, root)
		for rest := in; rest != ""; {
			n := min(size, len(rest))
			if _, err := f.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := f.flush(); err != nil || out.String() != want {
			t.Errorf("in pieces of %d: %q, want %q (%v)", size, out.String(), want, err)
		}
	}
}

func TestMentions(t *testing.T) {
	for text, want := range map[string]bool{strings.Repeat("x", 64<<10-3) + "needle": true, "needl": false, "": false, "needle": true,
		strings.Repeat("needl", 100000): false} {
		got, err := mentions(strings.NewReader(text), "needle")
		if err != nil || got != want {
			t.Errorf("%d bytes: %v, want %v (%v)", len(text), got, want, err)
		}
	}
}
