package deb

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
)

// Source is one suite of an archive (sources.list(5)).
type Source struct {
	URI        string // without slash at its end
	Suite      string
	Components []string
	// Arches limits the architectures; none for all.
	Arches []string
	// SignedBy names the keys; where it is empty, all that apt trusts hold.
	SignedBy SignedBy
	// Trusted is set where the source says [trusted=yes], so that no signature is asked for.
	Trusted bool
	// Snapshot is the archive as it was at one time, from a comment that images made from a snapshot carry; "" for none.
	Snapshot string
	// From is the file and line that the source stands in.
	From string
}

// SignedBy says which keys sign a source.
type SignedBy struct {
	Files        []string // paths of keyrings; apt's own configuration has absolute ones only
	Fingerprints []string // upper-case hex; a ! at the end excludes subkeys
	Keys         string   // armored, written into the source itself
}

// Empty says that nothing is named.
func (s SignedBy) Empty() bool { return len(s.Files) == 0 && len(s.Fingerprints) == 0 && s.Keys == "" }

func (s Source) String() string { return s.URI + " " + s.Suite }

// maxSources bounds what a file names.
const maxSources = 1000

// snapshotRE finds the URL of an archive as it was at a time, in a comment.
var snapshotRE = lazyre.New(`^#.*?(https?://[^\s]+/([0-9]{8}T[0-9]{6}Z))/?(\s|$)`)

// timeRE matches the time in the URL of a snapshot.
var timeRE = lazyre.New(`^[0-9]{8}T[0-9]{6}Z$`)

// AtTime gives the URL of the source's archive as it was at a time, YYYYMMDDTHHMMSSZ; or, for "base", when the base was
// made. It is "" where the source has no snapshot to start from.
func (s Source) AtTime(at string) string {
	if s.Snapshot == "" || at == "base" {
		return s.Snapshot
	}
	return s.Snapshot[:strings.LastIndexByte(s.Snapshot, '/')+1] + at
}

// CheckSnapshot says what is wrong with the value of --snapshot.
func CheckSnapshot(at string) error {
	if at != "base" && !timeRE().MatchString(at) {
		return fmt.Errorf("snapshot = %.60q is neither \"base\" nor a time such as 20260301T000000Z", at)
	}
	return nil
}

// Sources reads apt's configuration from its files: etc/apt/sources.list, and etc/apt/sources.list.d/*.list and *.sources.
// files are by path without leading slash; others among them are passed over.
func Sources(files map[string][]byte) ([]Source, error) {
	var all []Source
	for _, p := range sortedKeys(files) {
		parse := ParseList
		switch dir := path.Dir(p); {
		case p == "etc/apt/sources.list", dir == "etc/apt/sources.list.d" && path.Ext(p) == ".list":
		case dir == "etc/apt/sources.list.d" && path.Ext(p) == ".sources":
			parse = ParseSources
		default:
			continue
		}
		some, err := parse(files[p], "/"+p)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return merged(all), nil
}

// merged makes one source of several for the same suite of an archive and the same architectures.
func merged(all []Source) []Source {
	var one []Source
	for _, s := range all {
		i := slices.IndexFunc(one, func(o Source) bool { return o.URI == s.URI && o.Suite == s.Suite && slices.Equal(o.Arches, s.Arches) })
		if i < 0 {
			one = append(one, s)
			continue
		}
		for _, c := range s.Components {
			if !slices.Contains(one[i].Components, c) {
				one[i].Components = append(one[i].Components[:len(one[i].Components):len(one[i].Components)], c)
			}
		}
		if one[i].SignedBy.Empty() {
			one[i].SignedBy = s.SignedBy
		}
	}
	return one
}

// ParseList reads sources in one-line style: deb [option=value …] URI SUITE COMPONENT…
func ParseList(data []byte, file string) ([]Source, error) {
	var all []Source
	snapshot := ""
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if m := snapshotRE().FindStringSubmatch(line); m != nil {
			snapshot = m[1]
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), "\t", " "), " ")
		if kind == "" || kind == "deb-src" {
			continue
		}
		s := Source{From: fmt.Sprintf("%s:%d", file, n), Snapshot: snapshot}
		err := errors.New("it begins with neither deb nor deb-src")
		if kind == "deb" {
			err = s.parseLine(strings.TrimSpace(rest))
		}
		if err == nil && len(all) >= maxSources {
			err = fmt.Errorf("there are more than %d sources", maxSources)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.From, err)
		}
		all, snapshot = append(all, s), ""
	}
	return all, nil
}

func (s *Source) parseLine(rest string) error {
	if strings.HasPrefix(rest, "[") {
		inside, behind, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return errors.New("a bracket is not closed")
		}
		for _, o := range strings.Fields(inside) {
			key, value, _ := strings.Cut(o, "=")
			if err := s.option(key, strings.Split(value, ",")); err != nil {
				return err
			}
		}
		rest = behind
	}
	f := strings.Fields(rest)
	if len(f) < 2 {
		return errors.New("a source has a URI, a suite and components")
	}
	s.URI, s.Suite, s.Components = f[0], f[1], f[2:]
	return s.Check()
}

