// Package uvlock reads uv.lock and answers what uv would install from it: for any target, groups and extras, as
// `uv sync --frozen` chooses (uv's own words for the file are in its documentation; the rules here were held against a
// running uv).
//
// It may import pkg/locked and what lies below it.
package uvlock

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// Lock is a uv.lock. It implements locked.Lock.
type Lock struct {
	Revision int
	Packages []*Package

	file           string
	requiresPython pep508.Specifiers
	supported      []pep508.Marker
	conflicts      [][]conflictItem
	manifest       manifest
	byName         map[string][]*Package
}

var _ locked.Lock = (*Lock)(nil)

// File is the lock's name, for messages.
func (l *Lock) File() string { return l.file }

// RequiresPython is what the lock asks of the Python.
func (l *Lock) RequiresPython() pep508.Specifiers { return l.requiresPython }

// Package is an entry of the lock.
type Package struct {
	locked.Package

	markers       []pep508.Marker
	dependencies  []edge
	optional      map[string][]edge
	groups        map[string][]edge
	defaultGroups []string
	hasDefaults   bool
	groupPython   map[string]pep508.Specifiers
	metadata      *metadata
}

type edge struct {
	name   string
	to     *Package
	extras []string
	marker pep508.Marker
}

type conflictItem struct{ pkg, extra, group string }

type manifest struct {
	members      []string
	requirements []manifestRequirement
	groups       map[string][]manifestRequirement
	noted        map[string][]requirement // the groups, in the form of metadata
}

type manifestRequirement struct {
	name   string
	extras []string
	marker pep508.Marker
}

// The file as TOML has it. Unknown keys are ignored, as uv ignores them.
type (
	rawLock struct {
		Version          int             `toml:"version"`
		Revision         int             `toml:"revision"`
		RequiresPython   string          `toml:"requires-python"`
		SupportedMarkers []string        `toml:"supported-markers"`
		Conflicts        [][]rawConflict `toml:"conflicts"`
		Manifest         rawManifest     `toml:"manifest"`
		Packages         []rawPackage    `toml:"package"`
		Distributions    []rawPackage    `toml:"distribution"`
	}
	rawConflict struct {
		Package string `toml:"package"`
		Extra   string `toml:"extra"`
		Group   string `toml:"group"`
	}
	rawManifest struct {
		Members      []string                    `toml:"members"`
		Requirements []rawRequirement            `toml:"requirements"`
		Groups       map[string][]rawRequirement `toml:"dependency-groups"`
		GroupPython  map[string]string           `toml:"group-requires-python"`
	}
	rawRequirement struct {
		Name      string   `toml:"name"`
		Extras    []string `toml:"extras"`
		Marker    string   `toml:"marker"`
		Specifier string   `toml:"specifier"`
		URL       string   `toml:"url"`
		Git       string   `toml:"git"`
		Path      string   `toml:"path"`
		Directory string   `toml:"directory"`
		Editable  string   `toml:"editable"`
		Virtual   string   `toml:"virtual"`
	}
	rawSource struct {
		Registry     string `toml:"registry"`
		Git          string `toml:"git"`
		URL          string `toml:"url"`
		Path         string `toml:"path"`
		Directory    string `toml:"directory"`
		Editable     string `toml:"editable"`
		Virtual      string `toml:"virtual"`
		Subdirectory string `toml:"subdirectory"`
	}
	rawFile struct {
		URL      string `toml:"url"`
		Path     string `toml:"path"`
		Filename string `toml:"filename"`
		Hash     string `toml:"hash"`
		Size     int64  `toml:"size"`
	}
	rawEdge struct {
		Name    string     `toml:"name"`
		Version string     `toml:"version"`
		Source  *rawSource `toml:"source"`
		Extra   []string   `toml:"extra"`
		Marker  string     `toml:"marker"`
	}
	rawMetadata struct {
		RequiresDist   []rawRequirement            `toml:"requires-dist"`
		ProvidesExtras []string                    `toml:"provides-extras"`
		RequiresDev    map[string][]rawRequirement `toml:"requires-dev"`
		Groups         map[string][]rawRequirement `toml:"dependency-groups"` // of revision 0
	}
	rawPackage struct {
		Name              string               `toml:"name"`
		Version           string               `toml:"version"`
		Source            rawSource            `toml:"source"`
		ResolutionMarkers []string             `toml:"resolution-markers"`
		DefaultGroups     *[]string            `toml:"default-groups"`
		Dependencies      []rawEdge            `toml:"dependencies"`
		Optional          map[string][]rawEdge `toml:"optional-dependencies"`
		Dev               map[string][]rawEdge `toml:"dev-dependencies"`
		Groups            map[string][]rawEdge `toml:"dependency-groups"`
		Sdist             *rawFile             `toml:"sdist"`
		Wheels            []rawFile            `toml:"wheels"`
		GroupPython       map[string]string    `toml:"group-requires-python"`
		Metadata          *rawMetadata         `toml:"metadata"`
	}
)

