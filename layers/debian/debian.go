// Package debian makes the layer of Debian packages: what dpkg would have written, without dpkg, apt, root or a shell.
//
// Packages are laid over the files of the base as dpkg does: through the symlinks of a merged /usr, with the base's own
// folders kept as they are, its excludes, diversions and overrides respected, and its database carried on. What
// maintainer scripts would have done is worked out from their text where that can be done, and said where it cannot.
//
// It imports layers, pkg/accounts, pkg/base, pkg/cas, pkg/deb, pkg/debfile, pkg/fstree, pkg/hint, pkg/ldcache,
// pkg/maintscript and pkg/mimedb.
package debian

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/debfile"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// rules is raised whenever the same packages over the same base give other files.
const rules = 4

// Options describe the layer.
type Options struct {
	// Name is the layer's; "debian" where it is "".
	Name string
	// Facts and Dpkg are the base's; both nil for a base that is made of packages alone.
	Facts *base.Facts
	Dpkg  *base.Dpkg
	// Base is what base.FilesDigest gives of both, and Load reads them, where they are not at hand: a layer that need not be
	// made is described without them.
	Base string
	Load func(context.Context) (*base.Facts, *base.Dpkg, error)
	// Arch is Debian's name of the architecture: "amd64".
	Arch     string
	Packages []Package
	// Requested are the names of the packages that were asked for, in their order: for the summary.
	Requested []string
	// Exclude are path-exclude and path-include rules beside the base's own; for a base made of packages, SlimRules where
	// it is nil.
	Exclude []Rule
	// Epoch, in seconds since 1970, dates the passwords of accounts that packages need.
	Epoch int64
	// StrictScripts makes a maintainer script that is not understood an error rather than a warning.
	StrictScripts bool
	Store         *cas.Store
	// Jobs is how many packages are unpacked at once, while others are fetched; the number of processors where it is 0.
	Jobs int
	// Warn is told, in one line each, what a person should know of the result. It may be nil.
	Warn func(string)
}

// Package is a package to install, or to upgrade to.
type Package struct {
	Name, Version, Arch string
	Filename            string // "curl_8.14.1-2_amd64.deb"
	SHA256              string // 64 hex digits
	// Size is the package's in bytes, as far as it is known: large ones are fetched first. It is no part of the key.
	Size int64
	// Open fetches the package, unless it is at hand. What it yields is compared with SHA256. Several goroutines call it,
	// for different packages.
	Open func(context.Context) (io.ReadCloser, error)
}

func (p Package) String() string { return p.Name + " " + p.Version }

// Layer is the layer of packages. It implements layers.Layer.
type Layer struct {
	options  Options
	packages []Package // by name, then architecture
	key      layers.Key

	mu   sync.Mutex
	open []io.Closer
	made *made // what Effects has made already
}

type made struct {
	tree    *fstree.Tree
	effects *Effects
}

var _ layers.Layer = (*Layer)(nil)

// New describes the layer. Nothing is fetched.
func New(o Options) (*Layer, error) {
	l := &Layer{options: o, packages: slices.Clone(o.Packages)}
	slices.SortFunc(l.packages, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
	})
	for i, p := range l.packages {
		if i > 0 && l.packages[i-1].Name == p.Name {
			return nil, hint.Usage(fmt.Errorf("package %s is wanted twice, at %s and at %s", p.Name, l.packages[i-1].Version, p.Version))
		}
		if p.Arch != "all" && p.Arch != o.Arch {
			return nil, fmt.Errorf("package %s is for %s, and the image for %s", p, p.Arch, o.Arch)
		}
		if !cas.ValidDigest(p.SHA256) {
			return nil, fmt.Errorf("package %s: its hash is not known", p)
		}
	}
	var err error
	l.key, err = l.makeKey()
	return l, err
}

// Name is the word for the layer: "debian".
func (l *Layer) Name() string { return cmp.Or(l.options.Name, "debian") }

