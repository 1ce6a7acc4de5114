// Package uvlock reads uv.lock and answers what uv would install from it: for any target, groups and extras, as
// `uv sync --frozen` chooses (uv's own words for the file are in its documentation; the rules here were held against a
// running uv).
//
// It may import pkg/pep508, pkg/wheel and pkg/hint.
package uvlock

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// The bounds of a lock: bytes, and packages.
const (
	maxLock     = 64 << 20
	maxPackages = 100_000
)

// Lock is a uv.lock.
type Lock struct {
	File           string // for messages
	Revision       int
	RequiresPython pep508.Specifiers
	Packages       []*Package

	supported []pep508.Marker
	conflicts [][]conflictItem
	manifest  manifest
	byName    map[string][]*Package
}

// SourceKind says where a package comes from.
type SourceKind string

// The kinds of source, as the lock names them.
const (
	Registry  SourceKind = "registry"
	Git       SourceKind = "git"
	URL       SourceKind = "url"
	Path      SourceKind = "path"
	Directory SourceKind = "directory"
	Editable  SourceKind = "editable"
	Virtual   SourceKind = "virtual"
)

// Source is where a package comes from.
type Source struct {
	Kind         SourceKind
	Location     string // URL, or a path relative to the lock's folder
	Subdirectory string
}

func (s Source) String() string { return string(s.Kind) + " " + s.Location }

// Local says whether the source is a folder or file beside the lock.
func (s Source) Local() bool {
	return s.Kind == Path || s.Kind == Directory || s.Kind == Editable || s.Kind == Virtual
}

// Package is an entry of the lock.
type Package struct {
	Name    string // normalized
	Version string // "" for a source tree whose version is dynamic
	Source  Source
	Wheels  []Wheel
	Sdist   *File

	markers       []pep508.Marker
	dependencies  []edge
	optional      map[string][]edge
	groups        map[string][]edge
	defaultGroups []string
	hasDefaults   bool
	metadata      *metadata
}

// File is a file of a package.
type File struct {
	URL  string // absolute, or "" where Path is set
	Path string // relative to the source: see Package.Source
	Hash string // "sha256:…", or ""
	Size int64  // bytes; 0 where the lock does not say
}

// Wheel is a built file of a package.
type Wheel struct {
	File
	Filename wheel.Filename
}

type edge struct {
	name   string
	to     *Package
	extras []string
	marker pep508.Marker
}

type conflictItem struct{ pkg, extra, group string }

type manifest struct {
	members       []string
	requirements  []manifestRequirement
	groups        map[string][]manifestRequirement
	defaultGroups []string
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
		Members       []string                    `toml:"members"`
		Requirements  []rawRequirement            `toml:"requirements"`
		Groups        map[string][]rawRequirement `toml:"dependency-groups"`
		DefaultGroups []string                    `toml:"default-groups"`
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
	l.File = file
	return l, nil
}

func parse(data []byte) (*Lock, error) {
	if len(data) > maxLock {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(data), maxLock)
	}
	var raw rawLock
	if err := toml.NewDecoder(bytes.NewReader(data)).Decode(&raw); err != nil {
		if d, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := d.Position()
			return nil, hint.Wrap(fmt.Errorf("line %d, column %d: %w", row, col, err), "uv lock writes it anew")
		}
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
	if l.RequiresPython, err = pep508.ParseSpecifiers(raw.RequiresPython); err != nil {
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

func normalized(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = pep508.Normalize(n)
	}
	return out
}

