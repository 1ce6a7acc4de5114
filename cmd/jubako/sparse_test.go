package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSparseEnvironment: no tree is made of an environment that is made together with the step that looks at a file of it, and the image is the same
// as with one, on every rung that watches.
func TestSparseEnvironment(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "look"
command = ["prog", "copy", "/app/.venv/lib/python3.12/site-packages/django/__init__.py", "/app/version.txt"]
output = ["version.txt"]
`)
	trees := func() (n int) {
		t.Helper()
		cache := os.Getenv("JUBAKO_CACHE_DIR")
		all := must(filepath.Glob(filepath.Join(cache, "trees/*/app/.venv")))
		if left := must(os.ReadDir(filepath.Join(cache, "tmp"))); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		return len(all)
	}
	digests := make(map[string]string)
	for _, rung := range []string{"auto", "ptrace"} {
		t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
		digests[rung], _ = w.build("--set", "staticfiles=false", "--sandbox", rung)
		if n := trees(); n != 0 {
			t.Errorf("%s: %d trees of the environment", rung, n)
		}
		// Now its layers are at hand, and it may be run in again and again.
		digests[rung+" again"], _ = w.build("--set", "staticfiles=false", "--sandbox", rung, "--no-reuse")
		if trees() == 0 {
			t.Errorf("%s: the environment was not unpacked", rung)
		}
	}
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	if _, _ = w.build("--set", "staticfiles=false", "--compression", "zstd"); trees() == 0 {
		t.Error("zstd cannot be entered anywhere, and there is no tree")
	}
	for what, digest := range digests {
		if digest != digests["auto"] {
			t.Errorf("%s: %s, not %s", what, digest, digests["auto"])
		}
	}
	// With bytecode of all of it, all of it is wanted.
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	if _, _ = w.build("--set", "staticfiles=false", "--set", "bytecode=true"); trees() == 0 {
		t.Error("bytecode was made of an environment of which there is no tree")
	}
}
