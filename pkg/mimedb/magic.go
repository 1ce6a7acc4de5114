package mimedb

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// magic is one <magic> element: bytes that a file of the type holds.
type magic struct {
	priority int
	mime     string
	matches  []*match
	none     bool // the mark of <magic-deleteall>
}

// match is one <match>, all of whose bytes must be there, and one of its sub-matches where it has any.
type match struct {
	start, length uint32 // of the range of offsets that are tried
	word          int    // the size in bytes of the machine's words that value is made of; 1 for all that is not host16 or host32
	value, mask   []byte
	matches       []*match
}

// The marks that say that what other folders' databases know of a type does not hold.
const (
	noMagic = "__NOMAGIC__"
	noGlobs = "__NOGLOBS__"
)

func parseMagic(n *node, mime string) (*magic, error) {
	m := &magic{mime: mime}
	var err error
	if m.priority, err = number(n, "priority"); err != nil {
		return nil, err
	}
	if m.matches, err = parseMatches(n); err == nil && len(m.matches) == 0 {
		err = errors.New("magic without a match")
	}
	return m, err
}

func parseMatches(n *node) ([]*match, error) {
	var all []*match
	for _, c := range n.children {
		if c.name == "" {
			continue
		}
		if !c.is("match") {
			return nil, fmt.Errorf("match is wanted, and not %s", c.name)
		}
		m := &match{word: 1}
		if err := m.offset(c.get("offset")); err != nil {
			return nil, err
		}
		if err := m.values(c.get("type"), c.get("value"), c.get("mask")); err != nil {
			return nil, err
		}
		var err error
		if m.matches, err = parseMatches(c); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// offset reads "start" or "start:end", both inclusive.
func (m *match) offset(s string) error {
	from, to, ranged := strings.Cut(strings.TrimLeft(s, " \t\n"), ":")
	start, err := strconv.ParseUint(from, 10, 31)
	end := start
	if err == nil && ranged {
		end, err = strconv.ParseUint(to, 10, 31)
	}
	if err != nil || end < start {
		return fmt.Errorf("match: offset %q is no range", s)
	}
	m.start, m.length = uint32(start), uint32(end-start+1)
	return nil
}

func (m *match) values(kind, value, mask string) (err error) {
	size, order := 0, binary.AppendByteOrder(binary.BigEndian)
	switch kind {
	case "string":
		if m.value = unescape(value); len(m.value) == 0 || len(m.value) > math.MaxUint16 {
			return fmt.Errorf("match: a value is of 1 to %d bytes", math.MaxUint16)
		}
		if mask == "" {
			return nil
		}
		digits, ok := strings.CutPrefix(mask, "0x")
		if m.mask, err = hex.DecodeString(digits); !ok || err != nil || len(m.mask) > len(m.value) {
			return fmt.Errorf("match: mask %.80q does not fit value %.80q", mask, value)
		}
		m.mask = append(m.mask, make([]byte, len(m.value)-len(m.mask))...)
		return nil
	case "byte":
		size = 1
	case "big16", "little16", "host16":
		size = 2
	case "big32", "little32", "host32":
		size = 4
	default:
		return fmt.Errorf("match: type %q is not known", kind)
	}
	switch {
	case strings.HasPrefix(kind, "little"):
		order = binary.LittleEndian
	case strings.HasPrefix(kind, "host"):
		m.word = size
	}
	integer := func(s string) ([]byte, error) {
		v, err := strconv.ParseUint(s, 0, 8*size)
		if err != nil || strings.ContainsAny(s, "_oO") {
			return nil, fmt.Errorf("match: %q is no number of type %s", s, kind)
		}
		switch size {
		case 1:
			return []byte{byte(v)}, nil
		case 2:
			return order.AppendUint16(nil, uint16(v)), nil
		}
		return order.AppendUint32(nil, uint32(v)), nil
	}
	if m.value, err = integer(value); err != nil || mask == "" {
		return err
	}
	m.mask, err = integer(mask)
	return err
}

// unescape reads the escapes of C, but for \a; a backslash at the end is nothing.
func unescape(s string) []byte {
	var out []byte
	digits := func(i, most, base int) (byte, int) {
		j := i
		for j < len(s) && j < i+most {
			if _, err := strconv.ParseUint(s[j:j+1], base, 8); err != nil {
				break
			}
			j++
		}
		v, _ := strconv.ParseUint("0"+s[i:j], base, 16)
		return byte(v), j
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		if i++; i == len(s) {
			break
		}
		c := s[i]
		switch {
		case strings.IndexByte("bfnrtv", c) >= 0:
			c = "\b\f\n\r\t\v"[strings.IndexByte("bfnrtv", c)]
		case c >= '0' && c <= '7':
			var next int
			c, next = digits(i, 3, 8)
			i = next - 1
		case c == 'x':
			v, next := digits(i+1, 2, 16)
			if next > i+1 {
				c = v
			}
			i = next - 1
		}
		out = append(out, c)
	}
	return out
}

// sortMagic puts the marks first, then what has the higher priority, then types by name.
func sortMagic(all []*magic) {
	slices.SortStableFunc(all, func(a, b *magic) int {
		if a.none != b.none {
			if a.none {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.mime, b.mime))
	})
}

// magicFile is the file "magic".
func (d *database) magicFile() []byte {
	out := []byte("MIME-Magic\x00\n")
	for _, m := range d.magic {
		out = fmt.Appendf(out, "[%d:%s]\n", m.priority, m.mime)
		out = appendMatches(out, m.matches, 0)
	}
	return out
}

func appendMatches(out []byte, all []*match, depth int) []byte {
	for _, m := range all {
		if depth > 0 {
			out = strconv.AppendInt(out, int64(depth), 10)
		}
		out = fmt.Appendf(out, ">%d=", m.start)
		out = binary.BigEndian.AppendUint16(out, uint16(len(m.value)))
		out = append(out, m.value...)
		if m.mask != nil {
			out = append(append(out, '&'), m.mask...)
		}
		if m.word > 1 {
			out = fmt.Appendf(out, "~%d", m.word)
		}
		if m.length > 1 {
			out = fmt.Appendf(out, "+%d", m.length)
		}
		out = appendMatches(append(out, '\n'), m.matches, depth+1)
	}
	return out
}

// treeMagic is one <treemagic> element: files that a volume of the type holds.
type treeMagic struct {
	priority int
	mime     string
	node     *node
}

// treeMagicFile is the file "treemagic".
func (d *database) treeMagicFile() []byte {
	slices.SortStableFunc(d.treeMagic, func(a, b treeMagic) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.mime, b.mime))
	})
	out := []byte("MIME-TreeMagic\x00\n")
	for _, m := range d.treeMagic {
		out = fmt.Appendf(out, "[%d:%s]\n", m.priority, m.mime)
		out = appendTreeMatches(out, m.node, 0)
	}
	return out
}

func checkTreeMatches(n *node) error {
	for _, c := range n.children {
		switch {
		case c.name == "":
			continue
		case !c.is("treematch"):
			return fmt.Errorf("treematch is wanted, and not %s", c.name)
		case !slices.Contains([]string{"", "any", "file", "directory", "link"}, c.get("type")):
			return fmt.Errorf("treematch: type %q is not known", c.get("type"))
		}
		if err := checkTreeMatches(c); err != nil {
			return err
		}
	}
	return nil
}

func appendTreeMatches(out []byte, n *node, depth int) []byte {
	for _, c := range n.children {
		if !c.is("treematch") {
			continue
		}
		if depth > 0 {
			out = strconv.AppendInt(out, int64(depth), 10)
		}
		kind := cmp.Or(c.get("type"), "any")
		out = fmt.Appendf(out, ">\"%s\"=%s", c.get("path"), kind)
		for _, flag := range []string{"match-case", "executable", "non-empty"} {
			if c.get(flag) == "true" {
				out = append(append(out, ','), flag...)
			}
		}
		if t := c.get("mimetype"); t != "" {
			out = append(append(out, ','), t...)
		}
		out = appendTreeMatches(append(out, '\n'), c, depth+1)
	}
	return out
}
