package assemble

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// twice is a layer whose command runs two times, to see whether it makes the same files.
type twice struct {
	layers.Layer
	again  func() (layers.Watched, error)
	differ func(files []string)
	stale  func() // is called where another layer would have been reused, since no file that its command read has changed
}

// fresh is a layer that is made even where a cache has it.
type fresh interface{ fresh() }

func (t *twice) fresh() {}

// anew is a layer whose command runs whatever any cache has.
type anew struct{ layers.Layer }

func (a *anew) fresh() {}

// Tree gives what the second run made.
func (t *twice) Tree(ctx context.Context) (*fstree.Tree, error) {
	first, err := t.first(ctx)
	if err != nil {
		return nil, fmt.Errorf("the first of two runs: %w", err)
	}
	tree, err := t.Layer.Tree(ctx)
	if err != nil {
		return nil, fmt.Errorf("the second of two runs, after a first that went well: %w", err)
	}
	second, err := printsOf(tree)
	if err != nil {
		return nil, err
	}
	t.differ(differences(first, second))
	return tree, nil
}

func (t *twice) first(ctx context.Context) (_ map[string]string, err error) {
	l, err := t.again()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	tree, err := l.Tree(ctx)
	if err != nil {
		return nil, err
	}
	return printsOf(tree)
}

// printsOf tells each path of a tree from another that could stand there.
func printsOf(tree *fstree.Tree) (map[string]string, error) {
	prints := make(map[string]string)
	for e := range tree.All() {
		p := fmt.Sprintf("%s %o %d:%d %s", e.Kind, e.Mode, e.UID, e.GID, e.Link)
		if e.Content != nil {
			h := sha256.New()
			r, err := e.Content.Open()
			if err != nil {
				return nil, fmt.Errorf("reading /%s: %w", e.Path, err)
			}
			_, err = io.Copy(h, r)
			if err := errors.Join(err, r.Close()); err != nil {
				return nil, fmt.Errorf("reading /%s: %w", e.Path, err)
			}
			p += fmt.Sprintf(" %x", h.Sum(nil))
		}
		prints[e.Path] = p
	}
	return prints, nil
}

// differences names the paths that two runs made differently.
func differences(first, second map[string]string) (list []string) {
	all := maps.Clone(first)
	maps.Copy(all, second)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		a, inFirst := first[p]
		b, inSecond := second[p]
		switch {
		case !inFirst:
			list = append(list, "/"+p+" (only by the second run)")
		case !inSecond:
			list = append(list, "/"+p+" (only by the first run)")
		case a != b:
			list = append(list, "/"+p)
		}
	}
	return list
}

// differ takes down what two runs of a command made differently; none is worth a line too.
func (b *builder) differ(what string, files []string) {
	if len(files) == 0 {
		b.note("%s: two runs made the same files", what)
		return
	}
	b.differing = append(b.differing, fmt.Sprintf("%s made %d paths differently:\n  %s", what, len(files), strings.Join(files, "\n  ")))
}

// stale takes down that a command makes something else than what would have been reused.
func (b *builder) stale(what string) {
	b.differing = append(b.differing, what+" makes something else than it did, though no file of the source that it read has changed")
}

// checkSteps is the verdict of --check-steps.
func (b *builder) checkSteps() error {
	if len(b.differing) == 0 {
		return nil
	}
	return hint.Wrap(hint.Check(errors.New("of two runs each: "+strings.Join(b.differing, "\n"))),
		"look there for times of day, random names and orders that change; SOURCE_DATE_EPOCH and PYTHONHASHSEED are set for every step")
}
