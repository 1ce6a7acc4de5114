// Package mimedb makes the shared MIME database of a system as update-mime-database(1) does: from the XML files that
// packages bring, the files in which programs look types up (freedesktop.org, Shared MIME-info Database specification).
//
// It imports nothing of this module.
package mimedb

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Source is a file of the folder packages.
type Source struct {
	Name string // "freedesktop.org.xml"
	Data []byte
}

// The bounds of what is read: bytes of all sources together, and bytes that a database may take.
const (
	MaxSources = 64 << 20
	maxTypes   = 1 << 16
)

// override is the source that has the last word.
const override = "Override.xml"

// database is what the sources say.
type database struct {
	types        map[string]*mimeType
	globs        table[[]*glob] // by pattern
	aliases      table[string]  // types by their other names
	parents      table[[]string]
	icons        table[string]
	genericIcons table[string]
	namespaces   table[namespace]
	magic        []*magic
	treeMagic    []treeMagic
}

type mimeType struct {
	name     string
	fields   []*node        // for its own file; nil where another stands for it
	comments map[string]int // where each language's comment lies among them
}

type glob struct {
	pattern, mime string
	weight        int
	caseSensitive bool
	none          bool // the mark of <glob-deleteall>
}

type namespace struct{ uri, local, mime string }

