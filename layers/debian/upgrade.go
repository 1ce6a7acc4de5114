package debian

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// conffile is a configuration file of a package (deb-conffiles(5)).
type conffile struct {
	name   string // "/etc/foo.conf"
	remove bool   // remove-on-upgrade
}

func parseConffiles(b []byte) ([]conffile, error) {
	var all []conffile
	for l := range bytes.Lines(b) {
		line := strings.TrimSpace(string(l))
		if line == "" {
			continue
		}
		c := conffile{name: line}
		if rest, ok := strings.CutPrefix(line, "remove-on-upgrade "); ok {
			c = conffile{strings.TrimSpace(rest), true}
		}
		if !strings.HasPrefix(c.name, "/") || path.Clean(c.name) != c.name {
			return nil, fmt.Errorf("conffiles: %.80q is no absolute path", line)
		}
		all = append(all, c)
	}
	return all, nil
}

// recorded is a line of the field Conffiles of the base's database.
type recorded struct {
	name, md5 string
	obsolete  bool
}

func (i *installed) conffiles() []recorded {
	var all []recorded
	for line := range strings.SplitSeq(i.stanza.Get("Conffiles"), "\n") {
		f := strings.Fields(line)
		if len(f) >= 2 {
			all = append(all, recorded{f[0], f[1], slices.Contains(f[2:], "obsolete")})
		}
	}
	return all
}

// keepConffile says whether the base's configuration file stays in place of the package's: one that was there before the
// package, or that somebody has changed since.
func (b *builder) keepConffile(p *pkg, name, at string) bool {
	if !slices.ContainsFunc(p.conffiles, func(c conffile) bool { return c.name == name && !c.remove }) {
		return false
	}
	if _, ours := b.tree.Lookup(at); ours {
		return false // it is another package's of this layer, which contest decides
	}
	e, _ := p.entry(name)
	now := b.dpkg.Sums[at]
	if now != "" && now == e.MD5 {
		return false // nothing changes
	}
	if p.old != nil {
		for _, r := range p.old.conffiles() {
			if r.name == name && (r.md5 == now || r.md5 == e.MD5) {
				// As it came: the new one takes its place. The package's is as before: whatever was done to it stays.
				return r.md5 != now
			}
		}
	}
	b.warn("%s brings the configuration file %s, and the base has one of its own there: the base's stays", p, name)
	return true
}

// removeOld takes away what packages had before their upgrade and have no more.
func (b *builder) removeOld() error {
	var dirs []string
	kept := make(map[string]bool) // folders that some package owns
	for _, p := range b.pkgs {
		for _, name := range p.list {
			if at, err := b.canonical(strings.TrimPrefix(name, "/")); err == nil {
				kept[at] = true
			}
		}
	}
	any := false
	for _, p := range b.pkgs {
		any = any || p.old != nil
	}
	if !any {
		return nil
	}
	upgraded := make(map[string]bool)
	for _, p := range b.pkgs {
		upgraded[p.oldKey] = true
	}
	for key, list := range b.lists {
		if upgraded[key] {
			continue
		}
		for _, name := range list {
			if at, err := b.canonical(strings.TrimPrefix(name, "/")); err == nil {
				kept[at] = true
			}
		}
	}
	for _, p := range b.pkgs {
		if p.old == nil {
			continue
		}
		more, err := b.removeOldOf(p, kept)
		if err != nil {
			return err
		}
		dirs = append(dirs, more...)
	}
	return b.removeEmpty(dirs)
}

// removeOldOf takes files and links away, and gives the folders that may be empty then.
func (b *builder) removeOldOf(p *pkg, kept map[string]bool) (dirs []string, err error) {
	conf := make(map[string]bool)
	for _, r := range p.old.conffiles() {
		conf[r.name] = true // an obsolete configuration file stays, as dpkg leaves it
	}
	for _, c := range p.conffiles {
		if c.remove {
			delete(conf, c.name)
		}
	}
	above := make(map[string]bool) // what was a folder to the package, also where the base has a link to one there
	for _, name := range b.lists[p.oldKey] {
		above[path.Dir(name)] = true
	}
	for _, name := range b.lists[p.oldKey] {
		if name == "/." || conf[name] {
			continue
		}
		at, err := b.canonical(b.divert(p, strings.TrimPrefix(name, "/")))
		if err != nil || at == "" || kept[at] {
			continue
		}
		s, there := b.base.Files[at]
		if _, ours := b.tree.Lookup(at); ours || !there || b.gone[at] {
			continue
		}
		if _, other := b.owner[at]; other {
			continue
		}
		if s.Kind == fstree.Dir {
			dirs = append(dirs, at)
			continue
		}
		if above[name] && s.Kind == fstree.Symlink {
			continue
		}
		if err := b.whiteout(at, p.String()); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func (b *builder) whiteout(at, producer string) error {
	b.gone[at] = true
	return b.tree.Replace(fstree.Entry{Path: at, Kind: fstree.Whiteout, Producer: producer})
}

// revive makes a folder anew that an upgrade has taken away, and those above it. What lay in the base's stays away, each by
// its own whiteout.
func (b *builder) revive(dir string, mode uint32, producer string) error {
	if dir == "." {
		return nil
	}
	if err := b.revive(fstree.Parent(dir), 0o755, producer); err != nil {
		return err
	}
	if x, ok := b.tree.Lookup(dir); !ok || x.Kind != fstree.Whiteout {
		return nil
	}
	for p, gone := range b.gone {
		if gone && fstree.Parent(p) == dir {
			if err := b.whiteout(p, producer); err != nil {
				return err
			}
		}
	}
	return b.tree.Replace(fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: mode, Producer: producer})
}

// write puts into the tree what scripts and jubako itself bring; a folder above it may be one that an upgrade has taken away.
func (b *builder) write(x fstree.Entry) error {
	if err := b.revive(fstree.Parent(x.Path), 0o755, x.Producer); err != nil {
		return err
	}
	return b.tree.Replace(x)
}

// removeEmpty takes away those of the folders in which nothing is left, the deepest first.
func (b *builder) removeEmpty(dirs []string) error {
	if len(dirs) == 0 {
		return nil
	}
	children := make(map[string]int)
	for p := range b.base.Files {
		if !b.gone[p] {
			children[path.Dir(p)]++
		}
	}
	for x := range b.tree.All() {
		if _, base := b.base.Files[x.Path]; x.Kind != fstree.Whiteout && !base {
			children[path.Dir(x.Path)]++
		}
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	slices.Reverse(dirs)
	var errs []error
	for _, dir := range dirs {
		if children[dir] > 0 {
			continue
		}
		// The folder's own whiteout stands for those of what lay in it.
		for p := range b.gone {
			if strings.HasPrefix(p, dir+"/") {
				b.tree.Remove(p)
			}
		}
		errs = append(errs, b.whiteout(dir, "an upgrade"))
		children[path.Dir(dir)]--
	}
	return errors.Join(errs...)
}
