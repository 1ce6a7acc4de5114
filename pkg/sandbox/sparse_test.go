package sandbox_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
)

// sparsely says whether a test of the suite is run with a tree that is laid out as it is looked at too. Where the suite is run again, for other
// users and under other rules, some are enough.
func sparsely(test string) bool {
	switch test {
	case "output", "untouched", "view":
		return true
	case "trees", "failure", "start", "special", "exec", "seen", "unseen", "shown":
		return os.Getenv("JUBAKO_TEST_PROG") == ""
	}
	return false
}

// runsSparse has a command run in an app of which no more is laid out than it looks at.
func (w *world) runsSparse(c *sandbox.Command) {
	app := len(w.trees) - 1
	s := sandboxtest.Sparse(w.t, w.sparse, "app", sandboxtest.Indexed(w.t, w.trees[app]))
	c.Trees, c.Sparse, c.Watch = append(slices.Clone(w.trees[:app]), s.Dir()), rootfs.Sparses{s}, true
}

// laid are the files that are laid out below a tree.
func laid(t *testing.T, tree string) string {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(tree, p)
			files = append(files, rel)
		}
		return err
	}))
	return strings.Join(files, " ")
}

// sparseWorld has an app of three folders, of which one lies in another.
func sparseWorld(t *testing.T, rung sandbox.Rung) *world {
	w := newWorld(t, rung)
	app := filepath.Join(w.trees[1], "app")
	for _, f := range []string{"a/one", "a/deep/two", "b/three"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(app, f)), 0o755))
		must(t, os.WriteFile(filepath.Join(app, f), []byte(f), 0o644))
	}
	must(t, os.Symlink("../a/deep", filepath.Join(app, "b/way")))
	w.sparse = castest.Open(t)
	return w
}

// TestSparse: no more is laid out than a step looks at, and all of it where that is not known.
func TestSparse(t *testing.T) {
	const root, static, everything = "app/manage.py app/public", "app/static/old.css app/static/same.css", "app/a/deep/two app/a/one app/b/three app/b/way app/manage.py app/public app/static/old.css app/static/same.css"
	for _, rung := range []sandbox.Rung{sandbox.Userns, sandbox.Chroot, sandbox.Ptrace} {
		t.Run(string(rung), func(t *testing.T) {
			w := sparseWorld(t, rung)
			allowed(t, w)
			for script, want := range map[string]string{
				"pwd":                     root,
				"cat manage.py":           root,
				"lstat a":                 "app/a/one " + root,
				"lstat a/none":            "app/a/one " + root,
				"lstat a/deep":            "app/a/deep/two app/a/one " + root,
				"cat b/way/two":           "app/a/deep/two app/a/one app/b/three app/b/way " + root,
				"cat public/old.css":      root + " " + static,
				"ls /":                    root,
				"threads b/three a/one":   "app/a/one app/b/three app/b/way " + root,
				"child cat b/three":       "app/b/three app/b/way " + root,
				"dirfd a deep/two":        "app/a/deep/two app/a/one " + root,
				"in b cat three":          "app/b/three app/b/way " + root,
				"write a/new x":           "app/a/one " + root,
				"uring":                   everything,
				"rename a moved ; ls b":   everything,
				"symlink a/deep link":     everything,
				"rename public moved":     everything,
				"rename a/one moved":      "app/a/one " + root,
				"cat manage.py ; lstat x": root,
			} {
				var out bytes.Buffer
				c := w.command(&out, script)
				res, err := sandbox.Run(t.Context(), c)
				if err != nil {
					if strings.HasPrefix(script, "rename") { // as overlayfs refuses it
						continue
					}
					t.Fatalf("%s: %v\n%s", script, err, out.String())
				}
				must(t, res.Close())
				if script == "uring" && res.Seen.Unknown == "" {
					continue // it is refused here
				}
				if d := cmp.Diff(want, laid(t, c.Sparse[0].Dir())); d != "" {
					t.Errorf("%s: %s", script, d)
				}
			}
			for name, change := range map[string]func(*sandbox.Command){
				"unwatched": func(c *sandbox.Command) { c.Watch = false },
				"writable":  func(c *sandbox.Command) { c.Writable = []string{"/app/b/data"} },
			} {
				var out bytes.Buffer
				c := w.command(&out, "pwd")
				change(&c)
				res, err := sandbox.Run(t.Context(), c)
				must(t, err)
				must(t, res.Close())
				if d := cmp.Diff(everything, laid(t, c.Sparse[0].Dir())); d != "" {
					t.Errorf("%s: %s", name, d)
				}
			}
			w.clean()
		})
	}
}

// TestSparseFails ends a step that looks at what cannot be laid out, with the reason.
func TestSparseFails(t *testing.T) {
	for _, rung := range []sandbox.Rung{sandbox.Userns, sandbox.Chroot, sandbox.Ptrace} {
		t.Run(string(rung), func(t *testing.T) {
			w := sparseWorld(t, rung)
			allowed(t, w)
			layer := sandboxtest.Indexed(t, w.trees[1])
			s := sandboxtest.Sparse(t, w.sparse, "app", layer)
			must(t, s.Bring("app"))
			must(t, os.Truncate(layer.Blob, 20))
			var out bytes.Buffer
			c := w.command(&out, "cat manage.py ; cat b/three ; write after x")
			c.Trees, c.Sparse = []string{w.trees[0], s.Dir()}, rootfs.Sparses{s}
			if res, err := sandbox.Run(t.Context(), c); !errors.Is(err, io.ErrUnexpectedEOF) || res != nil || out.String() != "app" {
				t.Errorf("%v\n%s", err, out.String())
			}
			w.clean()
		})
	}
}
