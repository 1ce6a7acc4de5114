package tarlayer

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// blockSize is the unit of a tar archive (POSIX.1-2017 pax, "ustar Interchange Format").
const blockSize = 512

// Type flags of the ustar format.
const (
	typeFile     = '0'
	typeHardlink = '1'
	typeSymlink  = '2'
	typeDir      = '5'
	typePAX      = 'x'
)

// whiteoutPrefix marks a removed path (OCI image-spec layer.md, "Whiteouts").
const whiteoutPrefix = ".wh."

// ustar limits; what exceeds them goes into a PAX record.
const (
	nameSize   = 100
	prefixSize = 155
	maxID      = 0o7777777
	maxSize    = 0o77777777777
)

// appendHeader writes the header blocks of an entry: a ustar block, preceded by a PAX extended header only where a value
// does not fit or a name is not ASCII.
func appendHeader(buf []byte, e fstree.Entry, mtime int64) ([]byte, error) {
	h := rawHeader{name: e.Path, mode: e.Mode, uid: e.UID, gid: e.GID, mtime: mtime}
	switch e.Kind {
	case fstree.Dir:
		h.typeflag, h.name = typeDir, e.Path+"/"
	case fstree.File:
		h.typeflag, h.size = typeFile, e.Content.Size()
	case fstree.Symlink:
		h.typeflag, h.link, h.mode = typeSymlink, e.Link, 0o777
	case fstree.Hardlink:
		h.typeflag, h.link = typeHardlink, e.Link
	case fstree.Whiteout:
		h.typeflag, h.mode = typeFile, 0o644
		h.name = path.Join(path.Dir(e.Path), whiteoutPrefix+path.Base(e.Path))
	default:
		return nil, fmt.Errorf("/%s: no such kind of entry: %d", e.Path, e.Kind)
	}
	if e.Kind != fstree.Whiteout && strings.HasPrefix(path.Base(e.Path), whiteoutPrefix) {
		return nil, fmt.Errorf("/%s: a name that starts with %q means a removed file in an image", e.Path, whiteoutPrefix)
	}
	if h.mode > 0o7777 || h.uid < 0 || h.gid < 0 || h.size < 0 || h.mtime < 0 || h.mtime > maxSize {
		return nil, fmt.Errorf("/%s: mode %o, owner %d:%d, size %d or time %d cannot be", e.Path, h.mode, h.uid, h.gid, h.size, h.mtime)
	}
	if pax := h.paxRecords(); pax != "" {
		x := rawHeader{name: "PaxHeader", typeflag: typePAX, mode: 0o644, size: int64(len(pax))}
		buf = x.append(buf)
		buf = append(buf, pax...)
		buf = append(buf, make([]byte, padding(x.size))...)
	}
	return h.append(buf), nil
}

// padding is the number of zero bytes that fill content of this size up to whole blocks.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// rawHeader holds the fields of one ustar block.
type rawHeader struct {
	name, link  string
	typeflag    byte
	mode        uint32
	uid, gid    int
	size, mtime int64
}

// paxRecords gives the extended header's content, "" where none is needed, and shortens the fields so that the ustar
// block that follows is valid.
func (h *rawHeader) paxRecords() string {
	var b strings.Builder
	if _, _, ok := splitName(h.name); !ok || !ascii(h.name) {
		paxRecord(&b, "path", h.name)
		h.name = placeholder(h.name)
	}
	if len(h.link) > nameSize || !ascii(h.link) {
		paxRecord(&b, "linkpath", h.link)
		h.link = placeholder(h.link)
	}
	if h.size > maxSize {
		paxRecord(&b, "size", strconv.FormatInt(h.size, 10))
		h.size = 0
	}
	if h.uid > maxID {
		paxRecord(&b, "uid", strconv.Itoa(h.uid))
		h.uid = 0
	}
	if h.gid > maxID {
		paxRecord(&b, "gid", strconv.Itoa(h.gid))
		h.gid = 0
	}
	return b.String()
}

// paxRecord appends "LENGTH KEY=VALUE\n", where LENGTH counts itself.
func paxRecord(b *strings.Builder, key, value string) {
	rest := len(key) + len(value) + 3 // space, '=', newline
	n := rest + len(strconv.Itoa(rest))
	n = rest + len(strconv.Itoa(n)) // the length's own digits may have grown by one
	fmt.Fprintf(b, "%d %s=%s\n", n, key, value)
}

// placeholder is what stands in the ustar field when the true name is in a PAX record: ASCII, and short enough.
func placeholder(name string) string {
	out := make([]byte, 0, nameSize)
	for i := 0; i < len(name) && len(out) < nameSize-1; i++ {
		c := name[i]
		if c >= 0x80 {
			c = '_'
		}
		out = append(out, c)
	}
	return string(out)
}

// splitName divides a path between the prefix and name fields at a slash.
func splitName(name string) (prefix, base string, ok bool) {
	if len(name) <= nameSize {
		return "", name, true
	}
	cut := strings.LastIndexByte(name[:min(len(name)-1, prefixSize+1)], '/')
	if cut <= 0 || len(name)-cut-1 > nameSize {
		return "", "", false
	}
	return name[:cut], name[cut+1:], true
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// append writes the block. Every field fits: paxRecords has seen to it.
func (h rawHeader) append(buf []byte) []byte {
	var b [blockSize]byte
	prefix, base, _ := splitName(h.name)
	copy(b[0:100], base)
	octal(b[100:108], int64(h.mode))
	octal(b[108:116], int64(h.uid))
	octal(b[116:124], int64(h.gid))
	octal(b[124:136], h.size)
	octal(b[136:148], h.mtime)
	copy(b[148:156], "        ")
	b[156] = h.typeflag
	copy(b[157:257], h.link)
	copy(b[257:265], "ustar\x0000")
	octal(b[329:337], 0)
	octal(b[337:345], 0)
	copy(b[345:500], prefix)
	var sum int64
	for _, c := range b {
		sum += int64(c)
	}
	octal(b[148:155], sum)
	b[155] = ' '
	return append(buf, b[:]...)
}

// octal fills a field with zero-padded digits and a closing NUL.
func octal(field []byte, v int64) {
	last := len(field) - 1
	field[last] = 0
	for i := last - 1; i >= 0; i-- {
		field[i] = byte('0' + v&7)
		v >>= 3
	}
}
