package base

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/lazyre"
	"github.com/jubako/jubako/pkg/ldcache"
)

// factsVersion is raised whenever facts are gathered in another way.
const factsVersion = 7

// The bounds of a base's file tree.
const (
	maxEntries = 1_000_000
	maxPath    = 4096
	maxDepth   = 256     // folders of a path, whose cost grows with its square
	maxKept    = 1 << 20 // bytes of a file that is kept whole
)

// Facts gives what the image's files say. They are read once for a manifest and kept in the store, which may be nil.
func (i *Image) Facts(ctx context.Context, store *cas.Store) (*Facts, error) {
	return i.FactsAlong(ctx, store, nil)
}

// FactsAlong is Facts. Where the layers have to be read for it, next is called before each, from the lowest on, and the layer's tar is
// written to what it gives. They were what the manifest and the config say if no error comes back.
func (i *Image) FactsAlong(ctx context.Context, store *cas.Store, next func() io.Writer) (*Facts, error) {
	if store != nil {
		if f, ok := record[Facts](store, factRecords, i.factsKey()); ok {
			return f, nil
		}
	}
	f, _, err := i.scan(ctx, store, next)
	return f, err
}

func (i *Image) factsKey() string { return fmt.Sprintf("%d %s", factsVersion, i.Digest) }

// scan reads the layers once, for the facts and for what is kept of the packages, and for next, which may be nil.
func (i *Image) scan(ctx context.Context, store *cas.Store, next func() io.Writer) (*Facts, *Dpkg, error) {
	s := newScanner()
	layers, err := i.Layers()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the base %s: %w", i.Source, err)
	}
	for n, l := range layers {
		read := s.layer
		if next != nil {
			read = s.layerAlso(next())
		}
		if err := ReadTar(ctx, l, read); err != nil {
			return nil, nil, fmt.Errorf("reading layer %d of the base %s: %w", n+1, i.Source, err)
		}
	}
	f, d, err := s.conclude(store, i)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the base %s: %w", i.Source, err)
	}
	return f, d, nil
}

// layerAlso is layer for a tar that is written to w, too, to its end.
func (s *scanner) layerAlso(w io.Writer) func(io.Reader) error {
	return func(tar io.Reader) error {
		r := io.TeeReader(tar, w)
		if err := s.layer(r); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, r)
		return err
	}
}

// conclude says what the files of the image mean, and keeps it in the store, which may be nil. Of the image it needs the digest
// and the config.
func (s *scanner) conclude(store *cas.Store, i *Image) (*Facts, *Dpkg, error) {
	f, err := s.facts(i.Config)
	if err != nil {
		return nil, nil, err
	}
	d := s.dpkg(f)
	if store == nil {
		return f, d, nil
	}
	if err := i.keepSummary(store, f, d); err != nil {
		return nil, nil, err
	}
	for namespace, record := range map[string]any{factRecords: f, dpkgRecords: d} {
		b, err := json.Marshal(record)
		if err != nil {
			return nil, nil, err
		}
		if err := store.PutRecord(namespace, i.factsKey(), b); err != nil {
			return nil, nil, err
		}
	}
	return f, d, nil
}

// node is a path of the merged tree, with what was learnt from its content on the way.
type node struct {
	Stat
	kept    []byte // whole content of a small file that matters
	interp  string // of an ELF program: its dynamic loader
	machine uint16 // of an ELF file
	found   string // what scanning the content for its pattern gave
	library *ldcache.Library
	md5     string
	sum     string // of a file, where digests are wanted
}

type scanner struct {
	nodes   map[string]node
	pattern dpkgPattern
	kept    int64           // bytes that were kept for Dpkg
	fresh   map[string]bool // paths that the current layer has made: its own whiteouts spare them
	below   map[string]bool // paths of which the current layer hides everything that lies lower, once it is read

	sums bool           // every file's digest is wanted, and nothing else of its content
	keep map[string]int // files that are then kept whole, each with its bound in bytes
}

func newScanner() *scanner {
	return &scanner{nodes: make(map[string]node), pattern: newDpkgPattern()}
}

// layer applies one layer's tar to the tree (image-spec layer.md). Whiteouts hide what lower layers have, wherever in the
// layer they stand; so they are gathered, and applied in one pass at its end.
func (s *scanner) layer(r io.Reader) error {
	s.fresh, s.below = make(map[string]bool), make(map[string]bool)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			s.hide()
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.entry(h, t); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
		if len(s.nodes)+len(s.below) > maxEntries {
			return fmt.Errorf("it has more than %d paths", maxEntries)
		}
	}
}

