package sandbox_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/sandbox"
)

// faithful is what every rung but the loader does alike; most of it is hard for ptrace alone.
var faithful = map[string]struct{ script, out string }{
	"exe":        {"readlink /proc/self/exe ; readlink /proc/self/cwd ; readlink /proc/self/root", "/bin/prog\n/app\n/\n"},
	"argv":       {"run /bin/prog args one", "[\"/bin/prog\" \"one\"]\n"},
	"script":     {"run /bin/outer x", "[\"/bin/prog\" \"/bin/inner\" \"/bin/outer\" \"x\"]\n"},
	"ids":        {"ids manage.py", "0 0 0 0 0 0 0\n"},
	"stat":       {"stat manage.py ; stat static", "0 0 1 0 0 1 true true\n"},
	"threads":    {"crowd static/crowd ; ls static/crowd/3", ""},
	"sockets":    {"unix /tmp/socket ; unix made.socket ; rm made.socket", "socket true /tmp/socket\nsocket true made.socket\n"},
	"tmpfile":    {"tmpfile static static/new ; cat static/new", "anonymous"},
	"rename":     {"rename /data /moved ; cat /moved/kept ; mkdir /data ; ls /data ; rename /moved/kept /data/kept ; rm /moved ; cat /data/kept", "basebase"},
	"exchange":   {"exchange static /data ; ls static ; cat /data/old.css", "kept\nold"},
	"removed":    {"rm static ; mkdir static ; ls static ; write static/x y ; ls static", "x\n"},
	"attributes": {"xattr static ; xattr manage.py", "\"user.test\\x00\"\n\"user.test\\x00\"\n"},
	"hard links": {"link static/old.css static/new ; append static/new er ; cat static/old.css", "older"},
	"mounts":     {"across static/old.css /tmp/x ; across static/same.css /dev/shm/x ; across manage.py /dev/x ; across /data /tmp/dir kept", ""},
	"signals":    {"signals", ""},
	"copy up":    {"append static/old.css er ; touch static/same.css ; chmod 600 manage.py ; truncate /data/kept ; cat /data/kept ; cat static/old.css", "bolder"},
	"link":       {"symlink ../static/old.css static/l ; cat static/l ; readlink static/l ; write static/l new ; cat static/old.css", "old../static/old.css\nnew"},
}

// ptraceAlone are those that overlayfs or the kernel refuses on the rungs above: to move a directory of a lower tree, and
// to change owners with one user to change to.
var ptraceAlone = map[string]bool{"rename": true, "exchange": true, "ids": true}

func TestFaithful(t *testing.T) {
	for _, rung := range sandbox.Rungs() {
		if rung == sandbox.Loader {
			continue
		}
		t.Run(string(rung), func(t *testing.T) {
			for _, name := range slices.Sorted(maps.Keys(faithful)) {
				if ptraceAlone[name] && rung != sandbox.Ptrace {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, rung)
					allowed(t, w)
					must(t, os.WriteFile(filepath.Join(w.dir, "base/bin/outer"), []byte("#!/bin/inner\n"), 0o755))
					must(t, os.WriteFile(filepath.Join(w.dir, "base/bin/inner"), []byte("#! /bin/prog\targs \n"), 0o755))
					before := fingerprint(t, w)
					_, out := w.run(faithful[name].script)
					if want := faithful[name].out; want != "" && !strings.HasPrefix(out, want) {
						t.Errorf("%q\nwant %q", out, want)
					}
					if d := cmp.Diff(before, fingerprint(t, w)); d != "" {
						t.Errorf("the trees have changed: %s", d)
					}
				})
			}
		})
	}
}

// allowed skips the test where the machine does not allow its rung.
func allowed(t *testing.T, w *world) {
	t.Helper()
	probed, err := sandbox.Probe(t.Context(), w.tempDir)
	must(t, err)
	for _, p := range probed {
		if p.Rung == w.rung && p.Reason != "" {
			t.Skip(p.Reason)
		}
	}
}

// fingerprint is all that a step must not change in the lower trees.
func fingerprint(t *testing.T, w *world) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, tree := range w.trees {
		must(t, filepath.WalkDir(tree, func(p string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			s := fi.Mode().String() + " " + fi.ModTime().Format(time.RFC3339Nano)
			if fi.Mode().IsRegular() && fi.Size() < 1<<10 {
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				s += " " + string(b)
			}
			all[p] = s
			return nil
		}))
	}
	return all
}

// TestPtraceWalls tries what must not be possible by a path, by a descriptor and by /proc.
func TestPtraceWalls(t *testing.T) {
	w := newWorld(t, sandbox.Ptrace)
	allowed(t, w)
	secret := filepath.Join(w.dir, "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o666))
	if _, out := w.run("escape " + secret); out != "" {
		t.Errorf("it has escaped:\n%s", out)
	}
	before := fingerprint(t, w)
	if _, out := w.run("stale manage.py"); out != "fchmod: true\nopen: true\n" {
		t.Errorf("%q", out)
	}
	w.run("fchange static/old.css ; reopen static/same.css x ; cat static/same.css")
	if d := cmp.Diff(before, fingerprint(t, w)); d != "" {
		t.Errorf("the trees have changed: %s", d)
	}
	long := filepath.Join("/app", strings.Repeat("long/", 15))
	if _, out := w.run("mkdir " + long + " ; unix " + long + "/socket"); out != "socket true "+long+"/socket\n" {
		t.Errorf("%q", out)
	}
	left, err := filepath.Glob("/tmp/jubako-[0-9]*")
	if err != nil || len(left) > 0 {
		t.Errorf("left in /tmp: %q", left)
	}
}

// TestSameOutputs runs the same Python on every rung: a dynamically linked program, found by a script's first line.
func TestSameOutputs(t *testing.T) {
	const script = "write static/new.css new ; append static/old.css er ; mkdir static/d/e ; write static/d/e/f f ; symlink f static/d/e/g ; " +
		"symlink /app/static static/d/h ; chmod 640 static/d/e/f ; rm static/same.css ; pwd ; env"
	want := []string{"app/static directory", "app/static/d directory", "app/static/d/e directory", "app/static/d/e/f file f", "app/static/d/e/g symlink f",
		"app/static/d/h symlink /app/static", "app/static/new.css file new", "app/static/old.css file older", "app/static/same.css whiteout"}
	for _, rung := range sandbox.Rungs() {
		t.Run(string(rung), func(t *testing.T) {
			w := newWorld(t, sandbox.Loader) // the tree with Python
			w.rung = rung
			allowed(t, w)
			res, out := w.run(script)
			if out != "/app\nA=b\n" {
				t.Errorf("it printed %q", out)
			}
			got, err := res.Output("app/static")
			must(t, err)
			slices.SortFunc(got, func(a, b fstree.Entry) int { return strings.Compare(a.Path, b.Path) })
			if d := cmp.Diff(want, describe(t, got)); d != "" {
				t.Error(d)
			}
		})
	}
}
