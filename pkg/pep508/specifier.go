package pep508

import (
	"slices"
	"strings"
)

// Operator is how a specifier compares (PEP 440, "Version specifiers").
type Operator string

// The operators. A specifier that ends in ".*" has EqualStar or NotEqualStar.
const (
	Equal          Operator = "=="
	NotEqual       Operator = "!="
	EqualStar      Operator = "==*"
	NotEqualStar   Operator = "!=*"
	Less           Operator = "<"
	LessEqual      Operator = "<="
	Greater        Operator = ">"
	GreaterEqual   Operator = ">="
	Compatible     Operator = "~="
	ArbitraryEqual Operator = "==="
)

// Specifier is one clause: ">=3.12".
type Specifier struct {
	Op      Operator
	Version Version // zero for ArbitraryEqual
	text    string  // of ArbitraryEqual, in lower case
}

// Specifiers is a set of clauses that must all hold. The empty set holds for every version.
type Specifiers []Specifier

// ParseSpecifiers reads clauses between commas; the empty string gives the empty set. The error is a *SyntaxError.
func ParseSpecifiers(s string) (Specifiers, error) {
	if len(s) > maxSpecifierLen {
		return nil, &SyntaxError{What: "specifier", Text: s, Offset: maxSpecifierLen, Reason: "too long"}
	}
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var set Specifiers
	for offset := 0; offset <= len(s); {
		part := s[offset:]
		if i := strings.IndexByte(part, ','); i >= 0 {
			part = part[:i]
		}
		// A trailing comma is let pass, as every reader does.
		if strings.TrimSpace(part) != "" || offset+len(part) < len(s) {
			spec, reason := parseSpecifier(part)
			if reason != "" {
				return nil, &SyntaxError{What: "specifier", Text: s, Offset: offset, Reason: reason}
			}
			set = append(set, spec)
		}
		offset += len(part) + 1
	}
	return set, nil
}

func parseSpecifier(s string) (spec Specifier, reason string) {
	s = strings.TrimSpace(s)
	op, rest := cutOperator(s)
	if op == "" {
		return spec, "an operator (==, !=, <=, >=, <, >, ~=, ===) is wanted"
	}
	rest = strings.TrimSpace(rest)
	spec.Op = op
	if op == ArbitraryEqual {
		if rest == "" || strings.ContainsAny(rest, " \t;)") {
			return spec, "=== wants one word"
		}
		spec.text = strings.ToLower(rest)
		return spec, ""
	}
	if prefix, ok := strings.CutSuffix(rest, ".*"); ok {
		switch op {
		case Equal:
			spec.Op = EqualStar
		case NotEqual:
			spec.Op = NotEqualStar
		default:
			return spec, "only == and != take .*"
		}
		rest = prefix
	}
	v, err := ParseVersion(rest)
	if err != nil {
		return spec, err.(*SyntaxError).Reason + " in version " + quoteShort(rest)
	}
	spec.Version = v
	switch {
	case spec.Op != op && (v.IsPrerelease() || v.post || v.IsLocal()):
		return spec, ".* follows a release only"
	case op != Equal && op != NotEqual && v.IsLocal():
		return spec, "only == and != take a local version"
	case op == Compatible && len(v.release) < 2:
		return spec, "~= wants at least two numbers"
	}
	return spec, ""
}

func quoteShort(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return `"` + s + `"`
}

// cutOperator takes the longest operator from the front of s.
func cutOperator(s string) (op Operator, rest string) {
	for _, op := range [...]Operator{ArbitraryEqual, Equal, NotEqual, LessEqual, GreaterEqual, Compatible, Less, Greater} {
		if rest, ok := strings.CutPrefix(s, string(op)); ok {
			return op, rest
		}
	}
	return "", s
}

// Contains says whether every clause holds for v. Pre-releases are not set apart: a set that admits them by order
// alone admits them, since what a lock says was decided when it was made. "<V" refuses pre-releases of V, and ">V" its
// post-releases and local versions (PEP 440, "Exclusive ordered comparison").
func (s Specifiers) Contains(v Version) bool {
	for i := range s {
		if !s[i].Contains(v) {
			return false
		}
	}
	return true
}

// Contains says whether the clause holds for v.
func (s Specifier) Contains(v Version) bool {
	w := s.Version
	switch s.Op {
	case Equal:
		return s.equal(v)
	case NotEqual:
		return !s.equal(v)
	case EqualStar:
		return hasPrefix(v, w.epoch, w.release)
	case NotEqualStar:
		return !hasPrefix(v, w.epoch, w.release)
	case LessEqual:
		return v.Public().Compare(w) <= 0
	case GreaterEqual:
		return v.Public().Compare(w) >= 0
	case Less:
		if !w.IsPrerelease() && v.IsPrerelease() && v.Base().Compare(w.Base()) == 0 {
			return false
		}
		return v.Compare(w) < 0
	case Greater:
		if v.Base().Compare(w.Base()) == 0 && (v.IsLocal() || v.post && !w.post) {
			return false
		}
		return v.Compare(w) > 0
	case Compatible:
		return v.Public().Compare(w) >= 0 && hasPrefix(v, w.epoch, w.release[:len(w.release)-1])
	case ArbitraryEqual:
		return v.String() == s.text
	}
	return false
}

// equal disregards v's local part unless the clause names one.
func (s Specifier) equal(v Version) bool {
	if !s.Version.IsLocal() {
		v = v.Public()
	}
	return v.Compare(s.Version) == 0
}

// hasPrefix says whether v's release begins with the numbers of prefix; missing numbers are zeros.
func hasPrefix(v Version, epoch uint64, prefix []uint64) bool {
	if v.epoch != epoch {
		return false
	}
	have := v.release
	if len(have) > len(prefix) {
		have = have[:len(prefix)]
	}
	return compareRelease(have, prefix) == 0
}

// String gives the clause without spaces.
func (s Specifier) String() string {
	switch s.Op {
	case EqualStar, NotEqualStar:
		return string(s.Op[:2]) + s.Version.String() + ".*"
	case ArbitraryEqual:
		return string(s.Op) + s.text
	}
	return string(s.Op) + s.Version.String()
}

// String gives the clauses in their order, joined by ", ".
func (s Specifiers) String() string {
	parts := make([]string, len(s))
	for i := range s {
		parts[i] = s[i].String()
	}
	return strings.Join(parts, ", ")
}

// Same says whether both sets hold the same clauses, in any order and spelling: "~=1.0.0" and "~=1.0" differ, ">=1.0"
// and ">=1" do not.
func (s Specifiers) Same(t Specifiers) bool {
	return slices.Equal(s.canonical(), t.canonical())
}

func (s Specifiers) canonical() []string {
	keys := make([]string, len(s))
	for i, spec := range s {
		if spec.Op != EqualStar && spec.Op != NotEqualStar && spec.Op != Compatible {
			n := len(spec.Version.release)
			for n > 1 && spec.Version.release[n-1] == 0 {
				n--
			}
			spec.Version.release = spec.Version.release[:n]
		}
		keys[i] = spec.String()
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
