package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/rootfs"
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
	touched, err := rootfs.Touched(rootfs.NewView(w.trees...), res.View(), func(p string) bool {
		return p == "etc" || p == "tmp" || p == "dev" || p == "proc" || strings.HasPrefix(p, "dev/")
	})
	must(w.t, err)
	if d := cmp.Diff([]string{"app/new", "app/static/old.css", "data"}, touched); d != "" {
		w.t.Error(d)
	}
}
