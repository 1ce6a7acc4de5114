package pybuild

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/source"
)

// licenceText is what a license table of PEP 621 holds or names.
func licenceText(l *look, v any) (string, error) {
	t, ok := v.(map[string]any)
	if !ok {
		return "", errors.New("its license is neither an expression nor a table")
	}
	if text, ok := t["text"].(string); ok {
		return text, nil
	}
	file, ok := t["file"].(string)
	if !ok {
		return "", errors.New("its license names neither text nor file")
	}
	b, err := l.read(file)
	return string(b), err
}

// licenceFiles finds the files of license-files' patterns (PEP 639), or of the backend's own where there are none, sorted.
func (p *pyproject) licenceFiles(ctx context.Context, l *look, standard []string) ([]string, error) {
	patterns := standard
	switch v := p.Project.LicenseFiles.(type) {
	case nil:
	case []any:
		patterns = table{"f": v}.strings("f")
	default:
		return nil, refusal("its license-files is no array")
	}
	var found []string
	for _, pattern := range patterns {
		if outside(pattern) || slices.Contains(strings.Split(pattern, "/"), "..") {
			return nil, refusal(fmt.Sprintf("license-files may not leave the project, as %q does", pattern))
		}
		files, err := l.glob(ctx, pattern)
		if err != nil {
			return nil, refusal(fmt.Sprintf("its license-files holds %q: %v", pattern, err))
		}
		found = append(found, files...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// glob finds the files of a pattern; "**" stands for any number of folders.
func (l *look) glob(ctx context.Context, pattern string) ([]string, error) {
	var found []string
	if !strings.Contains(pattern, "**") {
		matches, err := filepath.Glob(filepath.Join(escapeGlob(l.dir), filepath.FromSlash(pattern)))
		for _, m := range matches {
			if rel, err := filepath.Rel(l.dir, m); err == nil && l.file(filepath.ToSlash(rel)) {
				found = append(found, filepath.ToSlash(rel))
			}
		}
		return found, err
	}
	t, err := source.Walk(ctx, source.Options{Root: l.dir})
	if err != nil {
		return nil, err
	}
	for _, f := range t.Files {
		ok, err := matches(strings.Split(pattern, "/"), strings.Split(f.Path, "/"))
		if err != nil {
			return nil, err
		}
		if ok && f.Kind == fstree.File {
			found = append(found, f.Path)
		}
	}
	return found, nil
}

// matches compares a pattern and a path, both taken apart at the slashes.
func matches(pattern, names []string) (bool, error) {
	if len(pattern) == 0 {
		return len(names) == 0, nil
	}
	if pattern[0] == "**" {
		for len(pattern) > 1 && pattern[1] == "**" {
			pattern = pattern[1:] // two say no more than one, and take longer
		}
		for i := range len(names) + 1 {
			if ok, err := matches(pattern[1:], names[i:]); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	if len(names) == 0 {
		return false, nil
	}
	ok, err := path.Match(pattern[0], names[0])
	if !ok || err != nil {
		return false, err
	}
	return matches(pattern[1:], names[1:])
}
