package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

func TestResume(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := func(want int64) *Writer {
		t.Helper()
		w, err := s.Resume("https://files.index.example/a.whl")
		if err != nil {
			t.Fatal(err)
		}
		if w.Size() != want {
			t.Fatalf("%d bytes are there, want %d", w.Size(), want)
		}
		return w
	}
	write := func(w *Writer, text string) {
		t.Helper()
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	w := start(0)
	write(w, "one, ")
	if err := w.Keep("https://files.index.example/a.whl"); err != nil {
		t.Fatal(err)
	}

	w = start(5)
	defer w.Abort()
	other := start(0) // what is resumed already is nobody else's
	other.Abort()
	write(w, "two")
	sum := sha256.Sum256([]byte("one, two"))
	digest, err := w.Commit(hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(s.BlobPath(digest)); err != nil || string(b) != "one, two" {
		t.Errorf("the blob is %q, %v", b, err)
	}
	start(0).Abort()
	if left, err := filepath.Glob(filepath.Join(s.Dir(), "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
