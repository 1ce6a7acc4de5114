package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(testMain(m))
}

// prog is the program that the trees of the tests hold; python is a tree in which Python is that program, for the rung
// that runs no other, or the reason why there is none.
var (
	prog, python string
	noPython     error
)

func testMain(m *testing.M) int {
	if prog = os.Getenv("JUBAKO_TEST_PROG"); prog != "" { // set by again
		if python = os.Getenv("JUBAKO_TEST_PYTHON"); python == "" {
			noPython = errors.New("there is no Python")
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer cas.RemoveTree(dir)
	prog = filepath.Join(dir, "prog")
	build := exec.Command("go", "build", "-o", prog, "./testdata/prog")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building testdata/prog: %v\n%s", err, out)
		return 1
	}
	python = filepath.Join(dir, "python")
	noPython = makePython(python)
	return m.Run()
}

// world is a store's stand-in with two trees in it: a base with the program, and an app.
type world struct {
	t     *testing.T
	dir   string
	trees []string
	rung  sandbox.Rung
	// sparse has every command watched, in an app of which no more is laid out than it looks at.
	sparse *cas.Store
	lower  rootfs.View // what the last command has run in
}

func newWorld(t *testing.T, rung sandbox.Rung) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), rung: rung}
	base, app := filepath.Join(w.dir, "base"), filepath.Join(w.dir, "a,p:p\\")
	w.trees = []string{base, app}
	for _, d := range []string{"base/bin", "base/etc", "base/data", "a,p:p\\/app/static", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(w.dir, d), 0o755))
	}
	if rung == sandbox.Loader {
		if noPython != nil {
			t.Skip(noPython)
		}
		must(t, os.Remove(filepath.Join(base, "bin")))
		w.trees = append([]string{python}, w.trees...)
	} else {
		b, err := os.ReadFile(prog)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(base, "bin/prog"), b, 0o755))
	}
	must(t, os.WriteFile(filepath.Join(base, "etc/os-release"), []byte("ID=test\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(base, "data/kept"), []byte("base"), 0o644))
	must(t, os.WriteFile(filepath.Join(app, "app/manage.py"), []byte("app"), 0o644))
	must(t, os.WriteFile(filepath.Join(app, "app/static/old.css"), []byte("old"), 0o644))
	must(t, os.WriteFile(filepath.Join(app, "app/static/same.css"), []byte("same"), 0o644))
	must(t, os.Symlink("/app/static", filepath.Join(app, "app/public")))
	return w
}

func (w *world) tempDir(pattern string) (string, error) {
	return os.MkdirTemp(filepath.Join(w.dir, "tmp"), pattern)
}

func (w *world) command(out *bytes.Buffer, script string) sandbox.Command {
	c := sandbox.Command{Trees: w.trees, Argv: append([]string{"prog"}, strings.Fields(script)...), Env: []string{"PATH=/nowhere:/bin", "A=b"},
		Dir: "/app", Stdout: out, Stderr: out, Rung: w.rung, TempDir: w.tempDir}
	if w.sparse != nil {
		w.runsSparse(&c)
	}
	w.lower = rootfs.NewView(c.Trees...).With(c.Sparse)
	return c
}

// run runs a script and fails the test unless it ends well.
func (w *world) run(script string, change ...func(*sandbox.Command)) (*sandbox.Result, string) {
	w.t.Helper()
	var out bytes.Buffer
	c := w.command(&out, script)
	for _, f := range change {
		f(&c)
	}
	res, err := sandbox.Run(w.t.Context(), c)
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	w.t.Cleanup(func() { must(w.t, res.Close()) })
	return res, out.String()
}

// fails runs a script and gives the error with which it must end.
func (w *world) fails(script string, change ...func(*sandbox.Command)) (string, error) {
	w.t.Helper()
	var out bytes.Buffer
	c := w.command(&out, script)
	for _, f := range change {
		f(&c)
	}
	res, err := sandbox.Run(w.t.Context(), c)
	if err == nil {
		w.t.Fatalf("%s ended well\n%s", script, out.String())
	}
	if res != nil {
		w.t.Errorf("%s: a result beside the error", script)
	}
	return out.String(), err
}

// clean fails the test when anything is left of the commands that have run.
func (w *world) clean() {
	w.t.Helper()
	left, err := os.ReadDir(filepath.Join(w.dir, "tmp"))
	must(w.t, err)
	for _, e := range left {
		w.t.Errorf("left behind: %s", e.Name())
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(w.t, err)
	if strings.Contains(string(mounts), w.dir) {
		w.t.Errorf("left mounted:\n%s", mounts)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRungs runs one suite against every rung that this machine allows, with overlayfs and with a copy of the tree.
func TestRungs(t *testing.T) {
	probed, err := sandbox.Probe(t.Context(), func(p string) (string, error) { return os.MkdirTemp(t.TempDir(), p) })
	must(t, err)
	for _, p := range probed {
		t.Run(string(p.Rung), func(t *testing.T) {
			if p.Reason != "" {
				t.Skip(p.Reason)
			}
			t.Log(p.Choice)
			for name, test := range conformance {
				if notOn[p.Rung][name] {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(newWorld(t, p.Rung))
				})
				if sparsely(name) {
					t.Run(name+"-sparse", func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, p.Rung)
						w.sparse = castest.Open(t)
						test(w)
					})
				}
				if p.Rung == sandbox.Loader || p.Rung == sandbox.Ptrace {
					continue // it has no overlayfs to be refused
				}
				t.Run(name+"-copy", func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, p.Rung)
					w.trees = append(w.trees, w.trees[len(w.trees)-1]) // overlayfs takes no tree twice (ELOOP)
					test(w)
				})
			}
		})
	}
}

