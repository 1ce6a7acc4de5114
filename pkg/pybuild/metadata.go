package pybuild

import (
	"cmp"
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
	ImportNames    []string                     `toml:"import-names"`
	ImportSpaces   []string                     `toml:"import-namespaces"`
	Dynamic        []string                     `toml:"dynamic"`
}

type person struct {
	Name  string `toml:"name"`
	Email string `toml:"email"`
}

// metadata writes METADATA, the fields in uv_build's order and spelling, whatever the backend: core metadata 2.3, 2.4 where
// the fields of PEP 639 are used, 2.5 where those of PEP 794 are. Project-URLs stand in the order of their labels.
func (p *pyproject) metadata(l *look, version string, licences []string) ([]byte, error) {
	t := &p.Project
	for _, d := range t.Dynamic {
		if d != "version" {
			return nil, refusal(fmt.Sprintf("its %s is dynamic", d))
		}
	}
	w := &headers{}
	licence, isExpression := t.License.(string)
	switch {
	case t.ImportNames != nil || t.ImportSpaces != nil:
		w.put("Metadata-Version", "2.5")
	case isExpression || t.LicenseFiles != nil || len(licences) > 0:
		w.put("Metadata-Version", "2.4")
	default:
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
	for _, f := range licences {
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
	for _, e := range p.extras() {
		w.put("Provides-Extra", pep508.Normalize(e))
	}
	for _, n := range t.ImportNames {
		w.put("Import-Name", n)
	}
	for _, n := range t.ImportSpaces {
		w.put("Import-Namespace", n)
	}
	return w.withReadme(l, t.Readme)
}

// headers writes RFC 822-like lines.
type headers struct{ strings.Builder }

// put writes a field, unless it is empty. Further lines of a value are indented to where its first begins: they must not be
// taken for fields.
func (h *headers) put(key, value string) {
	if value != "" {
		indent := "\n" + strings.Repeat(" ", len(key)+2)
		value = strings.ReplaceAll(strings.TrimRight(strings.ReplaceAll(value, "\r\n", "\n"), "\n"), "\n", indent)
		fmt.Fprintf(h, "%s: %s\n", key, strings.ReplaceAll(value, "\r", indent))
	}
}

// people writes everybody's name, and the addresses of those who have one.
func people(w *headers, key string, all []person) {
	var names, mails []string
	for _, p := range all {
		if p.Name != "" {
			names = append(names, p.Name)
		}
		switch {
		case p.Email == "":
		case p.Name == "":
			mails = append(mails, p.Email)
		default:
			mails = append(mails, fmt.Sprintf("%s <%s>", p.Name, p.Email))
		}
	}
	w.put(key, strings.Join(names, ", "))
	w.put(key+"-email", strings.Join(mails, ", "))
}

// extras are the keys of the optional dependencies, in the order of what they normalize to.
func (p *pyproject) extras() []string {
	return slices.SortedFunc(maps.Keys(p.Project.Optional), func(a, b string) int {
		return cmp.Or(strings.Compare(pep508.Normalize(a), pep508.Normalize(b)), strings.Compare(a, b))
	})
}

// requirements writes Requires-Dist, an extra's with its marker.
func (p *pyproject) requirements(w *headers) error {
	put := func(texts []string, extra string) error {
		for _, s := range texts {
			r, err := pep508.ParseRequirement(s)
			if err != nil {
				return err
			}
			marker := r.Marker
			if extra != "" {
				m, err := pep508.ParseMarker("extra == '" + extra + "'")
				if err != nil {
					return err
				}
				marker = marker.And(m)
			}
			r.Name, r.Marker = pep508.Normalize(r.Name), pep508.Marker{}
			text := r.String()
			if !marker.IsTrue() {
				text += " ; " + marker.Canonical().String()
			}
			w.put("Requires-Dist", text)
		}
		return nil
	}
	if err := put(p.Project.Dependencies, ""); err != nil {
		return err
	}
	for _, e := range p.extras() {
		if err := put(p.Project.Optional[e], pep508.Normalize(e)); err != nil {
			return err
		}
	}
	return nil
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
