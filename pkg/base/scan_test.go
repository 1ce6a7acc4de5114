package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/patience"
)

// paths lists what a tree holds, each path with its kind and link.
func paths(f *Facts) map[string]string {
	all := make(map[string]string)
	for p, st := range f.Files {
		all[p] = strings.TrimSpace(fmt.Sprint(st.Kind, " ", st.Link))
	}
	return all
}

// TestLayersOnLayers applies a second layer to a first, and compares what is left.
func TestLayersOnLayers(t *testing.T) {
	const dir, reg = "directory", "file"
	tests := map[string]struct {
		first, second []file
		want          map[string]string
	}{
		"a merged /usr": {
			[]file{{name: "usr/lib/"}, {name: "lib", link: "usr/lib"}},
			[]file{{name: "lib/x/y", data: "1"}, {name: "lib/z", data: "2"}},
			map[string]string{"usr": dir, "usr/lib": dir, "lib": "symlink usr/lib", "usr/lib/x": dir, "usr/lib/x/y": reg, "usr/lib/z": reg},
		},
		"a whiteout through a link": {
			[]file{{name: "usr/lib/"}, {name: "lib", link: "/usr/lib"}, {name: "usr/lib/old"}, {name: "usr/lib/kept"}},
			[]file{{name: "lib/.wh.old"}},
			map[string]string{"usr": dir, "usr/lib": dir, "lib": "symlink /usr/lib", "usr/lib/kept": reg},
		},
		"a hard link through a link": {
			[]file{{name: "usr/lib/"}, {name: "lib", link: "./usr/../usr/lib"}, {name: "usr/lib/a"}},
			[]file{{name: "b", link: "lib/a", flag: tar.TypeLink}},
			map[string]string{"usr": dir, "usr/lib": dir, "lib": "symlink ./usr/../usr/lib", "usr/lib/a": reg, "b": reg},
		},
		"a link out of the root stays in it": {
			[]file{{name: "l", link: "../../../etc"}, {name: "etc/"}},
			[]file{{name: "l/x"}},
			map[string]string{"l": "symlink ../../../etc", "etc": dir, "etc/x": reg},
		},
		"a whiteout before what replaces it": {
			[]file{{name: "d/a"}, {name: "d/b/c"}},
			[]file{{name: ".wh.d"}, {name: "d/"}, {name: "d/new"}},
			map[string]string{"d": dir, "d/new": reg},
		},
		"a whiteout behind what replaces it": {
			[]file{{name: "d/a"}, {name: "d/b/c"}},
			[]file{{name: "d/"}, {name: "d/new"}, {name: ".wh.d"}},
			map[string]string{"d": dir, "d/new": reg},
		},
		"an opaque folder": {
			[]file{{name: "d/a"}, {name: "d/b/c"}, {name: "da"}},
			[]file{{name: "d/new"}, {name: "d/.wh..wh..opq"}},
			map[string]string{"d": dir, "d/new": reg, "da": reg},
		},
		"an opaque root": {
			[]file{{name: "d/a"}, {name: "x"}},
			[]file{{name: ".wh..wh..opq"}, {name: "y"}},
			map[string]string{"y": reg},
		},
		"a folder becomes a file": {
			[]file{{name: "d/a/b"}},
			[]file{{name: "d"}},
			map[string]string{"d": reg},
		},
		"a folder becomes a link": {
			[]file{{name: "lib/a"}, {name: "usr/lib/"}},
			[]file{{name: "lib", link: "usr/lib"}, {name: "lib/b"}},
			map[string]string{"lib": "symlink usr/lib", "usr": dir, "usr/lib": dir, "usr/lib/b": reg},
		},
		"a file becomes a folder": {
			[]file{{name: "d"}},
			[]file{{name: "d/"}, {name: "d/x"}},
			map[string]string{"d": dir, "d/x": reg},
		},
		"a whiteout of nothing": {
			[]file{{name: "a"}},
			[]file{{name: ".wh.b"}, {name: "c/.wh.d"}},
			map[string]string{"a": reg},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := scan(t, "", layer(t, tt.first...), layer(t, tt.second...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, paths(f)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoopsAndDepth(t *testing.T) {
	for name, files := range map[string][]file{
		"a loop of folders":  {{name: "a", link: "b"}, {name: "b", link: "a"}, {name: "a/x"}},
		"itself":             {{name: "a", link: "a/a"}, {name: "a/x"}},
		"a deep path":        {{name: strings.Repeat("d/", maxDepth+1) + "x"}},
		"a deep link":        {{name: "a", link: strings.Repeat("d/", maxDepth+1)}, {name: "a/x"}},
		"a long link":        {{name: "a", link: strings.Repeat("d", maxPath+1)}},
		"a link to a folder": {{name: "d/"}, {name: "x", link: "d", flag: tar.TypeLink}},
		"a link out":         {{name: "x", link: "../x", flag: tar.TypeLink}},
	} {
		if f, err := scan(t, "", layer(t, files...)); err == nil {
			t.Errorf("%s: no error, and %v", name, paths(f))
		} else if !strings.Contains(err.Error(), "entry ") {
			t.Errorf("%s: error %v does not name the entry", name, err)
		}
	}
}

// TestManyWhiteouts holds the cost of whiteouts down, each of which could be compared with each path.
func TestManyWhiteouts(t *testing.T) {
	var first, second []file
	for i := range 20_000 {
		first = append(first, file{name: fmt.Sprintf("d/%05d", i)})
		second = append(second, file{name: fmt.Sprintf("d/.wh.%05d", i)})
	}
	a, b := layer(t, first...), layer(t, second...)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s := scanner{nodes: make(map[string]node), pattern: newDpkgPattern()}
	for _, l := range [][]byte{a, b} {
		if err := s.layer(patience.Reader(ctx, bytes.NewReader(l))); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.nodes) != 1 {
		t.Errorf("%d paths are left", len(s.nodes))
	}
	ended, stop := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	stop(why)
	if err := s.layer(patience.Reader(ended, bytes.NewReader(a))); !errors.Is(err, why) {
		t.Errorf("cancelled: error %v", err)
	}
}

func TestLookPath(t *testing.T) {
	f, err := scan(t, "", layer(t, file{name: "usr/bin/tool"}, file{name: "bin", link: "usr/bin"}, file{name: "opt/bin/tool/"}, file{name: "usr/local/bin/tool", mode: 0o644}, file{name: "tool"}, file{name: "usr/bin/lost", link: "nowhere"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"tool", "/usr/local/bin:/opt/bin:/bin", "bin/tool"}, // neither the one without the bit nor the folder
		{"tool", "/none:/usr/bin", "usr/bin/tool"},
		{"tool", "::/none", ""},
		{"lost", "/usr/bin", ""},
		{"/bin/tool", "", "usr/bin/tool"},
		{"/opt/bin/tool", "", ""},
		{"none", "/usr/bin", ""},
	} {
		got, ok := f.LookPath(tt.name, tt.path)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("LookPath(%q, %q) = %q, %v; want %q", tt.name, tt.path, got, ok, tt.want)
		}
	}
}

// TestTwoLibpythons takes the version of the library that belongs to the program.
func TestTwoLibpythons(t *testing.T) {
	f, err := scan(t, env, layer(t,
		file{name: "opt/other/lib/libpython3.12.so.1.0", data: "\x003.12.1\x00"},
		file{name: "usr/local/lib/libpython3.12.so.1.0", data: "\x003.12.9\x00"},
		file{name: "usr/local/bin/python3.12", data: string(elf("/lib64/ld-linux-x86-64.so.2"))},
		file{name: "usr/local/bin/python3", link: "python3.12"}))
	if err != nil || f.Python.Version != "3.12.9" {
		t.Errorf("version %q, %v", f.Python.Version, err)
	}
	for _, version := range []string{"2.7.18", "3", "3.x.1", "three"} {
		_, err := scan(t, `{"config":{"Env":["PATH=/usr/bin","PYTHON_VERSION=`+version+`"]}}`, layer(t, file{name: "usr/bin/python3", data: "x"}))
		if err == nil {
			t.Errorf("version %s was taken", version)
		}
	}
	if _, err := scan(t, `{"config":[]}`, layer(t)); err == nil {
		t.Error("a broken config was taken")
	}
}

// TestVersionAcrossReads finds a version wherever it lies in a large file.
func TestVersionAcrossReads(t *testing.T) {
	for _, at := range []int{0, 64<<10 - 3, 1<<20 - 4, 1<<20 + 7, 3<<20 - 5} {
		data := strings.Repeat("x", at) + "\x003.12.9\x00" + strings.Repeat("y", 1<<20)
		f, err := scan(t, env, layer(t, file{name: "usr/bin/python3.12", data: data}, file{name: "usr/bin/python3", link: "python3.12"}))
		if err != nil || f.Python.Version != "3.12.9" {
			t.Errorf("at %d: version %q, %v", at, f.Python.Version, err)
		}
	}
}

// TestELF reads hostile headers without reading beyond them.
func TestELF(t *testing.T) {
	whole := elf("/lib/ld.so")
	if interp, machine := elfHeader(whole); interp != "/lib/ld.so" || machine != 62 {
		t.Errorf("got %q, %d", interp, machine)
	}
	for n := range whole {
		elfHeader(whole[:n])
	}
	for _, at := range []int{32, 54, 56, 72, 96} {
		b := bytes.Clone(whole)
		for i := range 8 {
			b[at+i] = 0xff
		}
		if interp, _ := elfHeader(b); interp != "" && interp != "/lib/ld.so" {
			t.Errorf("bytes of 0xff at %d: %q", at, interp)
		}
	}
}
