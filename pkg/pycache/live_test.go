package pycache

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/pyimport"
	"github.com/jubako/jubako/pkg/sandbox"
)

// TestLive shows a command the bytecode of what it likely reads before it has ever run, and, at the next run, that of what it has read.
func TestLive(t *testing.T) {
	w := newWorld(t, files{site + "a.py": "import b, c\nimport settings", site + "b.py": "import d", site + "c.py": "bad", site + "d.py": "d", site + "e.py": "e"})
	w.cache.Likely, w.cache.Roots = func(g *pyimport.Graph) { g.Visit("a") }, []string{"app", strings.TrimSuffix(site, "/"), "usr/lib"}
	u := w.use()
	if u.whole() || u.Found() != 0 || u.Shown().Path != Prefix || len(w.pycs(u.Shown().Folder)) != 0 {
		t.Fatalf("%+v, with %v", u.Shown(), w.pycs(u.Shown().Folder))
	}
	n, err := u.Compile(t.Context())
	if _, refused := errors.AsType[*sandbox.RefusedError](err); refused {
		t.Skip(err)
	}
	want := map[string]string{"app/settings.cpython-312.pyc": "pyc of /app/settings.py: SETTINGS"}
	for name, source := range map[string]string{"a": "IMPORT B, C\nIMPORT SETTINGS", "b": "IMPORT D", "c": "BAD", "d": "D"} {
		want[site+name+".cpython-312.pyc"] = "pyc of /" + site + name + ".py: " + source
	}
	if diff := cmp.Diff(want, w.pycs(u.Shown().Folder)); diff != "" || n != 5 || err != nil {
		t.Error(n, err, diff)
	}
	delete(want, "app/settings.cpython-312.pyc") // nor is it kept
	if diff := cmp.Diff(want, w.laid()); diff != "" {
		t.Error(diff)
	}
	folder := u.Shown().Folder
	if err := u.Close(); err != nil || u.Shown() != (sandbox.Shown{}) {
		t.Error(u.Shown(), err)
	}
	if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what it was shown is left behind: %v", err)
	}
	// It read one that was not foreseen, and not all that were: the next finds what there is, and then the rest.
	read := []observed.Look{{Path: site + "a.py", Kind: observed.Read}, {Path: site + "b.py", Kind: observed.Read}, {Path: site + "e.py", Kind: observed.Read}}
	if err := u.Remember(read); err != nil {
		t.Fatal(err)
	}
	u = w.use()
	if diff := cmp.Diff(want, w.pycs(u.Shown().Folder)); diff != "" {
		t.Error(diff)
	}
	// What the command does to one of them, where it can reach it, reaches no other run.
	at := site + "a.cpython-312.pyc"
	before := want[at]
	if err := os.WriteFile(u.Shown().Folder+"/"+at, []byte("harm"), 0o644); err != nil || w.pycs(u.Tree() + Prefix)[at] != before {
		t.Errorf("%s, %v", w.pycs(u.Tree() + Prefix)[at], err)
	}
	want[at] = "harm"
	n, err = u.Compile(t.Context())
	want[site+"e.cpython-312.pyc"] = "pyc of /" + site + "e.py: E"
	want["app/settings.cpython-312.pyc"] = "pyc of /app/settings.py: SETTINGS"
	if diff := cmp.Diff(want, w.pycs(u.Shown().Folder)); diff != "" || n != 2 || err != nil {
		t.Error(n, err, diff)
	}
	want[at] = before
	delete(want, site+"c.cpython-312.pyc") // it was not read
	delete(want, site+"d.cpython-312.pyc")
	delete(want, "app/settings.cpython-312.pyc")
	if diff := cmp.Diff(want, w.laid()); diff != "" {
		t.Error(diff)
	}
	// With all of it, nothing is to come.
	if u := w.use(); !u.whole() || u.Found() != 3 || u.Shown() != (sandbox.Shown{}) {
		t.Errorf("%d, %+v", u.Found(), u.Shown())
	}
}

// TestTurned begins behind a third of the bytes, and comes to the first third from its end.
func TestTurned(t *testing.T) {
	sizes := map[string]int64{"a.py": 30, "b.py": 1, "c.py": 9, "d.py": 40, "e.py": 20}
	for list, want := range map[string]string{
		"a.py b.py c.py d.py e.py": "d.py e.py c.py b.py a.py", "a.py b.so c.py": "c.py a.py", "a.py": "a.py", "x.py y.py": "x.py y.py", "": "",
	} {
		if got := strings.Join(turned(strings.Fields(list), func(m string) int64 { return sizes[m] }), " "); got != want {
			t.Errorf("%s: %s, not %s", list, got, want)
		}
	}
}