var conformance = map[string]func(*world){
	"output":      testOutput,
	"trees":       testTreesUntouched,
	"view":        testWhatItSees,
	"environment": testEnvironment,
	"failure":     testFailure,
	"start":       testStartErrors,
	"network":     testNetwork,
	"privileges":  testPrivileges,
	"cancel":      testCancel,
	"timeout":     testTimeout,
	"daemon":      testDaemon,
	"memory":      testMemory,
	"special":     testSpecialFile,
	"service":     testService,
	"exec":        testExec,
	"user":        testUser,
	"untouched":   testUntouched,
	"seen":        testSeen,
	"unseen":      testUnseen,
	"shown":       testShown,
}

// notOn are the tests that a rung does not hold. The loader says itself that an absolute path is the machine's; what it does
// instead is tested in loader_test.go.
var notOn = map[sandbox.Rung]map[string]bool{
	sandbox.Loader: {"user": true, "untouched": true, "seen": true, "unseen": true, "shown": true, "view": true, "environment": true, "start": true, "privileges": true},
}

func testOutput(w *world) {
	res, _ := w.run("write public/new.css new ; append static/old.css er ; append static/same.css x ; write static/same.css same ; mkdir static/d/e ; write static/d/e/f f ; symlink f static/d/e/g ; chmod 000 static/d/e/f ; write /data/secret x ; rm /app/manage.py")
	got, err := res.Output("app/public") // through a symlink of the image
	must(w.t, err)
	want := []string{"app/static directory", "app/static/d directory", "app/static/d/e directory", "app/static/d/e/f file f",
		"app/static/d/e/g symlink f", "app/static/new.css file new", "app/static/old.css file older"}
	if d := cmp.Diff(want, describe(w.t, got)); d != "" {
		w.t.Error(d)
	}
	if _, err := res.Output("app/none"); !errors.Is(err, fs.ErrNotExist) {
		w.t.Errorf("an output that is not there: %v", err)
	}
	res2, _ := w.run("rm static ; mkdir static ; write static/same.css same")
	got, err = res2.Output("app/static")
	must(w.t, err)
	if d := cmp.Diff([]string{"app/static directory", "app/static/old.css whiteout"}, describe(w.t, got)); d != "" {
		w.t.Error(d)
	}
	must(w.t, errors.Join(res.Close(), res.Close(), res2.Close()))
	w.clean()
}

func describe(t *testing.T, entries []fstree.Entry) (lines []string) {
	t.Helper()
	for _, e := range entries {
		s := e.Path + " " + e.Kind.String()
		if e.Kind == fstree.Symlink {
			s += " " + e.Link
		}
		if e.Content != nil {
			r, err := e.Content.Open()
			must(t, err)
			var b bytes.Buffer
			_, err = b.ReadFrom(r)
			must(t, errors.Join(err, r.Close()))
			if int64(b.Len()) != e.Content.Size() {
				t.Errorf("%s has %d bytes, and says %d", e.Path, b.Len(), e.Content.Size())
			}
			s += " " + b.String()
		}
		lines = append(lines, s)
	}
	return lines
}

