// Package sdist unpacks source distributions (PEP 517, PEP 625) into a folder, and reads what they say of themselves.
//
// They come from strangers. Nothing that an archive says makes this package write outside the folder that it fills: every
// path goes through an os.Root, and what could lead elsewhere is refused with its name and its offset. It imports pkg/hint,
// pkg/pep508, pkg/wheel and pkg/xz.
package sdist

import (
	"archive/tar"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/jubako/jubako/pkg/xz"
)

// Limits bound what an archive may hold. A zero field means the default, far above what any project distributes.
type Limits struct {
	Entries int   // 200 000
	Bytes   int64 // of all files, inflated: 4 GiB
	Ratio   int64 // inflated to compressed, of the whole archive: 400; not looked at below 64 MiB
}

const (
	defaultEntries = 200_000
	defaultBytes   = 4 << 30
	defaultRatio   = 400
	ratioFloor     = 64 << 20

	maxPath = 4096 // bytes, as Linux has it
	maxName = 255
)

// ArchiveError says why an archive is refused.
type ArchiveError struct {
	Archive string // its filename
	Entry   string // the entry's name as the archive has it; "" where it is about the archive
	Offset  int64  // of the entry: in the zip, or in the tar once it is inflated
	Err     error
}

func (e *ArchiveError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("sdist %s: %v", e.Archive, e.Err)
	}
	return fmt.Sprintf("sdist %s: entry %q, at byte %d: %v", e.Archive, e.Entry, e.Offset, e.Err)
}

func (e *ArchiveError) Unwrap() error { return e.Err }

// formats are the endings of the archives that are read, each with how it is inflated; nil for none.
var formats = []struct {
	ending  string
	inflate func(io.Reader) (io.Reader, error)
}{
	{".tar.gz", gunzip}, {".tgz", gunzip},
	{".tar.bz2", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{".tar.xz", func(r io.Reader) (io.Reader, error) {
		return xz.NewReader(r, maxDictionary), nil
	}},
	{".tar", func(r io.Reader) (io.Reader, error) { return r, nil }},
	{".zip", nil},
}

// maxDictionary bounds in bytes what an xz stream may have this process hold.
const maxDictionary = 128 << 20

func gunzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

// Known says whether a filename is that of an archive that Unpack reads.
func Known(filename string) bool { _, ok := ending(filename); return ok }

func ending(filename string) (int, bool) {
	for i, f := range formats {
		if strings.HasSuffix(strings.ToLower(filename), f.ending) {
			return i, true
		}
	}
	return 0, false
}

// Archive is an sdist that can be read.
type Archive struct {
	io.ReaderAt
	Size     int64
	Filename string
}

// Unpack fills dir, an empty folder, with what lies in the archive's one top folder, whose name it gives. Files become 0644,
// or 0755 where their owner may execute them, and keep their times: builds compare them. An archive that is refused may leave
// a part of it in dir. Refusals are *ArchiveError.
func Unpack(ctx context.Context, a Archive, dir string, limits Limits) (top string, err error) {
	i, ok := ending(a.Filename)
	if !ok {
		return "", &ArchiveError{Archive: a.Filename, Err: errors.New("its name does not end in .tar.gz, .tgz, .tar.bz2, .tar.xz, .tar or .zip")}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", a.Filename, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	u := newUnpacker(ctx, a, root, limits)
	if formats[i].inflate == nil {
		err = u.zip(a)
	} else {
		err = u.tar(io.NewSectionReader(a, 0, a.Size), formats[i].inflate)
	}
	if err == nil && u.top == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		if _, own := errors.AsType[*ArchiveError](err); !own && ctx.Err() == nil {
			err = &ArchiveError{Archive: a.Filename, Entry: u.entry, Offset: u.offset, Err: err}
		}
		return "", err
	}
	return u.top, u.setTimes()
}

// unpacker fills a folder.
type unpacker struct {
	ctx     context.Context
	archive Archive
	root    *os.Root
	limits  Limits
	entries int
	bytes   int64
	top     string
	dirs    []dirTime
	links   map[string]bool // paths of symlinks

	entry  string // the one at hand, for messages
	offset int64
}

type dirTime struct {
	path string
	at   time.Time
}

func newUnpacker(ctx context.Context, a Archive, root *os.Root, l Limits) *unpacker {
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Ratio == 0 {
		l.Ratio = defaultRatio
	}
	return &unpacker{ctx: ctx, archive: a, root: root, limits: l, links: make(map[string]bool)}
}

// begin counts an entry, and gives its path below the top folder: "." for that itself, "" for what is none.
func (u *unpacker) begin(name string, offset int64) (string, error) {
	u.entry, u.offset = name, offset
	if err := u.ctx.Err(); err != nil {
		return "", err
	}
	if u.entries++; u.entries > u.limits.Entries {
		return "", fmt.Errorf("it is one of more than %d", u.limits.Entries)
	}
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return "", errors.New("it is no path")
	}
	if path.IsAbs(name) {
		return "", errors.New("its path is absolute")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("its path leads out of the archive")
		}
		if len(part) > maxName {
			return "", errors.New("a part of its path is too long")
		}
	}
	clean := path.Clean(name)
	if clean == "." {
		return "", nil
	}
	top, rest, below := strings.Cut(clean, "/")
	if u.top != "" && u.top != top {
		return "", fmt.Errorf("it lies beside the folder %q, and an sdist has one top folder", u.top)
	}
	u.top = top
	if !below {
		return ".", nil
	}
	return rest, nil
}

