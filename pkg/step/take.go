package step

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
)

// Taking says how what stands at an output becomes files of a layer.
type Taking struct {
	UID, GID int    // whose the files become
	Producer string // who made them, in words for a person
	// Executables lets files that anybody may execute keep that; else all modes become 0644.
	Executables bool
	// System, the lower trees that the system itself consists of, are not to be changed; none for no such rule. Folders
	// that they hold are left to whoever writes the layer.
	System []string
	// Secrets are values that no file may hold.
	Secrets []Secret
}

// Take adds to tree what stands at an output, an absolute image path, beyond what the command found there: new and
// different files, and a whiteout for each that is gone. Owners and modes are normalised, and so is what would differ
// between two runs inside of a file (see normalise). The error is fs.ErrNotExist where there is nothing at the path. The
// files can be read until Close.
func (r *Result) Take(tree *fstree.Tree, output string, o Taking) error {
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
		if slices.Contains(given(), "/"+e.Path) {
			continue
		}
		keep, err := o.checkSystem(e)
		if err != nil {
			return err
		}
		if !keep {
			continue
		}
		if e, err = o.normal(e); err != nil {
			return err
		}
		if e.Kind == fstree.Symlink {
			if err := checkLink(r.lower, after, at.Path, e); err != nil {
				return err
			}
		}
		if err := findSecrets(e, o.Secrets); err != nil {
			return err
		}
		if err := tree.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// normal gives an entry the owner and the mode that it has in the layer.
func (o Taking) normal(e fstree.Entry) (_ fstree.Entry, err error) {
	e.UID, e.GID, e.Producer = o.UID, o.GID, o.Producer
	switch e.Kind {
	case fstree.Dir:
		e.Mode = 0o755
	case fstree.File:
		if e.Mode&0o111 != 0 && o.Executables {
			e.Mode = 0o755
		} else {
			e.Mode = 0o644
		}
		e.Content, err = normalise(e.Path, e.Content)
	}
	return e, err
}

// checkSystem refuses to change what the system holds, and says whether the entry is the layer's.
func (o Taking) checkSystem(e fstree.Entry) (keep bool, err error) {
	if len(o.System) == 0 {
		return true, nil
	}
	n, err := rootfs.NewView(o.System...).Resolve(e.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && n.Path != e.Path {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if e.Kind == fstree.Dir && n.Info.IsDir() {
		return false, nil
	}
	change := "changed"
	if e.Kind == fstree.Whiteout {
		change = "removed"
	}
	return false, hint.Wrap(fmt.Errorf("it %s /%s, a file of the base", change, e.Path),
		"let it write elsewhere, or take a base that has the file as it is wanted; an output that leaves the file out drops the change")
}

// HoldsFile says whether there is any file at or below an output, new or not.
func (r *Result) HoldsFile(output string) (bool, error) {
	at, err := r.View().Resolve(output)
	if err != nil {
		return false, err
	}
	return holdsFile(at)
}

// Dropped gives the image paths that the command has written, or removed, outside of its outputs and of the folders that
// are there for its time alone. All are absolute.
func (r *Result) Dropped(outputs []string) ([]string, error) {
	skip := slices.Concat([]string{"/proc", "/dev", "/sys", "/tmp", SecretsDir}, given(), outputs)
	touched, err := rootfs.Touched(r.lower, r.View(), func(p string) bool {
		for _, dir := range skip {
			if Within("/"+p, dir) {
				return true
			}
		}
		return false
	})
	for i, p := range touched {
		touched[i] = "/" + p
	}
	return touched, err
}

// given are the files that the sandbox itself writes for a command, as an engine does for a container.
func given() []string { return []string{"/etc/hosts", "/etc/resolv.conf"} }

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
