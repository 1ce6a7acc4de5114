package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := WriteBytes(name, 0o640, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no space left on device")
	if err := Write(name, 0o600, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	b, err := os.ReadFile(name)
	fi, serr := os.Stat(name)
	if err != nil || serr != nil || string(b) != "old" || fi.Mode().Perm() != 0o640 {
		t.Errorf("after a failed write it is %q, %v, %v", b, fi.Mode(), err)
	}
	if err := WriteBytes(name, 0o600, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if b, _ = os.ReadFile(name); string(b) != "new" {
		t.Errorf("it is %q", b)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
	if err := WriteBytes(filepath.Join(dir, "none", "f"), 0o600, nil); err == nil {
		t.Error("a file without a folder was written")
	}
}
