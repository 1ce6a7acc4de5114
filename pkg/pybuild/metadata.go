package pybuild

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// projectTable is [project] (PEP 621, PEP 639).
type projectTable struct {
	Name           string                       `toml:"name"`
	Version        string                       `toml:"version"`
	Description    string                       `toml:"description"`
	Readme         any                          `toml:"readme"`
	RequiresPython string                       `toml:"requires-python"`
	License        any                          `toml:"license"`
	LicenseFiles   any                          `toml:"license-files"`
	Authors        []person                     `toml:"authors"`
	Maintainers    []person                     `toml:"maintainers"`
	Keywords       []string                     `toml:"keywords"`
	Classifiers    []string                     `toml:"classifiers"`
	URLs           map[string]string            `toml:"urls"`
	Scripts        map[string]string            `toml:"scripts"`
	GUIScripts     map[string]string            `toml:"gui-scripts"`
	EntryPoints    map[string]map[string]string `toml:"entry-points"`
	Dependencies   []string                     `toml:"dependencies"`
	Optional       map[string][]string          `toml:"optional-dependencies"`
	Dynamic        []string                     `toml:"dynamic"`
}

type person struct {
	Name  string `toml:"name"`
	Email string `toml:"email"`
}

// metadata writes METADATA (core metadata 2.3, or 2.4 where PEP 639's fields are used), the fields in uv_build's order.
func (p *pyproject) metadata(l *look, version string) ([]byte, error) {
	t := &p.Project
	for _, d := range t.Dynamic {
		if d != "version" {
			return nil, fmt.Errorf("its %s is dynamic", d)
		}
	}
	w := &headers{}
	licence, isExpression := t.License.(string)
	files := p.licenceFiles(l)
	if isExpression || t.LicenseFiles != nil {
		w.put("Metadata-Version", "2.4")
	} else {
		w.put("Metadata-Version", "2.3")
	}
	w.put("Name", t.Name)
	w.put("Version", version)
	w.put("Summary", t.Description)
	w.put("Keywords", strings.Join(t.Keywords, ","))
	people(w, "Author", t.Authors)
	switch {
	case isExpression:
		w.put("License-Expression", licence)
	case t.License != nil:
		text, err := licenceText(l, t.License)
		if err != nil {
			return nil, err
		}
		w.put("License", text)
	}
	for _, f := range files {
		w.put("License-File", f)
	}
	for _, c := range t.Classifiers {
		w.put("Classifier", c)
	}
	if err := p.requirements(w); err != nil {
		return nil, err
	}
	people(w, "Maintainer", t.Maintainers)
	w.put("Requires-Python", t.RequiresPython)
	for _, label := range slices.Sorted(maps.Keys(t.URLs)) {
		w.put("Project-URL", label+", "+t.URLs[label])
	}
	for _, e := range slices.Sorted(maps.Keys(t.Optional)) {
		w.put("Provides-Extra", pep508.Normalize(e))
	}
	return w.withReadme(l, t.Readme)
}

// headers writes RFC 822-like lines.
type headers struct{ strings.Builder }

// put writes a field, unless it is empty. Further lines of a value are indented, as core metadata wants them.
func (h *headers) put(key, value string) {
	if value != "" {
		fmt.Fprintf(h, "%s: %s\n", key, strings.ReplaceAll(strings.TrimRight(value, "\n"), "\n", "\n       |"))
	}
}

func people(w *headers, key string, all []person) {
	var names, mails []string
	for _, p := range all {
		switch {
		case p.Email == "":
			names = append(names, p.Name)
		case p.Name == "":
			mails = append(mails, p.Email)
		default:
			mails = append(mails, fmt.Sprintf("%s <%s>", p.Name, p.Email))
		}
	}
	w.put(key, strings.Join(names, ", "))
	w.put(key+"-email", strings.Join(mails, ", "))
}

// requirements writes Requires-Dist, an extra's with its marker.
func (p *pyproject) requirements(w *headers) error {
	put := func(texts []string, extra string) error {
		for _, s := range texts {
			r, err := pep508.ParseRequirement(s)
			if err != nil {
				return err
			}
			if extra != "" {
				m, err := pep508.ParseMarker("extra == '" + extra + "'")
				if err != nil {
					return err
				}
				r.Marker = r.Marker.And(m)
			}
			w.put("Requires-Dist", r.String())
		}
		return nil
	}
	if err := put(p.Project.Dependencies, ""); err != nil {
		return err
	}
	for _, e := range slices.Sorted(maps.Keys(p.Project.Optional)) {
		if err := put(p.Project.Optional[e], pep508.Normalize(e)); err != nil {
			return err
		}
	}
	return nil
}

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

// licenceFiles finds the files of license-files' patterns (PEP 639).
func (p *pyproject) licenceFiles(l *look) []string {
	patterns, _ := p.Project.LicenseFiles.([]any)
	var found []string
	for _, pattern := range patterns {
		s, ok := pattern.(string)
		if !ok || strings.Contains(s, "..") || filepath.IsAbs(s) {
			continue
		}
		matches, err := filepath.Glob(filepath.Join(l.dir, s))
		if err != nil {
			continue
		}
		for _, m := range matches {
			if rel, err := filepath.Rel(l.dir, m); err == nil && l.file(filepath.ToSlash(rel)) {
				found = append(found, filepath.ToSlash(rel))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// contentTypes are those of readme files, by their endings (PEP 621).
var contentTypes = map[string]string{".md": "text/markdown", ".rst": "text/x-rst", ".txt": "text/plain"}

// withReadme ends the metadata with the readme.
func (h *headers) withReadme(l *look, v any) ([]byte, error) {
	var file, text, kind string
	switch r := v.(type) {
	case nil:
		return []byte(h.String()), nil
	case string:
		file = r
	case map[string]any:
		file, _ = r["file"].(string)
		text, _ = r["text"].(string)
		kind, _ = r["content-type"].(string)
	}
	if file != "" {
		b, err := l.read(file)
		if err != nil {
			return nil, fmt.Errorf("reading the readme: %w", err)
		}
		text = string(b)
		if kind == "" {
			kind = contentTypes[strings.ToLower(filepath.Ext(file))]
		}
	}
	h.put("Description-Content-Type", kind)
	return []byte(h.String() + "\n" + text), nil
}

// entryPoints writes entry_points.txt, sorted, a blank line behind each section; nil where there are none.
func (p *pyproject) entryPoints() []byte {
	groups := map[string]map[string]string{"console_scripts": p.Project.Scripts, "gui_scripts": p.Project.GUIScripts}
	maps.Copy(groups, p.Project.EntryPoints)
	var b strings.Builder
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		if len(groups[g]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "[%s]\n", g)
		for _, name := range slices.Sorted(maps.Keys(groups[g])) {
			fmt.Fprintf(&b, "%s = %s\n", name, groups[g][name])
		}
		b.WriteByte('\n')
	}
	if b.Len() == 0 {
		return nil
	}
	return []byte(b.String())
}
