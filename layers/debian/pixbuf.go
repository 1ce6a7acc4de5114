package debian

import (
	_ "embed"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

//go:embed pixbuf-loaders.txt
var pixbufLoadersText string

// pixbufLoader is what gdk-pixbuf-query-loaders says of a module, of one upstream version of its package.
type pixbufLoader struct{ pkg, upstream, stanza string }

// parsePixbufLoaders reads pixbuf-loaders.txt, by the modules' names.
func parsePixbufLoaders(text string) map[string]pixbufLoader {
	all := make(map[string]pixbufLoader)
	for i, part := range strings.Split(text, "\n= ") {
		head, stanza, _ := strings.Cut(part, "\n")
		if words := strings.Fields(head); i > 0 && len(words) == 3 {
			all[words[0]] = pixbufLoader{words[1], words[2], strings.TrimRight(stanza, "\n") + "\n"}
		}
	}
	return all
}

// pixbufLoaders makes gdk-pixbuf's list of its loaders anew where some have come or gone, which takes asking each of them:
// from what those of Debian are known to say.
func (b *builder) pixbufLoaders() error {
	home := "usr/lib/" + triplets[b.o.Arch] + "/gdk-pixbuf-2.0"
	dir := home + "/2.10.0/loaders"
	touched := false
	for p := range b.gone {
		touched = touched || path.Dir(p) == dir
	}
	var modules []string
	for p := range b.every() {
		if path.Dir(p) != dir || path.Ext(p) != ".so" {
			continue
		}
		modules = append(modules, path.Base(p))
		_, ours := b.tree.Lookup(p)
		touched = touched || ours
	}
	if !touched || !b.test('x', "/"+home+"/gdk-pixbuf-query-loaders") {
		return nil
	}
	slices.Sort(modules)
	version := b.upstreamOf("libgdk-pixbuf-2.0-0")
	list := "# GdkPixbuf Image Loader Modules file\n# Automatically generated file, do not edit\n" +
		"# Created by gdk-pixbuf-query-loaders from gdk-pixbuf-" + version + "\n#\n"
	known := parsePixbufLoaders(pixbufLoadersText)
	for _, m := range modules {
		l, ok := known[m]
		if !ok || b.upstreamOf(l.pkg) != l.upstream {
			b.leftUndone(dir+"/"+m, "gdk-pixbuf's list of loaders is not made, since "+m+" is none that is known: gdk-pixbuf then reads only the formats that are built into it")
			return nil
		}
		list += `"/` + dir + "/" + m + "\"\n" + l.stanza + "\n"
	}
	return b.file(path.Dir(dir)+"/loaders.cache", 0o644, []byte(list+"\n"))
}

// upstreamOf is the upstream part of a package's version in the image (deb-version(7)), without what Debian has taken out of
// the source; "" where it is not there.
func (b *builder) upstreamOf(name string) string {
	version, _ := b.versionOf(name)
	upstream, _, _ := strings.Cut(upstream(version), "+")
	return upstream
}

// leftUndone says of the package that has brought a file, or of the layer's first one, that something is not done for it.
func (b *builder) leftUndone(file, reason string) {
	at := 0
	if x, ok := b.tree.Lookup(file); ok && x.Kind != fstree.Whiteout {
		if i := slices.IndexFunc(b.pkgs, func(p *pkg) bool { return p.String() == x.Producer }); i >= 0 {
			at = i
		}
	}
	b.scripts[at].Class = Unhandled
	b.scripts[at].Reasons = append(b.scripts[at].Reasons, reason)
}
