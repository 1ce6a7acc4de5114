// Package base finds the image that jubako builds on, and reads from its files what the layers need to know: nothing
// about a base is assumed.
package base

import (
	"context"
	"maps"
	"sync"

	"github.com/jubako/jubako/pkg/fstree"
)

// Facts is what jubako knows of a base's files for one platform. It is a pure function of the base's layers, computed
// once and cached by the manifest's digest (Version is part of the cache key).
type Facts struct {
	OS     OS     `json:"os"`
	Python Python `json:"python"` // zero where the base has none
	Libc   Libc   `json:"libc"`

	// The account files and /etc/login.defs and /etc/default/useradd, whole; nil where the base lacks one.
	Passwd, Group, Shadow, GShadow, LoginDefs, UseraddDefaults []byte

	// Files holds every path of the base's merged tree, without leading slash.
	Files map[string]Stat `json:"files"`

	// left are the folders of which Files lacks entries, and whole gives the facts that lack none; nil for those that do not.
	left  map[string]bool
	whole func(context.Context) (*Facts, error)
	// What a summary says of the rest: see Packages.
	files, installed string
}

// Packages gives what facts of a summary say of the base's packages, without one of their files: what FilesDigest and
// deb.InstalledDigest give. Either is "" where it is not known, both for facts that lack nothing.
func (f *Facts) Packages() (files, installed string) { return f.files, f.installed }

// With gives the facts after paths have changed and others have gone.
func (f *Facts) With(changed map[string]Stat, removed []string) *Facts {
	with := *f
	with.files, with.installed = "", ""
	with.Files = make(map[string]Stat, len(f.Files)+len(changed))
	maps.Copy(with.Files, f.Files)
	for _, p := range removed {
		delete(with.Files, p)
	}
	maps.Copy(with.Files, changed)
	if f.whole != nil {
		with.leave(func(ctx context.Context) (*Facts, error) {
			whole, err := f.Whole(ctx)
			if err != nil {
				return nil, err
			}
			return whole.With(changed, removed), nil
		})
	}
	return &with
}

// leave has the facts ask for the whole ones where they lack something, once.
func (f *Facts) leave(whole func(context.Context) (*Facts, error)) {
	var mu sync.Mutex
	var known *Facts
	f.whole = func(ctx context.Context) (*Facts, error) {
		mu.Lock()
		defer mu.Unlock()
		if known != nil {
			return known, nil
		}
		w, err := whole(ctx)
		if err == nil {
			known = w
		}
		return w, err
	}
}

// Whole gives facts that lack nothing. Those of a summary (ParseSummary) are gathered for it.
func (f *Facts) Whole(ctx context.Context) (*Facts, error) {
	if f.whole == nil {
		return f, nil
	}
	return f.whole(ctx)
}

// knows says whether the facts tell what is at a path, or that nothing is.
func (f *Facts) knows(p string) bool {
	if _, there := f.Files[p]; there || f.whole == nil {
		return true
	}
	for p != "" {
		p = dirOf(p)
		if _, there := f.Files[p]; there {
			return !f.left[p]
		}
	}
	return true // the root lacks nothing
}

// ParentAt is Parent for facts that may be those of a summary. It also says whether the base has something there.
func (f *Facts) ParentAt(ctx context.Context, dir string) (e fstree.Entry, there bool, err error) {
	if !f.knows(dir) {
		if f, err = f.Whole(ctx); err != nil {
			return e, false, err
		}
	}
	_, there = f.Files[dir]
	return f.Parent(dir), there, nil
}

// Has says whether the folders of a PATH hold a program (LookPath), for facts that may be those of a summary.
func (f *Facts) Has(ctx context.Context, program, search string) (bool, error) {
	open := false
	for _, p := range candidates(program, search) {
		real, ok := f.resolve(p, func(p string) { open = open || !f.knows(p) })
		if open {
			whole, err := f.Whole(ctx)
			if err != nil {
				return false, err
			}
			_, ok := whole.LookPath(program, search)
			return ok, nil
		}
		if ok && f.runs(real) {
			return true, nil
		}
	}
	return false, nil
}

// OS is what /etc/os-release says (os-release(5)).
type OS struct {
	ID, VersionID, Codename, Name string
}

// Python is the interpreter that the image's PATH finds first.
type Python struct {
	Path         string // as found, with the minor version: "/usr/local/bin/python3.12"
	Version      string // full, PEP 440: "3.12.9"
	Major, Minor int
	ABI          string // the wheel ABI tag: "cp312", "cp313t"
	FreeThreaded bool
}

// Libc is the C library that the interpreter is linked with.
type Libc struct {
	Kind         string // "glibc" or "musl"
	Major, Minor int
}

// Stat is what one path of the base is.
type Stat struct {
	Kind fstree.Kind `json:"k"`
	Mode uint32      `json:"m"` // permission bits, at most 07777
	UID  int         `json:"u,omitempty"`
	GID  int         `json:"g,omitempty"`
	Link string      `json:"l,omitempty"` // of a symlink
	Size int64       `json:"s,omitempty"`
}
