package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const someSum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestCatalogue(t *testing.T) {
	text := "Package: a\nVersion: 1\nArchitecture: all\nDescription: x\n y\nFilename: pool/a/a_1.deb\nSize: 12\nSHA256: " + someSum + "\n"
	x, err := ReadCatalogue(strings.NewReader(text + "\n" + strings.ReplaceAll(text, "Package: a", "Package: b")))
	if err != nil || x.Len() != 2 || x.Package(1).Name != "b" || x.Package(0).Size != 12 || x.Package(0).SHA256 != someSum {
		t.Fatalf("%+v, %v", x, err)
	}
	for old, bad := range map[string]string{
		"pool/a/a_1.deb": "../x.deb", "pool/a": "/pool/a", "pool": "pool/..", "Size: 12": "Size: -1", someSum: "abc", "all": "a/b", "Version: 1": "Version: x", "Package: a": "Package: -",
	} {
		if _, err := ReadCatalogue(strings.NewReader(strings.Replace(text, old, bad, 1))); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

// large is an index of several blocks, not sorted, with names that stand in it several times.
func large(n int) string {
	var b strings.Builder
	for i := range n {
		k := (i * 7919) % n
		fmt.Fprintf(&b, "Package: p%d\nSource: s%d (2)\nVersion: 1.%d\nArchitecture: amd64\nMulti-Arch: same\nPriority: required\nDepends: p%d,\n c | d (>= 1)\n# no part of it\n e\n",
			k/2, k, k, k+1)
		fmt.Fprintf(&b, "Provides: virtual, v%d (= 3), v:any | w%d\nDescription: %s\nFilename: pool/p%d.deb\nSize: %d\nSHA256: %s\n\n", k%10, k, strings.Repeat("words ", k%300), k, k, someSum)
	}
	return b.String()
}

// TestCatalogueKeeps compares what was kept of a large index with all of it.
func TestCatalogueKeeps(t *testing.T) {
	const n = 5000
	text := large(n)
	stanzas, err := ParseStanzas([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]*Package)
	var plain []Package
	for _, s := range stanzas {
		p, err := PackageOf(s)
		if err != nil {
			t.Fatal(err)
		}
		want[p.String()] = p
		plain = append(plain, *p)
	}
	read, err := ReadCatalogue(iotest.HalfReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string]*Catalogue{"read": read, "made": CatalogueOf(plain)} {
		if x.Len() != n || len(x.blocks) < 2 {
			t.Fatalf("%s: %d packages in %d blocks", what, x.Len(), len(x.blocks))
		}
		for i := range n {
			p := x.Package(i)
			whole := *want[p.String()]
			whole.Depends = p.Depends // the comment in it is not compared here
			if d := cmp.Diff(whole, *p); d != "" || !strings.HasPrefix(p.Depends, "p") || !strings.HasSuffix(p.Depends, " e") {
				t.Fatalf("%s: package %d: %s", what, i, d)
			}
		}
		if from, to := x.named("p17"); to-from != 2 || x.Package(from).Name != "p17" || x.Package(from+1).Name != "p17" {
			t.Errorf("%s: p17 stands at %d to %d", what, from, to)
		}
		if from, to := x.named("p17x"); from != to {
			t.Errorf("%s: p17x stands at %d to %d", what, from, to)
		}
		for name, count := range map[string]int{"virtual": n, "v": n, "v3": n / 10, "w77": 1, "none": 0} {
			got := 0
			for range x.providing(name) {
				got++
			}
			if got < count || got > count+3 { // a hash may be that of another name
				t.Errorf("%s: %d packages provide %s, and %d do", what, got, name, count)
			}
		}
		if got := slices.Collect(x.providing("w77")); !slices.Contains(got, "p38") {
			t.Errorf("%s: %q provide w77", what, got)
		}
	}
}

// TestCatalogueErrors names the line, or the stanza, wherever the blocks lie.
func TestCatalogueErrors(t *testing.T) {
	text := large(5000)
	lines := strings.Count(text, "\n")
	_, err := ReadCatalogue(strings.NewReader(text + "Package: z\nno field\n"))
	if e, ok := errors.AsType[*SyntaxError](err); !ok || e.Line != lines+2 {
		t.Errorf("%v, and the line is %d", err, lines+2)
	}
	_, err = ReadCatalogue(strings.NewReader(text + "Package: z\nVersion: 1\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "stanza 5001: package z: ") {
		t.Error(err)
	}
	_, err = ReadCatalogue(io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut index: %v", err)
	}
	_, err = ReadCatalogue(io.MultiReader(strings.NewReader(text+"Package: z\nDescription:"), bytes.NewReader(bytes.Repeat([]byte(" \n x"), maxStanza/3))))
	if err == nil || !strings.Contains(err.Error(), "more than 8388608 bytes") {
		t.Errorf("an endless stanza: %v", err)
	}
}