func (p *parser) manifest(m *manifest, raw rawManifest) (err error) {
	m.members, m.defaultGroups = normalized(raw.Members), normalized(raw.DefaultGroups)
	if m.requirements, err = p.requirements(raw.Requirements); err != nil {
		return err
	}
	m.groups = make(map[string][]manifestRequirement, len(raw.Groups))
	for g, reqs := range raw.Groups {
		if m.groups[pep508.Normalize(g)], err = p.requirements(reqs); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) requirements(raw []rawRequirement) ([]manifestRequirement, error) {
	var all []manifestRequirement
	for _, r := range raw {
		m, err := p.marker(r.Marker)
		if err != nil {
			return nil, err
		}
		all = append(all, manifestRequirement{pep508.Normalize(r.Name), normalized(r.Extras), m})
	}
	return all, nil
}

// packages reads the entries, and then the edges between them.
func (p *parser) packages(l *Lock, raw []rawPackage) error {
	if len(raw) > maxPackages {
		return fmt.Errorf("it has %d packages; at most %d are read", len(raw), maxPackages)
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
	pkg := &Package{Name: pep508.Normalize(raw.Name), Version: raw.Version}
	if raw.Name == "" {
		return nil, errors.New("it has no name")
	}
	var err error
	if pkg.Source, err = source(raw.Source); err != nil {
		return nil, err
	}
	if pkg.Version == "" && (pkg.Source.Kind == Registry) {
		return nil, errors.New("it has no version")
	}
	if pkg.markers, err = p.all(raw.ResolutionMarkers); err != nil {
		return nil, err
	}
	if raw.DefaultGroups != nil {
		pkg.hasDefaults, pkg.defaultGroups = true, normalized(*raw.DefaultGroups)
	}
	if raw.Sdist != nil {
		pkg.Sdist = &File{URL: raw.Sdist.URL, Path: raw.Sdist.Path, Hash: raw.Sdist.Hash, Size: raw.Sdist.Size}
	}
	for _, f := range raw.Wheels {
		w, err := newWheel(pkg, f)
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

func source(raw rawSource) (Source, error) {
	var found []Source
	for kind, at := range map[SourceKind]string{Registry: raw.Registry, Git: raw.Git, URL: raw.URL, Path: raw.Path, Directory: raw.Directory, Editable: raw.Editable, Virtual: raw.Virtual} {
		if at != "" {
			found = append(found, Source{kind, at, raw.Subdirectory})
		}
	}
	if len(found) != 1 {
		return Source{}, fmt.Errorf("its source names %d places, and has to name one", len(found))
	}
	return found[0], nil
}

// newWheel takes the filename from the URL's, path's or entry's own last part, and holds it against the package.
func newWheel(pkg *Package, f rawFile) (Wheel, error) {
	name := f.Filename
	switch {
	case f.URL != "":
		u, err := url.Parse(f.URL)
		if err != nil {
			return Wheel{}, fmt.Errorf("wheel %q: %w", f.URL, err)
		}
		name = path.Base(u.Path)
	case f.Path != "":
		name = path.Base(f.Path)
	}
	w := Wheel{File: File{URL: f.URL, Path: f.Path, Hash: f.Hash, Size: f.Size}}
	if pkg.Source.Kind == Path && f.URL == "" && f.Path == "" {
		w.Path = pkg.Source.Location
	}
	var err error
	if w.Filename, err = wheel.ParseFilename(name); err != nil {
		return Wheel{}, err
	}
	if w.Filename.Name != pkg.Name {
		return Wheel{}, fmt.Errorf("its wheel %s is another project's", name)
	}
	if f.Hash == "" && pkg.Source.Kind != Registry {
		return Wheel{}, fmt.Errorf("its wheel %s has no hash", name)
	}
	if pkg.Version != "" {
		have, err1 := pep508.ParseVersion(w.Filename.Version)
		want, err2 := pep508.ParseVersion(pkg.Version)
		if err := errors.Join(err1, err2); err != nil {
			return Wheel{}, err
		}
		if have.Compare(want) != 0 && have.Public().Compare(want) != 0 {
			return Wheel{}, fmt.Errorf("its wheel %s is of another version than %s", name, pkg.Version)
		}
	}
	return w, nil
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
		edges = append(edges, edge{pep508.Normalize(r.Name), to, normalized(r.Extra), m})
	}
	return edges, nil
}

// target finds the one package that an edge's parts match.
func (l *Lock) target(r rawEdge) (*Package, error) {
	var found []*Package
	var want Source
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
