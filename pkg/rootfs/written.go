package rootfs

import (
	"errors"
	"io/fs"
	"os"
)

// Written gives the paths of the files at and below an image path, whatever they hold, that in after are not the very
// files of before: those that Changes has compared by their content. A path that is not there has none.
func Written(before, after View, at string) ([]string, error) {
	old, node, err := both(before, after, at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	err = written(old, node, &paths)
	return paths, err
}

func written(old *Node, n Node, paths *[]string) error {
	if !n.Info.IsDir() {
		if old == nil || old.Real() != n.Real() && !os.SameFile(old.Info, n.Info) {
			*paths = append(*paths, n.Path)
		}
		return nil
	}
	children, err := n.Children()
	if err != nil {
		return err
	}
	for _, c := range children {
		var was *Node
		if old != nil && old.Info.IsDir() {
			if o, err := old.Lookup(c.Info.Name()); err == nil {
				was = &o
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := written(was, c, paths); err != nil {
			return err
		}
	}
	return nil
}
