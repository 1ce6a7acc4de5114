package deb

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/hint"
)

// index makes a list of stanzas in short form: "name version; Field: value; …", one a line. Lines of three or more fields
// say what kind they are by their names.
func index(t *testing.T, text string) []*Catalogue {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		parts := strings.Split(line, "; ")
		name, version, _ := strings.Cut(parts[0], " ")
		if version == "" {
			version = "1"
		}
		arch := "Architecture: amd64\n"
		if strings.Contains(line, "Architecture:") {
			arch = ""
		}
		fmt.Fprintf(&b, "Package: %s\nVersion: %s\n%sFilename: pool/%s.deb\nSize: 1\nSHA256: %064x\n%s\n\n", name, version, arch, name, len(line), strings.Join(parts[1:], "\n"))
	}
	all, err := ReadCatalogue(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return []*Catalogue{all}
}

// solved resolves in a universe of one suite, and gives name=version of the choices, upgrades with a + behind.
func solved(t *testing.T, archive, base, request string, exclude ...string) (string, *Resolution, error) {
	t.Helper()
	return solve(t, NewUniverse("amd64", []List{{Suites: []string{"trixie", "stable"}, Catalogues: index(t, archive)}}), base, request, exclude...)
}

func solve(t *testing.T, u *Universe, base, request string, exclude ...string) (string, *Resolution, error) {
	t.Helper()
	p := Problem{Universe: u, Exclude: exclude}
	for x := index(t, base)[0]; len(p.Installed) < x.Len(); {
		p.Installed = append(p.Installed, x.Package(len(p.Installed)))
	}
	for f := range strings.FieldsSeq(request) {
		q, err := ParseRequest(f)
		if err != nil {
			t.Fatal(err)
		}
		p.Request = append(p.Request, q)
	}
	res, err := Resolve(p)
	if err != nil {
		return "", nil, err
	}
	var all []string
	for _, c := range res.Choices {
		s := c.Name
		if c.Version != "1" {
			s = c.String()
		}
		if c.Upgrades != "" {
			s += "+"
		}
		all = append(all, s)
	}
	return strings.Join(all, " "), res, nil
}

