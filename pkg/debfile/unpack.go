package debfile

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
)

// The constants of Format 1.
const (
	compressionLevel = 6
	deflateMin       = 16 << 10 // bytes of a file from which on it is kept deflated
)

const (
	maxControl = 16 << 20 // bytes of the control archive's files
	maxName    = 4096     // bytes of a path or a link
	maxDepth   = 256      // folders of a path
)

// verifier hashes what goes through it.
type verifier struct {
	r io.Reader
	h hash.Hash
}

func newVerifier(r io.Reader) *verifier { return &verifier{r, sha256.New()} }

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	return n, err
}

// verdict reads to the end, and compares.
func (v *verifier) verdict(want string) error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return err
	}
	if got := hex.EncodeToString(v.h.Sum(nil)); got != want {
		return &cas.DigestError{Want: want, Got: got}
	}
	return nil
}

// unpacker reads one package.
type unpacker struct {
	ctx      context.Context // of the one call that reads the package
	limits   Limits
	contents *Contents
	w        *cas.Writer
	tools    *tools
	files    map[string]int // names of the data archive so far, and the indexes of their entries
}

// archive reads the members in the order that deb(5) demands: debian-binary, control.tar, data.tar.
func (u *unpacker) archive(r io.Reader) error {
	a := &arReader{r: r}
	expected := []string{"debian-binary", "control.tar", "data.tar"}
	for {
		m, err := a.next()
		if errors.Is(err, io.EOF) {
			if len(expected) > 0 {
				return fmt.Errorf("it has no member %s", expected[0])
			}
			return nil
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(m.name, "_") {
			continue
		}
		if len(expected) == 0 {
			continue // deb(5): what follows data.tar is passed over
		}
		if m.name != expected[0] && !strings.HasPrefix(m.name, expected[0]+".") {
			return fmt.Errorf("the member %q stands where %s belongs", m.name, expected[0])
		}
		if err := u.member(expected[0], m); err != nil {
			return err
		}
		expected = expected[1:]
	}
}

func (u *unpacker) member(kind string, m member) (err error) {
	if kind == "debian-binary" {
		b, err := io.ReadAll(io.LimitReader(m, 64))
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(b, []byte("2.")) {
			return fmt.Errorf("it is of format %.20q, and only 2.* is known", bytes.TrimSpace(b))
		}
		return nil
	}
	l := u.limits
	if kind == "control.tar" {
		l.Bytes = min(l.Bytes, 2*maxControl)
	}
	r, err := u.decompress(m, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	each := u.data
	if kind == "control.tar" {
		each = u.control
	}
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s, after %d entries: %w", m.name, n, whole(err))
		}
		if n >= l.Entries {
			return fmt.Errorf("%s has more than %d entries", m.name, l.Entries)
		}
		if err := each(h, t); err != nil {
			return fmt.Errorf("%s: entry %q: %w", m.name, h.Name, err)
		}
	}
	if kind == "control.tar" && u.contents.Control == nil {
		return fmt.Errorf("%s holds no control file", m.name)
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // what pads the archive, and the checksum at its end
		return fmt.Errorf("%s: %w", m.name, whole(err))
	}
	return nil
}

// control takes a file of the control archive.
func (u *unpacker) control(h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(h.Name, "./")
	if h.Typeflag == tar.TypeDir && (name == "" || name == ".") {
		return nil
	}
	if h.Typeflag != tar.TypeReg {
		return errors.New("it is no file")
	}
	if name == "" || name == ".." || strings.ContainsAny(name, "/\x00\n") || len(name) > 200 || strings.HasPrefix(name, ".wh.") {
		return errors.New("no control file has such a name")
	}
	if !utf8.ValidString(name) {
		return errNotUTF8
	}
	if h.Size > maxControl {
		return fmt.Errorf("it has %d bytes, and at most %d are read", h.Size, maxControl)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return whole(err)
	}
	if name == "control" {
		if u.contents.Control != nil {
			return errors.New("it is there twice")
		}
		u.contents.Control = b
		return nil
	}
	if u.contents.Member(name) != nil {
		return errors.New("it is there twice")
	}
	u.contents.Members = append(u.contents.Members, ControlMember{Name: name, Mode: uint32(h.Mode) & 0o7777, Data: b})
	return nil
}

