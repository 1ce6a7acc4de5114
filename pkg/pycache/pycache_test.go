package pycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m, "../../layers/staticfiles/testdata/python", &python) }

// python stands for the base's.
var python []byte

// world is a cache and the trees of a base, an environment of two layers, and a project.
type world struct {
	t     *testing.T
	cache Cache
	trees []string
}

type files map[string]string

func newWorld(t *testing.T, environment ...files) *world {
	t.Helper()
	w := &world{t: t, cache: Cache{Store: sandboxtest.Store(t), Command: "collectstatic", Python: Interpreter{Path: "/usr/bin/python", Tag: "cpython-312"},
		Own: func(p string) bool { return strings.HasPrefix(p, "app/") && !strings.HasPrefix(p, "app/.venv/") }}}
	w.lay(environment...)
	return w
}

func (w *world) lay(environment ...files) {
	w.t.Helper()
	w.cache.Below = nil
	for _, f := range environment {
		w.cache.Below = append(w.cache.Below, fmt.Sprint(f))
	}
	all := append([]files{{"usr/bin/python": string(python), "usr/lib/os.py": "os", "usr/lib/bad.py": "is no Python"}}, environment...)
	var groups []rootfs.Group
	for _, f := range append(all, files{"app/settings.py": "settings"}) {
		groups = append(groups, sandboxtest.Group(w.t, f))
	}
	trees, err := rootfs.Unpack(w.t.Context(), w.cache.Store, groups, rootfs.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.trees = trees
}

// use lays out what there is.
func (w *world) use() *Use {
	w.t.Helper()
	u, err := w.cache.Lay(w.trees)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := errors.Join(u.Close(), u.Close()); err != nil {
			w.t.Error(err)
		}
	})
	return u
}

