package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/sandbox"
)

// TestLoader is what the loader rung does about absolute paths.
func TestLoader(t *testing.T) {
	w := newWorld(t, sandbox.Loader)
	t.Run("printed", func(t *testing.T) {
		if _, out := w.run("pwd"); out != "/app\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("written", func(t *testing.T) {
		res, _ := w.run("absolute static/where")
		if _, err := res.Output("app/static"); err == nil || !strings.Contains(err.Error(), "/app/static/where holds the path of the folder") {
			t.Errorf("%v", err)
		}
		if _, err := res.Output("etc"); err != nil { // hosts alone
			t.Error(err)
		}
	})
	t.Run("linked", func(t *testing.T) {
		res, _ := w.run("symlink /app/static/old.css static/link")
		got, err := res.Output("app/static")
		must(t, err)
		if s := describe(t, got); len(s) != 2 || s[1] != "app/static/link symlink /app/static/old.css" {
			t.Errorf("%q", s)
		}
		root, err := res.View().Resolve("app")
		must(t, err)
		if target, err := os.Readlink(filepath.Join(root.Real(), "public")); err != nil || target != "/app/static" {
			t.Errorf("a link of the image became %q, %v", target, err)
		}
	})
	t.Run("outside", func(t *testing.T) {
		out := filepath.Join(w.dir, "escaped")
		_, said := w.run("escape " + out)
		if !strings.HasPrefix(said, "[Errno 13] an absolute path of the image, which the loader sandbox cannot follow") {
			t.Errorf("%q", said)
		}
		if _, err := os.Lstat(out); err == nil {
			t.Error("it wrote outside of the tree")
		}
	})
	for name, argv := range map[string][]string{
		"other":    {"/bin/sh-like"},
		"isolated": {"python3", "-I", "-c", "pass"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.MkdirAll(filepath.Join(w.dir, "base/bin"), 0o755))
			b, err := os.ReadFile(prog)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(w.dir, "base/bin/sh-like"), b, 0o755))
			_, err = w.fails("", func(c *sandbox.Command) { c.Argv = argv })
			if _, ok := errors.AsType[*sandbox.RefusedError](err); !ok || !strings.Contains(err.Error(), "loader: runs Python alone") {
				t.Errorf("%v", err)
			}
		})
	}
}
