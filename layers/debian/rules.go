package debian

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/debfile"
	"github.com/jubako/jubako/pkg/fstree"
)

// Rule is one of dpkg's path-exclude and path-include (dpkg(1)): of those that match a path the last counts.
type Rule struct {
	Pattern string // of fnmatch(3), in which * and ? also stand for a slash
	Include bool
}

// SlimRules are those of Debian's slim images: no manuals, no translations, no documentation but copyrights.
func SlimRules() []Rule {
	var rules []Rule
	for _, dir := range []string{"doc", "info", "linda", "lintian/overrides", "locale", "man"} {
		rules = append(rules, Rule{Pattern: "/usr/share/" + dir + "/*"})
	}
	return append(rules, Rule{"/usr/share/doc/*/copyright", true}, Rule{"/usr/share/locale/locale.alias", true})
}

// excludes reads the rules in dpkg's configuration (dpkg.cfg(5)): the files of dpkg.cfg.d in their order, then dpkg.cfg.
func excludes(d *base.Dpkg) ([]Rule, error) {
	files := []string{}
	for p := range d.Files {
		if path.Dir(p) == "etc/dpkg/dpkg.cfg.d" && partName(path.Base(p)) {
			files = append(files, p)
		}
	}
	slices.Sort(files)
	var rules []Rule
	for _, f := range append(files, "etc/dpkg/dpkg.cfg") {
		for l := range bytes.Lines(d.Files[f]) {
			line := strings.TrimSpace(string(l))
			i := strings.IndexAny(line, "= \t")
			if i < 0 {
				continue
			}
			name, value := line[:i], strings.Trim(line[i+1:], " \t")
			value = strings.Trim(value, `"'`)
			if name != "path-exclude" && name != "path-include" {
				continue
			}
			const most = 10_000
			if rules = append(rules, Rule{value, name == "path-include"}); len(rules) > most {
				return nil, fmt.Errorf("/%s of the base has more than %d rules", f, most)
			}
		}
	}
	return rules, nil
}

// partName says whether dpkg reads a file of dpkg.cfg.d.
func partName(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// skipped says whether the rules leave an entry out. A folder or link that leads to what another rule brings back stays.
func skipped(rules []Rule, e debfile.Entry) bool {
	skip := false
	for _, r := range rules {
		if skip == r.Include && match(r.Pattern, e.Name) {
			skip = !r.Include
		}
	}
	if !skip || e.Kind != fstree.Dir && e.Kind != fstree.Symlink {
		return skip
	}
	for _, r := range rules {
		if !r.Include {
			continue
		}
		literal := strings.TrimRight(r.Pattern[:wildcard(r.Pattern)], "/")
		if strings.HasPrefix(e.Name, literal) {
			return false
		}
	}
	return true
}

func wildcard(p string) int {
	if i := strings.IndexAny(p, `*?[\`); i >= 0 {
		return i
	}
	return len(p)
}

// match is fnmatch(3) without flags. It takes time in the product of both lengths at most.
func match(pattern, s string) bool {
	var starP, starS = -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			starP, starS = p, i
			p++
			continue
		}
		if n, ok := matchOne(pattern[p:], s[i]); ok {
			p += n
			i++
			continue
		}
		if starP < 0 {
			return false
		}
		starS++
		p, i = starP+1, starS
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one byte, and says how long the pattern's part for it is.
func matchOne(p string, c byte) (int, bool) {
	if p == "" {
		return 0, false
	}
	switch p[0] {
	case '?':
		return 1, true
	case '\\':
		return 2, len(p) > 1 && p[1] == c
	case '[':
		i, not := 1, false
		if i < len(p) && (p[i] == '!' || p[i] == '^') {
			not = true
			i++
		}
		found := false
		for first := true; i < len(p) && (first || p[i] != ']'); first = false {
			lo := p[i]
			hi := lo
			if i+2 < len(p) && p[i+1] == '-' && p[i+2] != ']' {
				hi = p[i+2]
				i += 2
			}
			i++
			found = found || lo <= c && c <= hi
		}
		if i >= len(p) {
			return 1, c == '[' // no closing bracket: the bracket means itself
		}
		return i + 1, found != not
	}
	return 1, p[0] == c
}

// diversion is a record of dpkg-divert(1).
type diversion struct {
	from, to string // image paths
	pkg      string // whose diversion it is; ":" for the local administrator
}

// parseDiversions reads /var/lib/dpkg/diversions: three lines a record.
func parseDiversions(b []byte) ([]diversion, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(b) == 0 {
		return nil, nil
	}
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("reading /var/lib/dpkg/diversions of the base: it has %d lines, and three make a record", len(lines))
	}
	var all []diversion
	for i := 0; i < len(lines); i += 3 {
		d := diversion{strings.TrimPrefix(lines[i], "/"), strings.TrimPrefix(lines[i+1], "/"), lines[i+2]}
		for _, p := range []string{d.from, d.to} {
			if err := fstree.CheckPath(p); err != nil {
				return nil, fmt.Errorf("reading /var/lib/dpkg/diversions of the base: line %d: %w", i+1, err)
			}
		}
		if strings.HasSuffix(d.to, ".usr-is-merged") {
			continue // base-files guards the links of the merged /usr with them; nothing is really moved
		}
		all = append(all, d)
	}
	return all, nil
}

// divert gives the path that a package's file really gets.
func (b *builder) divert(p *pkg, name string) string {
	for _, d := range b.diverted {
		if d.from == name && d.pkg != p.Name {
			return d.to
		}
	}
	return name
}

// override is a record of dpkg-statoverride(1).
type override struct {
	mode     uint32
	uid, gid int
}

// parseOverrides reads /var/lib/dpkg/statoverride: owner, group, mode and path, a line each.
func (b *builder) parseOverrides(data []byte) (map[string]override, error) {
	all := make(map[string]override)
	n := 0
	for l := range bytes.Lines(data) {
		n++
		f := strings.SplitN(strings.TrimRight(string(l), "\n"), " ", 4)
		fail := func(err error) error {
			return fmt.Errorf("reading /var/lib/dpkg/statoverride of the base: line %d: %w", n, err)
		}
		if len(f) != 4 {
			return nil, fail(fmt.Errorf("%.60q is no record", l))
		}
		mode, err := strconv.ParseUint(f[2], 8, 12)
		if err != nil {
			return nil, fail(err)
		}
		o := override{mode: uint32(mode)}
		if o.uid, err = idOf(b.accounts.Passwd, f[0]); err != nil {
			return nil, fail(err)
		}
		if o.gid, err = idOf(b.accounts.Group, f[1]); err != nil {
			return nil, fail(err)
		}
		all[strings.TrimPrefix(f[3], "/")] = o
	}
	return all, nil
}

// idOf gives the id of a name in passwd or group, or the number that is written with a # before it.
func idOf(file []byte, name string) (int, error) {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		return strconv.Atoi(number)
	}
	for l := range bytes.Lines(file) {
		f := strings.Split(strings.TrimRight(string(l), "\n"), ":")
		if len(f) >= 3 && f[0] == name {
			return strconv.Atoi(f[2])
		}
	}
	return 0, fmt.Errorf("there is no %q", name)
}