// parser turns the raw form into a Lock. Markers recur often, so each text is parsed once.
type parser struct {
	markers map[string]pep508.Marker
}

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
	if err := locked.Decode(data, &raw, "uv lock writes it anew"); err != nil {
		return nil, err
	}
	if raw.Version != 1 {
		return nil, hint.Wrap(fmt.Errorf("unsupported schema: its version is %d, and version 1 is understood", raw.Version), "lock with a uv whose uv.lock begins with version = 1")
	}
	if raw.RequiresPython == "" {
		return nil, errors.New("requires-python is missing")
	}
	p := parser{markers: make(map[string]pep508.Marker)}
	l := &Lock{Revision: raw.Revision, byName: make(map[string][]*Package)}
	var err error
	if l.requiresPython, err = pep508.ParseSpecifiers(raw.RequiresPython); err != nil {
		return nil, fmt.Errorf("requires-python: %w", err)
	}
	if l.supported, err = p.all(raw.SupportedMarkers); err != nil {
		return nil, fmt.Errorf("supported-markers: %w", err)
	}
	for _, set := range raw.Conflicts {
		var items []conflictItem
		for _, c := range set {
			items = append(items, conflictItem{pep508.Normalize(c.Package), pep508.Normalize(c.Extra), pep508.Normalize(c.Group)})
		}
		l.conflicts = append(l.conflicts, items)
	}
	if err := p.manifest(&l.manifest, raw.Manifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return l, p.packages(l, append(raw.Packages, raw.Distributions...))
}

func (p *parser) marker(s string) (pep508.Marker, error) {
	if m, ok := p.markers[s]; ok || s == "" {
		return m, nil
	}
	m, err := pep508.ParseMarker(s)
	if err == nil {
		p.markers[s] = m
	}
	return m, err
}

