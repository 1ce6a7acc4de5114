package sandbox_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// testUntouched: what a step has not looked at is as it was, next to what it has changed.
func testUntouched(w *world) {
	app := filepath.Join(w.trees[len(w.trees)-1], "app")
	must(w.t, os.MkdirAll(filepath.Join(app, "deep/er"), 0o755))
	must(w.t, os.WriteFile(filepath.Join(app, "deep/er/file"), []byte("x"), 0o644))
	must(w.t, os.WriteFile(filepath.Join(app, "deep/file"), []byte("x"), 0o644))
	must(w.t, os.Symlink("deep", filepath.Join(app, "link")))
	must(w.t, os.Symlink("app", filepath.Join(w.dir, "base/link")))
	res, _ := w.run("ls . ; ls / ; write new x ; ls deep ; rm static/old.css ; rm /data ; chmod 555 deep")
	got, err := res.Output("app")
	must(w.t, err)
	want := []string{"app directory", "app/new file x", "app/static directory", "app/static/old.css whiteout"}
	if d := cmp.Diff(want, describe(w.t, got)); d != "" {
		w.t.Error(d)
	}
	touched, err := rootfs.Touched(w.lower, res.View(), func(p string) bool {
		return p == "etc" || p == "tmp" || p == "dev" || p == "proc" || strings.HasPrefix(p, "dev/")
	})
	must(w.t, err)
	if d := cmp.Diff([]string{"app/new", "app/static/old.css", "data"}, touched); d != "" {
		w.t.Error(d)
	}
}

// TestMarkedWhiteouts: where a tree has files that stand for whiteouts, no rung shows them, overlayfs or not.
func TestMarkedWhiteouts(t *testing.T) {
	for _, rung := range sandbox.Rungs() {
		t.Run(string(rung), func(t *testing.T) {
			w := newWorld(t, rung)
			allowed(t, w)
			app := w.trees[len(w.trees)-1]
			kept := filepath.Join(app, "data/kept")
			must(t, os.Mkdir(filepath.Dir(kept), 0o755))
			must(t, os.WriteFile(kept, nil, 0o600))
			for _, p := range []string{kept, app} {
				if err := unix.Setxattr(p, "user.jubako.whiteout", []byte("y"), 0); err != nil {
					t.Skip(err)
				}
			}
			res, out := w.run("ls /data ; write /data/new x")
			if strings.Contains(out, "kept") {
				t.Errorf("the command sees %q", out)
			}
			got, err := res.Output("data")
			must(t, err)
			if d := cmp.Diff([]string{"data directory", "data/new file x"}, describe(t, got)); d != "" {
				t.Error(d)
			}
			if _, err := res.View().Resolve("data/kept"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what was removed is there: %v", err)
			}
		})
	}
}
