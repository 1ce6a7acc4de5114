// Package atomicfile replaces files so that a reader finds the old one or the new one, whole, also after a crash.
//
// It imports nothing of jubako.
package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes a file under another name beside its place, brings it to the disk, and renames it. On an error nothing is
// left, and what stood there before still does.
func Write(name string, perm fs.FileMode, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".jubako-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// WriteBytes is Write for content at hand.
func WriteBytes(name string, perm fs.FileMode, b []byte) error {
	return Write(name, perm, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
