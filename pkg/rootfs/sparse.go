package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/seekable"
)

// Sparse is the tree of some layers, of which no more is laid out than was asked for. A command looks at few of the files of an
// environment, and to make the others takes longer than many a command.
//
// A folder is empty until Bring has been called for it, and then holds what it is to hold: files with their contents, and folders,
// which are empty in their turn. So whoever lists a folder, or looks for a name in it, calls Bring before. That holds for overlayfs
// too, which remembers what it has not found: it is shown a tree that changes, in places where nobody has looked yet.
//
// It is safe for concurrent use. Nothing of it stays in the cache: see Close.
type Sparse struct {
	within string // the image path below which it is sparse, without leading slash
	tmp    string // holds the tree

	mu      sync.Mutex
	u       *unpacker
	parts   []*part // lowest first
	reader  seekable.Reader
	brought map[string]bool // the folders that were asked for; whether they are folders in the tree
}

// Indexed is a layer whose blob can be entered anywhere.
type Indexed struct {
	Index *seekable.Index
	Open  func() (*os.File, error) // the blob
	Time  time.Time                // of all entries
}

// part is one layer of a Sparse.
type part struct {
	Indexed
	blob *os.File // nil before it is needed
	size int64
}

// ErrNotSparse is of layers that cannot be laid out by folders.
var ErrNotSparse = errors.New("it holds more than folders, files and symlinks of one folder")

// NewSparse makes the tree of layers, lowest first, that lies upon others. All that they hold must lie in one folder, "within", which is
// an image path without leading slash; else the error is ErrNotSparse.
func NewSparse(store *cas.Store, within string, list []Indexed) (_ *Sparse, err error) {
	s := &Sparse{within: within, brought: make(map[string]bool)}
	for _, in := range list {
		if !in.Index.Whole() {
			return nil, ErrNotSparse
		}
		for folder := range in.Index.Folders() {
			if s.holds(folder) {
				continue
			}
			entries, err := in.Index.Entries(folder)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if at := path.Join(folder, e.Name); e.Kind != seekable.Dir || at != within && !strings.HasPrefix(within, at+"/") {
					return nil, ErrNotSparse
				}
			}
		}
		s.parts = append(s.parts, &part{Indexed: in})
	}
	tmp, tree, err := newTree(store)
	if err != nil {
		return nil, err
	}
	s.tmp = tmp
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.u, err = newUnpacker(tree, false, DefaultLimits); err != nil {
		return nil, fmt.Errorf("laying out a tree: %w", err)
	}
	if err := os.Chmod(tree, 0o755); err != nil { // whatever the umask was
		return nil, fmt.Errorf("laying out a tree: %w", err)
	}
	for folder := "."; folder != within; { // from the root down
		if err := s.layAll(folder); err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(within, folder+"/"), "/")
		folder = path.Join(folder, name)
	}
	return s, nil
}

// holds says whether the tree is sparse in a folder.
func (s *Sparse) holds(folder string) bool {
	return folder == s.within || strings.HasPrefix(folder, s.within+"/")
}

// Dir is the tree.
func (s *Sparse) Dir() string { return s.u.root.Name() }

// Bring lays out what stands in a folder, an image path without leading slash, unless that was done.
func (s *Sparse) Bring(folder string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bring(folder)
}

func (s *Sparse) bring(folder string) error {
	if _, was := s.brought[folder]; was || !s.holds(folder) {
		return nil
	}
	if s.tmp == "" {
		return errors.New("laying out a tree that was removed")
	}
	// Where an upper layer has something else than a folder, nothing of what a lower one has there, or below, is seen.
	real := true
	if folder != s.within {
		if err := s.bring(path.Dir(folder)); err != nil {
			return err
		}
		fi, err := s.u.root.Lstat(folder)
		real = s.brought[path.Dir(folder)] && err == nil && fi.IsDir()
	}
	if real {
		if err := s.layAll(folder); err != nil {
			return err
		}
	}
	s.brought[folder] = real
	return nil
}

// All lays out everything, unless ctx ends before.
func (s *Sparse) All(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		for folder := range p.Index.Folders() {
			err := ctx.Err()
			if err == nil {
				err = s.bring(folder)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// layAll lays out what all layers have in a folder, the upper over the lower.
func (s *Sparse) layAll(folder string) error {
	for _, p := range s.parts {
		if err := s.lay(folder, p); err != nil {
			return err
		}
	}
	return nil
}

// lay lays out what one layer has in a folder, over what lower ones have.
func (s *Sparse) lay(folder string, p *part) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("laying out /%s: %w", folder, err)
		}
	}()
	entries, err := p.Index.Entries(folder)
	if len(entries) == 0 {
		return err
	}
	if p.blob == nil {
		if p.blob, err = p.Open(); err != nil {
			return err
		}
		fi, err := p.blob.Stat()
		if err != nil {
			return err
		}
		p.size = fi.Size()
	}
	s.reader.Reset(p.Index, p.blob, p.size)
	s.u.made = make(map[string]bool)
	for _, e := range entries {
		hdr := &tar.Header{Name: folder + "/" + e.Name, Mode: int64(e.Mode), ModTime: p.Time}
		var content io.Reader
		switch e.Kind {
		case seekable.Dir:
			hdr.Typeflag = tar.TypeDir
		case seekable.Symlink:
			hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, e.Link
		default:
			hdr.Typeflag, hdr.Size, content = tar.TypeReg, e.Size, strings.NewReader("")
			if e.Size > 0 {
				if content, err = s.reader.Content(e); err != nil {
					return err
				}
			}
		}
		if err := s.u.entry(hdr, content); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return nil
}

// Close removes the tree. It may be called more than once.
func (s *Sparse) Close() error {
	if s == nil || s.tmp == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.parts {
		if p.blob != nil {
			errs = append(errs, p.blob.Close())
		}
	}
	if s.u != nil {
		errs = append(errs, s.u.close())
	}
	errs = append(errs, cas.RemoveTree(s.tmp))
	s.tmp, s.parts, s.brought = "", nil, nil
	return errors.Join(errs...)
}

// Sparses are those among the trees of a command. All are sparse within the same folder.
type Sparses []*Sparse

// SparseOf gives those among groups.
func SparseOf(groups []Group) (list Sparses) {
	for _, g := range groups {
		if s := g.sparse(); s != nil {
			list = append(list, s)
		}
	}
	return list
}

// Within is the image path below which trees are sparse, without leading slash; "" where none is.
func (l Sparses) Within() string {
	if len(l) == 0 {
		return ""
	}
	return l[0].within
}

// Bring lays out what stands in a folder, an image path without leading slash, in all of them.
func (l Sparses) Bring(folder string) error {
	for _, s := range l {
		if err := s.Bring(folder); err != nil {
			return err
		}
	}
	return nil
}

// All lays out everything, unless ctx ends before.
func (l Sparses) All(ctx context.Context) error {
	for _, s := range l {
		if err := s.All(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sparse is what a group is laid out as; nil for one that is unpacked.
func (g Group) sparse() *Sparse {
	if len(g) != 1 {
		return nil
	}
	return g[0].Sparse
}
