package mimedb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sources(t testing.TB, dir string) (all []Source) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "packages", "*.xml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no sources: %v", dir, err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Source{filepath.Base(n), b})
	}
	return all
}

// TestGolden compares with what update-mime-database 2.4 of Debian's shared-mime-info 2.4-5+b2 makes of the same sources:
// every element of the specification, what is wrong in each, and so many types that tables grow.
func TestGolden(t *testing.T) {
	for dir, wantBad := range map[string]int{"every": 2, "wrong": 27, "many": 0} {
		t.Run(dir, func(t *testing.T) {
			root := filepath.Join("testdata", dir)
			files, bad := Make(sources(t, root), "2.4")
			if len(bad) != wantBad {
				t.Errorf("%d errors, and %d are wanted: %v", len(bad), wantBad, bad)
			}
			compared := make(map[string]bool)
			err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() || filepath.Base(filepath.Dir(p)) == "packages" {
					return err
				}
				want, err := os.ReadFile(p)
				name, _ := filepath.Rel(root, p)
				compared[name] = true
				if got, ok := files[filepath.ToSlash(name)]; !ok || !bytes.Equal(got, want) {
					t.Errorf("%s is there: %t\n%s\nis wanted:\n%s", name, ok, got, want)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for name := range files {
				// Of many, the golden files have only what lies outermost.
				if !compared[name] && (dir == "every" || !strings.Contains(name, "/")) {
					t.Errorf("%s is made, and not by the tool", name)
				}
			}
		})
	}
}

// TestOrder: the sources' order does not matter.
func TestOrder(t *testing.T) {
	all := sources(t, "testdata/every")
	want, _ := Make(all, "2.4")
	for i := range len(all) {
		got, _ := Make(append(all[i:len(all):len(all)], all[:i]...), "2.4")
		for name := range want {
			if !bytes.Equal(got[name], want[name]) {
				t.Errorf("turned by %d, %s differs", i, name)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	const head = "<mime-info xmlns='" + freeNS + "'>"
	var attrs strings.Builder
	for i := range maxAttrs + 1 {
		fmt.Fprintf(&attrs, " a%d=''", i)
	}
	for name, text := range map[string]string{
		"deep":      head + strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth) + "</mime-info>",
		"wide":      head + "<a" + attrs.String() + "/></mime-info>",
		"two":       head + "</mime-info><more/>",
		"unclosed":  head + "<mime-type type='a/b'>",
		"crossed":   head + "<a><b></a></b></mime-info>",
		"out":       head + "<mime-type type='../b'/></mime-info>",
		"path":      head + "<mime-type type='a/b/c'/></mime-info>",
		"packages":  head + "<mime-type type='packages/b'/></mime-info>",
		"namespace": "<mime-info/>",
	} {
		files, bad := Make([]Source{{"x.xml", []byte(text)}}, "2.4")
		if len(bad) != 1 || !strings.HasPrefix(bad[0].Error(), "x.xml: ") {
			t.Errorf("%s: %v", name, bad)
		}
		if len(files) != 12 {
			t.Errorf("%s: %d files", name, len(files))
		}
	}
}

func FuzzMake(f *testing.F) {
	for _, dir := range []string{"testdata/every", "testdata/wrong"} {
		for _, s := range sources(f, dir) {
			f.Add(s.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		files, _ := Make([]Source{{"x.xml", data}}, "2.4")
		for name, b := range files {
			if !fs.ValidPath(name) || strings.HasPrefix(name, "packages/") {
				t.Errorf("a file %q", name)
			}
			if strings.HasSuffix(name, ".xml") {
				if _, err := parseXML(b); err != nil {
					t.Errorf("%s: %v\n%s", name, err, b)
				}
			}
		}
		cache := files["mime.cache"]
		for at := 4; at < cacheHeader; at += 4 {
			if int(binary.BigEndian.Uint32(cache[at:])) >= len(cache) {
				t.Errorf("the cache ends at %d, before what its header says at %d", len(cache), at)
			}
		}
	})
}
