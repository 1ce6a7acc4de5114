// Package pylock reads pylock.toml, the lock format that Python's tools have in common (PEP 751; packaging.python.org,
// "pylock.toml Specification"), and answers what an installer would install from it.
//
// It may import pkg/locked and what lies below it.
package pylock

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

var nameRE = lazyre.New(`^pylock\.([^.]+\.)?toml$`)

// IsName says whether a file's name is one of those that the specification gives such locks ("File Name").
func IsName(base string) bool { return nameRE().MatchString(base) }

// Lock is a pylock.toml. It implements locked.Lock.
type Lock struct {
	Packages []*Package

	file           string
	requiresPython pep508.Specifiers
	environments   []pep508.Marker
	extras         []string
	groups         []string
	defaultGroups  []string
}

var _ locked.Lock = (*Lock)(nil)

// File is the lock's name, for messages.
func (l *Lock) File() string { return l.file }

// RequiresPython is what the lock asks of the Python.
func (l *Lock) RequiresPython() pep508.Specifiers { return l.requiresPython }

// Package is an entry of packages.
type Package struct {
	locked.Package
	// VCS is the version control system that the package comes from, "" for none.
	VCS            string
	marker         pep508.Marker
	requiresPython pep508.Specifiers
	requires       []string
}

// The file as TOML has it. Unknown keys are ignored, so that a lock of a later minor version can be read.
type (
	rawLock struct {
		LockVersion    string       `toml:"lock-version"`
		Environments   []string     `toml:"environments"`
		RequiresPython string       `toml:"requires-python"`
		Extras         []string     `toml:"extras"`
		Groups         []string     `toml:"dependency-groups"`
		DefaultGroups  []string     `toml:"default-groups"`
		Packages       []rawPackage `toml:"packages"`
	}
	rawPackage struct {
		Name           string         `toml:"name"`
		Version        string         `toml:"version"`
		Marker         string         `toml:"marker"`
		RequiresPython string         `toml:"requires-python"`
		Dependencies   []rawReference `toml:"dependencies"`
		Index          string         `toml:"index"`
		VCS            *rawVCS        `toml:"vcs"`
		Directory      *rawDirectory  `toml:"directory"`
		Archive        *rawFile       `toml:"archive"`
		Sdist          *rawFile       `toml:"sdist"`
		Wheels         []rawFile      `toml:"wheels"`
	}
	rawReference struct {
		Name string `toml:"name"`
	}
	rawVCS struct {
		Type         string `toml:"type"`
		URL          string `toml:"url"`
		Path         string `toml:"path"`
		Requested    string `toml:"requested-revision"`
		CommitID     string `toml:"commit-id"`
		Subdirectory string `toml:"subdirectory"`
	}
	rawDirectory struct {
		Path         string `toml:"path"`
		Editable     bool   `toml:"editable"`
		Subdirectory string `toml:"subdirectory"`
	}
	rawFile struct {
		Name         string            `toml:"name"`
		URL          string            `toml:"url"`
		Path         string            `toml:"path"`
		Size         *int64            `toml:"size"`
		Hashes       map[string]string `toml:"hashes"`
		Subdirectory string            `toml:"subdirectory"`
	}
)

// Parse reads a lock; file is its name, for messages.
func Parse(data []byte, file string) (*Lock, error) {
	l, err := parse(data)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading %s: %w", file, err))
	}
	l.file = file
	return l, nil
}

func parse(data []byte) (*Lock, error) {
	var raw rawLock
	if err := locked.Decode(data, &raw, "write it anew with the tool that made it"); err != nil {
		return nil, err
	}
	switch major, _, _ := strings.Cut(raw.LockVersion, "."); {
	case raw.LockVersion == "":
		return nil, errors.New("lock-version is missing")
	case major != "1":
		return nil, fmt.Errorf("its lock-version is %q, and version 1 is understood", raw.LockVersion)
	case len(raw.Packages) > locked.MaxPackages:
		return nil, fmt.Errorf("it has %d packages; at most %d are read", len(raw.Packages), locked.MaxPackages)
	}
	l := &Lock{extras: pep508.NormalizeAll(raw.Extras), groups: pep508.NormalizeAll(raw.Groups), defaultGroups: pep508.NormalizeAll(raw.DefaultGroups)}
	var err error
	if l.requiresPython, err = pep508.ParseSpecifiers(raw.RequiresPython); err != nil {
		return nil, fmt.Errorf("requires-python: %w", err)
	}
	for _, text := range raw.Environments {
		m, err := pep508.ParseMarker(text)
		if err != nil {
			return nil, fmt.Errorf("environments: %w", err)
		}
		l.environments = append(l.environments, m)
	}
	for i := range raw.Packages {
		p, err := newPackage(&raw.Packages[i])
		if err != nil {
			return nil, fmt.Errorf("package %d, %q: %w", i+1, raw.Packages[i].Name, err)
		}
		l.Packages = append(l.Packages, p)
	}
	return l, nil
}

