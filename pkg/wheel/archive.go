package wheel

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jubako/jubako/pkg/fstree"
)

// File is one file or directory of a wheel, where the wheel has it.
type File struct {
	// Path is slash-separated, clean and relative: "uvicorn/main.py".
	Path string
	Dir  bool
	// Executable says whether any execute bit is set; of a wheel's modes nothing else counts.
	Executable bool
	// Content is nil for a directory. Of a symbolic link in the archive it is the link's text.
	Content fstree.Content
}

// Source is what Install needs of a wheel.
type Source interface {
	// Filename is the wheel's name, parsed.
	Filename() Filename
	// Files yields everything in the wheel, sorted bytewise by path, each path once.
	Files() []File
}

// Limits bound what an archive may hold. A zero field means the default, which 1 GB wheels and a venv of 2.5 GB keep
// well within.
type Limits struct {
	Entries   int   // 200 000, the folders among them that only paths tell of
	Directory int64 // bytes of the central directory: 64 MiB
	FileSize  int64 // bytes of one file, inflated: 8 GiB
	TotalSize int64 // bytes of all files, inflated: 16 GiB
	Ratio     int64 // inflated to compressed, of the whole archive: 200; not looked at below 64 MiB
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Entries:   cmp.Or(l.Entries, 200_000),
		Directory: cmp.Or(l.Directory, 64<<20),
		FileSize:  cmp.Or(l.FileSize, 8<<30),
		TotalSize: cmp.Or(l.TotalSize, 16<<30),
		Ratio:     cmp.Or(l.Ratio, 200),
	}
}

// ratioFloor is the inflated size in bytes from which on Limits.Ratio holds.
const ratioFloor = 64 << 20

// ArchiveError says why a wheel's zip is refused.
type ArchiveError struct {
	Archive string // the wheel's filename
	Entry   string // the entry's name as the archive has it; "" where it is about the archive
	Offset  int64  // of the structure at fault, in bytes from the start of the archive
	Err     error
}

func (e *ArchiveError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("wheel %s, at byte %d: %v", e.Archive, e.Offset, e.Err)
	}
	return fmt.Sprintf("wheel %s: entry %q, at byte %d: %v", e.Archive, e.Entry, e.Offset, e.Err)
}

func (e *ArchiveError) Unwrap() error { return e.Err }

// Archive is an open wheel. It is safe for concurrent use if its io.ReaderAt is.
type Archive struct {
	filename Filename
	r        io.ReaderAt
	size     int64
	files    []File
}

// Open reads the directory of a wheel, size bytes long, whose filename is name. It refuses, with an *ArchiveError, what
// two zip readers could understand differently: every local header must repeat its central one, and the entries must
// fill the archive without a gap (APPNOTE 6.3.10; see the rules in the package's archive tests). No content is read but
// that of duplicate entries. r must stay readable as long as any file's content is used.
func Open(r io.ReaderAt, size int64, name string) (*Archive, error) {
	return OpenWithin(r, size, name, Limits{})
}

// OpenWithin is Open with bounds of the caller's.
func OpenWithin(r io.ReaderAt, size int64, name string, limits Limits) (*Archive, error) {
	filename, err := ParseFilename(name)
	if err != nil {
		return nil, err
	}
	a := &Archive{filename: filename, r: r, size: size}
	entries, err := readEntries(r, size, limits.withDefaults())
	if err != nil {
		return nil, a.named(err)
	}
	if err := a.fill(entries, limits.withDefaults()); err != nil {
		return nil, a.named(err)
	}
	return a, nil
}

// named puts the archive's name into an error that came from the zip itself.
func (a *Archive) named(err error) error {
	if e, ok := errors.AsType[*ArchiveError](err); ok {
		e.Archive = a.filename.Raw
		return err
	}
	return fmt.Errorf("reading wheel %s: %w", a.filename.Raw, err)
}

// Filename is the wheel's name, parsed.
func (a *Archive) Filename() Filename { return a.filename }

// Files yields everything in the wheel, sorted bytewise by path, each path once.
func (a *Archive) Files() []File { return a.files }