// ran is a run of a command that reads these paths, with what is compiled beside it.
func (w *world) ran(read ...string) (compiled int) {
	w.t.Helper()
	u := w.use()
	compiled, err := u.Compile(w.t.Context())
	if _, refused := errors.AsType[*sandbox.RefusedError](err); refused {
		w.t.Skip(err)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var looks []observed.Look
	for _, p := range read {
		looks = append(looks, observed.Look{Path: p, Kind: observed.Read})
	}
	if err := u.Remember(looks); err != nil {
		w.t.Fatal(err)
	}
	return compiled
}

// laid is the bytecode that a command would find, by its path below Prefix.
func (w *world) laid() map[string]string {
	w.t.Helper()
	return w.pycs(w.use().Tree() + Prefix)
}

// pycs reads all that is in a folder.
func (w *world) pycs(top string) map[string]string {
	w.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, relErr := filepath.Rel(top, p)
		found[rel] = string(b)
		return errors.Join(err, relErr)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

const site = "app/.venv/lib/python3.12/site-packages/"

// TestCompile follows a command over its runs: what it reads is compiled beside the next, and found by the one after that.
func TestCompile(t *testing.T) {
	w := newWorld(t, files{site + "django/db.py": "db", site + "a/__init__.py": "lower"}, files{site + "a/__init__.py": "upper", site + "a/unread.py": "x"})
	read := []string{"usr/lib/os.py", "usr/lib/bad.py", site + "django/db.py", site + "a/__init__.py", "app/settings.py", site + "gone.py", "usr/lib/libc.so", "usr/bin/python"}
	if n := w.ran(read...); n != 0 || len(w.laid()) != 0 {
		t.Errorf("before anything was known: %d compiled, %v", n, w.laid())
	}
	if n := w.ran(read...); n != 3 {
		t.Errorf("%d modules were compiled", n)
	}
	want := map[string]string{
		"usr/lib/os.cpython-312.pyc":        "pyc of /usr/lib/os.py: OS",
		site + "django/db.cpython-312.pyc":  "pyc of /" + site + "django/db.py: DB",
		site + "a/__init__.cpython-312.pyc": "pyc of /" + site + "a/__init__.py: UPPER",
	}
	if diff := cmp.Diff(want, w.laid()); diff != "" {
		t.Error(diff)
	}
	if u := w.use(); u.Found() != 3 {
		t.Errorf("%d found", u.Found())
	}
	if n := w.ran(append(read, site+"a/unread.py")...); n != 0 {
		t.Errorf("%d modules were compiled again", n)
	}
	// What is read for the first time joins what its layer has.
	if n := w.ran(read...); n != 1 || len(w.laid()) != 4 {
		t.Errorf("%d compiled, %v", n, w.laid())
	}
}

// TestLayers keeps the bytecode of the modules that stay when a layer changes, whatever their layers are.
func TestLayers(t *testing.T) {
	django, other := files{site + "django/db.py": "db"}, files{site + "other.py": "o"}
	w := newWorld(t, django, other)
	read := []string{"usr/lib/os.py", site + "django/db.py", site + "other.py"}
	w.ran(read...)
	if n := w.ran(read...); n != 3 {
		t.Fatalf("%d modules were compiled", n)
	}
	before := w.use().kept.blob
	w.lay(files{site + "django/db.py": "db", site + "other.py": "o"})
	if n := w.ran(read...); n != 0 || w.use().kept.blob != before {
		t.Errorf("the same modules in other layers: %d were compiled", n)
	}
	w.lay(files{site + "django/db.py": "newer"}, other)
	if n := w.ran(read...); n != 1 || len(w.laid()) != 3 || w.laid()[site+"django/db.cpython-312.pyc"] != "pyc of /"+site+"django/db.py: NEWER" {
		t.Errorf("after a bump %d modules were compiled: %v", n, w.laid())
	}
	// What is read no more is kept no more, once anything changes.
	w.ran(read[:2]...)
	w.lay(files{site + "django/db.py": "newest"}, other)
	if n := w.ran(read[:2]...); n != 1 || len(w.laid()) != 2 {
		t.Errorf("%d modules were compiled: %v", n, w.laid())
	}
}

// TestOthers keeps apart what another interpreter, another environment or another base has compiled.
func TestOthers(t *testing.T) {
	w := newWorld(t, files{site + "m.py": "m"})
	read := []string{"usr/lib/os.py", site + "m.py"}
	w.ran(read...)
	w.ran(read...)
	if w.use().Found() != 2 {
		t.Fatal("nothing was compiled")
	}
	first := w.cache.Python
	for _, other := range []Interpreter{
		{Path: "/usr/local/bin/python", Tag: first.Tag}, {Path: first.Path, Tag: first.Tag, Optimize: "2"}, {Path: first.Path, Tag: first.Tag, Env: []string{"LD_LIBRARY_PATH=/x"}},
	} {
		w.cache.Python = other
		if n := w.use().Found(); n != 0 {
			t.Errorf("%+v finds %d", other, n)
		}
	}
	w.cache.Python.Path, w.cache.Python.Optimize, w.cache.Python.Env = first.Path, "2", nil
	w.ran(read...) // the bytes are the same, and the names are others
	if got := w.laid(); got["usr/lib/os.cpython-312.opt-2.pyc"] == "" || got[site+"m.cpython-312.opt-2.pyc"] == "" {
		t.Errorf("optimized: %v", got)
	}
	w.cache.Python = first
	w.trees = w.trees[1:] // another base
	if n := w.use().Found(); n != 0 {
		t.Errorf("another base finds %d", n)
	}
}

// TestTrouble is what may go wrong beside a command. What was compiled before is kept; nothing else is.
func TestTrouble(t *testing.T) {
	for _, text := range []string{"talks", "floods"} {
		w := newWorld(t, files{site + "a.py": text})
		w.ran(site + "a.py")
		if n, err := w.use().Compile(t.Context()); err == nil || n != 0 || w.use().Found() != 0 {
			t.Errorf("%s: %d compiled, %v", text, n, err)
		}
	}
	w := newWorld(t, files{site + "a.py": "a", site + "b.py": "hangs"})
	w.ran(site+"a.py", site+"b.py")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := w.use().Compile(ctx); err != nil {
		t.Errorf("a compiler that was ended: %v", err)
	}
	cancel()
	if n, err := w.use().Compile(ctx); n != 0 || err != nil {
		t.Errorf("after the end: %d, %v", n, err)
	}
	if u := w.use(); u.whole() {
		t.Error("it is taken for whole")
	}
}

// TestLinks does not follow a symlink out of the tree, nor read what is no file.
func TestLinks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.WriteFile(outside+"/m.py", []byte("secret"), 0o644)); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, files{site + "pkg": "-> " + outside, site + "d.py/x": "", site + "large.py": strings.Repeat("x", maxSource+1), site + "ok.py": "ok"})
	read := []string{site + "pkg/m.py", site + "d.py", site + "large.py", site + "ok.py", "../../x.py"}
	w.ran(read...)
	if n := w.ran(read...); n != 1 || len(w.laid()) != 1 {
		t.Errorf("%d modules were compiled: %v", n, w.laid())
	}
	if !w.use().whole() {
		t.Error("what is not to be compiled is asked for again and again")
	}
}

// TestDamage does without bytecode that is damaged or gone, and makes it again.
func TestDamage(t *testing.T) {
	for name, harm := range map[string]func(p string) error{
		"cut":  func(p string) error { return os.Truncate(p, 5) },
		"gone": os.Remove,
	} {
		w := newWorld(t, files{site + "m.py": "m", site + "n.py": "n"})
		w.ran(site + "m.py")
		w.ran(site+"m.py", site+"n.py")
		u := w.use()
		if err := harm(w.cache.Store.BlobPath(u.kept.blob)); err != nil {
			t.Fatal(err)
		}
		if err := cas.RemoveTree(u.dir); err != nil { // laid out from the blob, and not from memory
			t.Fatal(err)
		}
		if u := w.use(); u.Found() != 0 || len(w.laid()) != 0 {
			t.Errorf("%s: %d found, %v", name, u.Found(), w.laid())
		}
		if n := w.ran(site+"m.py", site+"n.py"); n != 2 || len(w.laid()) != 2 {
			t.Errorf("%s: %d compiled again: %v", name, n, w.laid())
		}
	}
}

