// Package seekable finds what lies in one folder of a layer, and reads it out of the layer's blob without reading what comes
// before it: a blob of many gzip members can be entered at each of them.
//
// It imports inflate.
package seekable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/jubako/jubako/pkg/inflate"
)

// Kind says what an Entry is.
type Kind uint8

// The kinds of entry that an Index has. A layer that holds others has none.
const (
	Dir Kind = iota
	File
	Symlink
)

// Entry is what stands at a name of a folder.
type Entry struct {
	Name string
	Kind Kind
	Mode uint32 // permission bits
	Link string // the target of a Symlink
	Size int64  // of a File, in bytes
	// At is where a File's content begins in the layer's tar, in bytes.
	At int64
}

// Index says where the contents of a layer's files lie in its blob. The zero value is ready to be filled, by who writes the blob.
// Sealed, it takes some fifty bytes a file, in few pieces, or less where it is moved into a file, and may be read by any number of goroutines.
type Index struct {
	filling map[string][]byte // the entries of each folder, packed; nil once it is sealed
	folders []folder          // sorted by name
	entries *io.SectionReader // of all folders, packed
	members []member          // in their order
	odd     bool
}

type folder struct {
	name string
	at   int64 // where its entries are among all
	size int
}

// member is where a gzip member begins: in the tar, and in the blob.
type member struct{ tar, blob int64 }

// memberHeader is the length of what stands before a member's DEFLATE stream (RFC 1952, section 2.3), without optional fields.
const memberHeader = 10

// Add adds an entry of a folder ("." for the root), after the folder's own.
func (x *Index) Add(folder string, e Entry) {
	if x.filling == nil {
		x.filling = make(map[string][]byte)
	}
	b := append(x.filling[folder], byte(e.Kind))
	b = appendText(b, e.Name)
	b = binary.AppendUvarint(b, uint64(e.Mode))
	switch e.Kind {
	case File:
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = binary.AppendUvarint(b, uint64(e.At))
	case Symlink:
		b = appendText(b, e.Link)
	}
	x.filling[folder] = b
}

// Seal says that the layer is written whole.
func (x *Index) Seal() {
	var size, names int
	for name, b := range x.filling {
		size += len(b)
		names += len(name)
	}
	var all strings.Builder // one piece of memory for all names, and one for all entries
	all.Grow(names)
	entries := make([]byte, 0, size)
	x.folders = make([]folder, 0, len(x.filling))
	for _, name := range slices.Sorted(maps.Keys(x.filling)) {
		from, b := all.Len(), x.filling[name]
		all.WriteString(name)
		x.folders = append(x.folders, folder{all.String()[from:], int64(len(entries)), len(b)})
		entries = append(entries, b...)
	}
	x.filling, x.members, x.entries = nil, slices.Clone(x.members), io.NewSectionReader(bytes.NewReader(entries), 0, int64(size))
}

// Move moves most of what a sealed Index has into a file, from a byte on, and gives the number of bytes that it takes there. The file is to
// stay open for as long as the Index is of use.
func (x *Index) Move(file *os.File, at int64) (int64, error) {
	n, err := io.Copy(io.NewOffsetWriter(file, at), io.NewSectionReader(x.entries, 0, x.entries.Size()))
	if err != nil {
		return 0, fmt.Errorf("keeping where the files of a layer are: %w", err)
	}
	x.entries = io.NewSectionReader(file, at, n)
	return n, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Odd says that the layer holds what an Index has no entry for.
func (x *Index) Odd() { x.odd = true }

// Whole says whether the Index has all that the layer holds.
func (x *Index) Whole() bool { return !x.odd }

// Member says that a gzip member begins at a byte of the tar and at one of the blob. They come in their order.
func (x *Index) Member(tar, blob int64) { x.members = append(x.members, member{tar, blob}) }

// Folders yields the folders in which anything stands, sorted.
func (x *Index) Folders() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range x.folders {
			if !yield(f.name) {
				return
			}
		}
	}
}

// Entries are what stands in a folder, in the order of the tar.
func (x *Index) Entries(name string) (list []Entry, err error) {
	i, ok := slices.BinarySearchFunc(x.folders, name, func(f folder, name string) int { return strings.Compare(f.name, name) })
	if !ok {
		return nil, nil
	}
	b := make([]byte, x.folders[i].size)
	if _, err := io.ReadFull(io.NewSectionReader(x.entries, x.folders[i].at, int64(len(b))), b); err != nil {
		return nil, fmt.Errorf("reading what lies in /%s: %w", name, err)
	}
	number := func() uint64 {
		n, k := binary.Uvarint(b)
		b = b[k:]
		return n
	}
	text := func() string {
		n := number()
		s := string(b[:n])
		b = b[n:]
		return s
	}
	for len(b) > 0 {
		e := Entry{Kind: Kind(b[0])}
		b = b[1:]
		e.Name, e.Mode = text(), uint32(number())
		switch e.Kind {
		case File:
			e.Size, e.At = int64(number()), int64(number())
		case Symlink:
			e.Link = text()
		}
		list = append(list, e)
	}
	return list, nil
}

// Reader reads contents out of a blob. It is of one goroutine, has some memory of its own (150 kB), and needs a Reset.
type Reader struct {
	x    *Index
	blob io.ReaderAt
	size int64 // of the blob
	z    inflate.Reader
	next int   // the member after the one that z is in
	at   int64 // where in the tar
}

// Reset begins with a blob, size bytes long, of which the Index is.
func (r *Reader) Reset(x *Index, blob io.ReaderAt, size int64) {
	r.x, r.blob, r.size, r.next = x, blob, size, 0
}

// Content gives a file's bytes, until the next is asked for. They are read fastest in their order.
func (r *Reader) Content(e Entry) (io.Reader, error) {
	if err := r.seek(e.At); err != nil {
		return nil, fmt.Errorf("looking for %s in its layer: %w", e.Name, err)
	}
	return io.LimitReader(r, e.Size), nil
}

// seek goes to a byte of the tar: on in the member where it is, or to another.
func (r *Reader) seek(to int64) error {
	i := sort.Search(len(r.x.members), func(i int) bool { return r.x.members[i].tar > to }) - 1
	if i < 0 {
		return io.ErrUnexpectedEOF
	}
	if i != r.next-1 || r.at > to { // at first there is none
		r.enter(i)
	}
	_, err := io.CopyN(io.Discard, r, to-r.at)
	return err
}

func (r *Reader) enter(i int) {
	m := r.x.members[i]
	r.z.Reset(io.NewSectionReader(r.blob, m.blob+memberHeader, max(0, r.size-m.blob-memberHeader)))
	r.next, r.at = i+1, m.tar
}

// Read reads the tar on from where it is, through as many members as it takes. No content reaches to the tar's end.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		n, err := r.z.Read(p)
		r.at += int64(n)
		if n > 0 || !errors.Is(err, io.EOF) {
			if errors.Is(err, io.EOF) {
				err = nil // there may be another
			}
			return n, err
		}
		switch {
		case r.next == len(r.x.members):
			return 0, io.ErrUnexpectedEOF
		case r.x.members[r.next].tar != r.at:
			return 0, fmt.Errorf("a member of the blob ends at byte %d of the tar, and not at %d", r.at, r.x.members[r.next].tar)
		}
		r.enter(r.next)
	}
}
