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
	Bytes   int64  `json:"bytes"` // of its files and links
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
	if r, known, err := s.treeRecord(key); err != nil || !known || !r.current() {
		if ok, err := s.settleTree(key, dir); !ok || err != nil {
			return dir, false, err
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
	unlock, err := s.lockTrees()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	dir = s.TreePath(key)
	if whole, err := s.wholeTree(key, dir); whole || err != nil {
		return dir, err
	}
	if err := s.putTreeRecord(key, r); err != nil { // before the tree: where its record is damaged, so may the tree be
		return "", err
	}
	if err := place(tree, dir); err != nil {
		return "", fmt.Errorf("writing to the cache: %w", err)
	}
	return dir, nil
}

// lockTrees keeps other processes from counting and removing trees, and from putting them in their place.
func (s *Store) lockTrees() (unlock func() error, err error) {
	lock := flock.New(filepath.Join(s.dir, "trees.lock"))
	if err := lock.Lock(); err != nil {
		return nil, fmt.Errorf("locking the cache's trees: %w", err)
	}
	return lock.Close, nil
}

// settleTree finds whether a tree is whole of which that is not known, and removes it if not. A cache that cannot be written to is
// read all the same.
func (s *Store) settleTree(key, dir string) (whole bool, err error) {
	unlock, err := s.lockTrees()
	if err != nil {
		r, known, broken := s.treeRecord(key)
		if found, counted := countTree(dir); broken != nil || counted != nil || known && !r.same(found) {
			return false, err
		}
		return true, nil
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return s.wholeTree(key, dir)
}

// wholeTree says, under the lock, whether a tree stands there and is whole. One that is not is removed.
func (s *Store) wholeTree(key, dir string) (bool, error) {
	if !isDir(dir) {
		return false, nil
	}
	r, known, err := s.treeRecord(key)
	if err == nil && known && r.current() {
		return true, nil
	}
	if err != nil && !errors.Is(err, errDamagedRecord) {
		return false, err
	}
	found, counted := countTree(dir)
	if counted != nil {
		return false, fmt.Errorf("reading the cache: %w", counted)
	}
	// A tree without a record was made before there were any, or its record was pruned. A power cut leaves no tree without one.
	if err == nil && (!known || r.same(found)) {
		_ = s.putTreeRecord(key, found) // else it is counted again
		return true, nil
	}
	if err := s.drop(item{path: dir, kind: "trees"}); err != nil {
		return false, fmt.Errorf("removing a damaged tree from the cache: %w", err)
	}
	return false, nil
}

// treeRecord reads what is known of a tree.
func (s *Store) treeRecord(key string) (r treeRecord, known bool, err error) {
	name := s.recordPath(treeRecords, key)
	b, fi, err := readRecord(name)
	if errors.Is(err, ErrNotFound) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if json.Unmarshal(b, &r) != nil {
		return r, false, errDamagedRecord
	}
	used(name, fi)
	return r, true, nil
}

// putTreeRecord notes what a tree consists of, as of now.
func (s *Store) putTreeRecord(key string, r treeRecord) error {
	r.Boot = boot()
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.PutRecord(treeRecords, key, record)
}

// current says whether the machine has not been started anew since the tree was counted, as far as that is told.
func (r treeRecord) current() bool { return boot() == "" || r.Boot == boot() }

// same says whether a tree that was counted is the one that was made.
func (r treeRecord) same(found treeRecord) bool {
	return r.Entries == found.Entries && r.Bytes == found.Bytes
}

// countTree counts what lies in a folder. What vanishes meanwhile is not counted.
func countTree(dir string) (r treeRecord, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		var fi fs.FileInfo
		if err == nil && !d.IsDir() {
			fi, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // a folder of an image may be closed to whoever owns it
		}
		if err != nil {
			return err
		}
		r.Entries++
		if fi != nil {
			r.Bytes += fi.Size()
		}
		return nil
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