// Summary names what was asked for: "curl + 22 packages".
func (l *Layer) Summary() string {
	n := len(l.packages)
	switch r := l.options.Requested; {
	case n == 1:
		return l.packages[0].Name
	case len(r) == 1 && n > 1:
		return fmt.Sprintf("%s + %d packages", r[0], n-1)
	default:
		return fmt.Sprintf("%d packages", n)
	}
}

// Key holds everything that the bytes depend on; where the packages come from is no part of it.
func (l *Layer) Key() layers.Key { return l.key }

func (l *Layer) makeKey() (layers.Key, error) {
	type pkg struct{ Name, Version, Arch, SHA256 string }
	in := struct {
		Rules, Format int
		Base          string
		Arch          string
		Packages      []pkg
		Exclude       []Rule
		Day           int64
	}{Rules: rules, Format: debfile.Format, Arch: l.options.Arch, Exclude: l.options.Exclude, Day: l.options.Epoch / day}
	for _, p := range l.packages {
		in.Packages = append(in.Packages, pkg{p.Name, p.Version, p.Arch, p.SHA256})
	}
	// Any file of the base may stand in a package's way, so all of them count.
	var err error
	if in.Base = l.options.Base; l.options.Load == nil {
		in.Base, err = base.FilesDigest(l.options.Facts, l.options.Dpkg)
	}
	return layers.KeyOf("debian", in), err
}

// load reads the base, where that was put off.
func (l *Layer) load(ctx context.Context) error {
	if l.options.Load == nil || l.options.Facts != nil {
		return nil
	}
	facts, dpkg, err := l.options.Load(ctx)
	if err != nil {
		return err
	}
	is, err := base.FilesDigest(facts, dpkg)
	if err == nil && is != l.options.Base {
		err = fmt.Errorf("the base's files are %s, and not %s as an earlier image says", is, l.options.Base)
	}
	if err == nil {
		l.options.Facts, l.options.Dpkg = facts, dpkg
	}
	return err
}

// Tree fetches and reads every package, several at once, and says what the image then holds beyond the base.
func (l *Layer) Tree(ctx context.Context) (*fstree.Tree, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made == nil {
		var err error
		if l.made, err = l.make(ctx); err != nil {
			return nil, err
		}
	}
	return l.made.tree, nil
}

// make makes the tree, and keeps its effects.
func (l *Layer) make(ctx context.Context) (*made, error) {
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	b, err := newBuilder(ctx, l)
	if err != nil {
		return nil, errors.Join(err, l.closeAll())
	}
	m, err := b.build()
	if err != nil {
		return nil, errors.Join(err, l.closeAll())
	}
	record, err := json.Marshal(m.effects)
	if err != nil {
		return nil, errors.Join(err, l.closeAll())
	}
	if err := l.options.Store.PutRecord(effectRecords, string(l.key), record); err != nil {
		return nil, errors.Join(err, l.closeAll())
	}
	return m, l.tell(m.effects)
}

// tell hands the notes on; with StrictScripts, a script that is not understood is an error.
func (l *Layer) tell(e *Effects) error {
	if l.options.Warn != nil {
		for _, n := range e.Notes {
			l.options.Warn(n)
		}
	}
	var bad []string
	for _, s := range e.Scripts {
		if s.Class != Unhandled {
			continue
		}
		bad = append(bad, s.String())
		if l.options.Warn != nil && !l.options.StrictScripts {
			l.options.Warn(s.String())
		}
	}
	if l.options.StrictScripts && len(bad) > 0 {
		return hint.Check(fmt.Errorf("%d packages have maintainer scripts that are not carried out, and --strict-scripts makes that an error:\n%s", len(bad), strings.Join(bad, "\n")))
	}
	return nil
}

// Close closes the packages.
func (l *Layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeAll()
}

func (l *Layer) closeAll() error {
	var errs []error
	for _, c := range l.open {
		errs = append(errs, c.Close())
	}
	l.open, l.made = nil, nil
	return errors.Join(errs...)
}