func testTreesUntouched(w *world) {
	res, _ := w.run("append /etc/os-release x ; rm /data/kept ; chmod 700 /app/static/old.css ; append /app/static/old.css x")
	must(w.t, res.Close())
	for name, want := range map[string]string{"base/etc/os-release": "ID=test\n", "base/data/kept": "base", "a,p:p\\/app/static/old.css": "old"} {
		b, err := os.ReadFile(filepath.Join(w.dir, name))
		must(w.t, err)
		if string(b) != want {
			w.t.Errorf("%s became %q", name, b)
		}
	}
	fi, err := os.Stat(filepath.Join(w.dir, "a,p:p\\/app/static/old.css"))
	must(w.t, err)
	if fi.Mode() != 0o644 {
		w.t.Errorf("a mode became %v", fi.Mode())
	}
	w.clean()
}

func testWhatItSees(w *world) {
	must(w.t, os.Mkdir(filepath.Join(w.dir, "base/app"), 0o755))
	_, out := w.run("ls /app ; cat /etc/hosts ; cat /dev/null ; write /tmp/x y ; cat /tmp/x ; mkdir /dev/shm/x ; write made/x y ; pwd",
		func(c *sandbox.Command) { c.Writable = []string{"/app/made"} })
	want := "made\nmanage.py\npublic\nstatic\n127.0.0.1\tlocalhost\n::1\tlocalhost\ny/app\n"
	if d := cmp.Diff(want, out); d != "" {
		w.t.Error(d)
	}
	// A link that leads to the machine's root leads to the tree's own.
	must(w.t, os.Symlink("/../../../../../../../../etc", filepath.Join(w.dir, "base/up")))
	if _, out := w.run("ls /up"); out != "hosts\nos-release\n" {
		w.t.Errorf("beyond the root there is %q", out)
	}
}

func testEnvironment(w *world) {
	_, out := w.run("env")
	if d := cmp.Diff("PATH=/nowhere:/bin\nA=b\n", out); d != "" {
		w.t.Error(d)
	}
}

func testFailure(w *world) {
	_, err := w.fails("exit 7")
	if e, ok := errors.AsType[*sandbox.ExitError](err); !ok || e.Code != 7 || e.Choice.Rung != w.rung {
		w.t.Errorf("%#v", err)
	}
	_, err = w.fails("abort ; sleep 5s")
	if e, ok := errors.AsType[*sandbox.ExitError](err); !ok || e.Signal != "terminated" {
		w.t.Errorf("%#v", err)
	}
	out, err := w.fails("cat /none")
	if _, ok := errors.AsType[*sandbox.ExitError](err); !ok || !strings.Contains(out, "no such file") {
		w.t.Errorf("%v %q", err, out)
	}
	w.clean()
}

func testStartErrors(w *world) {
	must(w.t, os.WriteFile(filepath.Join(w.dir, "base/bin/script"), []byte("#!/bin/none\n"), 0o755))
	must(w.t, os.WriteFile(filepath.Join(w.dir, "base/bin/foreign"), []byte("\x7fELF of another world"), 0o755))
	tests := map[string]func(*sandbox.Command){
		`starting "python": it is in no folder of PATH (/nowhere:/bin)`:             func(c *sandbox.Command) { c.Argv = []string{"python"} },
		`starting "/none": the folder it is to start in: ENOENT`:                    func(c *sandbox.Command) { c.Dir = "/none" },
		`starting "/app/bin/x": ENOENT`:                                             func(c *sandbox.Command) { c.Argv = []string{"bin/x"} },
		`starting "/bin/script": the interpreter that it names is not in the image`: func(c *sandbox.Command) { c.Argv = []string{"script"} },
		`starting "/bin/foreign": it is made for another kind of machine than this`: func(c *sandbox.Command) { c.Argv = []string{"foreign"} },
		`starting "/app/manage.py/x": making a writable folder: ENOTDIR`:            func(c *sandbox.Command) { c.Writable = []string{"/app/manage.py/x"} },
	}
	for want, change := range tests {
		_, err := w.fails("pwd", change)
		if _, ok := errors.AsType[*sandbox.StartError](err); !ok || !strings.HasPrefix(err.Error(), want) {
			w.t.Errorf("%v\nwant %s", err, want)
		}
	}
	w.clean()
}