// place cleans a name and leads it through the symlinks that its folders are, as unpacking does: lib/x is usr/lib/x where
// the base has merged the two. It is "" for the root.
func (s *scanner) place(name string) (string, error) {
	name = path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case name == ".":
		return "", nil
	case name == ".." || strings.HasPrefix(name, "../") || len(name) > maxPath || strings.Count(name, "/") >= maxDepth || strings.ContainsRune(name, 0):
		return "", errors.New("the path leaves the image's root, or is too long")
	}
	dir, file := path.Split(name)
	real, err := s.through(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return "", err
	}
	return path.Join(real, file), nil
}

// through follows the symlinks of a folder's path; what is not there yet stays as it is written.
func (s *scanner) through(dir string) (string, error) {
	if n, ok := s.nodes[dir]; ok && s.fresh[dir] && n.Kind == fstree.Dir || dir == "" {
		return dir, nil // this layer has made it, and it was led through then
	}
	return fstree.Through(dir, maxDepth, func(p string) (string, bool) {
		n, ok := s.nodes[p]
		if !ok || n.Kind != fstree.Symlink {
			return "", false
		}
		return n.Link, true
	})
}

func (s *scanner) entry(h *tar.Header, content io.Reader) error {
	name, err := s.place(h.Name)
	if err != nil || name == "" {
		return err
	}
	dir, file := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if file == ".wh..wh..opq" {
		s.below[dir] = true
		return nil
	}
	if gone, ok := strings.CutPrefix(file, ".wh."); ok {
		s.remove(path.Join(dir, gone))
		return nil
	}
	n, err := s.node(name, h, content)
	if err != nil || n == nil {
		return err
	}
	if old, ok := s.nodes[name]; ok && (old.Kind == fstree.Dir) != (n.Kind == fstree.Dir) {
		s.remove(name)
	}
	for p := dir; p != "" && p != "."; p = path.Dir(p) {
		if _, ok := s.nodes[p]; ok {
			break
		}
		s.nodes[p] = node{Stat: Stat{Kind: fstree.Dir, Mode: 0o755}}
		s.fresh[p] = true
	}
	s.nodes[name] = *n
	s.fresh[name] = true
	return nil
}

// node makes of an entry what is kept of it; nil for devices and pipes, of which no layer needs to know.
func (s *scanner) node(name string, h *tar.Header, content io.Reader) (*node, error) {
	n := node{Stat: Stat{Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid}}
	switch h.Typeflag {
	case tar.TypeDir:
		n.Kind = fstree.Dir
	case tar.TypeReg:
		n.Kind, n.Size = fstree.File, h.Size
		if s.sums {
			err := s.sum(&n, name, content)
			return &n, err
		}
		if err := s.learn(&n, name, h.Size, content); err != nil {
			return nil, err
		}
	case tar.TypeSymlink:
		if len(h.Linkname) > maxPath {
			return nil, fmt.Errorf("its link has %d bytes", len(h.Linkname))
		}
		n.Kind, n.Link = fstree.Symlink, h.Linkname
	case tar.TypeLink:
		at, err := s.place(h.Linkname)
		if err != nil {
			return nil, err
		}
		target, ok := s.nodes[at]
		if !ok || target.Kind == fstree.Dir {
			return nil, fmt.Errorf("it is a link to %q, which is no file there", h.Linkname)
		}
		n = target
	default:
		return nil, nil
	}
	return &n, nil
}

// remove takes away what lower layers have at a path and, once the layer is read, below it.
func (s *scanner) remove(at string) {
	if !s.fresh[at] {
		delete(s.nodes, at)
	}
	s.below[at] = true
}

// hide takes away what lies below the paths that the layer has emptied, and is not of the layer.
func (s *scanner) hide() {
	if len(s.below) == 0 {
		return
	}
	for p := range s.nodes {
		if s.fresh[p] {
			continue
		}
		for dir := p; dir != ""; {
			dir = strings.TrimSuffix(dir[:strings.LastIndexByte(dir, '/')+1], "/")
			if s.below[dir] {
				delete(s.nodes, p)
				break
			}
		}
	}
}

// kept are the small files that facts hold whole.
var kept = map[string]bool{
	"etc/os-release": true, "usr/lib/os-release": true, "etc/passwd": true, "etc/group": true, "etc/shadow": true,
	"etc/gshadow": true, "etc/login.defs": true, "etc/default/useradd": true,
}

// The patterns that tell versions, looked for in the binaries whose names promise them.
var (
	pythonRE      = lazyre.New(`^(lib)?python3[0-9.]*t?(\.so[0-9.]*)?$`)
	patchlevelRE  = lazyre.New(`(^|/)include/python3\.[0-9]+t?/patchlevel\.h$`)
	glibcRE       = lazyre.New(`^libc(\.so\.6|-2\.[0-9]+\.so)$`)
	muslRE        = lazyre.New(`^ld-musl-[a-z0-9_]+\.so\.1$`)
	glibcBanner   = lazyre.New(`stable release version (2\.[0-9]+)`)
	muslBanner    = lazyre.New(`\x00(1\.[0-9]+\.[0-9]+)\x00`)
	pythonVersion = lazyre.New(`\x00(3\.[0-9]+\.[0-9]+(?:(?:a|b|rc)[0-9]+)?)\+?\x00`)
)

