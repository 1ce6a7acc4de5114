package step

import (
	"fmt"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/rootfs"
)

// Owner is whose files those of an output become, and who made them, in words for a person.
type Owner struct {
	UID, GID int
	Producer string
}

// Take adds to tree what stands at an output, an absolute image path, beyond what the command found there: new and
// different files, and a whiteout for each that is gone. Owners and modes are normalised, and so is what would differ
// between two runs inside of a file (see normalise). The error is fs.ErrNotExist where there is nothing at the path. The
// files can be read until Close.
func (r *Result) Take(tree *fstree.Tree, output string, o Owner) error {
	entries, err := r.Output(output)
	if err != nil {
		return err
	}
	after := r.View()
	at, err := after.Resolve(output)
	if err != nil {
		return err
	}
	for _, e := range entries {
		e.UID, e.GID, e.Producer = o.UID, o.GID, o.Producer
		switch e.Kind {
		case fstree.Dir:
			e.Mode = 0o755
		case fstree.File:
			e.Mode = 0o644
			if e.Content, err = normalise(e.Path, e.Content); err != nil {
				return err
			}
		case fstree.Symlink:
			if err := checkLink(r.lower, after, at.Path, e); err != nil {
				return err
			}
		}
		if err := tree.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// HoldsFile says whether there is any file at or below an output, new or not.
func (r *Result) HoldsFile(output string) (bool, error) {
	at, err := r.View().Resolve(output)
	if err != nil {
		return false, err
	}
	return holdsFile(at)
}

// checkLink refuses a symlink whose target the image will not hold.
func checkLink(lower, after rootfs.View, output string, e fstree.Entry) error {
	target, err := after.Resolve(e.Path)
	if err == nil && !Within("/"+target.Path, "/"+output) {
		_, err = lower.Resolve(target.Path) // what was written elsewhere is dropped
	}
	if err != nil {
		return fmt.Errorf("/%s is a symlink to %s, which the image does not hold", e.Path, e.Link)
	}
	return nil
}

func holdsFile(n rootfs.Node) (bool, error) {
	if !n.Info.IsDir() {
		return true, nil
	}
	children, err := n.Children()
	if err != nil {
		return false, err
	}
	for _, c := range children {
		if any, err := holdsFile(c); any || err != nil {
			return any, err
		}
	}
	return false, nil
}
