package pybuild

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/source"
	"github.com/jubako/jubako/pkg/wheel"
)

// globs makes a filter of patterns in .dockerignore's form, relative to the project.
func globs(patterns []string) (func(rel string) bool, error) {
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("reading its patterns: %w", err)
	}
	return func(rel string) bool {
		matched, err := pm.MatchesOrParentMatches(rel)
		return err == nil && matched
	}, nil
}

// leftOut joins what the backend leaves out with what the image's source leaves out: a file that .dockerignore keeps from
// the image must not come into it by way of a wheel. Both take paths relative to the project.
func leftOut(o Options, excluded func(string) bool) (func(string) bool, error) {
	if o.Source == nil {
		return excluded, nil
	}
	m, err := source.NewMatcher(*o.Source)
	if err != nil {
		return nil, err
	}
	at, err := filepath.Rel(o.Source.Root, o.Dir)
	if err != nil {
		return nil, err
	}
	at = filepath.ToSlash(at)
	return func(rel string) bool {
		if excluded(rel) {
			return true
		}
		out, err := m.Excludes(path.Join(at, rel))
		return err == nil && out
	}, nil
}

// copy gathers the modules' files. What is always left out of an image is left out here, bytecode among it.
func (b *Build) copy(ctx context.Context, o Options, excluded func(string) bool, modules []module) error {
	for _, m := range modules {
		to := m.path
		if strings.HasSuffix(m.path, ".py") {
			to = path.Dir(m.path)
		}
		if err := b.take(ctx, o, excluded, path.Join(m.root, m.path), to); err != nil {
			return err
		}
	}
	return nil
}

// take puts the files of a folder of the project, or a single one, into the wheel.
func (b *Build) take(ctx context.Context, o Options, excluded func(string) bool, from, to string) error {
	root := filepath.Join(o.Dir, filepath.FromSlash(from))
	if o.Repository != "" && source.LeadsOut(o.Repository, root) {
		return refusal(from + " leads out of the repository")
	}
	t, err := source.Walk(ctx, source.Options{Root: root, Skip: func(rel string) bool { return excluded(path.Join(from, rel)) }})
	if err != nil {
		return err
	}
	for _, f := range t.Files {
		if f.Kind != fstree.Dir && f.Kind != fstree.File {
			return refusal(fmt.Sprintf("%s is a %s, which no wheel can hold", path.Join(from, f.Path), f.Kind))
		}
	}
	b.Sources = append(b.Sources, Source{t, to})
	return nil
}

// files are those of the wheel that come out of the source tree.
func (b *Build) files() []wheel.File {
	var all []wheel.File
	for _, s := range b.Sources {
		for _, f := range s.Tree.Files {
			if f.Kind == fstree.File {
				all = append(all, wheel.File{Path: path.Join(s.To, f.Path), Content: s.Tree.Content(f), Executable: f.Mode&0o111 != 0})
			}
		}
	}
	return all
}
