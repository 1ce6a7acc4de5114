package deb

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const debianSources = `Types: deb
# http://snapshot.example/archive/debian/20260301T000000Z
URIs: http://archive.example/debian/
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb deb-src
# http://snapshot.example/archive/debian-security/20260302T000000Z
URIs: http://archive.example/debian-security
Suites: trixie-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEZ
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example
Suites: x
Components: main

Types: deb-src
URIs: http://source.example
Suites: x
Components: main
`

const sourcesList = `# deb http://snapshot.example/archive/debian/20260301T000000Z bookworm main
deb http://archive.example/debian bookworm main	# the base
deb-src http://archive.example/debian bookworm main

deb [arch=amd64,arm64 signed-by=/etc/apt/keyrings/k.asc,ABCDEF0123456789ABCDEF0123456789ABCDEF01! trusted=yes] https://other.example/apt stable main extra
deb http://archive.example/debian bookworm contrib
`

func TestSources(t *testing.T) {
	got, err := Sources(map[string][]byte{
		"etc/apt/sources.list": []byte(sourcesList), "etc/apt/sources.list.d/debian.sources": []byte(debianSources),
		"etc/apt/sources.list.d/old.list.save": []byte("nonsense"), "usr/share/keyrings/x.pgp": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	const snap = "http://snapshot.example/archive/"
	file, ring := "/etc/apt/sources.list.d/debian.sources", SignedBy{Files: []string{"/usr/share/keyrings/debian-archive-keyring.pgp"}}
	want := []Source{
		{URI: "http://archive.example/debian", Suite: "bookworm", Components: []string{"main", "contrib"}, Snapshot: snap + "debian/20260301T000000Z", From: "/etc/apt/sources.list:2"},
		{URI: "https://other.example/apt", Suite: "stable", Components: []string{"main", "extra"}, Arches: []string{"amd64", "arm64"}, Trusted: true, From: "/etc/apt/sources.list:5",
			SignedBy: SignedBy{Files: []string{"/etc/apt/keyrings/k.asc"}, Fingerprints: []string{"ABCDEF0123456789ABCDEF0123456789ABCDEF01!"}}},
		{URI: "http://archive.example/debian", Suite: "trixie", Components: []string{"main", "contrib"}, Snapshot: snap + "debian/20260301T000000Z", From: file + ":1", SignedBy: ring},
		{URI: "http://archive.example/debian", Suite: "trixie-updates", Components: []string{"main", "contrib"}, Snapshot: snap + "debian/20260301T000000Z", From: file + ":1", SignedBy: ring},
		{URI: "http://archive.example/debian-security", Suite: "trixie-security", Components: []string{"main"}, Snapshot: snap + "debian-security/20260302T000000Z", From: file + ":8",
			SignedBy: SignedBy{Keys: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n-----END PGP PUBLIC KEY BLOCK-----\n"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := got[0].AtTime("20270101T000000Z"); s != snap+"debian/20270101T000000Z" {
		t.Error(s)
	}
	if s := got[0].AtTime("base"); s != got[0].Snapshot || got[1].AtTime("base") != "" {
		t.Error(s)
	}
}

// TestSourceArches: what is added to apt's architectures takes none away, and sources for other ones stay apart.
func TestSourceArches(t *testing.T) {
	got, err := Sources(map[string][]byte{"etc/apt/sources.list": []byte("deb [arch+=arm64] http://a.example/debian x main\ndeb [arch-=i386] http://a.example/debian x contrib\n" +
		"deb [arch=arm64] http://a.example/debian x extra\n"), "etc/apt/sources.list.d/b.sources": []byte("Types: deb\nURIs: http://b.example\nSuites: x\nComponents: main\nArchitectures-Add: arm64\n")})
	if err != nil {
		t.Fatal(err)
	}
	const file = "/etc/apt/sources.list"
	want := []Source{
		{URI: "http://a.example/debian", Suite: "x", Components: []string{"main", "contrib"}, From: file + ":1"},
		{URI: "http://a.example/debian", Suite: "x", Components: []string{"extra"}, Arches: []string{"arm64"}, From: file + ":3"},
		{URI: "http://b.example", Suite: "x", Components: []string{"main"}, From: file + ".d/b.sources:1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSourcesRefused(t *testing.T) {
	for text, want := range map[string]string{
		"http://x.example y main\n":               "x.list:1: it begins with neither",
		"\ndeb http://x.example\n":                "x.list:2: a source has",
		"deb ftp://x.example y main":              `scheme "ftp"`,
		"deb [a=b http://x.example y main":        "bracket",
		"deb http://x.example ./":                 "flat archive",
		"deb http://x.example y":                  "names no component",
		"deb x.example/debian y main":             "no URI",
		"deb http://x.example ../y main":          "suite",
		"deb http://x.example y ../main":          "component",
		"deb [arch=A] http://x.example y main":    "architecture",
		"deb [signed-by=k] http://x.example y m":  "neither a path nor a fingerprint",
		"deb http://user:secret@x.example/ y ./x": "component",
	} {
		_, err := ParseList([]byte(text), "x.list")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"Types: deb\nSuites: x\n":                             "x.sources:1: a source has URIs",
		"\n\nTypes: deb\nURIs: http://x.example\nSuites: x\n": "x.sources:3",
		"nonsense": "x.sources: line 1",
		"Types: deb\nURIs: http://x.example\nSuites: a\nComponents: ../b": "component",
	} {
		if _, err := ParseSources([]byte(text), "x.sources"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestKeyrings(t *testing.T) {
	files := map[string][]byte{"usr/share/keyrings/a.pgp": []byte("a"), "etc/apt/trusted.gpg.d/b.asc": []byte("b"), "etc/apt/trusted.gpg": []byte("c"), "etc/apt/trusted.gpg.d/readme": nil}
	names := func(s Source) string {
		rings, err := s.Keyrings(files)
		if err != nil {
			return err.Error()
		}
		return strings.Join(sortedKeys(rings), " ")
	}
	if got := names(Source{SignedBy: SignedBy{Files: []string{"/usr/share/keyrings/../keyrings/a.pgp"}}}); got != "/usr/share/keyrings/../keyrings/a.pgp" {
		t.Error(got)
	}
	if got := names(Source{}); got != "/etc/apt/trusted.gpg /etc/apt/trusted.gpg.d/b.asc" {
		t.Error(got)
	}
	if got := names(Source{From: "x:1", SignedBy: SignedBy{Files: []string{"/no"}}}); got != "x:1 names the keyring /no, which is not there" {
		t.Error(got)
	}
	if got := names(Source{From: "x:1", SignedBy: SignedBy{Keys: "k"}}); got != "Signed-By of x:1" {
		t.Error(got)
	}
}

const release = `Origin: Debian
Suite: stable-security
Codename: trixie-security
Date: Tue, 24 Nov 2026 00:34:34 UTC
Valid-Until: Tue, 1 Dec 2026 00:34:34 UTC
Acquire-By-Hash: yes
NotAutomatic: yes
Architectures: all amd64
Components: updates/main
SHA256:
 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  10 main/binary-amd64/Packages
 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb   7 main/binary-amd64/Packages.xz
`

func TestRelease(t *testing.T) {
	r, err := ParseRelease([]byte(release))
	if err != nil {
		t.Fatal(err)
	}
	if !r.ByHash || !r.NotAutomatic || r.ValidUntil.Day() != 1 || r.Date.Hour() != 0 || !slices.Equal(r.Components, []string{"updates/main"}) {
		t.Errorf("%+v", r)
	}
	for _, component := range []string{"main", "updates/main"} {
		ix, ok, err := r.Index(component, "amd64")
		if err != nil || !ok || ix.Path != "main/binary-amd64/Packages.xz" || ix.Size != 7 || ix.Plain.Size != 10 || ix.HashPath() != "main/binary-amd64/by-hash/SHA256/"+strings.Repeat("b", 64) {
			t.Errorf("%s: %+v, %v, %v", component, ix, ok, err)
		}
	}
	if _, ok, err := r.Index("contrib", "amd64"); ok || err != nil {
		t.Errorf("contrib: %v, %v", ok, err)
	}
	for _, suite := range []string{"stable-security", "trixie-security"} {
		if err := r.Check(suite, r.Date, false); err != nil {
			t.Error(err)
		}
	}
	for old, bad := range map[string]string{
		"Date: Tue, 24 Nov 2026 00:34:34 UTC": "Date: today", "Valid-Until: Tue, 1 Dec": "Valid-Until: 1 Dec", "  10 main": "  -1 main", "aaaa  10": "  10", "SHA256:": "MD5Sum:", "Origin": "Origin: x\n\nOrigin",
	} {
		if _, err := ParseRelease([]byte(strings.Replace(release, old, bad, 1))); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

// FuzzSources: any bytes are sources that can be asked for, or an error.
func FuzzSources(f *testing.F) {
	f.Add([]byte(sourcesList), false)
	f.Add([]byte(debianSources), true)
	f.Fuzz(func(t *testing.T, data []byte, deb822 bool) {
		parse := ParseList
		if deb822 {
			parse = ParseSources
		}
		all, err := parse(data, "x")
		if err != nil {
			return
		}
		for _, s := range all {
			if err := s.Check(); err != nil {
				t.Errorf("%+v: %v", s, err)
			}
			_, _ = s.Keyrings(nil)
		}
	})
}
