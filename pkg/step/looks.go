package step

import (
	"errors"
	"fmt"
	"path"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// Looks puts together what a layer's making has looked at: what its commands have, and with what their outputs were
// compared. The zero Looks has nothing in it.
type Looks struct {
	all     []observed.Look
	unknown string
}

// Ran adds what a command has looked at.
func (l *Looks) Ran(seen *sandbox.Seen) {
	switch {
	case seen == nil:
		l.giveUp("it was not watched")
	case seen.Unknown != "":
		l.giveUp(seen.Unknown)
	default:
		l.all = append(l.all, seen.Looks...)
	}
}

// Took adds that what stands at an output, an absolute image path, was taken, and is all or part of the tree.
func (l *Looks) Took(r *Result, output string, tree *fstree.Tree) error {
	at, err := r.View().Resolve(output)
	if err != nil {
		return err
	}
	if "/"+at.Path != output {
		l.giveUp("its output is reached by a symlink")
		return nil
	}
	kind := observed.Stat
	if tree.Len() == 0 { // then it counts whether there was anything before
		kind = observed.Whole
	}
	l.all = append(l.all, observed.Look{Path: at.Path, Kind: kind})
	written, err := rootfs.Written(r.lower, r.View(), output)
	if err != nil {
		return err
	}
	for _, p := range written { // with the same content as before, it was not taken
		l.all = append(l.all, observed.Look{Path: p, Kind: observed.Read})
	}
	for e := range tree.All() {
		look := observed.Look{Path: e.Path, Kind: observed.Stat}
		if e.Kind == fstree.Symlink {
			target := e.Link
			if !path.IsAbs(target) {
				target = path.Join("/", path.Dir(e.Path), target)
			}
			if _, own := tree.Lookup(path.Clean(target)[1:]); !own { // its target was found to be there
				l.giveUp("it left a symlink to what is not its own")
			}
		}
		l.all = append(l.all, look)
	}
	return nil
}

func (l *Looks) giveUp(why string) {
	if l.unknown == "" {
		l.unknown = why
	}
}

// All gives the looks; the error says why they are not known.
func (l *Looks) All() ([]observed.Look, error) {
	if l.unknown != "" {
		return nil, fmt.Errorf("what it looked at is not known: %w", errors.New(l.unknown))
	}
	return l.all, nil
}
