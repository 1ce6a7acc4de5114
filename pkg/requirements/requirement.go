package requirements

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// requirement reads a line such as `django==5.1 ; marker --hash=sha256:…`, a URL, or a path.
func (l *loader) requirement(text string, constraint bool) (*entry, error) {
	text, hashes, err := cutOptions(text)
	if err != nil {
		return nil, err
	}
	e, err := l.place(text, constraint)
	if err != nil {
		return nil, err
	}
	e.Hashes = hashes
	if e.Source.Kind != locked.URL && e.Source.Kind != locked.Path {
		return e, nil
	}
	f := locked.File{URL: e.Source.Location}
	if e.Source.Kind == locked.Path {
		f = locked.File{Path: e.Source.Location}
	}
	name, err := locked.FilenameOf(f)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(name, ".whl") {
		e.Sdist = &f
		return e, nil
	}
	w := locked.Wheel{File: f}
	if w.Filename, err = wheel.ParseFilename(name); err != nil {
		return nil, err
	}
	if e.Name == "" {
		e.Name = w.Filename.Name
	}
	e.Version = w.Filename.Version
	e.Wheels = []locked.Wheel{w}
	return e, e.CheckWheel(w.Filename)
}

// cutOptions takes the options of a requirement off its end.
func cutOptions(text string) (rest string, hashes []string, err error) {
	rest, options, _ := strings.Cut(text, " --")
	if options == "" {
		return strings.TrimSpace(text), nil, nil
	}
	args, err := split("--" + options)
	if err != nil {
		return "", nil, err
	}
	for len(args) > 0 {
		name, value, inline := strings.Cut(args[0], "=")
		args = args[1:]
		if !inline && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		switch name {
		case "--hash":
			h, err := filehash.Parse(value)
			if err != nil {
				return "", nil, err
			}
			if h.Algorithm == "md5" {
				return "", nil, fmt.Errorf("%s is too weak to vouch for a file", value)
			}
			hashes = append(hashes, h.String())
		case "--config-settings", "--config-setting", "--global-option": // for a build from source, which is refused where it is needed
		default:
			return "", nil, fmt.Errorf("the option %s is not known", name)
		}
	}
	return strings.TrimSpace(rest), hashes, nil
}

// place reads the requirement itself.
func (l *loader) place(text string, constraint bool) (*entry, error) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "/") || strings.HasPrefix(text, "file:") {
		at, marker, err := cutMarker(text)
		if err != nil {
			return nil, err
		}
		e, err := l.local(at)
		if err == nil {
			e.marker = marker
		}
		return e, err
	}
	if scheme, _, ok := strings.Cut(text, "://"); ok && !strings.ContainsAny(scheme, " @<>=!~[;") {
		at, marker, err := cutMarker(text)
		if err != nil {
			return nil, err
		}
		e, err := l.remote(at, "")
		if err == nil {
			e.marker = marker
		}
		return e, err
	}
	r, err := pep508.ParseRequirement(text)
	if err != nil {
		return nil, err
	}
	name := pep508.Normalize(r.Name)
	if r.URL != "" {
		e, err := l.remote(r.URL, name)
		if err != nil {
			return nil, err
		}
		e.marker = r.Marker
		return e, nil
	}
	e := &entry{Package: locked.Package{Name: name, Source: locked.Source{Kind: locked.Registry}}, marker: r.Marker, specifiers: r.Specifiers}
	if !constraint && len(r.Specifiers) == 1 && r.Specifiers[0].Op == pep508.Equal {
		e.Version = r.Specifiers[0].Version.String()
	}
	return e, nil
}

// cutMarker takes a marker off the end of a path or URL: it stands after " ;".
func cutMarker(text string) (at string, m pep508.Marker, err error) {
	at, marker, ok := strings.Cut(text, " ;")
	if ok {
		m, err = pep508.ParseMarker(strings.TrimSpace(marker))
	}
	return strings.TrimSpace(at), m, err
}

// remote reads a URL: of a repository, a local file or folder, or an archive. name is "" where the line has none.
func (l *loader) remote(text, name string) (*entry, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the URL of %s cannot be read", name) // it may hold a password
	}
	fragment, _ := url.ParseQuery(u.Fragment)
	if name == "" {
		name = pep508.Normalize(fragment.Get("egg"))
	}
	e := &entry{Package: locked.Package{Name: name}}
	if scheme, ok := strings.CutPrefix(u.Scheme, "git+"); ok {
		if name == "" {
			return nil, errName
		}
		u.Scheme, u.Fragment, u.RawFragment = scheme, "", ""
		s := locked.Source{Kind: locked.Git, Subdirectory: fragment.Get("subdirectory")}
		if i := strings.LastIndexByte(u.Path, '@'); i >= 0 {
			s.Git.Requested = u.Path[i+1:]
			u.Path, u.RawPath = u.Path[:i], ""
		}
		if id := strings.ToLower(s.Git.Requested); locked.FullCommit(id) {
			s.Git.ID = id
		}
		s.Location = u.String()
		e.Source = s
		return e, nil
	}
	switch u.Scheme {
	case "file":
		local, err := l.local(u.Path + u.Opaque)
		if err == nil && name != "" {
			if local.Name != "" && local.Name != name {
				return nil, fmt.Errorf("%s is the project %s, not %s", u.Path+u.Opaque, local.Name, name)
			}
			local.Name = name
		}
		return local, err
	case "http", "https":
	default:
		return nil, fmt.Errorf("jubako reads no URL of the scheme %q", u.Scheme)
	}
	u.Fragment, u.RawFragment = "", ""
	e.Source = locked.Source{Kind: locked.URL, Location: u.String(), Subdirectory: fragment.Get("subdirectory")}
	if name == "" && !strings.HasSuffix(u.Path, ".whl") {
		return nil, errName
	}
	return e, nil
}

// local reads a path: of a wheel, another archive, or a project's folder. Paths are relative to the first file's folder, as
// pip and uv take them relative to where they run.
func (l *loader) local(at string) (*entry, error) {
	at = strings.TrimPrefix(at, "file:")
	switch ext := path.Ext(at); ext {
	case ".whl", ".gz", ".zip", ".tgz", ".tar":
		return &entry{Package: locked.Package{Source: locked.Source{Kind: locked.Path, Location: path.Clean(filepath.ToSlash(at))}}}, nil
	}
	return l.tree(at)
}

// tree reads a project's folder: its name is its pyproject.toml's.
func (l *loader) tree(at string) (*entry, error) {
	at, marker, err := cutMarker(at)
	if err != nil {
		return nil, err
	}
	if u, ok := strings.CutPrefix(at, "file://"); ok {
		at = u
	}
	if i := strings.IndexByte(at, '['); i > 0 { // the extras are among the other lines
		at = at[:i]
	}
	dir := at
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(l.root, dir)
	}
	b, err := l.read(filepath.Join(dir, "pyproject.toml"))
	if err != nil {
		return nil, err
	}
	var p struct {
		Project struct {
			Name    string `toml:"name"`
			Version string `toml:"version"`
		} `toml:"project"`
	}
	if err := toml.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, "pyproject.toml"), err)
	}
	if !pep508.ValidName(p.Project.Name) {
		return nil, fmt.Errorf("%s has no [project] name", filepath.Join(dir, "pyproject.toml"))
	}
	return &entry{Package: locked.Package{
		Name: pep508.Normalize(p.Project.Name), Version: p.Project.Version, Source: locked.Source{Kind: locked.Directory, Location: path.Clean(filepath.ToSlash(at))},
	}, marker: marker}, nil
}