func newPackage(raw *rawPackage) (*Package, error) {
	if !pep508.ValidName(raw.Name) {
		return nil, errors.New("it has no valid name")
	}
	p := &Package{Package: locked.Package{Name: pep508.Normalize(raw.Name), Version: raw.Version}}
	var err error
	if raw.Version != "" {
		if _, err = pep508.ParseVersion(raw.Version); err != nil {
			return nil, err
		}
	}
	if raw.Marker != "" {
		if p.marker, err = pep508.ParseMarker(raw.Marker); err != nil {
			return nil, err
		}
	}
	if p.requiresPython, err = pep508.ParseSpecifiers(raw.RequiresPython); err != nil {
		return nil, fmt.Errorf("requires-python: %w", err)
	}
	for _, d := range raw.Dependencies {
		p.requires = append(p.requires, pep508.Normalize(d.Name))
	}
	return p, p.source(raw)
}

// source reads where the package comes from: one of vcs, directory, archive, or files of an index.
func (p *Package) source(raw *rawPackage) error {
	kinds := 0
	for _, there := range []bool{raw.VCS != nil, raw.Directory != nil, raw.Archive != nil, raw.Sdist != nil || len(raw.Wheels) > 0} {
		if there {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("it names %d sources, and has to name one of vcs, directory, archive, and sdist with wheels", kinds)
	}
	switch {
	case raw.VCS != nil:
		return p.repository(raw.VCS)
	case raw.Directory != nil:
		if raw.Directory.Path == "" {
			return errors.New("its directory has no path")
		}
		p.Source = locked.Source{Kind: locked.Directory, Location: path.Join(raw.Directory.Path, raw.Directory.Subdirectory)}
		if raw.Directory.Editable {
			p.Source.Kind = locked.Editable
		}
		return nil
	case raw.Archive != nil:
		return p.archive(raw.Archive)
	}
	p.Source = locked.Source{Kind: locked.Registry}
	if raw.Sdist != nil {
		f, err := file(raw.Sdist)
		if err != nil {
			return fmt.Errorf("its sdist: %w", err)
		}
		p.Sdist = &f
	}
	for i := range raw.Wheels {
		if err := p.wheel(&raw.Wheels[i]); err != nil {
			return err
		}
	}
	return nil
}

// repository: the commit has to be a full one, since a name can move.
func (p *Package) repository(raw *rawVCS) error {
	at := raw.URL
	if at == "" {
		at = raw.Path
	}
	if raw.Type == "" || at == "" || raw.CommitID == "" {
		return errors.New("its vcs lacks type, url or commit-id")
	}
	p.VCS = raw.Type
	p.Source = locked.Source{Kind: locked.Git, Location: at, Subdirectory: raw.Subdirectory, Git: locked.Commit{ID: strings.ToLower(raw.CommitID), Requested: raw.Requested}}
	if raw.Type == "git" && !locked.FullCommit(p.Source.Git.ID) {
		return fmt.Errorf("its commit-id %q is no full commit", raw.CommitID)
	}
	return nil
}

func (p *Package) archive(raw *rawFile) error {
	f, err := file(raw)
	if err != nil {
		return fmt.Errorf("its archive: %w", err)
	}
	p.Source = locked.Source{Kind: locked.URL, Location: f.URL, Subdirectory: raw.Subdirectory}
	if f.URL == "" {
		p.Source.Kind, p.Source.Location = locked.Path, f.Path
	}
	name, err := locked.FilenameOf(f)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(name, ".whl") {
		p.Sdist = &f
		return nil
	}
	return p.wheel(raw)
}

func (p *Package) wheel(raw *rawFile) error {
	f, err := file(raw)
	if err != nil {
		return fmt.Errorf("its wheel %s: %w", raw.Name, err)
	}
	name := raw.Name
	if name == "" {
		if name, err = locked.FilenameOf(f); err != nil {
			return err
		}
	}
	w := locked.Wheel{File: f}
	if w.Filename, err = wheel.ParseFilename(name); err != nil {
		return err
	}
	p.Wheels = append(p.Wheels, w)
	return p.CheckWheel(w.Filename)
}

// file reads a file's place, size and hashes. Of the hashes, those of algorithms that jubako does not know do not count,
// and one has to be left.
func file(raw *rawFile) (locked.File, error) {
	f := locked.File{URL: raw.URL, Path: raw.Path}
	if raw.URL != "" {
		f.Path = "" // "packages.archive.url": where both are there, either will do
	}
	if f.URL == "" && f.Path == "" {
		return f, errors.New("it has neither url nor path")
	}
	if raw.Size != nil {
		f.Size, f.Sized = *raw.Size, true
	}
	for _, alg := range slices.Sorted(maps.Keys(raw.Hashes)) {
		if filehash.Known(alg) {
			f.Hashes = append(f.Hashes, alg+":"+raw.Hashes[alg])
		}
	}
	if len(f.Hashes) == 0 {
		return f, fmt.Errorf("it has no hash that jubako knows")
	}
	return f, nil
}
