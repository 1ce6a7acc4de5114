// Package fstree is the tree of files that a layer consists of, before any tar is written: a path, what stands there,
// who owns it, and where its content can be read.
//
// It knows nothing of tar, gzip, wheels or registries, and imports nothing of jubako.
package fstree

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
)

// Kind says what an entry is.
type Kind uint8

// The kinds of entry that a layer may hold.
const (
	Dir Kind = iota
	File
	Symlink
	Hardlink // Link is the image path of the target, which must be a File of the same tree
	Whiteout // removes Path of a lower layer (OCI image-spec layer.md, "Whiteouts")
)

func (k Kind) String() string {
	return [...]string{"directory", "file", "symlink", "hard link", "whiteout"}[k]
}

// Special names a file that no layer can hold: a socket, a pipe or a device.
func Special(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	default:
		return "device"
	}
}

// Entry is one path of a layer.
type Entry struct {
	// Path is slash-separated and relative to the image's root, clean and without a leading slash: "app/manage.py".
	Path string
	Kind Kind
	// Mode holds the permission bits, setuid, setgid and sticky among them (at most 07777). Ignored for symlinks.
	Mode     uint32
	UID, GID int
	// Link is the target of a Symlink, as readlink would give it, or of a Hardlink, as an image path like Path.
	Link string
	// Content is what a File holds.
	Content Content
	// Producer says who put the entry here, in words for a person: "wheel fastapi 0.115.0", "the source tree".
	Producer string
}

// Content is what a file holds. It may be opened any number of times, also concurrently.
type Content interface {
	// Size is the number of bytes that Open yields. It is known before anything is read.
	Size() int64
	// Open yields the bytes from the start. A reader that yields more or fewer than Size bytes is an error for whoever
	// reads it. Where the reader is an io.Seeker, large content can be read in parallel.
	Open() (io.ReadCloser, error)
}

// Deflated is implemented by content that can also be read in the compressed form in which it is stored: the raw
// DEFLATE stream (RFC 1951) of a wheel's zip entry.
type Deflated interface {
	Content
	// DeflatedSize is the length of the raw stream in bytes.
	DeflatedSize() int64
	// CRC32 is the IEEE CRC-32 of the inflated bytes, as the container declares it: not to be believed before it has
	// been compared.
	CRC32() uint32
	// OpenDeflated yields the raw stream, exactly DeflatedSize bytes.
	OpenDeflated() (io.ReadCloser, error)
}

// Bytes is content held in memory. It is for small files that jubako writes itself.
type Bytes []byte

// Size is the number of bytes.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Open yields the bytes; the reader is an io.Seeker.
func (b Bytes) Open() (io.ReadCloser, error) {
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(b), io.NopCloser(nil)}, nil
}

// ConflictError says that two producers claim one path in ways that cannot both be had.
type ConflictError struct {
	Path          string
	First, Second Entry
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("/%s is a %s of %s and a %s of %s", e.Path, e.First.Kind, e.First.Producer, e.Second.Kind, e.Second.Producer)
}

// Tree holds the entries of one layer, each path once. The zero Tree is empty and ready. A Tree is not safe for
// concurrent writes.
type Tree struct {
	entries map[string]Entry
}

// Add puts an entry into the tree. A directory that is there already is kept as it is when another directory comes;
// every other second claim to a path, also one that needs a file to be a directory, is a *ConflictError. A path that
// is not clean, absolute or leaves the root is an error.
func (t *Tree) Add(e Entry) error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	if old, ok := t.entries[e.Path]; ok {
		if old.Kind == Dir && e.Kind == Dir {
			return nil
		}
		return &ConflictError{Path: e.Path, First: old, Second: e}
	}
	for dir := Parent(e.Path); dir != "."; dir = Parent(dir) {
		if old, ok := t.entries[dir]; ok {
			if old.Kind != Dir {
				return &ConflictError{Path: dir, First: old, Second: Entry{Path: dir, Kind: Dir, Producer: e.Producer}}
			}
			break // its own parents were checked when it was added
		}
	}
	t.set(e)
	return nil
}

// Replace puts an entry into the tree in place of whatever stands at its path. It is for a producer that has decided
// between two claims itself.
func (t *Tree) Replace(e Entry) error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	t.set(e)
	return nil
}

func (t *Tree) set(e Entry) {
	if t.entries == nil {
		t.entries = make(map[string]Entry)
	}
	t.entries[e.Path] = e
}

// Lookup finds the entry at a path.
func (t *Tree) Lookup(p string) (Entry, bool) {
	e, ok := t.entries[p]
	return e, ok
}

// Remove takes the entry at a path out of the tree, if there is one. What lies below it stays.
func (t *Tree) Remove(p string) { delete(t.entries, p) }

// Len is the number of entries.
func (t *Tree) Len() int { return len(t.entries) }

// Files is the number of entries that are not directories, and Bytes the sum of their content's sizes.
func (t *Tree) Files() (files int, size int64) {
	for _, e := range t.entries {
		if e.Kind != Dir {
			files++
		}
		if e.Content != nil {
			size += e.Content.Size()
		}
	}
	return files, size
}

// All yields every entry, sorted bytewise by path, so that parents come before what lies in them.
func (t *Tree) All() iter.Seq[Entry] {
	paths := make([]string, 0, len(t.entries))
	for p := range t.entries {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return func(yield func(Entry) bool) {
		for _, p := range paths {
			if !yield(t.entries[p]) {
				return
			}
		}
	}
}

// AddParents adds every directory that some entry needs and the tree lacks. parent gives the entry for a missing
// directory: the base's own where the base has it, a plain one elsewhere.
func (t *Tree) AddParents(parent func(dir string) Entry) error {
	var missing []string
	seen := make(map[string]bool)
	for p := range t.entries {
		for dir := Parent(p); dir != "." && !seen[dir]; dir = Parent(dir) {
			seen[dir] = true
			if _, ok := t.entries[dir]; !ok {
				missing = append(missing, dir)
			}
		}
	}
	slices.Sort(missing)
	for _, dir := range missing {
		e := parent(dir)
		if e.Path != dir || e.Kind != Dir {
			return fmt.Errorf("/%s must be a directory, and is a %s of %s", dir, e.Kind, e.Producer)
		}
		if err := t.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// Parent is the directory of a clean path, "." of one directly below the root: path.Dir without making it clean again.
func Parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	}
	return "."
}

// CheckPath says whether p can be the path of an entry: clean, relative, below the root, without NUL.
func CheckPath(p string) error {
	switch {
	case p == "" || p == ".":
		return fmt.Errorf("path %q: the root itself is no entry", p)
	case strings.IndexByte(p, 0) >= 0:
		return fmt.Errorf("path %q holds a NUL", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("path %q is not clean and relative to the image's root", p)
		}
	}
	return nil
}
