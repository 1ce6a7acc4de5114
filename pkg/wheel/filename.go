package wheel

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// maxFilename bounds a wheel's filename in bytes. File systems stop at 255; a URL may hold more.
const maxFilename = 1024

// maxTags bounds the tags that a filename's three compressed sets stand for together.
const maxTags = 4096

// Filename is what the name of a wheel says (PEP 427, "File name convention"; PEP 425, "Compressed tag sets").
type Filename struct {
	Raw      string   // as given
	Name     string   // normalized (PEP 503)
	Version  string   // as written, a valid PEP 440 version
	Build    BuildTag // the zero BuildTag where there is none
	Python   []string // "cp312"; of a compressed set, each
	ABI      []string // "abi3"
	Platform []string // "manylinux_2_17_x86_64"
	Variant  string   // a variant label (PEP 817): parsed, and never chosen
}

// BuildTag orders wheels of one version with equal tags. The zero BuildTag stands for none, and comes first.
type BuildTag struct {
	Present bool
	Number  uint64
	Rest    string
}

// Compare orders build tags: none, then by number, then bytewise by what follows the number.
func (b BuildTag) Compare(o BuildTag) int {
	switch {
	case b.Present != o.Present && o.Present:
		return -1
	case b.Present != o.Present:
		return 1
	}
	return cmp.Or(cmp.Compare(b.Number, o.Number), strings.Compare(b.Rest, o.Rest))
}

func (b BuildTag) String() string {
	if !b.Present {
		return ""
	}
	return strconv.FormatUint(b.Number, 10) + b.Rest
}

// ParseFilename takes a wheel's filename apart: the last segment of its URL, percent-decoded.
func ParseFilename(s string) (Filename, error) {
	f, err := parseFilename(s)
	if err != nil {
		if len(s) > maxFilename {
			s = s[:maxFilename] + "…"
		}
		return Filename{}, fmt.Errorf("wheel filename %q: %w", s, err)
	}
	return f, nil
}

func parseFilename(s string) (Filename, error) {
	if len(s) > maxFilename {
		return Filename{}, fmt.Errorf("it has %d bytes, and at most %d are allowed", len(s), maxFilename)
	}
	stem, ok := strings.CutSuffix(s, ".whl")
	if !ok {
		return Filename{}, fmt.Errorf("it does not end in .whl")
	}
	parts := strings.Split(stem, "-")
	f := Filename{Raw: s}
	if len(parts) < 5 {
		return Filename{}, fmt.Errorf("it has %d parts between hyphens, and name, version, Python, ABI and platform are needed", len(parts))
	}
	if !validName(parts[0]) {
		return Filename{}, fmt.Errorf("%q is no project name", parts[0])
	}
	f.Name = pep508.Normalize(parts[0])
	if _, err := pep508.ParseVersion(parts[1]); err != nil {
		return Filename{}, err
	}
	f.Version = parts[1]

	tags := parts[2:]
	if len(tags) > 3 { // a build tag begins with a digit, and no Python tag does
		if b, ok := parseBuildTag(tags[0]); ok {
			f.Build = b
			tags = tags[1:]
		}
	}
	if len(tags) == 4 && validLabel(tags[3]) {
		f.Variant = tags[3]
		tags = tags[:3]
	}
	if len(tags) != 3 || strings.Trim(tags[0][:min(1, len(tags[0]))], "0123456789") == "" {
		return Filename{}, fmt.Errorf("%q is neither a build tag nor a variant label", strings.Join(parts[2:], "-"))
	}
	total := 1
	for i, set := range []*[]string{&f.Python, &f.ABI, &f.Platform} {
		*set = strings.Split(tags[i], ".")
		for _, atom := range *set {
			if atom == "" || !allTagBytes(atom) {
				return Filename{}, fmt.Errorf("%q is no tag", tags[i])
			}
		}
		total *= len(*set)
	}
	if total > maxTags {
		return Filename{}, fmt.Errorf("its tags stand for %d combinations, and at most %d are allowed", total, maxTags)
	}
	return f, nil
}

const tagBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// isTagByte is tagBytes as a table: a lock's every wheel is looked at, and making a set of them each time took an eighth of reading it.
var isTagByte = func() (set [256]bool) {
	for i := range len(tagBytes) {
		set[tagBytes[i]] = true
	}
	return set
}()

func allTagBytes(s string) bool {
	for i := range len(s) {
		if !isTagByte[s[i]] {
			return false
		}
	}
	return true
}

// validName says whether s has the form of a project's name (PEP 508, "Names"), hyphens aside.
func validName(s string) bool {
	return s != "" && strings.Trim(s, tagBytes+".") == "" &&
		strings.Trim(s[:1], "_.") != "" && strings.Trim(s[len(s)-1:], "_.") != ""
}

// validLabel says whether s has the form of a variant label (PEP 817).
func validLabel(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._") == ""
}

func parseBuildTag(s string) (BuildTag, bool) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseUint(s[:digits], 10, 64)
	if err != nil || strings.Trim(s[digits:], tagBytes+".") != "" {
		return BuildTag{}, false
	}
	return BuildTag{Present: true, Number: n, Rest: s[digits:]}, true
}
