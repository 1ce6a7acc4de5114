package base

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
)

// Dpkg holds what a base's files say of its Debian packages, whole: dpkg's database, apt's sources and keys, the
// configuration of the dynamic linker, and what MIME types are made of. It is kept beside the Facts, since only a build that adds
// packages needs it.
type Dpkg struct {
	// Files is by path, without leading slash. A file that is a symlink stands under its own name, with the content that
	// it leads to. DpkgPaths says which there are.
	Files map[string][]byte `json:"files"`
	// Libraries are the shared objects of names that ldconfig looks at, wherever they lie.
	Libraries map[string]ldcache.Library `json:"libraries"`
	// Sums are the MD5 sums, in hex, of the files in /etc: whether a package's configuration file is as it came.
	Sums map[string]string `json:"sums"`
}

// DpkgPaths are the patterns (path.Match) of the files that Dpkg holds where the base has them.
func DpkgPaths() []string {
	return []string{
		"var/lib/dpkg/status", "var/lib/dpkg/status.d/*", "var/lib/dpkg/info/*.list", "var/lib/dpkg/info/format",
		"var/lib/dpkg/diversions", "var/lib/dpkg/statoverride", "var/lib/dpkg/arch", "var/lib/dpkg/arch-native",
		"var/lib/dpkg/alternatives/*", "var/lib/dpkg/triggers/*",
		"etc/dpkg/dpkg.cfg", "etc/dpkg/dpkg.cfg.d/*",
		"etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/apt/trusted.gpg", "etc/apt/trusted.gpg.d/*", "etc/apt/keyrings/*",
		"etc/apt/preferences", "etc/apt/preferences.d/*",
		"usr/share/keyrings/*", "usr/local/share/keyrings/*",
		"etc/ld.so.conf", "etc/ld.so.conf.d/*", "etc/ld.so.cache",
		"etc/ca-certificates.conf", "usr/local/share/ca-certificates/*.crt",
		"usr/share/mime/packages/*.xml",
	}
}

// The bounds of what is kept of a base's packages, in bytes.
const (
	maxDpkgFile = 64 << 20
	maxDpkg     = 256 << 20 // together
)

// dpkgPattern finds the patterns that a path might match, by the folder that it lies in.
type dpkgPattern map[string][]string

func newDpkgPattern() dpkgPattern {
	p := make(dpkgPattern)
	for _, glob := range DpkgPaths() {
		p[path.Dir(glob)] = append(p[path.Dir(glob)], path.Base(glob))
	}
	return p
}

func (p dpkgPattern) matches(name string) bool {
	dir, file := path.Split(name)
	for _, glob := range p[strings.TrimSuffix(dir, "/")] {
		if ok, err := path.Match(glob, file); ok && err == nil {
			return true
		}
	}
	return false
}

// Dpkg gives what the image's files say of its Debian packages. It is kept in the store, which may be nil, as Facts are.
func (i *Image) Dpkg(ctx context.Context, store *cas.Store) (*Dpkg, error) {
	if store != nil {
		if d, ok := record[Dpkg](store, dpkgRecords, i.factsKey()); ok {
			return d, nil
		}
	}
	_, d, err := i.scan(ctx, store, nil)
	return d, err
}

// dpkg draws from the scanned tree what Dpkg holds.
func (s *scanner) dpkg(f *Facts) *Dpkg {
	d := &Dpkg{Files: make(map[string][]byte)}
	d.Libraries, d.Sums = s.watched()
	for p, n := range s.nodes {
		if !s.pattern.matches(p) {
			continue
		}
		if n.Kind == fstree.Symlink {
			to, ok := f.Resolve(p)
			if !ok {
				continue
			}
			n = s.nodes[to]
		}
		if n.Kind == fstree.File && (n.kept != nil || n.Size == 0) {
			d.Files[p] = n.kept
		}
	}
	return d
}

// Read gives a file's content, by its path with or without leading slash.
func (d *Dpkg) Read(p string) ([]byte, bool) {
	b, ok := d.Files[strings.TrimLeft(p, "/")]
	return b, ok
}

// Under gives the files that lie in a folder, by their base names.
func (d *Dpkg) Under(dir string) map[string][]byte {
	found := make(map[string][]byte)
	for p, b := range d.Files {
		if at, file := path.Split(p); strings.TrimSuffix(at, "/") == strings.Trim(dir, "/") {
			found[file] = b
		}
	}
	return found
}

// Lists gives the paths that each package's .list names, by the list's name without the suffix: "curl", "libc6:amd64".
func (d *Dpkg) Lists() map[string][]string {
	lists := make(map[string][]string)
	for file, b := range d.Under("var/lib/dpkg/info") {
		if name, ok := strings.CutSuffix(file, ".list"); ok {
			lists[name] = strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
		}
	}
	return lists
}

// Database says how the base keeps its database of packages: "status" in one file, "status.d" in one a package, as
// distroless images do, or "" where there is none.
func (d *Dpkg) Database() string {
	if _, ok := d.Files["var/lib/dpkg/status"]; ok {
		return "status"
	}
	if len(d.Under("var/lib/dpkg/status.d")) > 0 {
		return "status.d"
	}
	return ""
}

// Status reads the database of packages; it is empty where the base has none.
func (d *Dpkg) Status() (deb.Status, error) {
	var s deb.Status
	var err error
	switch at := d.Database(); at {
	case "status":
		s, err = deb.ParseStatus(d.Files["var/lib/dpkg/status"])
	case "status.d":
		s, err = deb.ParseStatusD(d.Under("var/lib/dpkg/status.d"))
	}
	if err != nil {
		return s, fmt.Errorf("reading /var/lib/dpkg/%s of the base: %w", d.Database(), err)
	}
	return s, nil
}

// installed stands for the packages that are installed; "" where that cannot be told.
func (d *Dpkg) installed() string {
	s, err := d.Status()
	if err != nil || d.Database() == "" {
		return ""
	}
	all, err := s.Packages()
	if err != nil {
		return ""
	}
	return deb.InstalledDigest(all)
}

// Paths lists the files, in order.
func (d *Dpkg) Paths() []string { return slices.Sorted(maps.Keys(d.Files)) }
