package deb

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `# made for this test
Package: curl
Version: 8.14.1-2
Architecture: amd64
Depends: libc6 (>= 2.34), libcurl4t64 (= 8.14.1-2),
# a comment between
 zlib1g (>= 1:1.1.4)
Conffiles:
 /etc/a 0123
 /etc/b 4567 obsolete
Description: transfer
 one line
 .
 another

Package: x
Version: 1
`

func TestStanzas(t *testing.T) {
	got, err := ParseStanzas([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1].Get("version") != "1" {
		t.Fatalf("%v", got)
	}
	if d := got[0].Get("Depends"); d != "libc6 (>= 2.34), libcurl4t64 (= 8.14.1-2),\n zlib1g (>= 1:1.1.4)" {
		t.Errorf("Depends: %q", d)
	}
	if c := got[0].Get("Conffiles"); c != "\n /etc/a 0123\n /etc/b 4567 obsolete" {
		t.Errorf("Conffiles: %q", c)
	}
	plain := strings.Replace(strings.TrimPrefix(sample, "# made for this test\n"), "# a comment between\n", "", 1)
	if back := string(got[1].Append(append(got[0].Append(nil), '\n'))); back != plain {
		t.Errorf("written back:\n%s", cmp.Diff(plain, back))
	}
	s := got[0].Clone()
	s.Set("status", "install ok installed")
	s.Set("Version", "9")
	s.Delete("depends")
	if got[0].Get("Version") != "8.14.1-2" || s.Get("Version") != "9" || s.Get("Status") == "" || s.Get("Depends") != "" {
		t.Errorf("changed: %v", s)
	}
}

func TestStanzasRefused(t *testing.T) {
	for text, want := range map[string]string{
		"Package: a\nno field\n":       "line 2",
		" begins in the middle\n":      "line 1",
		": nameless\n":                 "line 1",
		"Package: a\nPackage: b\n":     "twice",
		"A: 1\n\n\nB: 2\nC d\n":        "line 5",
		strings.Repeat("A: 1\n\n", 3):  "",
		"A: 1\n \t \nB: 2":             "",
		"":                             "",
		"Package: a\r\nVersion: 1\r\n": "",
	} {
		_, err := ParseStanzas([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %q", text, err, want)
		}
	}
	if _, err := ParseControl([]byte("A: 1\n\nB: 2\n")); err == nil {
		t.Error("two stanzas passed for a control file")
	}
}

// sorted holds versions, each older than the next.
var sorted = []Version{
	"0~~a", "0~", "0-0~1", "0", "0.0~rc1", "0.0", "0.0-1~bpo1", "0.0-1", "0.0-1a", "0.0-1+b1", "0.0-1+deb13u1", "0.0-1+deb13u10", "0.0-1.1",
	"0.0a", "0.0a1", "0.0+", "0.0.1", "0.1", "0.10", "1", "1.0000000000000000000000000000000000000009", "1.1234567890123456789012345678901234567890",
	"1.2234567890123456789012345678901234567890", "9", "1:0", "1:1.0~rc1-1", "1:1.0-1", "1:1.0-2-1", "2:0", "10:0",
}

func TestVersionOrder(t *testing.T) {
	sign := func(n int) int { return max(-1, min(1, n)) }
	for i, a := range sorted {
		if err := a.Check(); err != nil {
			t.Error(err)
		}
		for j, b := range sorted {
			if got := a.Compare(b); got != sign(i-j) {
				t.Errorf("%s compared with %s: %d", a, b, got)
			}
		}
	}
	for _, equal := range [][2]Version{{"1.0", "0:1.0"}, {"1.0-0", "1.0"}, {"1.007", "1.7"}, {"1.0", "1.0-"}, {"1.a", "1.a0"}} {
		if equal[0].Compare(equal[1]) != 0 {
			t.Errorf("%v are not equal", equal)
		}
	}
	for _, bad := range []Version{"", "a", "1:", ":1", "x:1", "1_0", "1-", "1.0-1_2", "9999999999:1", "1 2", "-1"} {
		if bad.Check() == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

// TestVersionOrderIsDpkgs asks dpkg, where it is there.
func TestVersionOrderIsDpkgs(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("dpkg is not installed")
	}
	for i, a := range sorted {
		b := sorted[(i*7+3)%len(sorted)]
		err := exec.Command(dpkg, "--compare-versions", string(a), "lt", string(b)).Run()
		if (err == nil) != (a.Compare(b) < 0) {
			t.Errorf("dpkg does not agree on %s and %s", a, b)
		}
	}
}

func TestRelations(t *testing.T) {
	got, err := ParseRelations("libc6 (>= 2.34), a|b:any (<<1:2-3)\n | c [!i386 !s390x], python3:native(= 3.13~), old (< 2),")
	if err != nil {
		t.Fatal(err)
	}
	want := []Alternatives{
		{{Name: "libc6", Op: ">=", Version: "2.34"}},
		{{Name: "a"}, {Name: "b", Arch: "any", Op: "<<", Version: "1:2-3"}, {Name: "c", Arches: []string{"!i386", "!s390x"}}},
		{{Name: "python3", Arch: "native", Op: "=", Version: "3.13~"}},
		{{Name: "old", Op: "<=", Version: "2"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := got[1].String(); s != "a | b:any (<< 1:2-3) | c [!i386 !s390x]" {
		t.Error(s)
	}
	if c := got[1][2]; c.For("i386") || !c.For("arm64") || !(Relation{Arches: []string{"linux-any"}}).For("arm64") || (Relation{Arches: []string{"amd64"}}).For("arm64") {
		t.Error("lists of architectures are misread")
	}
	for _, r := range []struct {
		op   string
		v    Version
		want bool
	}{{"", "1", true}, {"<<", "1", true}, {"<<", "2", false}, {"<=", "2", true}, {"=", "2", true}, {"=", "2.0", false}, {">=", "2", true}, {">>", "2", false}, {">>", "2.1", true}} {
		if got := (Relation{Name: "a", Op: r.op, Version: "2"}).Allows(r.v); got != r.want {
			t.Errorf("%s (%s 2): %v", r.v, r.op, got)
		}
	}
	for _, bad := range []string{"a b", "a (1)", "a (>= )", "a (>= 1", "a (>= 1) b", "A!", "a | ", "a [", "a []", "a [x !y]", "a:", "a:B", "(>= 1)", "a <!nocheck>", "a (=> 1)"} {
		if r, err := ParseRelations(bad); err == nil {
			t.Errorf("%q passed as %v", bad, r)
		}
	}
}

func TestStatus(t *testing.T) {
	s, err := ParseStatus([]byte(`Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.1-1)
Version: 3.0.1-1+b1
Multi-Arch: same

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: base-files
Status: hold ok triggers-pending
Essential: yes
Architecture: amd64
Version: 13.8
`))
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Packages()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Stanzas) != 3 || len(all) != 2 || all[0].Source != "openssl" || all[0].SourceVersion != "3.0.1-1" || !all[1].Essential || all[1].Source != "base-files" || all[1].SourceVersion != "13.8" {
		t.Errorf("%+v", all)
	}
	if _, ok := s.Find("gone", ""); ok {
		t.Error("a removed package was found")
	}
	if st, ok := s.Find("libssl3", "amd64"); !ok || st.Get("Multi-Arch") != "same" {
		t.Errorf("libssl3: %v", st)
	}
	d, err := ParseStatusD(map[string][]byte{"tzdata": []byte("Package: tzdata\nVersion: 1\nArchitecture: all\n"), "tzdata.md5sums": []byte("0123  usr/x\n")})
	if err != nil || len(d.Stanzas) != 1 || !d.Stanzas[0].Installed() {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := ParseStatus([]byte("Version: 1\n")); err == nil {
		t.Error("a stanza without a name passed")
	}
}
