package base

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestDpkg reads what a base says of its packages, with a second layer over the first.
func TestDpkg(t *testing.T) {
	const dpkg = "var/lib/dpkg/"
	lower := layer(t,
		file{name: dpkg + "status", data: "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"},
		file{name: dpkg + "info/a.list", data: "/.\n/usr\n/usr/a\n"}, file{name: dpkg + "info/a.md5sums", data: "not kept"},
		file{name: dpkg + "info/gone.list", data: "/.\n"}, file{name: dpkg + "alternatives/awk", data: "auto\n"},
		file{name: "etc/apt/sources.list.d/x.sources", data: "Types: deb\n"}, file{name: "etc/apt/deeper/y", data: "not kept"},
		file{name: "usr/share/keyrings/k.pgp", data: "key"}, file{name: "usr/share/keyrings/k.gpg", link: "k.pgp"}, file{name: "usr/share/keyrings/lost.gpg", link: "nowhere"},
		file{name: "etc/ld.so.cache"})
	upper := layer(t, file{name: dpkg + "info/.wh.gone.list"}, file{name: dpkg + "status", data: "Package: b\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n"})
	s := scanner{nodes: make(map[string]node), pattern: newDpkgPattern()}
	for _, l := range [][]byte{lower, upper} {
		if err := s.layer(bytes.NewReader(l)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := s.facts([]byte(env))
	if err != nil {
		t.Fatal(err)
	}
	d := s.dpkg(f)
	want := []string{"etc/apt/sources.list.d/x.sources", "etc/ld.so.cache", "usr/share/keyrings/k.gpg", "usr/share/keyrings/k.pgp", dpkg + "alternatives/awk", dpkg + "info/a.list", dpkg + "status"}
	if got := d.Paths(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if key, ok := d.Read("/usr/share/keyrings/k.gpg"); !ok || string(key) != "key" {
		t.Errorf("the key behind a link: %q", key)
	}
	if l := d.Lists()["a"]; strings.Join(l, " ") != "/. /usr /usr/a" {
		t.Errorf("the list of a: %q", l)
	}
	st, err := d.Status()
	if err != nil || len(st.Stanzas) != 1 || st.Stanzas[0].Get("Package") != "b" || d.Database() != "status" {
		t.Errorf("%v, %v", st, err)
	}
}

// TestDpkgOfDistroless reads a database that is a file a package.
func TestDpkgOfDistroless(t *testing.T) {
	d := &Dpkg{Files: map[string][]byte{"var/lib/dpkg/status.d/tzdata": []byte("Package: tzdata\nVersion: 1\nArchitecture: all\n"), "var/lib/dpkg/status.d/tzdata.md5sums": []byte("0  x\n")}}
	if st, err := d.Status(); err != nil || d.Database() != "status.d" || len(st.Stanzas) != 1 {
		t.Errorf("%q %v, %v", d.Database(), st, err)
	}
	d = &Dpkg{}
	if st, err := d.Status(); err != nil || d.Database() != "" || len(st.Stanzas) != 0 {
		t.Errorf("without dpkg: %q %v, %v", d.Database(), st, err)
	}
	d.Files = map[string][]byte{"var/lib/dpkg/status": []byte("nonsense\n")}
	if _, err := d.Status(); err == nil || !strings.Contains(err.Error(), "/var/lib/dpkg/status") {
		t.Errorf("a damaged status: %v", err)
	}
}
