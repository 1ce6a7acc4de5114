package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTouched: what was written, made and removed, and nothing else; a copy of a tree is not touched by being one.
func TestTouched(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, time.Unix(7, 0), time.Unix(7, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a/same", "a/changed", "b/untouched", "c/kind/x", "skipped/x"} {
		write(lower, name, "old")
	}
	before := NewView(lower)
	write(upper, "a/changed", "new text")
	write(upper, "c/kind", "a file now")
	write(upper, "new/deep/file", "n")
	write(upper, "skipped/y", "n")
	if err := os.MkdirAll(filepath.Join(upper, "new/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	skip := func(p string) bool { return p == "skipped" || strings.HasPrefix(p, "skipped/") }
	got, err := Touched(before, NewView(lower, upper), skip)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a/changed", "c/kind", "new/deep/file", "new/empty"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	whole := t.TempDir()
	if err := before.Copy(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(whole, "b")); err != nil {
		t.Fatal(err)
	}
	if got, err = Touched(before, NewView(whole), skip); err != nil || len(got) != 1 || got[0] != "b" {
		t.Errorf("%q %v", got, err)
	}
}