// option takes over an option of either style.
func (s *Source) option(name string, values []string) error {
	switch strings.ToLower(name) {
	case "arch", "architectures":
		s.Arches = values
	case "trusted":
		s.Trusted = len(values) > 0 && yes(values[0])
	case "signed-by":
		for _, v := range values {
			switch fp := strings.ToUpper(strings.TrimSuffix(v, "!")); {
			case strings.ContainsAny(v, "/."):
				s.SignedBy.Files = append(s.SignedBy.Files, v)
			case len(fp) >= 40 && strings.Trim(fp, "0123456789ABCDEF") == "":
				s.SignedBy.Fingerprints = append(s.SignedBy.Fingerprints, strings.ToUpper(v))
			default:
				return fmt.Errorf("signed-by: %.80q is neither a path nor a fingerprint", v)
			}
		}
	}
	return nil // what is left is about languages, pdiffs, how apt fetches, and architectures beside the machine's own (arch+)
}

func yes(v string) bool {
	switch strings.ToLower(v) {
	case "yes", "true", "with", "on", "enable", "1":
		return true
	}
	return false
}

// Check says what is wrong with the URI, the suite or the components, and takes slashes off the URI's end.
func (s *Source) Check() error {
	s.URI = strings.TrimRight(s.URI, "/")
	u, err := url.Parse(s.URI)
	if err != nil || u.Host == "" && u.Scheme != "file" {
		return fmt.Errorf("%.80q is no URI of an archive", s.URI)
	}
	if u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
		return fmt.Errorf("the archive %s has the scheme %q, and jubako fetches http, https and file", u.Redacted(), u.Scheme)
	}
	if strings.HasSuffix(s.Suite, "/") {
		return fmt.Errorf("%s %s is a flat archive, without suites, which jubako does not read", u.Redacted(), s.Suite)
	}
	if err := CheckPath(s.Suite); err != nil {
		return fmt.Errorf("the suite %.60q is none", s.Suite)
	}
	if len(s.Components) == 0 {
		return fmt.Errorf("%s %s names no component", u.Redacted(), s.Suite)
	}
	for _, c := range s.Components {
		if err := CheckPath(c); err != nil {
			return fmt.Errorf("the component %.60q is none", c)
		}
	}
	for _, a := range s.Arches {
		if !archName(a) {
			return fmt.Errorf("%.60q is no architecture", a)
		}
	}
	return nil
}

// ParseSources reads sources in deb822 style.
func ParseSources(data []byte, file string) ([]Source, error) {
	text := string(data)
	var all []Source
	for sc := (scanner{data: text}); ; {
		from := sc.at
		var s Stanza
		more, err := sc.stanza(func(name, value string) error {
			s = append(s, Field{name, withoutComments(value)})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if !more {
			return all, nil
		}
		// What lies before the stanza, and its comments, is part of its text here.
		stanza := text[from:sc.at]
		lead := len(stanza) - len(strings.TrimLeft(stanza, " \t\r\n"))
		at := fmt.Sprintf("%s:%d", file, 1+strings.Count(text[:from+lead], "\n"))
		some, err := sourcesOf(s, at)
		if err == nil && len(all)+len(some) > maxSources {
			err = fmt.Errorf("there are more than %d sources", maxSources)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", at, err)
		}
		for line := range strings.Lines(stanza) {
			if m := snapshotRE().FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				for i := range some {
					some[i].Snapshot = m[1]
				}
			}
		}
		all = append(all, some...)
	}
}

// sourcesOf makes a source of every combination of a stanza's URIs and suites.
func sourcesOf(st Stanza, at string) ([]Source, error) {
	if v, ok := st.Lookup("Enabled"); ok && !yes(v) || !slices.Contains(strings.Fields(st.Get("Types")), "deb") {
		return nil, nil
	}
	model := Source{Components: strings.Fields(st.Get("Components")), From: at}
	for _, f := range st {
		if strings.EqualFold(f.Name, "Signed-By") && strings.Contains(f.Value, "-----BEGIN PGP") {
			model.SignedBy.Keys = inlineKey(f.Value)
			continue
		}
		if err := model.option(f.Name, strings.Fields(strings.ReplaceAll(f.Value, ",", " "))); err != nil {
			return nil, err
		}
	}
	uris, suites := strings.Fields(st.Get("URIs")), strings.Fields(st.Get("Suites"))
	if len(uris) == 0 || len(suites) == 0 {
		return nil, errors.New("a source has URIs and Suites")
	}
	if len(uris)*len(suites) > maxSources {
		return nil, fmt.Errorf("there are more than %d sources", maxSources)
	}
	var all []Source
	for _, u := range uris {
		for _, suite := range suites {
			s := model
			s.URI, s.Suite = u, suite
			if err := s.Check(); err != nil {
				return nil, err
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// inlineKey takes the indentation off a key that is written into a source; a lone dot stands for an empty line.
func inlineKey(v string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(v, "\n") {
		if line = strings.TrimSpace(line); line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return strings.TrimLeft(b.String(), "\n")
}

// Keyrings gives the keys that a source is signed by, each keyring by its path: those that it names, else those that apt
// trusts. files are by path without leading slash.
func (s Source) Keyrings(files map[string][]byte) (map[string][]byte, error) {
	rings := make(map[string][]byte)
	if s.SignedBy.Keys != "" {
		rings["Signed-By of "+s.From] = []byte(s.SignedBy.Keys)
	}
	for _, p := range s.SignedBy.Files {
		b, ok := files[strings.TrimLeft(path.Clean(p), "/")]
		if !ok {
			return nil, fmt.Errorf("%s names the keyring %s, which is not there", s.From, p)
		}
		rings[p] = b
	}
	if len(rings) > 0 {
		return rings, nil
	}
	for p, b := range files {
		if p == "etc/apt/trusted.gpg" || path.Dir(p) == "etc/apt/trusted.gpg.d" && (path.Ext(p) == ".gpg" || path.Ext(p) == ".asc") {
			rings["/"+p] = b
		}
	}
	return rings, nil
}
