package pep508

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Version is a version as PEP 440 defines it. The zero Version is no version; ParseVersion makes one.
type Version struct {
	epoch   uint64
	release []uint64
	pre     string // "a", "b", "rc"; "" for none
	preN    uint64
	post    bool
	postN   uint64
	dev     bool
	devN    uint64
	local   []localPart
}

// localPart is one dot-separated part of a local version: a number, or a word in lower case.
type localPart struct {
	word string // "" for a number
	n    uint64
}

// ParseVersion reads a version in any spelling that PEP 440 allows ("v1.0-ALPHA.1" too). Numbers above 2⁶⁴-1 are
// refused, as uv refuses them. The error is a *SyntaxError.
func ParseVersion(s string) (Version, error) {
	fail := func(at int, reason string) (Version, error) {
		return Version{}, &SyntaxError{What: "version", Text: s, Offset: at, Reason: reason}
	}
	if len(s) > maxVersionLen {
		return fail(maxVersionLen, "too long")
	}
	p := versionParser{s: s}
	v, reason := p.version()
	if reason != "" {
		return fail(p.i, reason)
	}
	return v, nil
}

type versionParser struct {
	s string
	i int
}

// version reads all of s; reason is "" when it could.
func (p *versionParser) version() (v Version, reason string) {
	p.spaces()
	p.word("v")
	n, ok := p.number()
	if !ok {
		return v, p.numberReason("a number is wanted")
	}
	if p.i < len(p.s) && p.s[p.i] == '!' {
		v.epoch = n
		p.i++
		if n, ok = p.number(); !ok {
			return v, p.numberReason("a number is wanted after the epoch")
		}
	}
	v.release = append(v.release, n)
	for p.i+1 < len(p.s) && p.s[p.i] == '.' && isDigit(p.s[p.i+1]) {
		p.i++
		if n, ok = p.number(); !ok {
			return v, p.numberReason("")
		}
		v.release = append(v.release, n)
	}
	if !p.preRelease(&v) || !p.postRelease(&v) || !p.devRelease(&v) {
		return v, "the number is too large"
	}
	if reason = p.localVersion(&v); reason != "" {
		return v, reason
	}
	p.spaces()
	if p.i != len(p.s) {
		return v, "unexpected text"
	}
	return v, ""
}

func (p *versionParser) numberReason(otherwise string) string {
	if p.i < len(p.s) && isDigit(p.s[p.i]) {
		return "the number is too large"
	}
	return otherwise
}

func (p *versionParser) spaces() {
	for p.i < len(p.s) && isSpace(p.s[p.i]) {
		p.i++
	}
}

// number reads digits; on overflow it reads none and says no.
func (p *versionParser) number() (uint64, bool) {
	j := p.i
	for j < len(p.s) && isDigit(p.s[j]) {
		j++
	}
	if j == p.i {
		return 0, false
	}
	n, err := strconv.ParseUint(p.s[p.i:j], 10, 64)
	if err != nil {
		return 0, false
	}
	p.i = j
	return n, true
}

// word reads w, which is in lower case, in any case.
func (p *versionParser) word(w string) bool {
	if len(p.s)-p.i < len(w) || !strings.EqualFold(p.s[p.i:p.i+len(w)], w) {
		return false
	}
	p.i += len(w)
	return true
}

func (p *versionParser) separator() {
	if p.i < len(p.s) && (p.s[p.i] == '.' || p.s[p.i] == '-' || p.s[p.i] == '_') {
		p.i++
	}
}

// tagged reads [-_.]? word [-_.]? number?, for the first of words that fits. ok is false only for a number that is too
// large.
func (p *versionParser) tagged(words ...string) (word string, n uint64, ok bool) {
	start := p.i
	p.separator()
	for _, w := range words {
		if !p.word(w) {
			continue
		}
		afterWord := p.i
		p.separator()
		if p.i < len(p.s) && isDigit(p.s[p.i]) {
			n, ok = p.number()
			return w, n, ok
		}
		p.i = afterWord
		return w, 0, true
	}
	p.i = start
	return "", 0, true
}

func (p *versionParser) preRelease(v *Version) bool {
	w, n, ok := p.tagged("alpha", "beta", "preview", "pre", "rc", "a", "b", "c")
	switch w {
	case "alpha", "a":
		v.pre = "a"
	case "beta", "b":
		v.pre = "b"
	case "rc", "c", "pre", "preview":
		v.pre = "rc"
	}
	v.preN = n
	return ok
}

