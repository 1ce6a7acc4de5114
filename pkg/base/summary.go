package base

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/lazyre"
	"github.com/jubako/jubako/pkg/packed"
)

// A summary is what a build that runs no command asks of a base: facts without most of the paths. Of those stay the upper
// folders, what lies in the root and in the folders of PATH with what links there lead by, and the account files. It travels with
// pushed images (pkg/attach), so that a machine with an empty disk needs no layer of the base.
//
// Its form: summaryMagic, then a zstd frame (RFC 8878) of
//
//	uvarint factsVersion; string, the digest of the base's manifest
//	string ×4 OS, string ×3 Python's path, version, ABI; uvarint ×2 its major and minor; uvarint 1 where it is free-threaded
//	string the libc's kind, uvarint ×2 its version
//	string what FilesDigest gives, string what deb.InstalledDigest gives of its packages, "" where its database cannot be read
//	content ×6: passwd, group, shadow, gshadow, login.defs, default/useradd, of the last two the lines that are settings
//	uvarint the number of sorts, and of each: uvarint kind, mode, uid, gid
//	uvarint the number of paths, and in their order: uvarint ×n the sort of each; uvarint ×n how many bytes it has in common
//	with the one before; string ×n what follows those; string for each link where it leads
//
// where uvarint is encoding/binary's, a string has its length before it as one, and a content its length plus 1, or 0 where
// there is none. Nothing follows.
const summaryMagic = "jubako base summary 1\n"

// The bounds of a summary: its bytes as it travels and unpacked, its paths, and what sorts of them there are.
const (
	maxSummary  = 1 << 20
	maxUnpacked = 8 << 20
	maxPaths    = 100_000
	maxSorts    = 4096
	window      = 128 << 10 // of the compressor, whose memory it decides
)

// The kinds of sort; a kindPart is a folder of which entries are left out.
const (
	kindDir = iota
	kindPart
	kindFile
	kindLink
	kinds
)

// sort is what many paths have in common.
type sort struct {
	kind, mode, uid, gid uint64
}

// Summarize gives the summary of an image's facts and packages. It is the same for the same facts and config.
func (i *Image) Summarize(f *Facts, d *Dpkg) ([]byte, error) {
	env, err := configEnv(i.Config)
	if err != nil {
		return nil, err
	}
	keep := f.asked(env["PATH"])
	left := make(map[string]bool)
	for p := range f.Files {
		if !keep[p] {
			left[dirOf(p)] = true
		}
	}
	e := &encoder{}
	e.Uint(factsVersion)
	for _, s := range []string{i.Digest.String(), f.OS.ID, f.OS.VersionID, f.OS.Codename, f.OS.Name, f.Python.Path, f.Python.Version, f.Python.ABI} {
		e.Text(s)
	}
	e.Uint(uint64(f.Python.Major))
	e.Uint(uint64(f.Python.Minor))
	e.Uint(map[bool]uint64{true: 1}[f.Python.FreeThreaded])
	e.Text(f.Libc.Kind)
	e.Uint(uint64(f.Libc.Major))
	e.Uint(uint64(f.Libc.Minor))
	files, err := FilesDigest(f, d)
	if err != nil {
		return nil, err
	}
	e.Text(files)
	e.Text(d.installed())
	for _, b := range [][]byte{f.Passwd, f.Group, f.Shadow, f.GShadow, settings(f.LoginDefs), settings(f.UseraddDefaults)} {
		e.content(b)
	}
	e.files(f, slices.Sorted(maps.Keys(keep)), left)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	out := z.EncodeAll(e.Writer, []byte(summaryMagic))
	if len(keep) > maxPaths || len(e.Writer) > maxUnpacked || len(out) > maxSummary {
		return nil, fmt.Errorf("a summary of the base would have %d bytes, and %d paths; at most %d are read, and %d", len(out), len(keep), maxSummary, maxPaths)
	}
	return out, nil
}

// summaries is the namespace in the store of those that this machine has made itself.
const summaries = "summary"

// Summary gives the summary of the image's facts as they were read on this machine, and its bytes; false where they were not.
func (i *Image) Summary(store *cas.Store) (*Facts, []byte, bool) {
	whole := func(ctx context.Context) (*Facts, error) { return i.Facts(ctx, store) }
	if b, err := store.Record(summaries, i.summaryKey()); err == nil {
		if f, err := ParseSummary(b, i.Digest, whole); err == nil {
			return f, b, true
		}
	}
	f, ok := record[Facts](store, factRecords, i.factsKey())
	if !ok {
		return nil, nil, false
	}
	d, ok := record[Dpkg](store, dpkgRecords, i.factsKey())
	if !ok {
		return f, nil, true
	}
	b, err := i.Summarize(f, d)
	if err != nil {
		return f, nil, true
	}
	_ = store.PutRecord(summaries, i.summaryKey(), b) // it is made again where it cannot be kept
	return f, b, true
}

