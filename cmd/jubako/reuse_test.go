package main

import (
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
	p := m.one("a", "b", "c", "d")
	for range m.rnd.IntN(3) {
		p += "/" + m.one("x", "y", "z", "d")
	}
	return p
}

// mutate makes one change, and says which.
func (m *mutator) mutate() string {
	for {
		p, q := filepath.Join(m.dir, m.path()), filepath.Join(m.dir, m.path())
		verb := m.one("write", "write", "write", "mkdir", "remove", "rename", "chmod", "link")
		if m.change(verb, p, q) {
			return fmt.Sprintf("%s %s %s", verb, p, q)
		}
	}
}

// change says whether a change could be made, and is one.
func (m *mutator) change(verb, p, q string) bool {
	fi, err := os.Lstat(p)
	there := err == nil
	switch verb {
	case "write":
		text := m.one("", "1", "2", "33")
		if old, err := os.ReadFile(p); err == nil && string(old) == text {
			return false
		}
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		return os.WriteFile(p, []byte(text), 0o644) == nil
	case "mkdir":
		return !there && os.MkdirAll(p, 0o755) == nil
	case "remove":
		return there && os.RemoveAll(p) == nil
	case "rename":
		return p != q && os.Rename(p, q) == nil
	case "chmod":
		return there && fi.Mode().IsRegular() && os.Chmod(p, fi.Mode().Perm()^0o111) == nil
	}
	up := strings.Repeat("../", strings.Count(strings.TrimPrefix(p, m.dir+"/"), "/"))
	return !there && os.Symlink(up+m.path(), p) == nil
}

// repair removes links that lead nowhere, for which a source is refused.
func (m *mutator) repair() {
	err := filepath.WalkDir(m.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() == fs.ModeSymlink {
			if _, serr := os.Stat(p); serr != nil {
				err = os.Remove(p)
			}
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
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
	const projects = 3
	changes := 5
	if os.Getenv("JUBAKO_TEST_SEED") != "" {
		changes = 12
	}
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
	reused, made, refused := 0, 0, 0
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
`, m.script(4), m.script(4))
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
			if code != 0 {
				refused++
				m.repair()
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
	t.Logf("%d steps were reused for what they looked at, and %d ran; %d builds were refused", reused, made, refused)
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
