package debian

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/debfile"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
)

const day = 24 * 60 * 60 // seconds

// builder makes the tree of one layer.
type builder struct {
	ctx  context.Context // of the one call that makes the tree
	o    Options
	base base.Facts
	dpkg base.Dpkg
	tree *fstree.Tree
	// gone are the base's paths that the layer takes away.
	gone map[string]bool
	// owner says which package a path belongs to, by the package's key.
	owner map[string]string
	// status is the base's database, and installed its packages by their keys.
	status    deb.Status
	installed map[string]*installed
	lists     map[string][]string // of the base's packages that stay, by key: changed where a file changes hands
	changed   map[string]bool     // those lists that were changed
	pkgs      []*pkg
	byKey     map[string]*pkg

	rules     []Rule
	diverted  []diversion
	guards    []byte // records for dpkg's list of diversions
	overrides map[string]override
	links     map[string][]string // of each file with hard links: all of its paths
	accounts  accounts.Files
	accounted bool
	libraries map[string]ldcache.Library // of the layer, by path
	scripts   []Script
	installs  []install
	notes     []string
}

// installed is a package of the base.
type installed struct {
	stanza deb.Stanza
	info   *deb.Package
	arch   string
}

// pkg is a package of the layer.
type pkg struct {
	Package
	content   *debfile.Package
	control   deb.Stanza
	info      *deb.Package
	key       string     // of its files in dpkg's database: "curl", "libc6:amd64"
	old       *installed // what it upgrades
	oldKey    string     // the key of old
	list      []string   // names for its .list
	conffiles []conffile
	index     map[string]int // of its entries, by their names
}

// entry finds an entry by its name.
func (p *pkg) entry(name string) (debfile.Entry, bool) {
	if p.index == nil {
		p.index = make(map[string]int, len(p.content.Entries))
		for i, e := range p.content.Entries {
			p.index[e.Name] = i
		}
	}
	i, ok := p.index[name]
	if !ok {
		return debfile.Entry{}, false
	}
	return p.content.Entries[i], true
}

func (p *pkg) String() string { return "package " + p.Package.String() }

// warn notes a line for the person.
func (b *builder) warn(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// scratch says that there is no base.
func (b *builder) scratch() bool { return b.o.Facts == nil }

func newBuilder(ctx context.Context, l *Layer) (*builder, error) {
	b := &builder{ctx: ctx, o: l.options, tree: &fstree.Tree{}, gone: make(map[string]bool), owner: make(map[string]string),
		installed: make(map[string]*installed), changed: make(map[string]bool), byKey: make(map[string]*pkg), links: make(map[string][]string), libraries: make(map[string]ldcache.Library)}
	if l.options.Facts != nil {
		b.base = *l.options.Facts
	}
	if l.options.Dpkg != nil {
		b.dpkg = *l.options.Dpkg
	}
	b.accounts = accounts.Files{Passwd: b.base.Passwd, Group: b.base.Group, Shadow: b.base.Shadow, GShadow: b.base.GShadow,
		LoginDefs: b.base.LoginDefs, UseraddDefaults: b.base.UseraddDefaults}
	if err := b.readBase(); err != nil {
		return nil, err
	}
	return b, b.openAll(l)
}

// readBase reads the base's database and dpkg's configuration.
func (b *builder) readBase() (err error) {
	if b.status, err = b.dpkg.Status(); err != nil {
		return err
	}
	for _, s := range b.status.Stanzas {
		if !s.Installed() {
			continue
		}
		info, err := deb.PackageOf(s)
		if err != nil {
			return fmt.Errorf("reading the base's packages: %w", err)
		}
		b.installed[keyOf(s)] = &installed{stanza: s, info: info, arch: info.Arch}
	}
	b.lists = b.dpkg.Lists()
	if b.rules, err = excludes(&b.dpkg); err != nil {
		return err
	}
	if b.scratch() && b.o.Exclude == nil {
		b.rules = SlimRules()
	}
	b.rules = append(b.rules, b.o.Exclude...)
	if b.diverted, err = parseDiversions(b.dpkg.Files["var/lib/dpkg/diversions"]); err != nil {
		return err
	}
	b.overrides, err = b.parseOverrides(b.dpkg.Files["var/lib/dpkg/statoverride"])
	return err
}

// keyOf is the name of a package's files in dpkg's database.
func keyOf(s deb.Stanza) string {
	if s.Get("Multi-Arch") == "same" {
		return s.Get("Package") + ":" + s.Get("Architecture")
	}
	return s.Get("Package")
}

// introduce reads a package's control files, and finds what it upgrades.
func (b *builder) introduce(p *pkg) (err error) {
	if p.control, err = deb.ParseControl(p.content.Control); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if p.info, err = deb.PackageOf(p.control); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if p.info.Name != p.Name || string(p.info.Version) != p.Version || p.info.Arch != p.Arch {
		return fmt.Errorf("it is %s for %s, and %s for %s was wanted", p.info, p.info.Arch, p.Package, p.Arch)
	}
	p.key = keyOf(p.control)
	for key, i := range b.installed {
		if i.info.Name == p.Name && (i.arch == p.Arch || i.arch == "all" || p.Arch == "all") {
			p.old, p.oldKey = i, key
		}
	}
	b.byKey[p.key] = p
	p.conffiles, err = parseConffiles(p.content.Member("conffiles"))
	return err
}

// versionOf gives the version of a package in the image, "" where it is not installed, and whether this layer brings it.
func (b *builder) versionOf(name string) (version string, ours bool) {
	for _, i := range b.installed {
		if i.info.Name == name {
			version = string(i.info.Version)
		}
	}
	for _, p := range b.pkgs {
		if p.Name == name {
			version, ours = p.Version, true
		}
	}
	return version, ours
}

// upstream is the upstream part of a version (deb-version(7)).
func upstream(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version = version[:i]
	}
	return version
}