// TestResolve holds the answer to what apt gives for the same lists.
func TestResolve(t *testing.T) {
	for name, tc := range map[string]struct {
		archive, base, request string
		exclude                []string
		want                   string
	}{
		"a chain":                     {"a; Depends: b\nb; Pre-Depends: c (>= 2)\nc 2\nd", "", "a", nil, "a b c=2"},
		"the newest":                  {"a 1\na 1:0\na 9", "", "a", nil, "a=1:0"},
		"there already":               {"a; Depends: b (>= 1)\nb 1", "b 1", "a", nil, "a"},
		"installed but too old":       {"a; Depends: b (>= 2)\nb 2", "b 1", "a", nil, "a b=2+"},
		"an installed one is renewed": {"a 2", "a 1", "a", nil, "a=2+"},
		"the base's is newer":         {"a 1", "a 2", "a", nil, ""},
		"only the base has it":        {"b", "a 1", "a", nil, ""},
		"by version":                  {"a 1\na 2", "", "a=1", nil, "a"},
		// The requested package fulfils an alternative that comes up before it would (pango and fonts-liberation).
		"a request that fulfils an alternative": {"pango; Depends: fontconfig\nfontconfig; Depends: dejavu | liberation\ndejavu\nliberation", "", "pango liberation", nil, "fontconfig liberation pango"},
		// An alternative that is installed is as good as the first (supervisor, chromium: adduser).
		"an installed alternative": {"a; Depends: b | c\nb\nc", "c", "a", nil, "a"},
		// A package's relations are followed in their order, each to its end before the next (python3-django).
		"depth first": {"django; Depends: asgiref, python3:any\nasgiref; Depends: typing | python3-min, python3:any\ntyping\npython3; Provides: python3-min; Multi-Arch: allowed", "", "django", nil, "asgiref django python3 typing"},
		// What was chosen among alternatives makes way for what nothing else can replace (libreoffice-writer).
		"an alternative makes way":                 {"writer; Depends: base, core\nbase; Depends: nogui | core\nnogui; Depends: n; Conflicts: core\ncore; Conflicts: nogui\nn", "", "writer", nil, "base core n writer"},
		"what makes way for the other is replaced": {"a; Depends: b, c\nb; Depends: x | y\nx\ny\nc; Conflicts: x", "", "a", nil, "a b c y"},
		"the first alternative conflicts":          {"a; Depends: b | c\nb; Conflicts: keep\nc", "keep", "a", nil, "a c"},
		"the first alternative is impossible":      {"a; Depends: b | c\nb; Depends: nowhere\nc", "", "a", nil, "a c"},
		"a virtual package":                        {"a; Depends: mta\nexim; Provides: mta; Priority: optional\npostfix; Provides: mta; Priority: extra", "", "a", nil, "a exim"},
		"by priority":                              {"a; Depends: mta\nexim; Provides: mta; Priority: extra\npostfix; Provides: mta; Priority: standard", "", "a", nil, "a postfix"},
		"a virtual one that is installed":          {"a; Depends: mta\nexim; Provides: mta", "dma; Provides: mta", "a", nil, "a"},
		"a versioned virtual one":                  {"a; Depends: v (>= 2)\nb; Provides: v\nc; Provides: v (= 1)\nd; Provides: v (= 2)", "", "a", nil, "a d"},
		"a request that is virtual":                {"exim; Provides: mta", "", "mta", nil, "exim"},
		"real before virtual":                      {"a; Depends: v\nv\nw; Provides: v", "", "a", nil, "a v"},
		":any is one's own":                        {"a; Depends: b:any, c:native\nb; Multi-Arch: allowed\nc", "", "a", nil, "a b c"},
		"of all architectures":                     {"a; Depends: b\nb; Architecture: all", "", "a", nil, "a b"},
		// A source's parts are upgraded together (Upgrade-By-Source-Package).
		"siblings":                     {"libssl-dev 2; Source: openssl; Depends: libssl3 (= 2)\nlibssl3 2; Source: openssl\nopenssl 2; Source: openssl\nother 2", "libssl3 1; Source: openssl\nopenssl 1; Source: openssl\nother 1", "libssl-dev", nil, "libssl-dev=2 libssl3=2+ openssl=2+"},
		"siblings of another source":   {"new 2; Source: s (5)\nold 2; Source: s (4)", "old 1; Source: s (3)", "new", nil, "new=2"},
		"held back":                    {"new 2; Source: s\nold 2; Source: s", "old 1; Source: s; Status: hold ok installed", "new", nil, "new=2"},
		"broken by an upgrade":         {"a; Depends: c (>= 2)\nc 2; Breaks: d (<< 2)\nd 2", "c 1\nd 1", "a", nil, "a c=2+ d=2+"},
		"left without by an upgrade":   {"a; Depends: c (>= 2)\nc 2\nd 2; Depends: c (= 2)", "c 1\nd 1; Depends: c (= 1)", "a", nil, "a c=2+ d=2+"},
		"broken all along":             {"a", "d; Depends: nowhere", "a", nil, "a"},
		"excluded":                     {"a; Depends: dpkg, b\nb; Depends: debconf | c\nc", "", "a", []string{"dpkg", "debconf"}, "a b"},
		"own virtual name":             {"a; Provides: v; Conflicts: v", "", "a", nil, "a"},
		"a circle":                     {"a; Depends: b\nb; Depends: a", "", "a", nil, "a b"},
		"of another architecture":      {"a; Depends: b:i386 | c\nb\nc", "", "a", nil, "a c"},
		"foreign ones do not count":    {"a; Depends: b\nb", "b; Architecture: i386", "a", nil, "a b"},
		"twice in other words":         {"exim; Provides: mta", "", "mta exim", nil, "exim"},
		"an upgrade before a new one":  {"a; Depends: b (>= 2) | c (>= 2)\nb 2\nc 2", "c 1", "a", nil, "a c=2+"},
		"a requirement of the request": {"a; Depends: b (>= 2)\nb 2\nb 1", "", "a b", nil, "a b=2"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := solved(t, tc.archive, tc.base, tc.request, tc.exclude...)
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// TestWhy looks at what is said of a choice.
func TestWhy(t *testing.T) {
	_, res, err := solved(t, "a; Depends: b (>= 2)\nb 2; Source: s\nc 2; Source: s", "b 1; Source: s\nc 1; Source: s", "a")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, l := range res.Lock() {
		said = append(said, l.String()+" "+l.Why+" "+string(l.Upgrades))
		if err := l.Check(1); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(said, ", "); got != "a=1 requested , b=2 needed by a 1, c=2 built with b 1" {
		t.Error(got)
	}
	_, res, err = solved(t, "a; Depends: mta\nexim; Provides: mta\npostfix; Provides: mta", "", "a")
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "exim, postfix provide: exim is taken") {
		t.Errorf("%v, %v", res, err)
	}
}

// TestSuites chooses by suite.
func TestSuites(t *testing.T) {
	u := NewUniverse("amd64", []List{
		{Suites: []string{"trixie", "stable"}, Catalogues: index(t, "a 1; Depends: b\nb 1\nc 1")},
		{Suites: []string{"trixie-backports", "stable-backports"}, OnRequest: true, Catalogues: index(t, "a 2; Depends: b (>= 2), c\nb 2\nc 2")},
	})
	for request, want := range map[string]string{"a": "a b", "a/trixie-backports": "a=2 b=2 c", "a/stable-backports c": "a=2 b=2 c", "a=2": "", "a/trixie": "a b"} {
		got, _, err := solve(t, u, "", request)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", request, got, err, want)
		}
	}
}

// TestUnsolvable looks at the errors: what was asked for, and the way that led there.
func TestUnsolvable(t *testing.T) {
	for name, tc := range map[string]struct {
		archive, base, request string
		want, remedy           string
		usage                  bool
	}{
		"no such package":           {"postgresql-client\ncurl", "", "postgres-client", "there is no package postgres-client", `did you mean "postgresql-client"?`, true},
		"no such version":           {"curl 8", "", "curl=7", "there is no curl=7: of curl there is 8 in trixie, stable", "", true},
		"no such suite":             {"curl 8", "", "curl/sid", "there is no curl/sid", "", true},
		"several providers":         {"exim; Provides: mta\npostfix; Provides: mta", "", "mta", "mta is virtual: it is provided by exim, postfix", "name one of them", true},
		"two versions":              {"a 1\na 2\nb; Provides: c", "", "a=1 a=2", "a is asked for in the versions 1 and 2", "", true},
		"older than the base's":     {"a 1", "a 2", "a=1", "the base has a=2 already", "", true},
		"nothing of that name":      {"a; Depends: b\nb; Depends: c", "", "a", "a=1 needs b=1 needs c: there is no package c", "", false},
		"no such version below":     {"a; Depends: b (>= 2)\nb 1", "", "a", "a=1 needs b (>= 2): there is only b=1", "", false},
		"held back":                 {"a; Depends: b (>= 2)\nb 2", "b 1; Status: hold ok installed", "a", "the base holds b=1 back", "", false},
		"conflicts with the base":   {"a; Depends: b\nb; Conflicts: sysv", "systemd; Provides: sysv", "a", "a=1 needs b=1: b=1 conflicts with sysv, and so not with systemd=1, which the base has", "removes no package", false},
		"the base conflicts":        {"a", "b; Breaks: a", "a", "a=1: b=1 breaks a, and so not with a=1", "removes no package", false},
		"two requests conflict":     {"a; Conflicts: b\nb", "", "a b", "a=1 conflicts with b, and so not with b=1, which is chosen too", "leave one of the two out", false},
		"alternatives all conflict": {"a; Depends: b | c\nb; Conflicts: k\nc; Conflicts: k", "k", "a", "b=1 conflicts with k", "", false},
		"the base would be broken":  {"a; Depends: c (>= 2)\nc 2", "c 1\nd 1; Depends: c (= 1)", "a", "the base's d=1 needs c (= 1)", "", false},
		"another architecture":      {"a; Depends: b:i386\nb", "", "a", "b:i386 is of another architecture", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := solved(t, tc.archive, tc.base, tc.request)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(hint.Of(err), tc.remedy) || (hint.KindOf(err) == hint.KindUsage) != tc.usage {
				t.Errorf("%q, %v (hint %q)", got, err, hint.Of(err))
			}
		})
	}
	_, _, err := solved(t, "a; Depends: b (>= x\nb", "", "a")
	if err == nil || !strings.Contains(err.Error(), "a=1: Depends") {
		t.Errorf("a relation that cannot be read: %v", err)
	}
	_, _, err = solved(t, "a; Depends: b\nb; Depends: c", "", "a")
	if e, ok := errors.AsType[*UnmetError](err); !ok || len(e.Chain) != 2 {
		t.Errorf("%#v", err)
	}
}
