package step

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestLeftFiles: what a killed build has left in memory goes with the next step, and what is in use stays.
func TestLeftFiles(t *testing.T) {
	if _, err := os.Stat(memory); err != nil {
		t.Skip(err)
	}
	files := []File{{Path: "/run/secrets/x", Content: []byte("secret")}}
	var laid [3]*laidOut
	for i := range laid {
		l, err := layOut(nil, files)
		if err != nil {
			t.Fatal(err)
		}
		laid[i] = l
		if i == 0 { // as when its process is killed
			if err := l.lock.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := os.Stat(laid[0].dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	for _, l := range laid[1:] {
		b, err := os.ReadFile(filepath.Join(l.tree(), "run/secrets/x"))
		if err != nil || string(b) != "secret" {
			t.Errorf("%q %v", b, err)
		}
		if err := l.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is not removed: %v", err)
		}
	}
}
