package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/jubako/jubako/pkg/fstree"
)

// maxChanges bounds what one step may put out.
const maxChanges = 1 << 20

// FileContent is content that stands in a file on this machine.
type FileContent struct {
	Path string
	Len  int64
}

// Size is the file's size when it was found.
func (f FileContent) Size() int64 { return f.Len }

// Open opens the file; the reader is an io.Seeker.
func (f FileContent) Open() (io.ReadCloser, error) { return openPlain(f.Path) }

// openPlain opens a regular file, never through a symlink.
func openPlain(p string) (*os.File, error) {
	return os.OpenFile(p, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// Changes says what after holds at and below an image path beyond before, as the entries of a layer, sorted as
// directories are walked: what is new or differs, and a whiteout for what is gone. A directory is among them if it is new,
// or if something in it is. A path may lead through symlinks; the entries' paths do not.
//
// Modes are as they were found, owners 0. What is neither file, directory nor symlink is an error, and so is a path that
// is not there (fs.ErrNotExist).
func Changes(before, after View, at string) ([]fstree.Entry, error) {
	old, node, err := both(before, after, at)
	if err != nil {
		return nil, err
	}
	d := &differ{}
	if _, err := d.walk(old, node); err != nil {
		return nil, err
	}
	return d.entries, nil
}

// both finds what stands at an image path in after, and in before where that leads; nil for nothing.
func both(before, after View, at string) (old *Node, node Node, err error) {
	if node, err = after.Resolve(at); err != nil {
		return nil, node, err
	}
	n, err := before.Resolve(node.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && n.Path != node.Path:
		return nil, node, nil
	case err != nil:
		return nil, node, err
	}
	return &n, node, nil
}

type differ struct{ entries []fstree.Entry }

func (d *differ) add(e fstree.Entry) error {
	if len(d.entries) >= maxChanges {
		return fmt.Errorf("more than %d files were written", maxChanges)
	}
	d.entries = append(d.entries, e)
	return nil
}

// walk adds what differs at node, and says whether anything does.
func (d *differ) walk(old *Node, node Node) (changed bool, err error) {
	if old != nil && node.Info.Mode().IsRegular() && os.SameFile(old.Info, node.Info) {
		return false, nil // a link to the lower tree's own, which is not ours to make readable
	}
	e := fstree.Entry{Path: node.Path, Mode: uint32(node.Info.Mode().Perm())}
	if err := makeReadable(node); err != nil {
		return false, err
	}
	switch mode := node.Info.Mode(); {
	case mode.IsDir():
		return d.dir(old, node, e)
	case mode.IsRegular():
		if same, err := sameFile(old, node); err != nil || same {
			return false, err
		}
		e.Kind, e.Content = fstree.File, FileContent{Path: node.Real(), Len: node.Info.Size()}
	case mode&fs.ModeSymlink != 0:
		if e.Link, err = os.Readlink(node.Real()); err != nil {
			return false, err
		}
		if old != nil && old.Info.Mode()&fs.ModeSymlink != 0 {
			if was, err := os.Readlink(old.Real()); err != nil || was == e.Link {
				return false, err
			}
		}
		e.Kind, e.Mode = fstree.Symlink, 0o777
	default:
		return false, fmt.Errorf("/%s is a %s, and cannot be part of an image", node.Path, fstree.Special(mode))
	}
	return true, d.add(e)
}

// makeReadable undoes what a step has done to the modes of its own files, as far as reading them needs it.
func makeReadable(n Node) error {
	need := map[fs.FileMode]fs.FileMode{fs.ModeDir: 0o700, 0: 0o400}[n.Info.Mode().Type()]
	if n.Info.Mode().Perm()&need == need {
		return nil
	}
	return os.Chmod(n.Real(), n.Info.Mode().Perm()|need)
}

func (d *differ) dir(old *Node, node Node, e fstree.Entry) (changed bool, err error) {
	if old != nil && !old.Info.IsDir() {
		old = nil
	}
	e.Kind = fstree.Dir
	place := len(d.entries)
	if node.Path != "." {
		if err := d.add(e); err != nil {
			return false, err
		}
	}
	changed = old == nil
	children, err := node.Children()
	if err != nil {
		return false, err
	}
	present := make(map[string]bool, len(children))
	for _, c := range children {
		name := c.Info.Name()
		present[name] = true
		var was *Node
		if old != nil {
			if n, err := old.Lookup(name); err == nil {
				was = &n
			} else if !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
		}
		sub, err := d.walk(was, c)
		if err != nil {
			return false, err
		}
		changed = changed || sub
	}
	if old != nil {
		gone, err := d.gone(*old, present)
		if err != nil {
			return false, err
		}
		changed = changed || gone
	}
	if !changed {
		d.entries = d.entries[:place]
	}
	return changed, nil
}

func (d *differ) gone(old Node, present map[string]bool) (any bool, err error) {
	children, err := old.Children()
	if err != nil {
		return false, err
	}
	for _, c := range children {
		if name := c.Info.Name(); !present[name] {
			any = true
			if err := d.add(fstree.Entry{Path: path.Join(old.Path, name), Kind: fstree.Whiteout}); err != nil {
				return false, err
			}
		}
	}
	return any, nil
}

// sameFile compares the contents of two nodes.
func sameFile(old *Node, node Node) (bool, error) {
	if old == nil || !old.Info.Mode().IsRegular() || old.Info.Size() != node.Info.Size() {
		return false, nil
	}
	if old.Real() == node.Real() {
		return true, nil
	}
	a, err := openPlain(old.Real())
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := openPlain(node.Real())
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameBytes(a, b)
}

func sameBytes(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		end := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
		switch {
		case end(errA) && end(errB):
			return true, nil
		case errA != nil && !end(errA):
			return false, errA
		case errB != nil && !end(errB):
			return false, errB
		}
	}
}
