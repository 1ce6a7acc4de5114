package deb

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Version is a package's version, [epoch:]upstream[-revision] (deb-version(7)). Versions are compared by Compare: equal
// ones may be written in several ways.
type Version string

// Check says what is wrong with a version.
func (v Version) Check() error {
	if v == "" {
		return errors.New("the version is empty")
	}
	epoch, upstream, revision := v.parts()
	if i := strings.IndexByte(string(v), ':'); i >= 0 {
		if epoch == "" || strings.Trim(epoch, "0123456789") != "" || len(strings.TrimLeft(epoch, "0")) > 9 {
			return fmt.Errorf("version %.60q: its epoch is no number", string(v))
		}
	}
	if upstream == "" || upstream[0] < '0' || upstream[0] > '9' {
		return fmt.Errorf("version %.60q does not begin with a digit", string(v))
	}
	if strings.HasSuffix(string(v), "-") {
		return fmt.Errorf("version %.60q: its revision is empty", string(v))
	}
	for _, part := range []struct{ text, more string }{{upstream, ".+-~:"}, {revision, ".+~"}} {
		for i := range len(part.text) {
			if c := part.text[i]; !digit(c) && !letter(c) && strings.IndexByte(part.more, c) < 0 {
				return fmt.Errorf("version %.60q holds %q", string(v), c)
			}
		}
	}
	return nil
}

// parts cuts a version at its first colon and its last hyphen.
func (v Version) parts() (epoch, upstream, revision string) {
	upstream = string(v)
	if i := strings.IndexByte(upstream, ':'); i >= 0 {
		epoch, upstream = upstream[:i], upstream[i+1:]
	}
	if i := strings.LastIndexByte(upstream, '-'); i >= 0 {
		upstream, revision = upstream[:i], upstream[i+1:]
	}
	return epoch, upstream, revision
}

// WithoutEpoch is the version as file names have it.
func (v Version) WithoutEpoch() string {
	_, rest, ok := strings.Cut(string(v), ":")
	if !ok {
		return string(v)
	}
	return rest
}

// Compare gives -1, 0 or 1 as v is older than w, equal to it, or newer.
func (v Version) Compare(w Version) int {
	if v == w {
		return 0
	}
	e1, u1, r1 := v.parts()
	e2, u2, r2 := w.parts()
	return cmp.Or(compareNumbers(e1, e2), comparePart(u1, u2), comparePart(r1, r2))
}

// comparePart compares upstream versions or revisions: in turns a run of what is no digit, and a number.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			x, y := order(a), order(b)
			if x != y {
				return cmp.Compare(x, y)
			}
			a, b = a[1:], b[1:]
		}
		var x, y string
		x, a = number(a)
		y, b = number(b)
		if c := compareNumbers(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// order ranks the first letter of a run: ~ comes before the end, the end (or a digit) before letters, letters before the rest.
func order(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case letter(s[0]):
		return int(s[0])
	default:
		return int(s[0]) + 256
	}
}

// number cuts the digits off at the front.
func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// compareNumbers compares numbers of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
