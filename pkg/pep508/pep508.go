// Package pep508 reads the small languages in which Python packages speak of one another: names (PEP 503), versions and
// specifiers (PEP 440), requirements and environment markers (PEP 508), and evaluates markers for any target as uv does.
//
// It imports nothing of jubako.
package pep508

import (
	"fmt"
	"strings"
)

// Bounds on what is read from files that others wrote.
const (
	maxVersionLen     = 512
	maxSpecifierLen   = 16 << 10
	maxRequirementLen = 256 << 10
	maxMarkerLen      = 256 << 10
	maxMarkerDepth    = 200
)

// SyntaxError says what could not be read, and where.
type SyntaxError struct {
	What   string // "version", "specifier", "marker", "requirement"
	Text   string // the whole text
	Offset int    // in bytes, from the start of Text
	Reason string
}

func (e *SyntaxError) Error() string {
	text := e.Text
	if len(text) > 120 {
		text = text[:120] + "…"
	}
	return fmt.Sprintf("reading %s %q: %s at offset %d", e.What, text, e.Reason, e.Offset)
}

// Normalize gives the form in which names of packages, extras and groups are compared (PEP 503): lower case, every run
// of "-", "_" and "." one "-".
func Normalize(name string) string {
	if isNormal(name) {
		return name
	}
	var b strings.Builder
	b.Grow(len(name))
	sep := false
	for i := range len(name) {
		c := name[i]
		if c == '-' || c == '_' || c == '.' {
			sep = true
			continue
		}
		if sep {
			b.WriteByte('-')
			sep = false
		}
		b.WriteByte(lower(c))
	}
	if sep {
		b.WriteByte('-')
	}
	return b.String()
}

// NormalizeAll gives each of the names in that form.
func NormalizeAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = Normalize(n)
	}
	return out
}

func isNormal(name string) bool {
	prev := byte(0)
	for i := range len(name) {
		c := name[i]
		if c == '_' || c == '.' || 'A' <= c && c <= 'Z' || c == '-' && prev == '-' {
			return false
		}
		prev = c
	}
	return true
}

// ValidName says whether name can name a package, an extra or a group (PEP 508, "Names").
func ValidName(name string) bool {
	if name == "" || !isAlnum(name[0]) || !isAlnum(name[len(name)-1]) {
		return false
	}
	for i := range len(name) {
		if !isNameByte(name[i]) {
			return false
		}
	}
	return true
}

func isNameByte(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' }

func isAlnum(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
