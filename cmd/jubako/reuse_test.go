package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/sandbox"
)

// mutator changes a small project at random.
type mutator struct {
	t   *testing.T
	dir string
	rnd *rand.Rand
}

func (m *mutator) one(of ...string) string { return of[m.rnd.IntN(len(of))] }

// path is one of few, so that what steps look at and what changes meet.
func (m *mutator) path() string {
	p := m.one("a", "b", "c")
	for range m.rnd.IntN(3) {
		p += "/" + m.one("x", "y", "z", "d")
	}
	return p
}

// mutate makes one change, or leaves all as it is where that cannot be made.
func (m *mutator) mutate() string {
	p := filepath.Join(m.dir, m.path())
	q := filepath.Join(m.dir, m.path())
	verb := m.one("write", "write", "write", "mkdir", "remove", "rename", "chmod", "link")
	var err error
	switch verb {
	case "write":
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		err = os.WriteFile(p, []byte(m.one("", "1", "2", "33")), 0o644)
	case "mkdir":
		err = os.MkdirAll(p, 0o755)
	case "remove":
		err = os.RemoveAll(p)
	case "rename":
		err = os.Rename(p, q)
	case "chmod":
		if fi, serr := os.Lstat(p); serr == nil && fi.Mode().IsRegular() {
			err = os.Chmod(p, fi.Mode().Perm()^0o111)
		}
	case "link":
		if _, serr := os.Lstat(p); errors.Is(serr, fs.ErrNotExist) {
			up := strings.Repeat("../", strings.Count(strings.TrimPrefix(p, m.dir+"/"), "/"))
			err = os.Symlink(up+m.path(), p)
		}
	}
	return fmt.Sprintf("%s %s %s (%v)", verb, p, q, err)
}

// script is what a step looks at, and now and then changes.
func (m *mutator) script(n int) string {
	var args []string
	for range n {
		verb := m.one("read", "read", "stat", "lstat", "list", "list", "tree", "link", "access", "at", "child", "thread",
			m.one("write", "rm", "mv", "ln", "sym", "chmod"))
		p := m.path()
		switch m.rnd.IntN(4) {
		case 0:
			p = "/app/" + p
		case 1:
			p = m.one("a", "b") + "/../" + p
		}
		args = append(args, strconv.Quote(verb+":"+p))
	}
	return strings.Join(args, ", ")
}

// TestReuseIsSound: whatever changes in a project, a build that reuses what its steps have made gives the image that one
// which runs them all gives, on every way of running them; and it does reuse.
func TestReuseIsSound(t *testing.T) {
	const projects, changes = 3, 12
	probed, err := sandbox.Probe(t.Context(), func(p string) (string, error) { return os.MkdirTemp(t.TempDir(), p) })
	if err != nil {
		t.Fatal(err)
	}
	var rungs []string
	for _, p := range probed {
		if p.Reason == "" && p.Rung != sandbox.Loader { // which runs Python alone
			rungs = append(rungs, string(p.Rung))
		}
	}
	if len(rungs) == 0 {
		t.Skip("this machine allows no way of running a command")
	}
	reused, made := 0, 0
	for seed := range uint64(projects) {
		seed += testSeed(t)
		m := &mutator{t: t, rnd: rand.New(rand.NewPCG(seed, 0))}
		rung := rungs[seed%uint64(len(rungs))] // one a project, since overlayfs refuses to rename some folders and others do not
		steps := fmt.Sprintf(`
[[tool.jubako.step]]
name = "first"
command = ["prog", "survey", "out/seen", %s]
output = ["out"]

[[tool.jubako.step]]
name = "second"
command = ["prog", "mkdir", "a", ";", "survey", "a/seen", "read:out/seen", %s]
output = ["a"]
`, m.script(6), m.script(6))
		w := stepWorld(t, steps)
		w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nstaticfiles = false\nexclude = [\"pyproject.toml\"]\n[other]")
		m.dir = w.dir
		for range 10 {
			m.mutate()
		}
		var story []string
		for range changes {
			story = append(story, m.mutate())
			build := func(args ...string) (code int, digest, log string) {
				return w.jubako(append([]string{"build", "-v", "--base", w.base, "--sandbox", rung, w.dir}, args...)...)
			}
			code, digest, log := build()
			anewCode, anew, anewLog := build("--no-reuse")
			if code != anewCode || digest != anew {
				t.Fatalf("seed %d, %s:\n%safter\n%s\na build gave %d %s\n%s\nand one without reuse %d %s\n%s", seed, rung, steps, strings.Join(story, "\n"), code, digest, log, anewCode, anew, anewLog)
			}
			for _, name := range []string{"first", "second"} {
				switch state := layerStates(log, name); {
				case strings.Contains(log, name+" looked at"):
					made++
				case strings.HasSuffix(state, "reused") && strings.Contains(lineOf(log, name), "no file it read has changed"):
					reused++
				}
			}
		}
	}
	t.Logf("%d steps were reused for what they looked at, and %d ran", reused, made)
	if reused == 0 || made == 0 {
		t.Errorf("%d steps were reused, and %d ran: nothing is shown", reused, made)
	}
}

// lineOf gives the line of a log that tells of a layer's state.
func lineOf(log, name string) string {
	lines := strings.Split(log, "\n")
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, " "+name+" ") && strings.Contains(l, "reused") }); i >= 0 {
		return lines[i]
	}
	return ""
}

// testSeed is where the seeds begin: JUBAKO_TEST_SEED for other projects than those of every run.
func testSeed(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(os.Getenv("JUBAKO_TEST_SEED"), 10, 64)
	if err != nil && os.Getenv("JUBAKO_TEST_SEED") != "" {
		t.Fatal(err)
	}
	return n
}