func (p *parser) all(texts []string) ([]pep508.Marker, error) {
	var all []pep508.Marker
	for _, s := range texts {
		m, err := p.marker(s)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func (p *parser) manifest(m *manifest, raw rawManifest) (err error) {
	m.members = pep508.NormalizeAll(raw.Members)
	if _, err = groupPython(raw.GroupPython); err != nil { // it counts where there is no pyproject.toml
		return err
	}
	if m.requirements, err = p.requirements(raw.Requirements); err != nil {
		return err
	}
	m.groups, m.noted = make(map[string][]manifestRequirement, len(raw.Groups)), make(map[string][]requirement, len(raw.Groups))
	for g, reqs := range raw.Groups {
		if m.groups[pep508.Normalize(g)], err = p.requirements(reqs); err != nil {
			return err
		}
		if m.noted[pep508.Normalize(g)], err = p.noted(reqs); err != nil {
			return err
		}
	}
	return nil
}

func groupPython(raw map[string]string) (map[string]pep508.Specifiers, error) {
	all := make(map[string]pep508.Specifiers, len(raw))
	for g, text := range raw {
		specs, err := pep508.ParseSpecifiers(text)
		if err != nil {
			return nil, fmt.Errorf("group-requires-python of %q: %w", g, err)
		}
		all[pep508.Normalize(g)] = specs
	}
	return all, nil
}

func (p *parser) requirements(raw []rawRequirement) ([]manifestRequirement, error) {
	var all []manifestRequirement
	for _, r := range raw {
		m, err := p.marker(r.Marker)
		if err != nil {
			return nil, err
		}
		all = append(all, manifestRequirement{pep508.Normalize(r.Name), pep508.NormalizeAll(r.Extras), m})
	}
	return all, nil
}

// packages reads the entries, and then the edges between them.
func (p *parser) packages(l *Lock, raw []rawPackage) error {
	if len(raw) > locked.MaxPackages {
		return fmt.Errorf("it has %d packages; at most %d are read", len(raw), locked.MaxPackages)
	}
	l.Packages = make([]*Package, len(raw))
	for i := range raw {
		pkg, err := p.pkg(&raw[i])
		if err != nil {
			return fmt.Errorf("package %q: %w", raw[i].Name, err)
		}
		l.Packages[i] = pkg
		l.byName[pkg.Name] = append(l.byName[pkg.Name], pkg)
	}
	for i := range raw {
		if err := p.edges(l, l.Packages[i], &raw[i]); err != nil {
			return fmt.Errorf("package %q: %w", raw[i].Name, err)
		}
	}
	return nil
}

func (p *parser) pkg(raw *rawPackage) (*Package, error) {
	pkg := &Package{Package: locked.Package{Name: pep508.Normalize(raw.Name), Version: raw.Version}}
	if raw.Name == "" {
		return nil, errors.New("it has no name")
	}
	var err error
	if pkg.Source, err = source(raw.Source); err != nil {
		return nil, err
	}
	if pkg.Version == "" && (pkg.Source.Kind == locked.Registry) {
		return nil, errors.New("it has no version")
	}
	if pkg.markers, err = p.all(raw.ResolutionMarkers); err != nil {
		return nil, err
	}
	if raw.DefaultGroups != nil {
		pkg.hasDefaults, pkg.defaultGroups = true, pep508.NormalizeAll(*raw.DefaultGroups)
	}
	if pkg.groupPython, err = groupPython(raw.GroupPython); err != nil {
		return nil, err
	}
	if raw.Sdist != nil {
		f, err := pkg.file(*raw.Sdist)
		if err != nil {
			return nil, fmt.Errorf("its sdist: %w", err)
		}
		pkg.Sdist = &f
	}
	for _, f := range raw.Wheels {
		w, err := pkg.wheel(f)
		if err != nil {
			return nil, err
		}
		pkg.Wheels = append(pkg.Wheels, w)
	}
	if raw.Metadata != nil {
		if pkg.metadata, err = p.metadata(raw.Metadata); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	}
	return pkg, nil
}

// file reads an entry of wheels or sdist. What is locked by itself, and not from an index, has to have a hash.
func (pkg *Package) file(raw rawFile) (locked.File, error) {
	f := locked.File{URL: raw.URL, Path: raw.Path, Size: raw.Size}
	if raw.Hash != "" {
		if alg, _, _ := strings.Cut(raw.Hash, ":"); !filehash.Known(alg) {
			return f, fmt.Errorf("%q is no hash that jubako knows", raw.Hash)
		}
		f.Hashes = []string{raw.Hash}
		return f, nil
	}
	if pkg.Source.Kind == locked.URL || pkg.Source.Kind == locked.Path || pkg.Source.Kind == locked.Git && pkg.Source.Git.Path != "" {
		return f, errors.New("it has no hash")
	}
	return f, nil
}

// wheel takes the filename from the URL's, path's or entry's own last part, and holds it against the package.
func (pkg *Package) wheel(raw rawFile) (locked.Wheel, error) {
	name := raw.Filename
	f, ferr := pkg.file(raw)
	if raw.URL != "" || raw.Path != "" {
		var err error
		if name, err = locked.FilenameOf(f); err != nil {
			return locked.Wheel{}, err
		}
	} else if pkg.Source.Kind == locked.Path {
		f.Path = pkg.Source.Location
	}
	if ferr != nil {
		return locked.Wheel{}, fmt.Errorf("its wheel %s: %w", name, ferr)
	}
	w := locked.Wheel{File: f}
	var err error
	if w.Filename, err = wheel.ParseFilename(name); err != nil {
		return w, err
	}
	return w, pkg.CheckWheel(w.Filename)
}

func (p *parser) edges(l *Lock, pkg *Package, raw *rawPackage) (err error) {
	if pkg.dependencies, err = p.edgeList(l, raw.Dependencies); err != nil {
		return err
	}
	pkg.optional, pkg.groups = make(map[string][]edge, len(raw.Optional)), make(map[string][]edge, len(raw.Dev))
	for name, list := range raw.Optional {
		if pkg.optional[pep508.Normalize(name)], err = p.edgeList(l, list); err != nil {
			return err
		}
	}
	for _, groups := range []map[string][]rawEdge{raw.Groups, raw.Dev} {
		for name, list := range groups {
			if pkg.groups[pep508.Normalize(name)], err = p.edgeList(l, list); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parser) edgeList(l *Lock, raw []rawEdge) ([]edge, error) {
	var edges []edge
	for _, r := range raw {
		to, err := l.target(r)
		if err != nil {
			return nil, err
		}
		m, err := p.marker(r.Marker)
		if err != nil {
			return nil, err
		}
		edges = append(edges, edge{pep508.Normalize(r.Name), to, pep508.NormalizeAll(r.Extra), m})
	}
	return edges, nil
}

// target finds the one package that an edge's parts match.
func (l *Lock) target(r rawEdge) (*Package, error) {
	var found []*Package
	var want locked.Source
	if r.Source != nil {
		var err error
		if want, err = source(*r.Source); err != nil {
			return nil, fmt.Errorf("dependency %q: %w", r.Name, err)
		}
	}
	for _, c := range l.byName[pep508.Normalize(r.Name)] {
		if (r.Version == "" || r.Version == c.Version) && (r.Source == nil || want == c.Source) {
			found = append(found, c)
		}
	}
	if len(found) > 1 && r.Version == "" { // a missing version means a source tree whose version is dynamic
		for _, c := range found {
			if c.Version == "" {
				return c, nil
			}
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("dependency %q: %d packages of the lock match it", strings.TrimSpace(r.Name+" "+r.Version), len(found))
	}
	return found[0], nil
}
