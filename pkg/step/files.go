package step

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jubako/jubako/pkg/cas"
)

// SecretsDir is where a command finds the secrets that are files.
const SecretsDir = "/run/secrets"

// File is a file that a command sees and no image holds.
type File struct {
	Path    string // absolute, in the image
	Content []byte
}

// layOut makes a tree of files that only this user can read. It lies in memory where the machine has a folder for that,
// so that a secret reaches no disk, else in the cache's temporary folder.
func layOut(store *cas.Store, files []File) (dir string, err error) {
	outer, err := memoryDir()
	if err != nil {
		if outer, err = store.TempDir("files-"); err != nil {
			return "", fmt.Errorf("laying out a step's files: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("laying out a step's files: %w", err), cas.RemoveTree(outer))
		}
	}()
	dir = filepath.Join(outer, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, f := range files {
		p := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(p, f.Content, 0o400); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// memoryDir makes a folder, of mode 0700, on a tmpfs (POSIX shm_open's, on Linux).
func memoryDir() (string, error) { return os.MkdirTemp("/dev/shm", "jubako-files-") }

func (r *Result) removeFiles() error {
	if r.files == "" {
		return nil
	}
	dir := filepath.Dir(r.files)
	r.files = ""
	return cas.RemoveTree(dir)
}