func testNetwork(w *world) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	defer l.Close()
	if _, out := w.run("dial " + l.Addr().String()); out != "refused\n" {
		w.t.Errorf("without network: %q", out)
	}
	if _, out := w.run("dial "+l.Addr().String(), func(c *sandbox.Command) { c.Network = true }); out != "connected\n" {
		w.t.Errorf("with network: %q", out)
	}
}

func testPrivileges(w *world) {
	res, out := w.run("caps ; tryall ; loopback")
	want := "effective 0 permitted 0 inheritable 0 bounding 0 no_new_privs 1\nloopback true\n"
	if res.Choice.Notes != nil { // chroot alone, ptrace: sockets are refused instead
		want = strings.Replace(want, "true", "false", 1)
	}
	out = w.privileges(out)
	if out != want {
		w.t.Errorf("%s: %s", res.Choice, out)
	}
}

// privileges is what caps has printed, without what does not matter: an ordinary user can empty no bounding set, nor gain
// from it.
func (w *world) privileges(out string) string {
	if os.Geteuid() != 0 && w.rung == sandbox.Ptrace {
		return regexp.MustCompile(`bounding \d+`).ReplaceAllString(out, "bounding 0")
	}
	return out
}

// mark is a word that tells the processes of this test from all others.
func (w *world) mark() string {
	return fmt.Sprintf("mark-%d-%s-", os.Getpid(), strings.ReplaceAll(w.t.Name(), "/", ".")) + "end"
}

// running counts the processes whose command line holds mark.
func running(t *testing.T, mark string) (n int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), mark) {
			n++
		}
	}
	return n
}

func testCancel(w *world) {
	ctx, cancel := context.WithCancel(w.t.Context())
	mark := w.mark()
	var out bytes.Buffer
	go func() {
		for running(w.t, mark) < 2 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	start := time.Now()
	_, err := sandbox.Run(ctx, w.command(&out, "daemon /tmp/"+mark+" ; sleep 300s"))
	if !errors.Is(err, context.Canceled) {
		w.t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 30*time.Second {
		w.t.Errorf("it took %s to end", d)
	}
	if n := running(w.t, mark); n > 0 {
		w.t.Errorf("%d processes still run", n)
	}
	w.clean()
}

func testTimeout(w *world) {
	_, err := w.fails("sleep 300s", func(c *sandbox.Command) { c.Timeout = 50 * time.Millisecond })
	if !errors.Is(err, sandbox.ErrTimeout) {
		w.t.Errorf("%v", err)
	}
	w.clean()
}

func testDaemon(w *world) {
	mark := w.mark()
	res, out := w.run("daemon /tmp/" + mark)
	if out != "started\n" {
		w.t.Errorf("%q", out)
	}
	if n := running(w.t, mark); n > 0 {
		w.t.Errorf("%d processes still run", n)
	}
	must(w.t, res.Close())
	w.clean()
}

func testMemory(w *world) {
	limit := func(c *sandbox.Command) { c.MemoryLimit = 256 << 20 }
	w.run("alloc 8", limit)
	w.fails("alloc 600", limit)
	if _, err := sandbox.Run(w.t.Context(), sandbox.Command{Argv: []string{"x"}, MemoryLimit: 1}); err == nil {
		w.t.Error("a limit that is too low was taken")
	}
}

func testSpecialFile(w *world) {
	res, _ := w.run("fifo static/pipe")
	if _, err := res.Output("app/static"); err == nil || !strings.Contains(err.Error(), "/app/static/pipe is a named pipe") {
		w.t.Errorf("%v", err)
	}
}

// BenchmarkStart measures what a step costs beyond what its command does.
func BenchmarkStart(b *testing.B) {
	for _, rung := range sandbox.Rungs() {
		b.Run(string(rung), func(b *testing.B) {
			dir := b.TempDir()
			base := filepath.Join(dir, "base/bin")
			data, err := os.ReadFile(prog)
			if err := errors.Join(err, os.MkdirAll(base, 0o755), os.WriteFile(filepath.Join(base, "prog"), data, 0o755)); err != nil {
				b.Fatal(err)
			}
			c := sandbox.Command{Trees: []string{filepath.Dir(base)}, Argv: []string{"/bin/prog", "pwd"}, Rung: rung,
				TempDir: func(p string) (string, error) { return os.MkdirTemp(dir, p) }}
			for b.Loop() {
				res, err := sandbox.Run(b.Context(), c)
				if err != nil {
					b.Skip(err)
				}
				if err := res.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
