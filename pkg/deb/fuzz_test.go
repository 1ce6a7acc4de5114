package deb

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzStanzas holds that what is read and written back is read the same.
func FuzzStanzas(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("Package: a\nStatus: install ok installed\nVersion: 1\nConffiles:\n /etc/x 01\n"))
	f.Add([]byte("A:\n #x\n\tb\n#c\n d\n\n\nB: \t\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseStanzas(data)
		if err != nil {
			return
		}
		var b []byte
		for _, s := range all {
			b = append(s.Append(b), '\n')
		}
		again, err := ParseStanzas(b)
		if err != nil {
			t.Fatalf("%q is not read back: %v", b, err)
		}
		if d := cmp.Diff(all, again); d != "" {
			t.Error(d)
		}
		if s, err := ParseStatus(data); err == nil {
			_, _ = s.Packages()
		}
		x, err := ReadCatalogue(bytes.NewReader(data))
		if err != nil {
			return
		}
		if len(all) != x.Len() {
			t.Errorf("%d stanzas, and %d packages", len(all), x.Len())
		}
		for i := range x.Len() {
			x.Package(i)
		}
	})
}

// FuzzVersion holds that the order is one.
func FuzzVersion(f *testing.F) {
	for i := range len(sorted) - 2 {
		f.Add(string(sorted[i]), string(sorted[i+1]), string(sorted[i+2]))
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		x, y, z := Version(a), Version(b), Version(c)
		_ = x.Check()
		if x.Compare(y) != -y.Compare(x) || x.Compare(x) != 0 {
			t.Errorf("%q and %q", a, b)
		}
		if x.Compare(y) <= 0 && y.Compare(z) <= 0 && x.Compare(z) > 0 {
			t.Errorf("%q, %q, %q", a, b, c)
		}
	})
}

// FuzzRelations holds that what is read and written back is read the same.
func FuzzRelations(f *testing.F) {
	f.Add("libc6 (>= 2.34), a|b:any (<<1:2-3)\n | c [!i386 !s390x], python3:native(= 3.13~), old (< 2),")
	f.Fuzz(func(t *testing.T, field string) {
		all, err := ParseRelations(field)
		if err != nil {
			return
		}
		text := ""
		for _, a := range all {
			text += a.String() + ", "
		}
		again, err := ParseRelations(text)
		if d := cmp.Diff(all, again); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, d)
		}
	})
}
