package debian

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/mimedb"
)

const (
	mimeFolder  = "usr/share/mime"
	mimeSources = mimeFolder + "/packages"
)

// mimeDatabase does what shared-mime-info's trigger does by update-mime-database(1), where a package brings, changes or
// takes away what that reads: the files in which GIO, gdk-pixbuf and their like look types up.
func (b *builder) mimeDatabase() error {
	version, fresh := b.versionOf("shared-mime-info")
	if version == "" || !b.hasProgram("update-mime-database") {
		return nil
	}
	touched := fresh
	var sources []mimedb.Source
	for p := range b.every() {
		if path.Dir(p) != mimeSources || path.Ext(p) != ".xml" {
			continue
		}
		at, s, ok := b.resolve(p)
		if !ok || s.Kind != fstree.File {
			continue
		}
		data, ok := b.dpkg.Read(p)
		if x, ours := b.tree.Lookup(at); ours {
			touched = true
			var err error
			if data, err = contentOf(x); err != nil {
				return err
			}
		} else if !ok {
			b.warn("the database of MIME types is not made anew: the base's /%s is too long", p)
			return nil
		}
		sources = append(sources, mimedb.Source{Name: path.Base(p), Data: data})
	}
	for p := range b.gone {
		touched = touched || path.Dir(p) == mimeSources
	}
	if !touched {
		return nil
	}
	files, bad := mimedb.Make(sources, upstream(version))
	for _, err := range bad {
		b.warn("the database of MIME types lacks what a file says: /%s/%v", mimeSources, err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := b.file(path.Join(mimeFolder, name), 0o644, files[name]); err != nil {
			return err
		}
	}
	return b.removeTypes(files)
}

// removeTypes takes away the base's files of types that there are no longer.
func (b *builder) removeTypes(files map[string][]byte) error {
	var old []string
	for p := range b.base.Files {
		name, ok := strings.CutPrefix(p, mimeFolder+"/")
		if _, there := files[name]; !ok || there || b.gone[p] || strings.Count(name, "/") != 1 || path.Dir(p) == mimeSources || path.Ext(p) != ".xml" {
			continue
		}
		if _, ours := b.tree.Lookup(p); !ours && b.owner[p] == "" {
			old = append(old, p)
		}
	}
	slices.Sort(old)
	for _, p := range old {
		if err := b.whiteout(p, "update-mime-database"); err != nil {
			return err
		}
	}
	return nil
}
