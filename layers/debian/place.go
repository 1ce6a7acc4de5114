package debian

import (
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/debfile"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// placeAll lays the packages out one after another, by their names: so folders that several bring are always the first's.
func (b *builder) placeAll() error {
	for _, p := range b.pkgs {
		for _, e := range p.content.Entries {
			if err := b.place(p, e); err != nil {
				return fmt.Errorf("laying out %s: %w", p, err)
			}
		}
	}
	return nil
}

// place puts one entry of a package where it belongs.
func (b *builder) place(p *pkg, e debfile.Entry) error {
	p.list = append(p.list, e.Name)
	name := e.Path()
	if name == "" || skipped(b.rules, e) {
		return nil
	}
	name = b.divert(p, name)
	at, err := b.canonical(name)
	if err != nil {
		return fmt.Errorf("/%s: %w", name, err)
	}
	x := fstree.Entry{Path: at, Kind: e.Kind, Mode: e.Mode, UID: e.UID, GID: e.GID, Link: e.Link, Producer: p.String()}
	if o, ok := b.overrides[strings.TrimPrefix(e.Name, "/")]; ok && e.Kind != fstree.Symlink {
		x.Mode, x.UID, x.GID = o.mode, o.uid, o.gid
	}
	there, ok := b.look(at)
	if e.Kind == fstree.Dir {
		return b.placeDir(x, there, ok)
	}
	if err := b.mayStand(p, at); err != nil || at == "" {
		return err
	}
	if ok && there.Kind == fstree.Dir {
		if e.Kind == fstree.Symlink {
			b.notes = append(b.notes, fmt.Sprintf("%s has a link at /%s, where there is a folder: the folder stays", p, at))
			return nil
		}
		return hint.Wrap(&fstree.ConflictError{Path: at, First: fstree.Entry{Path: at, Kind: fstree.Dir, Producer: b.producer(at)}, Second: x},
			"leave one of the two out")
	}
	if ok && b.keepConffile(p, e.Name, at) {
		return nil
	}
	keep, err := b.contest(p, e, x)
	if err != nil || !keep {
		return err
	}
	return b.put(p, e, x)
}

// put writes the entry, and notes whose it is.
func (b *builder) put(p *pkg, e debfile.Entry, x fstree.Entry) error {
	content := e
	if e.Kind == fstree.Hardlink {
		// Which of a file's paths holds it and which are links is settled at the end, when all of them are known.
		content, _ = p.entry(e.Link) // debfile has seen to it that it is there
		group := p.key + " " + e.Link
		if len(b.links[group]) == 0 {
			if at, err := b.canonical(b.divert(p, content.Path())); err == nil && !skipped(b.rules, content) {
				b.links[group] = append(b.links[group], at)
			}
		}
		b.links[group] = append(b.links[group], x.Path)
		x.Kind, x.Link = fstree.File, ""
	}
	if x.Kind == fstree.File {
		x.Content = p.content.Content(content)
		if content.Library != nil {
			b.libraries[x.Path] = *content.Library
		}
	}
	b.owner[x.Path] = p.key
	return b.tree.Replace(x)
}

// linkUp makes of files that are one and the same file and its hard links: the path that comes first in the layer holds it.
func (b *builder) linkUp() error {
	for _, group := range slices.Sorted(mapKeys(b.links)) {
		key, _, _ := strings.Cut(group, " ")
		var paths []string
		for _, p := range b.links[group] {
			if x, ok := b.tree.Lookup(p); ok && x.Kind == fstree.File && b.owner[p] == key {
				paths = append(paths, p)
			}
		}
		slices.Sort(paths)
		paths = slices.Compact(paths)
		for _, p := range paths[min(1, len(paths)):] {
			x, _ := b.tree.Lookup(p)
			first, _ := b.tree.Lookup(paths[0])
			x.Kind, x.Link, x.Content = fstree.Hardlink, paths[0], nil
			x.Mode, x.UID, x.GID = first.Mode, first.UID, first.GID
			if err := b.tree.Replace(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// placeDir puts a folder: one that is there stays as it is, also where it is a link to one.
func (b *builder) placeDir(x fstree.Entry, there base.Stat, ok bool) error {
	switch {
	case !ok:
		return b.tree.Replace(x)
	case there.Kind == fstree.Dir:
		return nil
	case there.Kind == fstree.Symlink:
		if at, s, ok := b.resolve(x.Path); ok && s.Kind == fstree.Dir {
			return nil
		} else if !ok && at != "" { // a link to a folder that is not there yet, such as base-files' /var/lock
			x.Path = at
			return b.tree.Replace(x)
		}
	}
	return hint.Wrap(&fstree.ConflictError{Path: x.Path, First: fstree.Entry{Path: x.Path, Kind: there.Kind, Producer: b.producer(x.Path)}, Second: x},
		"leave one of the two out")
}

// mayStand refuses a path whose folder is no folder.
func (b *builder) mayStand(p *pkg, at string) error {
	for dir := path.Dir(at); dir != "."; dir = path.Dir(dir) {
		s, ok := b.look(dir)
		if ok && s.Kind != fstree.Dir {
			return hint.Wrap(&fstree.ConflictError{Path: dir, First: fstree.Entry{Path: dir, Kind: s.Kind, Producer: b.producer(dir)},
				Second: fstree.Entry{Path: dir, Kind: fstree.Dir, Producer: p.String()}}, "leave one of the two out")
		}
		if ok {
			break
		}
	}
	return nil
}

// producer names whose a path is, for a message.
func (b *builder) producer(at string) string {
	if x, ok := b.tree.Lookup(at); ok {
		return x.Producer
	}
	if key, ok := b.owner[at]; ok {
		if i := b.installed[key]; i != nil {
			return fmt.Sprintf("the base's package %s %s", i.info.Name, i.info.Version)
		}
	}
	return "the base"
}

// contest decides between two packages that bring one path: false where the other's stays.
func (b *builder) contest(p *pkg, e debfile.Entry, x fstree.Entry) (bool, error) {
	key, owned := b.owner[x.Path]
	if !owned || key == p.key {
		return true, nil
	}
	other := b.byKey[key]
	switch {
	case other == nil:
		i := b.installed[key]
		if i == nil || replaces(p.info, i.info) {
			b.drop(key, x.Path)
			return true, nil
		}
	case replaces(p.info, other.info):
		other.list = slices.DeleteFunc(other.list, func(n string) bool { return n == e.Name })
		return true, nil
	case replaces(other.info, p.info):
		p.list = p.list[:len(p.list)-1]
		return false, nil
	case same(other, e):
		return false, nil
	}
	first := fstree.Entry{Path: x.Path, Producer: b.producer(x.Path)}
	if s, ok := b.look(x.Path); ok {
		first.Kind = s.Kind
	}
	return false, hint.Wrap(&fstree.ConflictError{Path: x.Path, First: first, Second: x},
		"the two packages cannot be installed together, as dpkg would find too: leave one out")
}

// same says whether another package of the layer brings the very same entry.
func same(other *pkg, e debfile.Entry) bool {
	o, ok := other.entry(e.Name)
	return ok && o.Kind == e.Kind && e.Kind != fstree.Hardlink && o.Mode == e.Mode && o.UID == e.UID && o.GID == e.GID && o.Link == e.Link && o.SHA256 == e.SHA256
}

// replaces says whether p may take over files of q (Debian Policy, section 7.6).
func replaces(p, q *deb.Package) bool {
	relations, err := deb.ParseRelations(p.Replaces)
	if err != nil {
		return false
	}
	for _, any := range relations {
		for _, r := range any {
			if r.Name == q.Name && r.Allows(q.Version) {
				return true
			}
		}
	}
	return false
}

// drop takes a path out of the list of a package of the base.
func (b *builder) drop(key, at string) {
	b.lists[key] = slices.DeleteFunc(slices.Clone(b.lists[key]), func(name string) bool {
		c, err := b.canonical(strings.TrimPrefix(name, "/"))
		return err == nil && c == at
	})
	b.changed[key] = true
}
