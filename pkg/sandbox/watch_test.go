package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/sandbox"
)

func watch(c *sandbox.Command) { c.Watch = true }

// looks gives what a script looked at below /app, each path once, with the kind of look.
func (w *world) looks(script string, change ...func(*sandbox.Command)) string {
	w.t.Helper()
	res, _ := w.run(script, append(change, watch)...)
	if res.Seen == nil || res.Seen.Unknown != "" {
		w.t.Fatalf("%s: what it looked at is not known: %+v", script, res.Seen)
	}
	var all []string
	for _, l := range res.Seen.Looks {
		if l.Path == "app" || strings.HasPrefix(l.Path, "app/") {
			all = append(all, fmt.Sprintf("%s:%c", strings.TrimPrefix(strings.TrimPrefix(l.Path, "app"), "/"), "srw"[l.Kind]))
		}
	}
	must(w.t, res.Close())
	slices.Sort(all)
	return strings.Join(all, " ")
}

// testSeen: each thing that a step asks of its tree is noted, whichever way it asks.
func testSeen(w *world) {
	app := filepath.Join(w.trees[len(w.trees)-1], "app")
	must(w.t, os.MkdirAll(filepath.Join(app, "pkg/deep"), 0o755))
	must(w.t, os.WriteFile(filepath.Join(app, "pkg/deep/x"), []byte("x"), 0o644))
	must(w.t, os.WriteFile(filepath.Join(app, "run"), []byte("#!/bin/prog cat\n"), 0o755))
	must(w.t, os.WriteFile(filepath.Join(app, "script"), []byte("#!/app/tool args\n"), 0o755))
	must(w.t, os.Symlink("/bin/prog", filepath.Join(app, "tool")))
	must(w.t, os.Symlink("deep", filepath.Join(app, "pkg/way")))
	must(w.t, os.Symlink("../manage.py", filepath.Join(app, "pkg/link")))
	for script, want := range map[string]string{
		"pwd":                                 ":s",
		"cat manage.py":                       ":s manage.py:r",
		"cat /app/pkg/../manage.py":           ":s manage.py:r pkg:s",
		"cat pkg/way/x":                       ":s pkg/deep/x:r pkg/way:s",
		"cat pkg/link":                        ":s manage.py:r pkg/link:s pkg:s",
		"ls pkg":                              ":s pkg:r",
		"lstat none/at/all":                   ":s none:s",
		"lstat manage.py ; lstat /app/x":      ":s manage.py:s x:s",
		"readlink pkg/link":                   ":s pkg/link:s",
		"access manage.py":                    ":s manage.py:s",
		"in pkg cat deep/x":                   ":s pkg/deep/x:r pkg:s",
		"dirfd pkg deep/x":                    ":s pkg/deep/x:r pkg:r",
		"threads manage.py pkg/deep/x":        ":s manage.py:r pkg/deep/x:r",
		"child cat manage.py":                 ":s manage.py:r",
		"self manage.py":                      ":s manage.py:r",
		"exec /app/run":                       ":s run:r",
		"path manage.py ; path pkg":           ":s manage.py:r pkg:s",
		"fexec script":                        ":s script:r tool:s",
		"devfd x pkg/deep static":             ":s pkg/deep/x:r pkg/deep:r static/x:r static:r",
		"message":                             ":s",
		"fifo pipe ; failexec pipe":           ":s pipe:r",
		"write manage.py new":                 ":s manage.py:s",
		"append manage.py new":                ":s manage.py:r",
		"rename pkg/deep/x moved ; cat moved": ":s moved:r pkg/deep/x:w",
		"link manage.py other ; cat other":    ":s manage.py:r other:r",
		"write new.py x ; cat new.py":         ":s new.py:s",
		"write manage.py x ; cat manage.py":   ":s manage.py:s",
		"chmod 600 manage.py":                 ":s manage.py:s",
		"rmdir pkg/deep/none":                 ":s pkg/deep/none:r",
		"truncate manage.py":                  ":s manage.py:r",
		"open2 manage.py":                     ":s manage.py:r",
		"xattr manage.py":                     ":s manage.py:s",
	} {
		if got := w.looks(script); got != want {
			w.t.Errorf("%s: %s\nwant %s", script, got, want)
		}
	}
	if got := w.looks("pwd", func(c *sandbox.Command) { c.Writable = []string{"/app/pkg/way/data"} }); got != ":s pkg/deep/data:s pkg/way:s" {
		w.t.Errorf("a writable folder: %s", got)
	}
	// The command itself is looked for in the folders of PATH.
	must(w.t, os.Mkdir(filepath.Join(app, "bin"), 0o755))
	if got := w.looks("pwd", func(c *sandbox.Command) { c.Env = []string{"PATH=/app/bin:/bin"} }); got != ":s bin/prog:s" {
		w.t.Errorf("PATH: %s", got)
	}
	w.clean()
}

// testUnseen: what cannot be followed leaves a step as free as ever, and what it looked at unknown.
func testUnseen(w *world) {
	scripts := []string{"uring", "namespace", "listener", "gone /app/new manage.py", "undumpable open2 manage.py", "undumpable clone3",
		"undumpable connect /app/none"}
	if w.rung != sandbox.Ptrace { // which refuses what such a filter stops
		scripts = append(scripts, "filter")
	}
	for _, script := range scripts {
		res, out := w.run(script, watch)
		plain, want := w.run(script)
		if d := cmp.Diff(want, out); d != "" {
			w.t.Errorf("%s differs when it is watched:\n%s", script, d)
		}
		if plain.Seen != nil && w.sparse == nil {
			w.t.Errorf("%s was watched, and nobody asked for it", script)
		}
		// Where it is refused to everybody, nothing can come of it.
		if allowed := strings.Contains(out, "true"); res.Seen == nil || res.Seen.Unknown == "" && (allowed || w.rung == sandbox.Userns) {
			w.t.Errorf("%s: %s%+v", script, out, res.Seen)
		}
	}
}

// TestUntraceable: where processes may not be traced, a step runs as ever, and what it looks at is unknown.
func TestUntraceable(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread, whose filter the step inherits, ends with this test
	must(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PTRACE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog))); e != 0 {
		t.Skip(e)
	}
	for _, rung := range []sandbox.Rung{sandbox.Userns, sandbox.Chroot} {
		w := newWorld(t, rung)
		var out bytes.Buffer
		c := w.command(&out, "cat manage.py")
		watch(&c)
		res, err := sandbox.Run(t.Context(), c)
		if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
			continue
		}
		must(t, err)
		if out.String() != "app" || res.Seen == nil || res.Seen.Unknown != "it cannot be traced here: operation not permitted" {
			t.Errorf("%s: %q %+v", rung, out.String(), res.Seen)
		}
		must(t, res.Close())
		w.clean()
	}
}

// TestWatchLoader: the loader does not watch, and says so.
func TestWatchLoader(t *testing.T) {
	w := newWorld(t, sandbox.Loader)
	res, _ := w.run("pwd", watch)
	if res.Seen == nil || res.Seen.Unknown != "the loader sandbox does not trace" {
		t.Errorf("%+v", res.Seen)
	}
}
