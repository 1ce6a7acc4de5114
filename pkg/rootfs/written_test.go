package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWritten: a file that was written is named, also with the content that it had, and a link to it is not.
func TestWritten(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	for _, p := range []string{lower + "/out/same", lower + "/out/linked", lower + "/out/left/alone", lower + "/elsewhere", upper + "/out/same", upper + "/out/new/file"} {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(lower+"/out/linked", upper+"/out/linked"); err != nil {
		t.Fatal(err)
	}
	before, after := NewView(lower), NewView(lower, upper)
	got, err := Written(before, after, "out")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"out/new/file", "out/same"}, got); d != "" {
		t.Error(d)
	}
	for at, want := range map[string]int{"elsewhere": 0, "none": 0, "out/same": 1} {
		if got, err := Written(before, after, at); err != nil || len(got) != want {
			t.Errorf("%s: %q %v", at, got, err)
		}
	}
}
