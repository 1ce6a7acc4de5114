package source

import (
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/patternmatcher"

	"github.com/jubako/jubako/pkg/hint"
)

// TestStanding holds the standing exclusions against the same patterns in .dockerignore's form.
func TestStanding(t *testing.T) {
	patterns := []string{"**/.env.*", "**/*.pyc", "**/*.pyo"}
	for name := range standingNames {
		patterns = append(patterns, "**/"+name)
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{"a", ".git", ".gitignore", "x.pyc", ".pyc", ".env", ".env.prod", ".environ", "node_modules", "__pycache__", "b.py", ".DS_Store", "venv"}
	for _, a := range parts {
		for _, b := range append(parts, "") {
			for _, c := range append(parts, "") {
				rel := path.Join(a, b, c)
				want, err := pm.MatchesOrParentMatches(rel)
				if err != nil {
					t.Fatal(err)
				}
				if inStanding(rel) != want {
					t.Errorf("%s: %t", rel, !want)
				}
			}
		}
	}
}

// asNobody calls f as a user that is not root, who may read everything.
func asNobody(f func()) {
	runtime.LockOSThread() // the file system's user is a thread's
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		defer func() { _, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0) }()
	}
	f()
}

// TestUnreadableIsLeftOut: what the hint about a path that cannot be read says leaves it out.
func TestUnreadableIsLeftOut(t *testing.T) {
	dir := lay(t, "a.py", "pgdata/x.py")
	ignore := filepath.Join(t.TempDir(), ".dockerignore")
	if err := os.WriteFile(ignore, []byte("*\n!**/*.py\n!pyproject.toml\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // of all temporary folders of the test
		t.Fatal(err)
	}
	o := Options{Root: dir, Ignorefile: ignore}
	tree, err := Walk(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.py", "pgdata"} {
		p := filepath.Join(dir, name)
		if err := os.Chmod(p, 0); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Chmod(p, 0o700) }()
	}
	asNobody(func() {
		if _, err := tree.Content(File{Path: "a.py"}).Open(); !strings.HasSuffix(hint.Of(err), `exclude = ["a.py"]`) {
			t.Errorf("a file: %v (%s)", err, hint.Of(err))
		}
		if _, err := Walk(t.Context(), o); !strings.HasSuffix(hint.Of(err), `exclude = ["pgdata"]`) {
			t.Errorf("a folder: %v (%s)", err, hint.Of(err))
		}
		o.Exclude = []string{"pgdata"}
		if got := walk(t, o); !slices.Equal(got, []string{"a.py"}) {
			t.Errorf("a folder that is left out: %v", got)
		}
	})
}

// TestPrunedAsDocker: no folder that is skipped holds what Docker's matcher leaves, whatever the order of the patterns.
func TestPrunedAsDocker(t *testing.T) {
	var pool []string
	for _, p := range []string{"*", "a", "a/b", "**/b", "a*/b", "a/b/c", "*/*", "**/*.py", "a/**"} {
		pool = append(pool, p, "!"+p)
	}
	paths := []string{"a", "a/b", "a/b/c", "a/b/c/x.py", "a/x.py", "b/c", "ab/b/x"}
	for _, one := range pool {
		for _, two := range pool {
			for _, three := range pool {
				patterns := []string{one, two, three}
				pm, err := patternmatcher.New(patterns)
				if err != nil {
					t.Fatal(err)
				}
				m, err := NewMatcher(Options{Exclude: patterns})
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range paths {
					want, err := pm.MatchesOrParentMatches(p)
					if err != nil {
						t.Fatal(err)
					}
					got, err := m.Excludes(p)
					for dir := path.Dir(p); dir != "." && err == nil && !got; dir = path.Dir(dir) {
						_, got, err = m.match(dir)
					}
					if err != nil || got != want {
						t.Fatalf("%q: %s is left out: %t, want %t (%v)", patterns, p, got, want, err)
					}
				}
			}
		}
	}
}
