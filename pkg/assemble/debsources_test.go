package assemble

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pins"
)

func sources() []debSource {
	var all []debSource
	for _, s := range []deb.Source{
		{URI: "http://a.example/debian", Suite: "trixie", Snapshot: "http://s.example/archive/debian/20260301T000000Z"},
		{URI: "http://a.example/debian-security", Suite: "trixie-security", Snapshot: "http://s.example/archive/debian-security/20260301T000000Z"},
		{URI: "https://other.example/apt", Suite: "stable"},
	} {
		all = append(all, debSource{Source: s, at: s.URI})
	}
	return all
}

func places(all []debSource) string {
	var at []string
	for _, s := range all {
		at = append(at, s.at)
	}
	return strings.Join(at, " ")
}

func TestMirrored(t *testing.T) {
	all := sources()
	if err := mirrored(all, "https://m.example/x/debian/"); err != nil {
		t.Error(err)
	}
	if got := places(all); got != "https://m.example/x/debian https://m.example/x/debian-security https://other.example/apt" {
		t.Error(got)
	}
	if err := mirrored(sources(), "https://m.example/ubuntu"); hint.KindOf(err) != hint.KindUsage || !strings.Contains(hint.Of(err), "mirrors") {
		t.Error(err)
	}
	all = sources()
	if err := mirrored(all, ""); err != nil || places(all) != places(sources()) {
		t.Errorf("%s, %v", places(all), err)
	}
}

func TestAtSnapshot(t *testing.T) {
	all := sources()[:2]
	if err := atSnapshot(all, "20260401T120000Z"); err != nil || !all[0].trust.Pinned {
		t.Error(err)
	}
	if got := places(all); got != "http://s.example/archive/debian/20260401T120000Z http://s.example/archive/debian-security/20260401T120000Z" {
		t.Error(got)
	}
	if got := all[0].fallback(time.Now()); got != "http://s.example/archive/debian/20260401T120000Z" {
		t.Errorf("a snapshot of a snapshot: %s", got)
	}
	if err := atSnapshot(sources(), "base"); hint.KindOf(err) != hint.KindUsage || !strings.Contains(err.Error(), "https://other.example/apt stable") {
		t.Error(err)
	}
	if got := sources()[0].fallback(time.Date(2026, 11, 21, 9, 15, 44, 0, time.UTC)); got != "http://s.example/archive/debian/20261122T091544Z" {
		t.Error(got)
	}
}

// TestAddClosure counts the sources of two platforms once, and takes passwords out of them.
func TestAddClosure(t *testing.T) {
	d := &pins.Debian{}
	first := &debs{Sources: []pins.Source{{URI: "https://user:secret@a.example/debian", Suite: "trixie"}, {URI: "http://b.example", Suite: "x"}}, Closure: pins.Closure{Packages: []pins.Package{{Name: "a", Source: 1}}}}
	second := &debs{Sources: []pins.Source{{URI: "http://b.example", Suite: "x"}, {URI: "https://user:secret@a.example/debian", Suite: "trixie"}}, Closure: pins.Closure{Packages: []pins.Package{{Name: "a", Source: 1}, {Name: "b", Source: 0}}}}
	addClosure(d, first)
	addClosure(d, second)
	if len(d.Sources) != 2 || d.Sources[0].URI != "https://a.example/debian" {
		t.Errorf("%+v", d.Sources)
	}
	if c := d.Closures; c[0].Packages[0].Source != 1 || c[1].Packages[0].Source != 0 || c[1].Packages[1].Source != 1 || second.Packages[0].Source != 1 {
		t.Errorf("%+v", c)
	}
}

func TestDebArch(t *testing.T) {
	for platform, want := range map[string]string{"linux/amd64": "amd64", "linux/arm64/v8": "arm64", "linux/arm/v7": "armhf", "linux/arm/v5": "armel", "linux/386": "i386", "linux/ppc64le": "ppc64el", "linux/s390x": "s390x"} {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		if got := debArch(*p); got != want {
			t.Errorf("%s: %s", platform, got)
		}
	}
}