func TestEnv(t *testing.T) {
	if diff := cmp.Diff([]string{"A=1", "PYTHONPYCACHEPREFIX=/run/jubako/pycache"}, Env([]string{"A=1"})); diff != "" {
		t.Error(diff)
	}
	own := []string{"PYTHONPYCACHEPREFIX=/mine", "A=1"}
	if got := Env(own); !slices.Equal(got, own) {
		t.Errorf("the project's own: %q", got)
	}
}

func TestWithout(t *testing.T) {
	looks := []observed.Look{{Path: "app/x"}, {Path: "run/jubako/pycache"}, {Path: "run/jubako/pycache/usr/x.pyc"}, {Path: "run/jubako/pycaches"}}
	if got := Without(looks); len(got) != 2 || got[0].Path != "app/x" || got[1].Path != "run/jubako/pycaches" {
		t.Errorf("%v", got)
	}
}

// TestPython has this machine's Python compile, and import what was compiled.
func TestPython(t *testing.T) {
	out, err := exec.Command("python3", "-I", "-c", "import sys; print(sys.executable); print(sys.implementation.cache_tag)").Output()
	if err != nil {
		t.Skip("this machine has no python3")
	}
	said := strings.Fields(string(out))
	dir := t.TempDir()
	module := strings.TrimPrefix(dir, "/") + "/mod.py"
	write := func(p, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	source := "# -*- coding: latin-1 -*-\nx = '\xe9'; assert x\n"
	write("/"+module, source)
	compile := exec.Command(said[0], "-S", "-s", "-B", "-W", "error", "-c", script)
	var requests []byte
	for _, r := range []string{"/bad.py", "x = =", "/nul.py", "x = 1\x00", "/" + module, source, "/warns.py", "x = '\\d'"} {
		requests = frame(requests, []byte(r))
	}
	compile.Stdin = bytes.NewReader(requests)
	answers, err := compile.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pycs [][]byte
	for r := bytes.NewReader(answers); r.Len() > 0; {
		var n [4]byte
		_, err := io.ReadFull(r, n[:])
		b := make([]byte, int(n[0])|int(n[1])<<8|int(n[2])<<16)
		_, err2 := io.ReadFull(r, b)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		pycs = append(pycs, b)
	}
	if len(pycs) != 4 || len(pycs[0]) != 0 || len(pycs[1]) != 0 || len(pycs[2]) == 0 {
		t.Fatalf("%d answers: %q", len(pycs), pycs)
	}
	prefix := t.TempDir()
	name := strings.TrimPrefix(Interpreter{Tag: said[1]}.pycOf(module), Prefix)
	write(prefix+name, string(pycs[2]))
	imported := func() string {
		t.Helper()
		c := exec.Command(said[0], "-S", "-s", "-B", "-v", "-c", "import mod; print(ascii(mod.x))")
		c.Env = []string{"PYTHONPATH=" + dir, "PYTHONPYCACHEPREFIX=" + prefix}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if out := imported(); !strings.Contains(out, "code object from '"+prefix+name+"'") || !strings.Contains(out, `'\xe9'`) {
		t.Errorf("the bytecode was not taken:\n%s", out)
	}
	write("/"+module, "x = 'changed'")
	if out := imported(); strings.Contains(out, "code object from '"+prefix+name+"'") || !strings.Contains(out, "'changed'") {
		t.Errorf("the bytecode of another source was taken:\n%s", out)
	}
}

func FuzzEntries(f *testing.F) {
	var b bytes.Buffer
	for _, e := range []entry{{module: "usr/lib/os.py", pyc: []byte("pyc")}, {module: "../x.py"}} {
		if err := e.write(&b); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[1:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again bytes.Buffer
		err := readEntries(bytes.NewReader(b), func(e entry) error {
			if p := (Interpreter{Tag: "cpython-312"}).pycOf(e.module); !strings.HasPrefix(p, Prefix+"/") {
				t.Errorf("%q is laid at %s", e.module, p)
			}
			return e.write(&again)
		})
		if err == nil && again.Len() > len(b) {
			t.Errorf("%d bytes of %d", again.Len(), len(b))
		}
	})
}

// FuzzAnswers takes what a compiler may answer, in two pieces.
func FuzzAnswers(f *testing.F) {
	f.Add(frame(frame(nil, []byte("pyc")), nil), 5)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, 2)
	store, err := cas.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		w, err := store.NewWriter()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		c := &compiler{u: &Use{c: &Cache{Own: func(p string) bool { return p == "own.py" }}}, asked: make(chan entry, 2), collected: collection{w: w}}
		c.asked <- entry{module: "a.py"}
		c.asked <- entry{module: "b.py"}
		cut = min(max(cut, 0), len(b))
		for _, part := range [][]byte{b[:cut], b[cut:]} {
			if n, err := c.Write(part); err == nil && n != len(part) {
				t.Errorf("%d of %d", n, len(part))
			}
		}
		if got := c.collected.modules; len(got) > 2 || len(got)+len(c.asked) != 2 {
			t.Errorf("%q, and %d are asked", got, len(c.asked))
		}
	})
}