// build lays the packages out.
func (b *builder) build() (*made, error) {
	b.claim()
	steps := []func() error{
		b.skeleton, b.placeAll, b.removeOld, b.runScripts, b.linkUp, b.alternatives, b.ghostscript, b.certificates, b.linkerCache, b.pixbufLoaders, b.mimeDatabase,
		b.writeAccounts, b.database,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
		if b.ctx.Err() != nil {
			return nil, context.Cause(b.ctx)
		}
	}
	if err := b.tree.AddParents(b.parent); err != nil {
		return nil, err
	}
	return &made{tree: b.tree, effects: b.effects()}, nil
}

// parent is the base's folder, or a plain one.
func (b *builder) parent(dir string) fstree.Entry { return b.base.Parent(dir) }

func (b *builder) effects() *Effects {
	e := &Effects{Changed: make(map[string]base.Stat), Scripts: b.scripts, Notes: b.notes}
	for x := range b.tree.All() {
		switch x.Kind {
		case fstree.Whiteout:
			e.Removed = append(e.Removed, x.Path)
		case fstree.Hardlink:
			if target, ok := b.tree.Lookup(x.Link); ok {
				e.Changed[x.Path] = statOf(target)
			}
		default:
			e.Changed[x.Path] = statOf(x)
		}
	}
	for p, gone := range b.gone { // what the whiteout of its folder stands for
		if _, ours := b.tree.Lookup(p); gone && !ours {
			e.Removed = append(e.Removed, p)
		}
	}
	slices.Sort(e.Removed)
	if b.accounted {
		e.Accounts = &b.accounts
	}
	return e
}

func statOf(x fstree.Entry) base.Stat {
	s := base.Stat{Kind: x.Kind, Mode: x.Mode, UID: x.UID, GID: x.GID}
	if x.Kind == fstree.Symlink {
		s.Link = x.Link
	}
	if x.Content != nil {
		s.Size = x.Content.Size()
	}
	return s
}

// look finds what stands at a path, without following it.
func (b *builder) look(p string) (base.Stat, bool) {
	if x, ok := b.tree.Lookup(p); ok {
		return statOf(x), x.Kind != fstree.Whiteout
	}
	if b.gone[p] {
		return base.Stat{}, false
	}
	s, ok := b.base.Files[p]
	return s, ok
}

// maxParts bounds what links may make of a path.
const maxParts = 4096

// through follows the symlinks of a folder's path, inside the image. What is not there yet stays as it is written.
func (b *builder) through(dir string) (string, error) {
	return fstree.Through(dir, maxParts, func(p string) (string, bool) {
		s, ok := b.look(p)
		if !ok || s.Kind != fstree.Symlink {
			return "", false
		}
		return s.Link, true
	})
}

// canonical leads a path through the symlinks that its folders are; its own last part is not followed.
func (b *builder) canonical(p string) (string, error) {
	dir, file := path.Split(p)
	at, err := b.through(strings.TrimSuffix(dir, "/"))
	return path.Join(at, file), err
}

// resolve follows every symlink of a path, and says what is there.
func (b *builder) resolve(p string) (string, base.Stat, bool) {
	at, err := b.through(p)
	if err != nil {
		return "", base.Stat{}, false
	}
	if at == "" {
		return "", base.Stat{Kind: fstree.Dir, Mode: 0o755}, true
	}
	s, ok := b.look(at)
	return at, s, ok
}

// claim notes which path of the base belongs to which package.
func (b *builder) claim() {
	upgraded := make(map[string]bool)
	for _, p := range b.pkgs {
		upgraded[p.oldKey] = true
	}
	for _, key := range slices.Sorted(mapKeys(b.lists)) {
		if upgraded[key] {
			continue
		}
		for _, name := range b.lists[key] {
			at, err := b.canonical(strings.TrimPrefix(name, "/"))
			if err != nil || at == "" {
				continue
			}
			if s, ok := b.base.Files[at]; ok && s.Kind != fstree.Dir {
				b.owner[at] = key
			}
		}
	}
}