func (p *versionParser) postRelease(v *Version) bool {
	if p.i+1 < len(p.s) && p.s[p.i] == '-' && isDigit(p.s[p.i+1]) {
		p.i++
		var ok bool
		v.post = true
		v.postN, ok = p.number()
		return ok
	}
	w, n, ok := p.tagged("post", "rev", "r")
	v.post, v.postN = w != "", n
	return ok
}

func (p *versionParser) devRelease(v *Version) bool {
	w, n, ok := p.tagged("dev")
	v.dev, v.devN = w != "", n
	return ok
}

func (p *versionParser) localVersion(v *Version) (reason string) {
	if p.i >= len(p.s) || p.s[p.i] != '+' {
		return ""
	}
	for {
		p.i++ // the plus, or the separator
		j := p.i
		digits := true
		for j < len(p.s) && isAlnum(p.s[j]) {
			digits = digits && isDigit(p.s[j])
			j++
		}
		switch {
		case j == p.i:
			return "a part of the local version is empty"
		case digits:
			n, ok := p.number()
			if !ok {
				return "the number is too large"
			}
			v.local = append(v.local, localPart{n: n})
		default:
			v.local = append(v.local, localPart{word: strings.ToLower(p.s[p.i:j])})
		}
		p.i = j
		if j >= len(p.s) || p.s[j] != '.' && p.s[j] != '-' && p.s[j] != '_' {
			return ""
		}
	}
}

// IsZero says whether v is no version at all.
func (v Version) IsZero() bool { return len(v.release) == 0 }

// IsPrerelease says whether v is a pre-release or a development release.
func (v Version) IsPrerelease() bool { return v.pre != "" || v.dev }

// IsLocal says whether v has a local part ("+cpu").
func (v Version) IsLocal() bool { return len(v.local) > 0 }

// Release gives the numbers of the release: 3, 12, 9.
func (v Version) Release() []uint64 { return slices.Clone(v.release) }

// Public is v without its local part.
func (v Version) Public() Version {
	v.local = nil
	return v
}

// Base is v's epoch and release alone.
func (v Version) Base() Version { return Version{epoch: v.epoch, release: v.release} }

// String gives the normal form of PEP 440; trailing zeros of the release stay.
func (v Version) String() string {
	if v.IsZero() {
		return ""
	}
	b := make([]byte, 0, 24)
	if v.epoch != 0 {
		b = append(strconv.AppendUint(b, v.epoch, 10), '!')
	}
	for i, n := range v.release {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	if v.pre != "" {
		b = strconv.AppendUint(append(b, v.pre...), v.preN, 10)
	}
	if v.post {
		b = strconv.AppendUint(append(b, ".post"...), v.postN, 10)
	}
	if v.dev {
		b = strconv.AppendUint(append(b, ".dev"...), v.devN, 10)
	}
	for i, part := range v.local {
		b = append(b, "+."[min(i, 1)])
		if part.word != "" {
			b = append(b, part.word...)
		} else {
			b = strconv.AppendUint(b, part.n, 10)
		}
	}
	return string(b)
}

// Compare orders versions as PEP 440 does ("Summary of permitted suffixes and relative ordering"): -1, 0 or +1.
func (v Version) Compare(w Version) int {
	return cmp.Or(
		cmp.Compare(v.epoch, w.epoch),
		compareRelease(v.release, w.release),
		cmp.Compare(v.preRank(), w.preRank()),
		cmp.Compare(v.preN, w.preN),
		compareOptional(v.post, v.postN, w.post, w.postN, -1),
		compareOptional(v.dev, v.devN, w.dev, w.devN, +1),
		compareLocal(v.local, w.local),
	)
}

// preRank places a lone development release before alpha, and what is no pre-release after rc.
func (v Version) preRank() int {
	switch {
	case v.pre == "a":
		return 1
	case v.pre == "b":
		return 2
	case v.pre == "rc":
		return 3
	case v.dev && !v.post:
		return 0
	}
	return 4
}

// compareRelease takes missing numbers as zeros.
func compareRelease(a, b []uint64) int {
	for i := range max(len(a), len(b)) {
		var x, y uint64
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// compareOptional compares two numbers of which either may be absent; absent says where that one stands.
func compareOptional(has bool, n uint64, hasW bool, m uint64, absent int) int {
	switch {
	case has && hasW:
		return cmp.Compare(n, m)
	case has:
		return -absent
	case hasW:
		return absent
	}
	return 0
}

func compareLocal(a, b []localPart) int {
	return slices.CompareFunc(a, b, func(x, y localPart) int {
		switch {
		case x.word == "" && y.word == "":
			return cmp.Compare(x.n, y.n)
		case x.word == "":
			return 1 // a number stands above a word
		case y.word == "":
			return -1
		}
		return strings.Compare(x.word, y.word)
	})
}
