package observed

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// The bounds of a record: its looks, the bytes of a path, and the bytes of its compressed form and of its text.
const (
	MaxLooks  = 100_000
	maxPath   = 4096
	MaxRecord = 4 << 20
	maxText   = 32 << 20
)

// ErrTooMuch says that a command has looked at more than a record may hold.
var ErrTooMuch = errors.New("it looked at too many files")

// A record's text is the header, the sum of all looks, their short sums one after the other, and a line a look: its kind, how many
// bytes its path begins with that are the path's above, and the rest of the path. Sums do not compress, and paths by folders do.

// header is the first line of a record's text. The number changes with the meaning of what follows.
const header = "jubako looks 2"

// shortSum is how many bytes tell of each look whether it is the one that has changed. That none has is for the sum of all
// to say.
const shortSum = 2

// Record is what a command has looked at, and a digest of what it saw.
type Record struct {
	looks []recorded
	sum   [sha256.Size]byte // of all
}

type recorded struct {
	Look
	short [shortSum]byte
}

// Make makes the record of a command that has run over the layer. The looks may come in any order, and more than once.
// The error is ErrTooMuch, or that of reading the layer's files.
func Make(looks []Look, t *Tree) (*Record, error) {
	settled := make(map[string]Kind)
	for _, l := range looks {
		if err := checkPath(l.Path); err != nil {
			return nil, err
		}
		t.settle(l, settled)
		if len(settled) > MaxLooks {
			return nil, ErrTooMuch
		}
	}
	r := &Record{}
	for _, p := range slices.Sorted(maps.Keys(settled)) {
		r.looks = append(r.looks, recorded{Look: Look{p, settled[p]}})
	}
	h := sha256.New()
	for i := range r.looks {
		sum, err := t.sum(r.looks[i].Look)
		if err != nil {
			return nil, err
		}
		h.Write(sum[:])
		r.looks[i].short = [shortSum]byte(sum[:])
	}
	r.sum = [sha256.Size]byte(h.Sum(nil))
	return r, nil
}

// sum is the digest of a look and of what it sees.
func (t *Tree) sum(l Look) ([sha256.Size]byte, error) {
	v, err := t.value(l)
	return sumOfValue(l, v), err
}

func sumOfValue(l Look, value string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%c %q %q", kindNames[l.Kind], l.Path, value))
}

// Len is the number of looks that the record holds.
func (r *Record) Len() int { return len(r.looks) }

// Change is a look that sees something else than it did.
type Change struct {
	Path string // of the image, without leading slash
	What string // in words: "has changed"
}

// Changed gives the first look, by path, that sees something else in this layer than the command did: nil where there is
// none.
func (r *Record) Changed(t *Tree) (*Change, error) {
	h := sha256.New()
	var first *Change
	for _, l := range r.looks {
		sum, err := t.sum(l.Look)
		if err != nil {
			return nil, err
		}
		h.Write(sum[:])
		if [shortSum]byte(sum[:]) == l.short {
			continue
		}
		// A file says more than the folder that it has come to or gone from.
		c := t.change(l)
		if first == nil || first.What == folderChanged && c.What != folderChanged && strings.HasPrefix(c.Path, first.Path+"/") {
			first = c
		}
	}
	if first == nil && [sha256.Size]byte(h.Sum(nil)) != r.sum {
		first = &Change{Path: ".", What: folderChanged} // once in 2³² changes
	}
	return first, nil
}

const folderChanged = "holds other files"

func (t *Tree) change(l recorded) *Change {
	c := &Change{Path: l.Path, What: "has changed"}
	n, there := t.nodes[l.Path]
	was := sumOfValue(Look{l.Path, l.Kind}, absent)
	switch {
	case !there:
		c.What = "is gone"
	case [shortSum]byte(was[:]) == l.short:
		c.What = "is new"
	case len(n.children) > 0 && l.Kind != Stat:
		c.What = folderChanged
	}
	return c
}

// Marshal gives the record's compressed form. It is ErrTooMuch where nobody would read it.
func (r *Record) Marshal() ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(z)
	fmt.Fprintf(w, "%s\n%x\n", header, r.sum)
	for _, l := range r.looks {
		fmt.Fprintf(w, "%x", l.short)
	}
	w.WriteByte('\n')
	above := ""
	for _, l := range r.looks {
		n := commonPrefix(above, l.Path)
		fmt.Fprintf(w, "%c%d %s\n", kindNames[l.Kind], n, l.Path[n:])
		above = l.Path
	}
	if err := errors.Join(w.Flush(), z.Close()); err != nil {
		return nil, err
	}
	if b.Len() > MaxRecord {
		return nil, ErrTooMuch
	}
	return b.Bytes(), nil
}

// Parse reads what Marshal has written, here or elsewhere. Anything else is an error.
func Parse(b []byte) (*Record, error) {
	if len(b) > MaxRecord {
		return nil, errors.New("reading what a step looked at: it is too long")
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("reading what a step looked at: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("reading what a step looked at: %w", err)
	}
	r, err := parseText(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading what a step looked at: %w", err)
	}
	return r, nil
}

func parseText(text string) (*Record, error) {
	if len(text) > maxText || !strings.HasSuffix(text, "\n") {
		return nil, errors.New("it is too long, or cut")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != header || len(lines) < 3 || len(lines) > MaxLooks+3 {
		return nil, fmt.Errorf("its first line is %.40q, and it has %d lines", lines[0], len(lines))
	}
	r := &Record{}
	if err := decode(r.sum[:], lines[1]); err != nil {
		return nil, fmt.Errorf("line 2: %w", err)
	}
	looks, short := lines[3:], lines[2]
	if len(short) != 2*shortSum*len(looks) {
		return nil, fmt.Errorf("line 3: it has %d bytes for %d looks", len(short), len(looks))
	}
	above, total := "", 0
	for i, line := range looks {
		var l recorded
		err := l.parse(line, above)
		if err == nil {
			err = decode(l.short[:], short[2*shortSum*i:][:2*shortSum])
		}
		if total += len(l.Path); err == nil && total > maxText {
			err = errors.New("its paths are too long")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+4, err)
		}
		r.looks = append(r.looks, l)
		above = l.Path
	}
	return r, nil
}

// parse reads the line of a look; above is the path of the one before.
func (l *recorded) parse(line, above string) error {
	head, rest, ok := strings.Cut(line, " ")
	if !ok || head == "" {
		return fmt.Errorf("%.80q is no look", line)
	}
	at := strings.IndexByte(kindNames, head[0])
	if at < 0 {
		return fmt.Errorf("there is no look of the kind %.10q", head[:1])
	}
	n, err := strconv.ParseUint(head[1:], 10, 16)
	if err != nil || int(n) > len(above) {
		return fmt.Errorf("its path begins with %.10q bytes of one of %d", head[1:], len(above))
	}
	l.Look = Look{Path: above[:n] + rest, Kind: Kind(at)}
	switch {
	case above != "" && l.Path <= above:
		return errors.New("it is out of order")
	case commonPrefix(above, l.Path) != int(n):
		return errors.New("more of its path is that above")
	}
	return checkPath(l.Path)
}

// commonPrefix is how many bytes two paths have in common at their beginning.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// decode fills b from lower-case hex digits.
func decode(b []byte, digits string) error {
	got, err := hex.DecodeString(digits)
	if err != nil || len(got) != len(b) || strings.ToLower(digits) != digits {
		return fmt.Errorf("%.80q is no digest of %d bytes", digits, len(b))
	}
	copy(b, got)
	return nil
}
