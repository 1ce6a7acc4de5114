package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/jubako/jubako/pkg/hint"
)

// Matcher decides what of a source tree is left out.
type Matcher struct {
	ignore, include *patternmatcher.PatternMatcher
	noStanding      bool
}

// NewMatcher reads the patterns of the options; the root is not looked at.
func NewMatcher(o Options) (*Matcher, error) {
	var patterns []string
	if o.Ignorefile != "" {
		b, err := readBounded(o.Ignorefile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the source: %w", err)
		}
		if patterns, err = parseIgnore(b); err != nil {
			return nil, hint.Usage(fmt.Errorf("reading %s: %w", o.Ignorefile, err))
		}
	}
	// An invalid pattern is blamed on where it stands, so exclude's are tried alone first.
	m := Matcher{noStanding: o.NoStanding}
	exclude := regular(o.Exclude)
	for _, x := range []struct {
		to       **patternmatcher.PatternMatcher
		patterns []string
		where    string
	}{
		{&m.ignore, exclude, "exclude"},
		{&m.ignore, append(patterns, exclude...), filepath.Base(o.Ignorefile)},
		{&m.include, regular(o.Include), "include"},
	} {
		pm, err := patternmatcher.New(x.patterns)
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("reading the patterns of %s: %w", x.where, err))
		}
		*x.to = pm
	}
	return &m, nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxIgnore+1))
}

func parseIgnore(b []byte) ([]string, error) {
	if len(b) > maxIgnore {
		return nil, fmt.Errorf("it has more than %d bytes", maxIgnore)
	}
	return ignorefile.ReadAll(bytes.NewReader(b))
}

// regular gives patterns of the configuration the form that the reader of .dockerignore gives to its own: "/docs/" is "docs".
func regular(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		p, not := strings.CutPrefix(strings.TrimSpace(p), "!")
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		p = filepath.ToSlash(filepath.Clean(p))
		if len(p) > 1 {
			p = strings.TrimPrefix(p, "/")
		}
		if not {
			p = "!" + p
		}
		all = append(all, p)
	}
	return all
}

// Excludes says whether a path, relative to the root and with slashes, is left out.
func (m *Matcher) Excludes(rel string) (bool, error) {
	excluded, _, err := m.match(rel)
	return excluded, err
}

// match says whether a path is left out, and, for a folder, whether nothing below it can be wanted all the same.
func (m *Matcher) match(rel string) (excluded, prune bool, err error) {
	ignored, err1 := m.ignore.MatchesOrParentMatches(rel)
	fixed := !m.noStanding && inStanding(rel)
	wanted, err2 := m.include.MatchesOrParentMatches(rel)
	if err := errors.Join(err1, err2); err != nil {
		return false, false, hint.Usage(fmt.Errorf("matching %s: %w", rel, err))
	}
	if wanted || !ignored && !fixed {
		return false, false, nil
	}
	// A pattern with "!" may bring back what lies in a folder that is left out, and so may include.
	if mayMatchBelow(m.include, rel, false) {
		return true, false, nil
	}
	return true, fixed || !mayMatchBelow(m.ignore, rel, true), nil
}

// inStanding says whether one of the standing patterns matches a path or a folder that it lies in. All of them are of the
// form **/NAME, so that each part of the path is looked up: matching the patterns one by one took most of a walk's time.
func inStanding(rel string) bool {
	for part := range strings.SplitSeq(rel, "/") {
		if standingNames[part] || strings.HasPrefix(part, ".env.") || strings.HasSuffix(part, ".pyc") || strings.HasSuffix(part, ".pyo") {
			return true
		}
	}
	return false
}

// mayMatchBelow says whether one of the patterns, those with "!" or the others, may match something in a folder. It goes by
// what stands before a pattern's first wildcard, and so says yes too often, never too rarely.
func mayMatchBelow(pm *patternmatcher.PatternMatcher, dir string, exceptions bool) bool {
	for _, p := range pm.Patterns() {
		if p.Exclusion() != exceptions {
			continue
		}
		literal := filepath.ToSlash(p.String())
		if i := strings.IndexAny(literal, `*?[\`); i >= 0 {
			literal = literal[:strings.LastIndex(literal[:i], "/")+1]
		} else {
			literal += "/"
		}
		if strings.HasPrefix(literal, dir+"/") || strings.HasPrefix(dir+"/", literal) {
			return true
		}
	}
	return false
}
