package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Resume starts a blob, with the bytes that Keep left under the same name where there are some: Size says how many.
// Whoever resumes first has them to itself, so that two processes never write to one file.
func (s *Store) Resume(name string) (*Writer, error) {
	w, err := s.NewWriter()
	if err != nil {
		return nil, err
	}
	err = os.Rename(s.keptPath(name), w.f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		err = w.reopen()
	}
	if err != nil {
		w.Abort()
		return nil, fmt.Errorf("resuming a download in the cache: %w", err)
	}
	return w, nil
}

// reopen takes over the file that was renamed to the writer's, and hashes what it holds.
func (w *Writer) reopen() error {
	f, err := os.OpenFile(w.f.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_ = w.f.Close() // empty, and without a name by now
	w.f = f
	w.n, err = io.Copy(w.h, f)
	return err
}

// Keep ends the writer as Abort does, but leaves its bytes for Resume under the same name. Prune removes them.
func (w *Writer) Keep(name string) error {
	if w.done {
		return errors.New("the blob is committed already")
	}
	defer w.Abort()
	if err := w.f.Close(); err != nil {
		return fmt.Errorf("keeping a download in the cache: %w", err)
	}
	if err := os.Rename(w.f.Name(), w.store.keptPath(name)); err != nil {
		return fmt.Errorf("keeping a download in the cache: %w", err)
	}
	w.done = true
	w.along.grow(w.n, errGivenUp)
	return nil
}

func (s *Store) keptPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, "tmp", "kept-"+hex.EncodeToString(sum[:]))
}
