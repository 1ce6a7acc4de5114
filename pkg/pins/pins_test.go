package pins

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"

	"os"
)

var digest = "sha256:" + strings.Repeat("a", 64)

// sample is a file with all sections.
func sample() *File {
	f := New(Base{Name: "reg.example:5000/team/base:1", Digest: digest, Platforms: []Platform{{"linux/amd64", digest}}})
	sum := strings.Repeat("b", 64)
	f.Debian = &Debian{
		Exclude: []string{"dpkg"},
		Sources: []Source{{URI: "http://archive.example/debian", Suite: "trixie", Components: []string{"main"}, Date: time.Date(2026, 11, 21, 9, 15, 44, 0, time.UTC), InRelease: digest,
			SignedBy: []string{"4CB5"}, Snapshot: "http://snapshot.example/archive/debian/20261121T091544Z"}},
		Closures: []Closure{{Platform: "linux/amd64", Request: []string{"curl"}, Installed: digest, Packages: []Package{
			{Name: "curl", Version: "8.14.1-2+deb13u7", Arch: "amd64", Size: 12, Path: "pool/main/c/curl/curl_8_amd64.deb", SHA256: sum, Why: "requested"},
			{Name: "libssl3t64", Version: "3.5.5-1", Arch: "amd64", Size: 13, Path: "pool/o.deb", SHA256: sum, Why: "needed by curl", Upgrades: "3.5.4-1"},
		}}},
	}
	return f
}

const written = "# Written by `jubako lock`, which also renews it: do not edit. Keep it under version control beside uv.lock.\n" + `version = 1

[base]
name = "reg.example:5000/team/base:1"
digest = "DIGEST"

[[base.platform]]
platform = "linux/amd64"
digest = "DIGEST"

[debian]
exclude = ["dpkg"]

[[debian.source]]
uri = "http://archive.example/debian"
suite = "trixie"
components = ["main"]
date = 2026-11-21T09:15:44Z
inrelease = "DIGEST"
signed-by = ["4CB5"]
snapshot = "http://snapshot.example/archive/debian/20261121T091544Z"

[[debian.closure]]
platform = "linux/amd64"
request = ["curl"]
installed = "DIGEST"
package = [
  { name = "curl", version = "8.14.1-2+deb13u7", arch = "amd64", source = 0, size = 12, path = "pool/main/c/curl/curl_8_amd64.deb", sha256 = "SUM", why = "requested" },
  { name = "libssl3t64", version = "3.5.5-1", arch = "amd64", source = 0, size = 13, path = "pool/o.deb", sha256 = "SUM", why = "needed by curl", upgrades = "3.5.4-1" },
]
`

func TestFile(t *testing.T) {
	want := strings.NewReplacer("DIGEST", digest, "SUM", strings.Repeat("b", 64)).Replace(written)
	f := sample()
	if got := string(f.Bytes()); got != want {
		t.Fatal(cmp.Diff(want, got))
	}
	file := filepath.Join(t.TempDir(), Name)
	if got, err := Read(file); got != nil || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	for range 2 {
		if err := f.Write(file); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".jubako*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, got); d != "" {
		t.Error(d)
	}
	c, ok := got.Debian.Closure("linux/amd64", []string{"curl"}, nil)
	if !ok || string(c.Locked()[1].Upgrades) != "3.5.4-1" {
		t.Errorf("%v, %v", c, ok)
	}
	if d := cmp.Diff(c.Packages, Packages(c.Locked())); d != "" {
		t.Error(d)
	}
	for _, other := range []string{"linux/arm64", "linux/amd64"} {
		if _, ok := got.Debian.Closure(other, []string{"curl", "wget"}, nil); ok {
			t.Errorf("%s: a closure of another request", other)
		}
	}
}

func TestPinned(t *testing.T) {
	f := sample()
	for ref, want := range map[string]string{
		"reg.example:5000/team/base:1": "reg.example:5000/team/base@" + digest,
		"reg.example:5000/team/base:2": "",
	} {
		src, ok := f.Pinned(base.Source{Kind: base.Registry, Ref: ref})
		if ok != (want != "") || ok && src.Ref != want {
			t.Errorf("%s: %s, %v; want %q", ref, src, ok, want)
		}
	}
	if _, ok := (*File)(nil).Pinned(base.Source{Ref: "x"}); ok {
		t.Error("no file, and it pins")
	}
	same := &base.Opened{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}}
	if err := f.Holds(same); err != nil {
		t.Error(err)
	}
	if err := f.Holds(&base.Opened{}); hint.KindOf(err) != hint.KindCheck || hint.Of(err) == "" {
		t.Errorf("another digest: %v", err)
	}
	if b := BaseOf("x", same, v1.Platform{OS: "linux", Architecture: "arm64"}); len(b.Platforms) != 1 || b.Platforms[0].Platform != "linux/arm64" || b.Digest != digest {
		t.Errorf("%+v", b)
	}
}

