package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
)

// Touched says which paths, sorted as directories are walked, stand in after otherwise than in before: written, made or
// gone. Folders that are new are named only where nothing lies in them. Nothing is looked at below the paths for which skip
// is true. A file whose size and time are the same is taken for untouched, and so is a symlink whose target is.
func Touched(before, after View, skip func(path string) bool) ([]string, error) {
	was, err := before.Root()
	if err != nil {
		return nil, err
	}
	is, err := after.Root()
	if err != nil {
		return nil, err
	}
	t := &toucher{skip: skip}
	err = t.dir(&was, is)
	return t.paths, err
}

type toucher struct {
	skip  func(string) bool
	paths []string
}

func (t *toucher) node(old *Node, n Node) error {
	if t.skip(n.Path) {
		return nil
	}
	if n.Info.IsDir() {
		return t.dir(old, n)
	}
	same, err := untouched(old, n)
	if !same {
		t.paths = append(t.paths, n.Path)
	}
	return err
}

func untouched(old *Node, n Node) (bool, error) {
	switch {
	case old == nil || old.Info.Mode().Type() != n.Info.Mode().Type():
		return false, nil
	case old.Real() == n.Real():
		return true, nil
	case n.Info.Mode()&fs.ModeSymlink == 0:
		return old.Info.Size() == n.Info.Size() && old.Info.ModTime().Equal(n.Info.ModTime()), nil
	}
	was, err := os.Readlink(old.Real())
	if err != nil {
		return false, err
	}
	is, err := os.Readlink(n.Real()) // a copy has a time of its own
	return was == is, err
}

func (t *toucher) dir(old *Node, n Node) error {
	if old != nil && !old.Info.IsDir() {
		old = nil
	}
	if old != nil && slices.Equal(old.real, n.real) {
		return nil // the same folders: nobody has been here
	}
	if err := makeReadable(n); err != nil {
		return err
	}
	children, err := n.Children()
	if err != nil {
		return err
	}
	if old == nil && len(children) == 0 {
		t.paths = append(t.paths, n.Path)
	}
	present := make(map[string]bool, len(children))
	for _, c := range children {
		present[c.Info.Name()] = true
		var was *Node
		if old != nil {
			if o, err := old.Lookup(c.Info.Name()); err == nil {
				was = &o
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := t.node(was, c); err != nil {
			return err
		}
	}
	if old == nil {
		return nil
	}
	before, err := old.Children()
	if err != nil {
		return err
	}
	for _, c := range before {
		if name := c.Info.Name(); !present[name] && !t.skip(path.Join(n.Path, name)) {
			t.paths = append(t.paths, path.Join(n.Path, name))
		}
	}
	return nil
}
