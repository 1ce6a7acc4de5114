package cas

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// ErrInUse is returned by Prune while another process works with the cache.
var ErrInUse = errors.New("the cache is in use by another process")

// Usage is what a kind of entry takes on disk.
type Usage struct {
	Kind    string // "blobs", "records", "trees", "tmp"
	Entries int
	Bytes   int64
}

// item is what Prune keeps or removes as a whole.
type item struct {
	path  string
	kind  string
	bytes int64
	used  time.Time
}

// Usage says what the cache holds, by kind.
func (s *Store) Usage() ([]Usage, error) {
	items, err := s.items()
	if err != nil {
		return nil, err
	}
	var all []Usage
	for _, kind := range []string{"blobs", "trees", "records", "tmp"} {
		u := Usage{Kind: kind}
		for _, it := range items {
			if it.kind == kind {
				u.Entries++
				u.Bytes += it.bytes
			}
		}
		all = append(all, u)
	}
	return all, nil
}

// Prune removes what was left behind by crashes and then the least recently used entries, until at most keep bytes
// remain. It waits for nobody: while another process works with the cache, it is ErrInUse. The store must not be used
// by its caller's other goroutines meanwhile.
func (s *Store) Prune(keep int64) (removed Usage, err error) {
	excl := flock.New(s.inUse.Path())
	if err := s.inUse.Unlock(); err != nil {
		return removed, err
	}
	ok, err := excl.TryLock()
	if err != nil {
		return removed, fmt.Errorf("pruning the cache: %w", err)
	}
	if !ok {
		return removed, errors.Join(ErrInUse, s.inUse.RLock())
	}
	defer func() { err = errors.Join(err, excl.Unlock(), s.inUse.RLock()) }()

	items, err := s.items()
	if err != nil {
		return removed, err
	}
	slices.SortFunc(items, func(a, b item) int { return b.used.Compare(a.used) })
	var total int64
	for _, it := range items {
		total += it.bytes
		if it.kind != "tmp" && total <= keep {
			continue
		}
		if err := s.drop(it); err != nil {
			return removed, fmt.Errorf("pruning the cache: %w", err)
		}
		removed.Entries++
		removed.Bytes += it.bytes
	}
	return removed, nil
}

// drop removes an entry. A tree leaves its place whole before anything of it goes: whoever finds a folder there takes it for all of
// the tree, and a run of prune that is killed would leave half of it.
func (s *Store) drop(it item) error {
	if it.kind != "trees" {
		return RemoveTree(it.path)
	}
	away := filepath.Join(s.dir, "tmp", "pruned-"+filepath.Base(it.path)) // no folder is made for it: the disk may be full
	err := RemoveTree(away)
	if err == nil {
		err = os.Rename(it.path, away)
	}
	if errors.Is(err, syscall.EXDEV) { // overlayfs moves no folder of its lower part, as of a cache that came with a container's image
		away, err = it.path, nil
	}
	if err != nil {
		return err
	}
	return RemoveTree(away)
}

func (s *Store) items() ([]item, error) {
	var items []item
	for kind, depth := range map[string]int{"blobs": 3, "records": 3, "trees": 1, "tmp": 1} {
		paths, err := filepath.Glob(filepath.Join(append([]string{s.dir, kind}, slices.Repeat([]string{"*"}, depth)...)...))
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			fi, err := os.Lstat(p)
			if errors.Is(err, fs.ErrNotExist) {
				continue // another process has just removed it
			}
			if err != nil {
				return nil, err
			}
			n := fi.Size()
			if fi.IsDir() {
				held, err := countTree(p)
				if err != nil {
					return nil, err
				}
				n = held.Bytes
			}
			items = append(items, item{path: p, kind: kind, bytes: n, used: fi.ModTime()})
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.path, b.path) })
	return items, nil
}

// RemoveTree removes a file or a folder with all that lies in it, also where folders inside have lost their write
// permission, as those of an unpacked image may.
func RemoveTree(p string) error {
	err := os.RemoveAll(p)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(p, func(q string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			if cherr := os.Chmod(q, 0o700); cherr != nil {
				return cherr
			}
			if errors.Is(err, fs.ErrPermission) {
				return nil // seen again below, now that it can be read
			}
		}
		return err
	})
	return errors.Join(walkErr, os.RemoveAll(p))
}