func TestRefused(t *testing.T) {
	good := string(sample().Bytes())
	for name, change := range map[string][2]string{
		"version": {"version = 1", "version = 2"}, "no name": {`"reg.example:5000/team/base:1"`, `""`}, "digest": {digest, "sha256:abc"},
		"unknown key": {"[base]", "[base]\nmore = 1"}, "platform": {`"linux/amd64"`, `"a/b/c/d/e"`}, "no TOML": {"version = 1", "["}, "path": {"pool/o.deb", "../o.deb"},
		"size": {"size = 13", "size = -1"}, "source": {"source = 0, size = 13", "source = 1, size = 13"}, "hash": {strings.Repeat("b", 64), "b"}, "URI": {"http://archive.example", "ftp://x"},
		"twice": {"libssl3t64", "curl"}, "request": {`request = ["curl"]`, `request = ["-x"]`}, "no request": {`request = ["curl"]`, `request = []`}, "scheme": {"http://snapshot.example", "javascript:x"},
		"package's version": {"3.5.5-1", "x"},
	} {
		file := filepath.Join(t.TempDir(), Name)
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); hint.KindOf(err) != hint.KindUsage || hint.Of(err) == "" || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	odd := New(Base{Name: "oci:\x01\x7f\"\\\té", Digest: digest})
	if back, err := Parse(odd.Bytes()); err != nil || back.Base.Name != odd.Base.Name {
		t.Errorf("%s: %v", odd.Bytes(), err)
	}
}

func TestMoved(t *testing.T) {
	old, fresh := sample().Debian, sample().Debian
	if said := Moved(old, fresh); said != nil {
		t.Errorf("nothing has moved: %q", said)
	}
	c := &fresh.Closures[0]
	c.Packages[0].Version = "9"
	c.Packages[1] = Package{Name: "libx", Version: "1", Why: "needed by curl"}
	want := []string{"curl 9 was 8.14.1-2+deb13u7 (linux/amd64)", "libx 1 is new: needed by curl (linux/amd64)", "libssl3t64 3.5.5-1 is no longer needed (linux/amd64)"}
	if said := Moved(old, fresh); !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
	if said := Moved(old, nil); len(said) != 1 {
		t.Errorf("%q", said)
	}
	if said := Moved(nil, fresh); len(said) != 2 {
		t.Errorf("%q", said)
	}
}

// FuzzLockFile holds that what is read and written is read the same.
func FuzzLockFile(f *testing.F) {
	f.Add(sample().Bytes())
	f.Add(New(Base{Name: "x", Digest: digest}).Bytes())
	built := New(Base{Name: "x", Digest: digest})
	built.Build = sampleBuild()
	f.Add(built.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(l.Bytes())
		if err != nil || !bytes.Equal(again.Bytes(), l.Bytes()) {
			t.Errorf("%q is written %q: %v", b, l.Bytes(), err)
		}
	})
}

func sampleBuild() *Build {
	return &Build{Python: "3.12",
		Requirements: []BuildRequirement{{Name: "setuptools", Version: "80.9.0", Wheels: []BuildWheel{{URL: "https://files.example/a/setuptools-80.9.0-py3-none-any.whl", Hash: digest}}}},
		Packages: []BuildPackage{
			{Name: "app", Editable: true, Asked: []string{"setuptools>=61", `x; os_name == "nt"`}, Settings: "s", Requires: []string{"setuptools==80.9.0"}},
			{Name: "uwsgi", Version: "2.0.28", Source: digest, Asked: []string{"setuptools>=40.8.0"}, Requires: []string{"setuptools==80.9.0"}},
		}}
}

func TestBuild(t *testing.T) {
	f := New(Base{Name: "a", Digest: digest})
	f.Build = sampleBuild()
	got, err := Parse(f.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, f.Bytes())
	}
	if d := cmp.Diff(f.Build, got.Build); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct {
		name, version, source string
		editable, want        bool
	}{
		{"app", "", "", true, true}, {"app", "", "", false, false}, {"uwsgi", "2.0.28", digest, false, true}, {"uwsgi", "2.0.29", digest, false, false},
		{"uwsgi", "2.0.28", "sha256:other", false, false},
	} {
		if _, ok := got.Build.Package(tt.name, tt.version, tt.source, tt.editable); ok != tt.want {
			t.Errorf("%v: %v", tt, ok)
		}
	}
	if _, ok := (*Build)(nil).Package("a", "", "", false); ok {
		t.Error("a file without the section pins something")
	}
	for want, change := range map[string]func(*Build){
		"which Python":           func(b *Build) { b.Python = "" },
		"not in its normal form": func(b *Build) { b.Requirements[0].Name = "SetupTools" },
		"has no wheel":           func(b *Build) { b.Requirements[0].Wheels = nil },
		"another name or version": func(b *Build) {
			b.Requirements[0].Wheels[0].URL = "https://files.example/evil-80.9.0-py3-none-any.whl"
		},
		"is no digest":         func(b *Build) { b.Requirements[0].Wheels[0].Hash = "md5:00" },
		"URL cannot be read":   func(b *Build) { b.Requirements[0].Wheels[0].URL = "ext::sh -c x" },
		"does not end in .whl": func(b *Build) { b.Requirements[0].Wheels[0].URL = "https://files.example/a.zip" },
		"not among the build":  func(b *Build) { b.Packages[0].Requires = []string{"wheel==1"} },
		"has no name":          func(b *Build) { b.Packages[0].Name = "" },
		"is there twice":       func(b *Build) { b.Requirements = append(b.Requirements, b.Requirements[0]) },
	} {
		f.Build = sampleBuild()
		change(f.Build)
		if _, err := Parse(f.Bytes()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	fresh := sampleBuild()
	fresh.Requirements[0].Version = "81.0"
	fresh.Requirements = append(fresh.Requirements, BuildRequirement{Name: "wheel", Version: "1"})
	if d := cmp.Diff([]string{"setuptools 81.0 was 80.9.0 (a build requirement)", "wheel 1 is new: a build requirement"}, MovedBuild(sampleBuild(), fresh)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"setuptools 80.9.0 is no longer a build requirement"}, MovedBuild(sampleBuild(), nil)); d != "" {
		t.Error(d)
	}
}