func (i *Image) summaryKey() string { return summaryMagic + i.factsKey() }

// keepSummary stores the summary of facts. A base that has none, for its size, is used without.
func (i *Image) keepSummary(store *cas.Store, f *Facts, d *Dpkg) error {
	b, err := i.Summarize(f, d)
	if err != nil {
		return nil
	}
	return store.PutRecord(summaries, i.summaryKey(), b)
}

// FilesDigest stands for all that is known of a base's files, as hex.
func FilesDigest(f *Facts, d *Dpkg) (string, error) {
	h := sha256.New()
	e := json.NewEncoder(h)
	if err := errors.Join(e.Encode(f), e.Encode(d)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// upper is how many names the path of an upper folder has at most: /usr/src/app is one, and nobody builds into
// /usr/lib/x86_64-linux-gnu/perl.
const upper = 3

// asked gives the paths that a summary has.
func (f *Facts) asked(search string) map[string]bool {
	keep := make(map[string]bool)
	for p, s := range f.Files {
		if s.Kind == fstree.Dir && strings.Count(p, "/") < upper || dirOf(p) == "" {
			keep[p] = true
		}
	}
	for _, p := range accountFiles {
		if _, there := f.Files[p]; there {
			keep[p] = true
		}
	}
	folders := make(map[string]bool)
	visit := func(p string) {
		if _, there := f.Files[p]; there {
			keep[p] = true
		}
	}
	for _, dir := range strings.Split(cmp.Or(search, defaultPath), ":") {
		if real, ok := f.resolve(dir, visit); ok {
			folders[real] = true
		}
	}
	for p := range f.Files {
		if folders[dirOf(p)] {
			f.resolve(p, visit)
		}
	}
	return keep
}

// accountFiles are those whose owner and mode matter.
var accountFiles = []string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"}

// settings leaves out the lines of login.defs(5) or useradd's defaults that say nothing.
func settings(b []byte) []byte {
	if b == nil {
		return nil
	}
	out := []byte{}
	for line := range bytes.Lines(b) {
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' {
			out = append(append(out, t...), '\n')
		}
	}
	return out
}

func dirOf(p string) string { return strings.TrimSuffix(p[:strings.LastIndexByte(p, '/')+1], "/") }

type encoder struct{ packed.Writer }

func (e *encoder) content(b []byte) {
	if b == nil {
		e.Uint(0)
		return
	}
	e.Uint(uint64(len(b)) + 1)
	e.Writer = append(e.Writer, b...)
}

func (e *encoder) files(f *Facts, paths []string, left map[string]bool) {
	at := make(map[sort]uint64)
	var sorts []sort
	list := make([]uint64, len(paths))
	for i, p := range paths {
		st := f.Files[p]
		s := sort{kindFile, uint64(st.Mode), uint64(st.UID), uint64(st.GID)}
		switch {
		case st.Kind == fstree.Symlink:
			s.kind = kindLink
		case st.Kind == fstree.Dir && left[p]:
			s.kind = kindPart
		case st.Kind == fstree.Dir:
			s.kind = kindDir
		}
		if _, ok := at[s]; !ok {
			at[s] = uint64(len(sorts))
			sorts = append(sorts, s)
		}
		list[i] = at[s]
	}
	e.Uint(uint64(len(sorts)))
	for _, s := range sorts {
		e.Uint(s.kind)
		e.Uint(s.mode)
		e.Uint(s.uid)
		e.Uint(s.gid)
	}
	e.Uint(uint64(len(paths)))
	for _, n := range list {
		e.Uint(n)
	}
	common := make([]int, len(paths))
	for i := 1; i < len(paths); i++ {
		for a, b := paths[i-1], paths[i]; common[i] < min(len(a), len(b)) && a[common[i]] == b[common[i]]; common[i]++ {
		}
	}
	for _, n := range common {
		e.Uint(uint64(n))
	}
	for i, p := range paths {
		e.Text(p[common[i]:])
	}
	for i, p := range paths {
		if sorts[list[i]].kind == kindLink {
			e.Text(f.Files[p].Link)
		}
	}
}

type decoder struct{ packed.Reader }

func (d *decoder) content() []byte {
	n := d.Uint(maxUnpacked)
	if n == 0 {
		return nil
	}
	return d.Take(n - 1)
}

// ParseSummary reads the summary of the base with a manifest's digest. What it does not know, the facts that it gives leave
// open: whole is asked then, once.
func ParseSummary(b []byte, digest v1.Hash, whole func(context.Context) (*Facts, error)) (*Facts, error) {
	rest, ok := bytes.CutPrefix(b, []byte(summaryMagic))
	if !ok || len(b) > maxSummary {
		return nil, fmt.Errorf("reading the summary of a base: it has %d bytes, and is of another form or too long", len(b))
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the summary of a base: %w", err)
	}
	return parsePlain(raw, digest, whole)
}

// parsePlain reads what is compressed in a summary.
func parsePlain(raw []byte, digest v1.Hash, whole func(context.Context) (*Facts, error)) (*Facts, error) {
	d := &decoder{packed.Reader{Rest: raw}}
	if v, of := d.Uint(1<<32), d.Text(); v != factsVersion || of != digest.String() {
		return nil, fmt.Errorf("reading the summary of a base: it is of version %d and of %.80q, not of version %d and of %s", v, of, factsVersion, digest)
	}
	f := &Facts{left: make(map[string]bool)}
	for _, s := range []*string{&f.OS.ID, &f.OS.VersionID, &f.OS.Codename, &f.OS.Name, &f.Python.Path, &f.Python.Version, &f.Python.ABI} {
		*s = d.Text()
	}
	f.Python.Major, f.Python.Minor, f.Python.FreeThreaded = int(d.Uint(3)), int(d.Uint(999)), d.Uint(1) == 1
	f.Libc.Kind = d.Text()
	f.Libc.Major, f.Libc.Minor = int(d.Uint(999)), int(d.Uint(999))
	f.files, f.installed = d.Text(), d.Text()
	for _, c := range []*[]byte{&f.Passwd, &f.Group, &f.Shadow, &f.GShadow, &f.LoginDefs, &f.UseraddDefaults} {
		*c = d.content()
	}
	d.files(f)
	if d.Err == nil && len(d.Rest) > 0 || !f.Python.plausible() || !f.Libc.plausible(f.Python) {
		d.Err = packed.ErrDamaged
	}
	if d.Err != nil {
		return nil, fmt.Errorf("reading the summary of a base: %w", d.Err)
	}
	f.leave(whole)
	return f, nil
}

// files reads the paths.
func (d *decoder) files(f *Facts) {
	sorts := make([]sort, d.Uint(maxSorts))
	for i := range sorts {
		sorts[i] = sort{d.Uint(kinds - 1), d.Uint(0o7777), d.Uint(1<<32 - 2), d.Uint(1<<32 - 2)}
	}
	n := d.Uint(min(maxPaths, uint64(len(d.Rest)))) // each takes some bytes
	list, common := make([]sort, n), make([]uint64, n)
	for i := range list {
		if s := d.Uint(maxSorts); d.Err == nil && s < uint64(len(sorts)) {
			list[i] = sorts[s]
		} else {
			d.Err = packed.ErrDamaged
			return
		}
	}
	for i := range common {
		common[i] = d.Uint(maxPath)
	}
	f.Files = make(map[string]Stat, n)
	paths := make([]string, n)
	for i := range paths {
		rest, before := d.Text(), ""
		if i > 0 {
			before = paths[i-1]
		}
		if d.Err != nil || common[i] > uint64(len(before)) || common[i]+uint64(len(rest)) > maxPath {
			d.Err = packed.ErrDamaged
			return
		}
		p := before[:common[i]] + rest
		if p <= before || fstree.CheckPath(p) != nil {
			d.Err = packed.ErrDamaged
			return
		}
		paths[i] = p
	}
	for i, p := range paths {
		s := list[i]
		st := Stat{Kind: fstree.File, Mode: uint32(s.mode), UID: int(s.uid), GID: int(s.gid)}
		switch s.kind {
		case kindLink:
			st.Kind, st.Link = fstree.Symlink, d.Text()
			if len(st.Link) > maxPath {
				d.Err = packed.ErrDamaged
			}
		case kindDir, kindPart:
			st.Kind = fstree.Dir
			f.left[p] = s.kind == kindPart
		}
		// In order, a folder comes before what lies in it.
		if dir, there := f.Files[dirOf(p)]; dirOf(p) != "" && (!there || dir.Kind != fstree.Dir) {
			d.Err = packed.ErrDamaged
		}
		f.Files[p] = st
	}
}

var versionRE = lazyre.New(`^3\.([0-9]{1,3})\.[0-9]{1,3}((a|b|rc)[0-9]{1,3})?$`)

// plausible says whether a Python may be one: what selects wheels by it makes errors of other versions.
func (p Python) plausible() bool {
	if p == (Python{}) {
		return true
	}
	m := versionRE().FindStringSubmatch(p.Version)
	abi := fmt.Sprintf("cp3%d", p.Minor)
	if p.FreeThreaded {
		abi += "t"
	}
	return m != nil && p.Major == 3 && m[1] == fmt.Sprint(p.Minor) && p.ABI == abi && path.IsAbs(p.Path) && path.Clean(p.Path) == p.Path
}

func (l Libc) plausible(p Python) bool {
	return l == (Libc{}) || p.Path != "" && (l.Kind == "glibc" || l.Kind == "musl")
}
