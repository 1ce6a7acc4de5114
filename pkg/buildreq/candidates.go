package buildreq

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// project is what an index has of one, as far as it serves here.
type project struct {
	versions []candidate // the newest first
	reasons  []string    // why files were passed over, for an error
	files    int
}

// candidate is a version's best wheel.
type candidate struct {
	version pep508.Version
	file    File
	rank    int
	build   wheel.BuildTag
}

// project reads a project's files, once.
func (r *resolver) project(ctx context.Context, name string) (*project, error) {
	if p, ok := r.candidates[name]; ok {
		return p, nil
	}
	files, err := r.o.Index.Files(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("resolving build requirements: %w", err)
	}
	p := &project{files: len(files)}
	best := make(map[string]candidate)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Filename, b.Filename) })
	for _, f := range files {
		c, ok := r.candidate(name, f, p)
		if !ok {
			continue
		}
		key := c.version.String()
		if old, twice := best[key]; !twice || c.rank < old.rank || c.rank == old.rank && c.build.Compare(old.build) > 0 {
			best[key] = c
		}
	}
	for _, c := range best {
		p.versions = append(p.versions, c)
	}
	slices.SortFunc(p.versions, func(a, b candidate) int { return b.version.Compare(a.version) })
	r.candidates[name] = p
	return p, nil
}

// candidate looks at one file: a wheel for the target that may be taken.
func (r *resolver) candidate(name string, f File, p *project) (candidate, bool) {
	w, err := wheel.ParseFilename(f.Filename)
	if err != nil || w.Name != name {
		return candidate{}, false // an sdist, or what only old installers know
	}
	pass := func(format string, args ...any) (candidate, bool) {
		p.reasons = append(p.reasons, f.Filename+": "+fmt.Sprintf(format, args...))
		return candidate{}, false
	}
	v, err := pep508.ParseVersion(w.Version)
	if err != nil {
		return candidate{}, false
	}
	rank, ok := r.o.Tags.Rank(w)
	if !ok {
		return pass("%s", r.o.Tags.Why(w))
	}
	if !r.pythonFits(f.RequiresPython) {
		return pass("it requires Python %s", f.RequiresPython)
	}
	if before := r.excludeNewer(name); !before.IsZero() && (f.Uploaded.IsZero() || !f.Uploaded.Before(before)) {
		return pass("exclude-newer leaves it out")
	}
	return candidate{version: v, file: f, rank: rank, build: w.Build}, true
}

func (r *resolver) excludeNewer(name string) time.Time {
	if t, ok := r.o.ExcludeNewerPackage[name]; ok {
		return t
	}
	return r.o.ExcludeNewer
}

// pythonFits holds a Requires-Python against the target's, whose pre-release counts as its release. One that cannot be read
// fits none.
func (r *resolver) pythonFits(requires string) bool {
	s, err := pep508.ParseSpecifiers(requires)
	return err == nil && s.Contains(r.o.Env.PythonFullVersion().Base())
}

// fitting gives the versions that everything asked of a package allows, the newest first. A pre-release is taken where a
// requirement of the project itself names one, or where there is nothing else (PEP 440, "Handling of pre-releases"); a
// version that was taken back where it is asked for exactly (PEP 592).
func (r *resolver) fitting(p *project, st *state, fail *Error) []candidate {
	var final, pre []candidate
	wantsPre := false
	for _, a := range st.asks {
		wantsPre = wantsPre || a.name == fail.Name && a.direct && namesPre(a.req.Specifiers)
	}
	for _, c := range p.versions {
		exact := false
		fits := !slices.ContainsFunc(st.asks, func(a ask) bool {
			exact = exact || a.name == fail.Name && pinned(a.req.Specifiers)
			return a.name == fail.Name && !a.req.Specifiers.Contains(c.version)
		})
		if !fits || c.file.Yanked && !exact {
			continue
		}
		if r.constrained(fail, c) {
			continue
		}
		if c.version.IsPrerelease() {
			pre = append(pre, c)
		} else {
			final = append(final, c)
		}
	}
	switch {
	case wantsPre:
		all := slices.Concat(final, pre)
		slices.SortStableFunc(all, func(a, b candidate) int { return b.version.Compare(a.version) })
		return all
	case len(final) > 0:
		return final
	case len(pre) == 0 && len(fail.Reasons) == 0:
		fail.Reasons = p.reasons
		if p.files == 0 {
			fail.Reasons = []string{"no index knows the project"}
		} else if len(p.versions) == 0 && len(p.reasons) == 0 {
			fail.Reasons = []string{"it has sdists alone, and jubako takes build requirements as wheels"}
		}
	}
	return pre
}

// constrained says whether a constraint forbids a version.
func (r *resolver) constrained(fail *Error, c candidate) bool {
	env := r.o.Env
	for _, k := range r.o.Constraints {
		if pep508.Normalize(k.Name) == fail.Name && k.Marker.Eval(&env) && !k.Specifiers.Contains(c.version) {
			if len(fail.Reasons) == 0 {
				fail.Reasons = append(fail.Reasons, fmt.Sprintf("build-constraint-dependencies has %s", k))
			}
			return true
		}
	}
	return false
}

func namesPre(s pep508.Specifiers) bool {
	return slices.ContainsFunc(s, func(c pep508.Specifier) bool {
		return !c.Version.IsZero() && c.Version.IsPrerelease() && c.Op != pep508.NotEqual && c.Op != pep508.NotEqualStar
	})
}

func pinned(s pep508.Specifiers) bool {
	return slices.ContainsFunc(s, func(c pep508.Specifier) bool { return c.Op == pep508.Equal || c.Op == pep508.ArbitraryEqual })
}

func (r *resolver) metadataOf(ctx context.Context, f File) (Metadata, error) {
	if m, ok := r.metadata[f.Filename]; ok {
		return m, nil
	}
	m, err := r.o.Index.Metadata(ctx, f)
	if err != nil {
		return m, fmt.Errorf("resolving build requirements: %w", err)
	}
	r.metadata[f.Filename] = m
	return m, nil
}