// fill makes the files of the entries, and settles which paths are claimed twice. Folders that only the paths of others tell of
// count as entries: a path of 4 kB may tell of two thousand.
func (a *Archive) fill(entries []*entry, limits Limits) error {
	seen := make(map[string]*entry, len(entries))
	for _, e := range entries {
		p, err := entryPath(e.name)
		if err != nil {
			return e.fault(err)
		}
		if p == "." {
			continue // "./" is the root
		}
		e.path, e.archive = p, a
		if old, ok := seen[p]; ok {
			if err := sameEntry(old, e); err != nil {
				return e.fault(err)
			}
			continue
		}
		seen[p] = e
		a.files = append(a.files, File{Path: p, Dir: e.dir, Executable: e.mode&0o111 != 0, Content: e.content()})
	}
	implied := make(map[string]bool)
	for _, f := range a.files {
		for dir := fstree.Parent(f.Path); dir != "." && !implied[dir]; dir = fstree.Parent(dir) {
			if e, ok := seen[dir]; ok && !e.dir {
				return seen[f.Path].fault(fmt.Errorf("it lies in %q, which is a file", dir))
			} else if ok {
				break
			}
			if implied[dir] = true; len(entries)+len(implied) > limits.Entries {
				return seen[f.Path].fault(fmt.Errorf("with the folders that paths tell of there are more than the %d entries allowed", limits.Entries))
			}
		}
	}
	slices.SortFunc(a.files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	return nil
}

// entryPath makes a path of an entry's name: "./", "//" and inner ".." go, and what leaves the root is refused.
func entryPath(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("it has no name")
	case !utf8.ValidString(name):
		return "", errors.New("its name is not UTF-8")
	case strings.HasPrefix(name, "/"):
		return "", errors.New("its path is absolute")
	case len(name) > maxPath:
		return "", fmt.Errorf("its name has %d bytes, and at most %d are allowed", len(name), maxPath)
	}
	for _, r := range name {
		if r >= ' ' && r < 0x7f {
			continue
		}
		if unicode.Is(unicode.C, r) {
			return "", fmt.Errorf("its name holds the character %U", r)
		}
	}
	p := path.Clean(name)
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > maxComponent {
			return "", fmt.Errorf("a part of its name has %d bytes, and at most %d are allowed", len(part), maxComponent)
		}
	}
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errors.New("its path leaves the wheel")
	}
	if p == "." && !strings.HasSuffix(name, "/") {
		return "", errors.New("its path is the root, and it is a file")
	}
	return p, nil
}

// maxPath bounds a path in bytes; Linux takes paths of 4095.
const maxPath = 4095

// maxComponent bounds a part of a path between slashes, as Linux's file systems do.
const maxComponent = 255

// sameEntry says why two entries of one path are not the same. Equal ones are harmless: they are read to be sure.
func sameEntry(a, b *entry) error {
	switch {
	case a.dir && b.dir:
		return nil
	case a.dir != b.dir:
		return errors.New("its path is also a directory's")
	case a.size != b.size || a.crc != b.crc || a.mode != b.mode:
		return errors.New("its path is there twice, with different content or modes")
	}
	same, err := SameContent(a.content(), b.content())
	if err != nil {
		return err
	}
	if !same {
		return errors.New("its path is there twice, with different content")
	}
	return nil
}

// SameContent compares two contents byte by byte, without holding either.
func SameContent(a, b fstree.Content) (same bool, err error) {
	if a.Size() != b.Size() {
		return false, nil
	}
	if x, ok := a.(fstree.Deflated); ok {
		if y, ok := b.(fstree.Deflated); ok && x.CRC32() != y.CRC32() {
			return false, nil
		}
	}
	ra, err := a.Open()
	if err != nil {
		return false, err
	}
	defer ra.Close()
	rb, err := b.Open()
	if err != nil {
		return false, err
	}
	defer rb.Close()
	bufA, bufB := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, errA := fill(ra, bufA)
		m, errB := fill(rb, bufB)
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) {
				return false, err
			}
		}
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return true, nil
		}
	}
}

// fill reads until b is full. Unlike io.ReadFull it keeps the reader's own error, so that a cut stream, which is an
// unexpected EOF too, is never taken for content shorter than b.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}
