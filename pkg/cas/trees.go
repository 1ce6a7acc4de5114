package cas

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// treeRecords is the namespace of what is known of each tree, by its key.
const treeRecords = "trees"

// treeRecord says what a tree consisted of when it was made, and since which start of the machine it is known to.
type treeRecord struct {
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"` // of its files
	Boot    string `json:"boot"`
}

// TreePath is where the tree with this key stands, whether or not it is there.
func (s *Store) TreePath(key string) string { return filepath.Join(s.dir, "trees", key) }

// Tree gives the folder where the tree with this key stands; ok says whether it is there, and whole. A machine that lost its power may have
// lost what was written in the half minute before, and kept the names: once after each start of the machine a tree is counted, and
// one that falls short is removed.
func (s *Store) Tree(key string) (dir string, ok bool, err error) {
	dir = s.TreePath(key)
	if !isDir(dir) {
		return dir, false, nil
	}
	if !s.stands(key, dir) {
		lock := flock.New(filepath.Join(s.dir, "trees.lock"))
		if err := lock.Lock(); err != nil {
			return dir, false, fmt.Errorf("removing a damaged tree from the cache: %w", err)
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		// Another process may have found the same, and made it anew. Where it has only just removed it, there is nothing to do: a tree that
		// appears from now on is whole.
		if !isDir(dir) {
			return dir, false, nil
		}
		if !s.stands(key, dir) {
			if err := s.drop(item{path: dir, kind: "trees"}); err != nil {
				return dir, false, fmt.Errorf("removing a damaged tree from the cache: %w", err)
			}
			return dir, false, nil
		}
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // the last use, for Prune; a read-only cache still serves
	return dir, true, nil
}

// PutTree puts a tree that is whole, in a folder that TempDir gave or in one below it, at its place. Where another process was quicker, the
// tree stays where it is.
func (s *Store) PutTree(key, tree string) (dir string, err error) {
	r, err := countTree(tree)
	if err != nil {
		return "", fmt.Errorf("writing to the cache: %w", err)
	}
	r.Boot = boot()
	record, err := json.Marshal(r)
	if err == nil {
		err = s.PutRecord(treeRecords, key, record) // before the tree, which counts for nothing without it
	}
	if err != nil {
		return "", err
	}
	dir = s.TreePath(key)
	if err := place(tree, dir); err != nil && !isDir(dir) {
		return "", fmt.Errorf("writing to the cache: %w", err)
	}
	return dir, nil
}

// stands says whether a tree is as it was made.
func (s *Store) stands(key, dir string) bool {
	var r treeRecord
	record, err := s.Record(treeRecords, key)
	if err != nil || json.Unmarshal(record, &r) != nil {
		return false
	}
	now := boot()
	if now == "" || r.Boot == now {
		return true
	}
	found, err := countTree(dir)
	if found.Boot = r.Boot; err != nil || found != r {
		return false
	}
	r.Boot = now
	if record, err = json.Marshal(r); err == nil {
		_ = s.PutRecord(treeRecords, key, record) // else it is counted again
	}
	return true
}

// countTree counts what lies in a folder.
func countTree(dir string) (r treeRecord, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil // a folder of an image may be closed to whoever owns it
		}
		if err != nil {
			return err
		}
		r.Entries++
		if !d.Type().IsRegular() {
			return nil
		}
		fi, err := d.Info()
		if err == nil {
			r.Bytes += fi.Size()
		}
		return err
	})
	return r, err
}

func isDir(name string) bool {
	fi, err := os.Lstat(name)
	return err == nil && fi.IsDir()
}

// boot names the time since the machine was started last; "" where it is not told (proc_sys_kernel(5), "random/boot_id"). A variable,
// so that a test can start the machine anew.
var boot = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})
