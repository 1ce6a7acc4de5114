package sandbox_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/sandbox"
)

// testShown: a folder of this machine is seen at once with what comes into it, and is no output.
func testShown(w *world) {
	folder := filepath.Join(w.dir, "shown")
	must(w.t, os.Mkdir(folder, 0o755))
	must(w.t, os.WriteFile(filepath.Join(folder, "early"), []byte("early"), 0o644))
	link := filepath.Join(w.dir, "link,to:it")
	must(w.t, os.Symlink("shown", link))
	shown := func(c *sandbox.Command) { c.Shown = sandbox.Shown{Path: "/app/static", Folder: link} }
	res, out := w.run("ls static", shown)
	if slices.ContainsFunc(res.Choice.Notes, func(n string) bool { return strings.Contains(n, "no mount namespace") }) {
		if out != "old.css\nsame.css\n" {
			w.t.Errorf("without mounts there is %q", out)
		}
		return
	}
	must(w.t, res.Close())
	for _, watch := range []bool{false, true} {
		var come sync.WaitGroup
		come.Go(func() { // once the command has written that it waits
			for range 500 {
				if _, err := os.Stat(filepath.Join(w.dir, "waits")); err == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if err := errors.Join(os.MkdirAll(filepath.Join(folder, "d"), 0o755), os.WriteFile(filepath.Join(folder, "d/.late"), []byte("late\n"), 0o644),
				os.Rename(filepath.Join(folder, "d/.late"), filepath.Join(folder, "d/late"))); err != nil {
				w.t.Error(err)
			}
		})
		res, out := w.run("ls static ; await static/d/late ; cat public/d/late ; write made x", func(c *sandbox.Command) {
			shown(c)
			c.Watch = watch
			c.Stdout = io.MultiWriter(c.Stdout, writerFunc(func(p []byte) (int, error) {
				return len(p), os.WriteFile(filepath.Join(w.dir, "waits"), nil, 0o644)
			}))
			c.Stderr = c.Stdout
		})
		come.Wait()
		if d := cmp.Diff("early\nlate\n", out); d != "" {
			w.t.Error(d)
		}
		if _, err := res.Output("app/static"); err != nil {
			w.t.Error(err)
		}
		got, err := res.Output("app")
		must(w.t, err)
		if lines := describe(w.t, got); !slices.Contains(lines, "app/made file x") || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "late") || strings.Contains(l, "early") }) {
			w.t.Error(lines)
		}
		must(w.t, errors.Join(res.Close(), os.RemoveAll(filepath.Join(folder, "d")), os.Remove(filepath.Join(w.dir, "waits"))))
	}
	// What it does there reaches no tree.
	_, _ = w.fails("write static/early x ; exit 1", shown)
	b, err := os.ReadFile(filepath.Join(folder, "early"))
	must(w.t, err)
	if string(b) != "early" {
		w.t.Errorf("the folder's file became %q", b)
	}
	must(w.t, os.RemoveAll(folder))
	res, out = w.run("ls static", shown)
	if out != "old.css\nsame.css\n" {
		w.t.Errorf("without the folder there is %q", out)
	}
	must(w.t, res.Close())
	w.clean()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