// room takes n bytes of what the archive may hold.
func (u *unpacker) room(n int64) error {
	if u.bytes += n; n < 0 || u.bytes > u.limits.Bytes {
		return fmt.Errorf("with it the archive holds more than %d bytes", u.limits.Bytes)
	}
	if u.bytes > ratioFloor && u.bytes > u.archive.Size*u.limits.Ratio {
		return fmt.Errorf("with it the archive holds more than %d times its own size", u.limits.Ratio)
	}
	return nil
}

func (u *unpacker) dir(p string, at time.Time) error {
	if p == "." {
		return nil
	}
	if err := u.root.MkdirAll(filepath.FromSlash(p), 0o755); err != nil {
		return err
	}
	u.dirs = append(u.dirs, dirTime{p, at})
	return nil
}

// vacate makes a place for an entry: its folder, and nothing at its path, since what comes later in an archive counts.
func (u *unpacker) vacate(p string) error {
	if p == "." {
		return errors.New("the top of the archive is no folder")
	}
	if err := u.root.MkdirAll(filepath.FromSlash(path.Dir(p)), 0o755); err != nil {
		return err
	}
	fi, err := u.root.Lstat(filepath.FromSlash(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && fi.IsDir() {
		err = errors.New("a folder is there already")
	}
	if err != nil {
		return err
	}
	delete(u.links, p)
	return u.root.Remove(filepath.FromSlash(p))
}

func (u *unpacker) file(p string, executable bool, at time.Time, r io.Reader) error {
	if err := u.vacate(p); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	f, err := u.root.OpenFile(filepath.FromSlash(p), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, &countedReader{u, r})
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(filepath.FromSlash(p), at, at)
}

// countedReader counts what a file really has: a header may say anything.
type countedReader struct {
	u *unpacker
	r io.Reader
}

func (c *countedReader) Read(p []byte) (int, error) {
	if err := c.u.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if rerr := c.u.room(int64(n)); rerr != nil {
		return n, rerr
	}
	return n, err
}

// symlink takes a link that leads nowhere out of the archive. Its target is looked at as text, which is where it leads as long as no
// link stands on the way: neither above the link, nor in the target before a "..".
func (u *unpacker) symlink(p, target string) error {
	if path.IsAbs(target) || target == "" || len(target) > maxPath || strings.ContainsRune(target, 0) {
		return fmt.Errorf("it is a link to %q, and only links within the archive are taken", target)
	}
	if to := path.Join(path.Dir(p), target); to == ".." || strings.HasPrefix(to, "../") {
		return fmt.Errorf("it is a link to %q, which lies outside of the archive's folder", target)
	}
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if u.links[dir] {
			return fmt.Errorf("it is a link that lies behind another one, %s", dir)
		}
	}
	named := false
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." && named {
			return fmt.Errorf("it is a link to %q, which goes up again behind a name", target)
		}
		named = named || part != ".." && part != "." && part != ""
	}
	if err := u.vacate(p); err != nil {
		return err
	}
	u.links[p] = true
	return u.root.Symlink(target, filepath.FromSlash(p))
}

// hardlink makes a copy in place of the link: a build may write to one of the two.
func (u *unpacker) hardlink(p, target string, h *tar.Header) (err error) {
	if path.IsAbs(target) || target == "" {
		return fmt.Errorf("it is a link to %q, and only links within the archive are taken", target)
	}
	top, rest, below := strings.Cut(path.Clean(target), "/")
	if top != u.top || !below || !filepath.IsLocal(rest) {
		return fmt.Errorf("it is a link to %q, which lies outside of the archive's folder", target)
	}
	fi, err := u.root.Lstat(filepath.FromSlash(rest))
	if err != nil || !fi.Mode().IsRegular() || path.Clean(rest) == p {
		return fmt.Errorf("it is a link to %q, which is no file before it", target)
	}
	f, err := u.root.Open(filepath.FromSlash(rest))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return u.file(p, fi.Mode()&0o100 != 0, timeOf(h.ModTime), f)
}

// setTimes gives the folders their times, once nothing is written into them any more.
func (u *unpacker) setTimes() error {
	for _, d := range u.dirs {
		if err := u.root.Chtimes(filepath.FromSlash(d.path), d.at, d.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unpacking %s: %w", u.archive.Filename, err)
		}
	}
	return nil
}

// timeOf keeps a time within what every file system has, to the second.
func timeOf(t time.Time) time.Time {
	const last = 1<<32 - 1
	return time.Unix(min(max(t.Unix(), 0), last), 0)
}
