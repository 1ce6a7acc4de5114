package step

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/jubako/jubako/pkg/cas"
)

// SecretsDir is where a command finds the secrets that are files.
const SecretsDir = "/run/secrets"

// File is a file that a command sees and no image holds.
type File struct {
	Path    string // absolute, in the image
	Content []byte
}

// laidOut is a folder with a step's files.
type laidOut struct {
	dir  string
	lock *flock.Flock // on the folder, for as long as it is used; nil where it lies in the cache, which is tidied by its own rules
}

func (l *laidOut) tree() string { return filepath.Join(l.dir, "tree") }

func (l *laidOut) remove() error {
	err := cas.RemoveTree(l.dir)
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
	}
	return err
}

// layOut makes a tree of files that only this user can read. It lies in memory where the machine has a folder for that,
// so that a secret reaches no disk, else in the cache's temporary folder. What killed builds have left in memory goes first.
func layOut(store *cas.Store, files []File) (_ *laidOut, err error) {
	removeLeft()
	l, err := inMemory()
	if err != nil {
		l = &laidOut{}
		if l.dir, err = store.TempDir("files-"); err != nil {
			return nil, fmt.Errorf("laying out a step's files: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("laying out a step's files: %w", err), l.remove())
		}
	}()
	if err := os.Mkdir(l.tree(), 0o755); err != nil {
		return nil, err
	}
	for _, f := range files {
		p := filepath.Join(l.tree(), filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(p, f.Content, 0o400); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// A step's files in memory lie in a folder on a tmpfs (POSIX shm_open's, on Linux). The name tells them from what earlier
// versions have made, which locked nothing.
const (
	memory       = "/dev/shm"
	memoryPrefix = "jubako-step-files-"
)

// inMemory makes such a folder, of mode 0700, and locks it, by which a build that still runs is told from one that was killed.
func inMemory() (*laidOut, error) {
	for {
		dir, err := os.MkdirTemp(memory, memoryPrefix)
		if err != nil {
			return nil, err
		}
		l := &laidOut{dir: dir, lock: flock.New(dir, flock.SetFlag(os.O_RDONLY))}
		err = l.lock.Lock()
		if err == nil {
			_, err = os.Lstat(dir)
		}
		if err == nil {
			return l, nil
		}
		taken := errors.Is(err, fs.ErrNotExist) // by another build, for a killed one's
		if rerr := l.remove(); !taken || rerr != nil {
			return nil, errors.Join(err, rerr)
		}
	}
}

// removeLeft removes the folders of this user that no process has locked. What cannot be removed is left to the next build.
func removeLeft() {
	left, _ := filepath.Glob(filepath.Join(memory, memoryPrefix+"*")) // the pattern is a good one
	for _, dir := range left {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
			continue
		}
		l := &laidOut{dir: dir, lock: flock.New(dir, flock.SetFlag(os.O_RDONLY))}
		if ok, err := l.lock.TryLock(); ok && err == nil {
			_ = l.remove()
		}
	}
}

func (r *Result) removeFiles() error {
	l := r.files
	if l == nil {
		return nil
	}
	r.files = nil
	return l.remove()
}
