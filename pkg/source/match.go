package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/jubako/jubako/pkg/hint"
)

// Matcher decides what of a source tree is left out.
type Matcher struct {
	ignore, include *patternmatcher.PatternMatcher
	single          []*patternmatcher.PatternMatcher // the patterns of ignore, one by one
	noStanding      bool
	skip            func(rel string) bool
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
	m := Matcher{noStanding: o.NoStanding, skip: o.Skip}
	exclude := regular(o.Exclude)
	patterns = append(patterns, exclude...)
	for _, x := range []struct {
		to       **patternmatcher.PatternMatcher
		patterns []string
		where    string
	}{
		{&m.ignore, exclude, "exclude"},
		{&m.ignore, patterns, filepath.Base(o.Ignorefile)},
		{&m.include, regular(o.Include), "include"},
	} {
		pm, err := patternmatcher.New(x.patterns)
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("reading the patterns of %s: %w", x.where, err))
		}
		*x.to = pm
	}
	for _, p := range patterns {
		if pm, err := patternmatcher.New([]string{p}); err == nil && len(pm.Patterns()) > 0 {
			m.single = append(m.single, pm)
		}
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
	return excluded || m.Skips(rel), err
}

// Skips says whether a path is left out whatever the patterns say (Options.Skip).
func (m *Matcher) Skips(rel string) bool { return m.skip != nil && m.skip(rel) }

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
	// Include may bring back what lies in a folder that is left out, and so may a pattern with "!".
	for _, p := range m.include.Patterns() {
		if !p.Exclusion() && mayMatchBelow(p, rel) {
			return true, false, nil
		}
	}
	return true, fixed || !m.exceptsBelow(rel), nil
}

// exceptsBelow says whether a pattern with "!" may bring back something in a folder. The last match counts, and what leaves
// out the folder, or one that it lies in, matches all below it: only an exception that stands after the last such pattern can.
func (m *Matcher) exceptsBelow(dir string) bool {
	for _, one := range slices.Backward(m.single) {
		if p := one.Patterns()[0]; p.Exclusion() {
			if mayMatchBelow(p, dir) {
				return true
			}
		} else if out, err := one.MatchesOrParentMatches(dir); out && err == nil {
			return false
		}
	}
	return false
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

// mayMatchBelow says whether a pattern may match something in a folder. It goes by what stands before the pattern's first
// wildcard, and so says yes too often, never too rarely.
func mayMatchBelow(p *patternmatcher.Pattern, dir string) bool {
	literal := filepath.ToSlash(p.String())
	if i := strings.IndexAny(literal, `*?[\`); i >= 0 {
		literal = literal[:strings.LastIndex(literal[:i], "/")+1]
	} else {
		literal += "/"
	}
	return strings.HasPrefix(literal, dir+"/") || strings.HasPrefix(dir+"/", literal)
}