// errNotUTF8 refuses what Debian Policy 10.10 forbids, and what a record in the cache, which is JSON, would give back otherwise.
var errNotUTF8 = errors.New("its name, or the path that it links to, is not UTF-8")

// checkName makes of a name in the archive the one that dpkg notes. Nothing that leaves the root passes, and nothing that
// would mean something else in a layer.
func checkName(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", errors.New("its path is absolute")
	}
	clean := path.Clean(strings.TrimPrefix(name, "./"))
	if len(name) > maxName || strings.Count(clean, "/") >= maxDepth {
		return "", errors.New("its path is too long")
	}
	if strings.ContainsAny(name, "\x00\n") {
		return "", errors.New("its path holds a NUL or a line break")
	}
	if !utf8.ValidString(name) {
		return "", errNotUTF8
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New(`its path holds ".."`)
		}
		if strings.HasPrefix(part, ".wh.") {
			return "", errors.New(`a name that begins with ".wh." means a removed file in an image`)
		}
	}
	return "/" + clean, nil
}

// data takes an entry of the data archive.
func (u *unpacker) data(h *tar.Header, r io.Reader) error {
	name, err := checkName(h.Name)
	if err != nil {
		return err
	}
	if u.files == nil {
		u.files = make(map[string]int)
	}
	e := Entry{Name: name, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid}
	if h.Uid < 0 || h.Gid < 0 {
		return fmt.Errorf("its owner is %d:%d", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Kind = fstree.Dir
	case tar.TypeReg:
		e.Kind, e.Size = fstree.File, h.Size
	case tar.TypeSymlink:
		e.Kind, e.Mode, e.Link = fstree.Symlink, 0o777, h.Linkname
		if e.Link == "" || len(e.Link) > maxName || strings.ContainsAny(e.Link, "\x00\n") {
			return errors.New("it is a link to nowhere, or to too long a path")
		}
		if !utf8.ValidString(e.Link) {
			return errNotUTF8
		}
	case tar.TypeLink:
		e.Kind = fstree.Hardlink
		if e.Link, err = checkName(h.Linkname); err != nil {
			return fmt.Errorf("it is a hard link to %q: %w", h.Linkname, err)
		}
		if i, ok := u.files[e.Link]; !ok || u.contents.Entries[i].Kind != fstree.File {
			return fmt.Errorf("it is a hard link to %q, which is no file before it in the package", h.Linkname)
		}
	default:
		return fmt.Errorf("it is a device, a pipe or the like (type %q), which no layer holds", h.Typeflag)
	}
	if name == "/." && e.Kind != fstree.Dir {
		return errors.New("the root is no folder")
	}
	if i, ok := u.files[name]; ok {
		if u.contents.Entries[i].Kind == fstree.Dir && e.Kind == fstree.Dir {
			return nil
		}
		return errors.New("it is there twice")
	}
	if e.Kind == fstree.File {
		if err := u.file(&e, r); err != nil {
			return err
		}
	}
	u.files[name] = len(u.contents.Entries)
	u.contents.Entries = append(u.contents.Entries, e)
	return nil
}

// file puts a file's content into the blob, and learns from it on the way what the layer needs.
func (u *unpacker) file(e *Entry, r io.Reader) (err error) {
	e.Offset = u.w.Size()
	md, sha, crc := md5.New(), sha256.New(), crc32.NewIEEE()
	sinks := []io.Writer{md, sha, crc}
	out := io.Writer(u.w)
	if e.Deflated = e.Size >= deflateMin; e.Deflated {
		if out, err = u.tools.deflater(u.w); err != nil {
			return err
		}
	}
	in := io.TeeReader(r, io.MultiWriter(append(sinks, out)...))
	if ldcache.IsLibrary(path.Base(e.Name)) {
		lib, err := ldcache.ReadELF(in)
		if err == nil {
			e.Library = &lib
		} else if !errors.Is(err, ldcache.ErrNotELF) {
			return whole(err)
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return whole(err)
	}
	if e.Deflated {
		if err := u.tools.deflate.Close(); err != nil {
			return err
		}
	}
	e.Packed = u.w.Size() - e.Offset
	e.MD5, e.SHA256, e.CRC = hex.EncodeToString(md.Sum(nil)), hex.EncodeToString(sha.Sum(nil)), crc.Sum32()
	return nil
}