// Make gives the files of the database by their paths in it, and what is wrong with sources: like the tool, it goes on
// without what it cannot read. version is that of the tool: "2.4".
func Make(sources []Source, version string) (files map[string][]byte, bad []error) {
	d := &database{types: make(map[string]*mimeType)}
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b Source) int {
		if last := b.Name == override; last != (a.Name == override) {
			if last {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	read := 0
	for _, s := range sources {
		read += len(s.Data)
		err := errors.New("the sources are too long")
		if read <= MaxSources {
			err = d.read(s.Data, func(err error) { bad = append(bad, fmt.Errorf("%s: %w", s.Name, err)) })
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	sortMagic(d.magic)
	files = map[string][]byte{
		"aliases": d.aliasFile(), "generic-icons": iconFile(&d.genericIcons), "icons": iconFile(&d.icons), "subclasses": d.subclassFile(),
		"globs": d.globFile(false), "globs2": d.globFile(true), "types": d.typeFile(), "XMLnamespaces": d.namespaceFile(),
		"magic": d.magicFile(), "treemagic": d.treeMagicFile(), "version": []byte(version + "\n"), "mime.cache": d.cacheFile(),
	}
	for name, t := range d.types {
		files[lower(name)+".xml"] = t.xmlFile()
	}
	return files, bad
}

// read takes a source in. Of a type with an error, which is told to bad, it takes what stands before that.
func (d *database) read(data []byte, bad func(error)) error {
	root, err := parseXML(data)
	if err != nil {
		return err
	}
	if !root.is("mime-info") {
		return fmt.Errorf("its outermost element is %s, and not mime-info", root.name)
	}
	for _, n := range root.children {
		if n.name == "" {
			continue
		}
		if !n.is("mime-type") {
			return fmt.Errorf("mime-type is wanted, and not %s", n.name)
		}
		if err := d.readType(n); err != nil {
			bad(fmt.Errorf("type %q: %w", n.get("type"), err))
		}
	}
	return nil
}

// checkType says whether a type's name makes a path of two parts, in the folder of the database.
func checkType(name string) error {
	media, sub, ok := strings.Cut(name, "/")
	if !ok || media == "" || sub == "" || strings.HasPrefix(media, ".") || strings.HasPrefix(sub, ".") || lower(media) == "packages" ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) || strings.Contains(sub, "/") || len(name) > 200 {
		return errors.New("that is no name of a type")
	}
	return nil
}

func (d *database) readType(n *node) error {
	name := n.get("type")
	if err := checkType(name); err != nil {
		return err
	}
	t, ok := d.types[name]
	if !ok {
		if len(d.types) >= maxTypes {
			return fmt.Errorf("there are more than %d types", maxTypes)
		}
		t = &mimeType{name: name, comments: make(map[string]int)}
		d.types[name] = t
	}
	for _, f := range n.children {
		if f.name == "" {
			continue
		}
		keep := f.ns != freeNS
		if !keep {
			var err error
			if keep, err = d.field(t, f); err != nil {
				return err
			}
		}
		if keep {
			t.keep(f)
		}
	}
	return nil
}

// keep takes an element for the type's own file; a comment stands for an earlier one in its language.
func (t *mimeType) keep(f *node) {
	if f.is("comment") {
		if i, ok := t.comments[f.lang()]; ok {
			t.fields[i] = nil
		}
		t.comments[f.lang()] = len(t.fields)
	}
	t.fields = append(t.fields, f)
}

// field takes in an element of the specification, and says whether the type's own file has it too.
func (d *database) field(t *mimeType, f *node) (keep bool, err error) {
	switch f.name {
	case "comment", "acronym", "expanded-acronym":
		return true, nil
	case "glob":
		pattern := f.get("pattern")
		weight, err := number(f, "weight")
		if pattern == "" {
			return false, errors.New("a glob without pattern")
		}
		g := &glob{pattern: pattern, mime: t.name, weight: weight, caseSensitive: f.get("case-sensitive") == "true"}
		if !g.caseSensitive {
			g.pattern = lower(pattern)
		}
		d.addGlob(g) // with the weight -1 where that is wrong
		return true, err
	case "glob-deleteall":
		d.addGlob(&glob{pattern: noGlobs, mime: t.name, none: true})
		return true, nil
	case "magic":
		m, err := parseMagic(f, t.name)
		if err == nil {
			d.magic = append(d.magic, m)
		}
		return false, err
	case "magic-deleteall":
		d.magic = append(d.magic, &magic{mime: t.name, none: true, matches: []*match{{length: 1, word: 1, value: []byte(noMagic)}}})
	case "treemagic":
		priority, err := number(f, "priority")
		if err == nil {
			err = checkTreeMatches(f)
		}
		if err == nil {
			d.treeMagic = append(d.treeMagic, treeMagic{priority, t.name, f})
		}
		return false, err
	case "alias":
		if err := checkType(f.get("type")); err != nil {
			return false, err
		}
		d.aliases.set(f.get("type"), t.name)
		return true, nil
	case "sub-class-of":
		if err := checkType(f.get("type")); err != nil {
			return false, err
		}
		parents, _ := d.parents.get(t.name)
		d.parents.set(t.name, append(parents, f.get("type")))
		return true, nil
	case "icon":
		if keep = f.has("name"); keep {
			d.icons.set(t.name, f.get("name"))
		}
		return keep, nil
	case "generic-icon":
		if keep = f.has("name"); keep {
			d.genericIcons.set(t.name, f.get("name"))
		}
		return keep, nil
	case "root-XML":
		n := namespace{f.get("namespaceURI"), f.get("localName"), t.name}
		if !f.has("namespaceURI") || !f.has("localName") {
			return false, errors.New("a root-XML without namespaceURI or localName")
		}
		if strings.ContainsAny(n.uri+n.local, " \n") {
			return false, errors.New("a root-XML with blanks")
		}
		d.namespaces.set(n.uri+" "+n.local, n)
	}
	return false, nil
}

// number reads a weight or a priority: of 0 to 100, and 50 where it is not said.
func number(n *node, name string) (int, error) {
	v, err := strconv.Atoi(cmp.Or(n.get(name), "50"))
	if err != nil || v < 0 || v > 100 {
		return -1, fmt.Errorf("%s: %s %q is no number of 0 to 100", n.name, name, n.get(name))
	}
	return v, nil
}

// lower is for ASCII alone.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func (d *database) addGlob(g *glob) {
	all, _ := d.globs.get(g.pattern)
	d.globs.set(g.pattern, append(all, g))
}

// globsOf gives the globs of a kind, by their patterns.
func (d *database) globsOf(kind int) []*glob {
	var all []*glob
	for _, pattern := range sortedKeys(&d.globs) {
		globs, _ := d.globs.get(pattern)
		for _, g := range globs {
			if g.kind() == kind {
				all = append(all, g)
			}
		}
	}
	return all
}

func (d *database) sortedNamespaces() []namespace {
	var all []namespace
	for _, k := range sortedKeys(&d.namespaces) {
		n, _ := d.namespaces.get(k)
		all = append(all, n)
	}
	return all
}

func (d *database) aliasFile() (out []byte) {
	for _, alias := range sortedKeys(&d.aliases) {
		mime, _ := d.aliases.get(alias)
		out = fmt.Appendf(out, "%s %s\n", alias, mime)
	}
	return out
}

func iconFile(t *table[string]) (out []byte) {
	for mime, icon := range t.each {
		out = fmt.Appendf(out, "%s:%s\n", mime, icon)
	}
	return out
}

func (d *database) subclassFile() (out []byte) {
	for mime, parents := range d.parents.each {
		for _, p := range parents {
			out = fmt.Appendf(out, "%s %s\n", mime, p)
		}
	}
	return out
}

func (d *database) typeFile() (out []byte) {
	for _, name := range slices.Sorted(maps.Keys(d.types)) {
		out = append(append(out, name...), '\n')
	}
	return out
}

func (d *database) namespaceFile() (out []byte) {
	for _, n := range d.sortedNamespaces() {
		out = fmt.Appendf(out, "%s %s %s\n", n.uri, n.local, n.mime)
	}
	return out
}

// globFile is the file "globs2", or the older "globs", which says neither weights nor cases.
func (d *database) globFile(two bool) []byte {
	var all []*glob
	for _, globs := range d.globs.each {
		all = append(all, globs...)
	}
	slices.SortStableFunc(all, func(a, b *glob) int {
		if a.none != b.none {
			if a.none {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.weight, a.weight)
	})
	out := []byte("# This file was automatically generated by the\n# update-mime-database command. DO NOT EDIT!\n")
	for _, g := range all {
		if !two {
			out = fmt.Appendf(out, "%s:%s\n", g.mime, g.pattern)
			continue
		}
		if g.caseSensitive {
			out = fmt.Appendf(out, "%d:%s:%s:cs\n", g.weight, g.mime, g.pattern)
		}
		out = fmt.Appendf(out, "%d:%s:%s\n", g.weight, g.mime, g.pattern)
	}
	return out
}