// wants says whether read looks at the content of a file with this name.
func (s *scanner) wants(name string) bool {
	base := path.Base(name)
	return kept[name] || patchlevelRE().MatchString(name) || s.pattern.matches(name) ||
		glibcRE().MatchString(base) || muslRE().MatchString(base) || pythonRE().MatchString(base)
}

// read learns from a file's content what facts need, and keeps what Dpkg holds.
func (s *scanner) read(n *node, name string, size int64, r io.Reader) (err error) {
	base := path.Base(name)
	var pattern *regexp.Regexp
	switch {
	case kept[name], patchlevelRE().MatchString(name):
		if size > maxKept {
			return fmt.Errorf("it has %d bytes; at most %d are read", size, maxKept)
		}
		n.kept, err = io.ReadAll(r)
		return err
	case s.pattern.matches(name):
		if s.kept += size; size > maxDpkgFile || s.kept > maxDpkg {
			return fmt.Errorf("it has %d bytes; at most %d are read of a file, and %d of all that say what packages there are", size, maxDpkgFile, maxDpkg)
		}
		n.kept, err = io.ReadAll(r)
		return err
	case glibcRE().MatchString(base):
		pattern = glibcBanner()
	case muslRE().MatchString(base):
		pattern = muslBanner()
	case pythonRE().MatchString(base):
		pattern = pythonVersion()
	default:
		return nil
	}
	head := make([]byte, 64<<10)
	k, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	n.interp, n.machine = elfHeader(head[:k])
	n.found, err = search(io.MultiReader(bytes.NewReader(head[:k]), r), pattern)
	return err
}

// search finds the pattern's first group in a stream, in bounded memory. No match is longer than the overlap.
func search(r io.Reader, pattern *regexp.Regexp) (string, error) {
	const overlap = 256
	buf := make([]byte, 0, 1<<20)
	for {
		k, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+k]
		if m := pattern.FindSubmatch(buf); m != nil {
			return string(m[1]), nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		buf = buf[:copy(buf, buf[len(buf)-overlap:])]
	}
}

// elfHeader reads a 64-bit little-endian ELF file's machine, and the loader that PT_INTERP names (System V gABI, chapter 5).
// The interpreter is "" for a static program, the machine 0 for what is no such file.
func elfHeader(b []byte) (interp string, machine uint16) {
	if len(b) < 64 || string(b[:6]) != "\x7fELF\x02\x01" {
		return "", 0
	}
	le := binary.LittleEndian
	machine = le.Uint16(b[18:])
	off, size, count := le.Uint64(b[32:]), uint64(le.Uint16(b[54:])), uint64(le.Uint16(b[56:]))
	for i := range count {
		at := off + i*size
		if at+56 > uint64(len(b)) || at+56 < at {
			break
		}
		const ptInterp = 3
		if le.Uint32(b[at:]) != ptInterp {
			continue
		}
		from, n := le.Uint64(b[at+8:]), le.Uint64(b[at+32:])
		if from+n <= uint64(len(b)) && from+n >= from {
			interp = strings.TrimRight(string(b[from:from+n]), "\x00")
		}
		break
	}
	return interp, machine
}

// facts draws the conclusions.
func (s *scanner) facts(config []byte) (*Facts, error) {
	f := &Facts{Files: make(map[string]Stat, len(s.nodes))}
	for p, n := range s.nodes {
		f.Files[p] = n.Stat
	}
	content := func(p string) []byte {
		if r, ok := f.Resolve(p); ok {
			return s.nodes[r].kept
		}
		return nil
	}
	f.OS = parseOSRelease(content("etc/os-release"))
	f.Passwd, f.Group, f.Shadow, f.GShadow = content("etc/passwd"), content("etc/group"), content("etc/shadow"), content("etc/gshadow")
	f.LoginDefs, f.UseraddDefaults = content("etc/login.defs"), content("etc/default/useradd")
	if err := s.python(f, config); err != nil {
		return nil, err
	}
	return f, nil
}

// parseOSRelease reads os-release(5).
func parseOSRelease(b []byte) (o OS) {
	fields := map[string]*string{"ID": &o.ID, "VERSION_ID": &o.VersionID, "VERSION_CODENAME": &o.Codename, "PRETTY_NAME": &o.Name}
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		if to := fields[key]; to != nil {
			*to = strings.Trim(value, `"'`)
		}
	}
	return o
}

// all gives the nodes whose base names match, in order of their paths.
func (s *scanner) all(re *regexp.Regexp) []string {
	var found []string
	for _, p := range slices.Sorted(maps.Keys(s.nodes)) {
		if n := s.nodes[p]; n.Kind == fstree.File && re.MatchString(path.Base(p)) {
			found = append(found, p)
		}
	}
	return found
}
