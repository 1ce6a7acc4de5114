package wheel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
)

func TestParseRecord(t *testing.T) {
	got, err := ParseRecord([]byte("\r\n\na,b,1\r\n\"q\"\"u,o\"x,,\rlast,sha256=\"x,3"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{{"a", "b", "1"}, {`q"u,ox`, "", ""}, {"last", `sha256="x`, "3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFormatRecord(t *testing.T) {
	got := FormatRecord([]Row{{Path: "b", Hash: "h", Size: "1"}, {Path: `a"b,c`}, {Path: "B"}, {Path: " s"}})
	if want := " s,,\nB,,\n\"a\"\"b,c\",,\nb,h,1\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseEntryPoints(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []Script
	}{
		{"both kinds, GUI wins", "[console_scripts]\nx = a:b\ny = c:d\n[gui_scripts]\nx = g:h", []Script{{"x", "g", "h"}, {"y", "c", "d"}}},
		{"CRLF, indentation, comments", "; c\r\n[console_scripts]\r\n# d\r\n  x = a:b\r\n  X=c.d:e.f [z]\r\n", []Script{{"x", "a", "b"}, {"X", "c.d", "e.f"}}},
		{"CR", "[console_scripts]\rx=a:b\r", []Script{{"x", "a", "b"}}},
		{"odd names", "[console_scripts]\nx y:z = a-b:c\n", []Script{{"x y:z", "a-b", "c"}}},
		{"spaces, extras without one", "[console_scripts]\nx = a : b\ny = a:b[z,y] \n", []Script{{"x", "a", "b"}, {"y", "a", "b"}}},
		{"a comment after a header", "[console_scripts] ; c\nx = é:b.\n", []Script{{"x", "é", "b."}}},
		{"other sections", "[Console_Scripts]\nx = ?\n[ console_scripts ]\n[pytest11]\nfoo = b # c\n continued\nbar =\n", nil},
		{"empty", "", nil},
	} {
		got, err := ParseEntryPoints([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestParseEntryPointsRefuses(t *testing.T) {
	for _, in := range []string{
		"x = a:b", "\ufeff[console_scripts]\nx=a:b", "[console_scripts\nx=a:b", "[]\nx=a:b", "[a]\n[a]", "[a]\nx", "[a]\nx: y", "[a]\n= y", "[a]\nx=1\nx=2",
	} {
		if s, err := ParseEntryPoints([]byte(in)); err == nil {
			t.Errorf("%q gives %v", in, s)
		}
	}
	for _, value := range []string{
		"a", "a:", ":b", "", "a:b [z", "a:b ; c", "a:b # c", "a:b;c", "a:b:c", "a:b()", "a:b=c", "a:b\n  y", "a:b\n y = q:r", "a b:c", "a:b [z] x",
	} {
		if s, err := ParseEntryPoints([]byte("[console_scripts]\nx = " + value)); err == nil {
			t.Errorf("%q gives %v", value, s)
		}
	}
}

func TestParseHeaders(t *testing.T) {
	got, err := ParseHeaders(strings.NewReader("name: demo\r\nSummary: a\n  b\n\tc\nVersion:1.0\nName: other\n\nbody: x"))
	if err != nil {
		t.Fatal(err)
	}
	want := Headers{{"name", "demo"}, {"Summary", "a\nb\nc"}, {"Version", "1.0"}, {"Name", "other"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if v, ok := got.Get("NAME"); v != "demo" || !ok {
		t.Errorf("Name is %q", v)
	}
}

func TestSynthetic(t *testing.T) {
	w, err := NewSynthetic(SyntheticSpec{
		Name: "My.Project", Version: "1.0", Metadata: []byte("Metadata-Version: 2.3\nName: My.Project\nVersion: 1.0\n"), Generator: "jubako",
		EntryPoints: []byte("[console_scripts]\nmine = my:main\n"),
		DistInfo:    []File{{Path: "licenses/LICENSE", Content: fstree.Bytes("free")}},
		Files:       []File{{Path: "my_project.pth", Content: fstree.Bytes("/app/src")}, {Path: "my_project-1.0.data/data/share/m", Content: fstree.Bytes("m")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tree := &fstree.Tree{}
	if err := Install(tree, w, testVenv, InstallOptions{}); err != nil {
		t.Fatal(err)
	}
	info := site + "my_project-1.0.dist-info/"
	for p, content := range map[string]string{
		site + "my_project.pth":   "0644 /app/src",
		info + "licenses/LICENSE": "0644 free",
		info + "WHEEL":            "0644 Wheel-Version: 1.0\nGenerator: jubako\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"app/.venv/share/m":       "0644 m",
	} {
		expect(t, p, show(t, tree, p), content)
	}
	if got := show(t, tree, info+"RECORD"); !strings.Contains(got, "my_project.pth,"+rowFor("/app/src")+"\n") || !strings.Contains(got, "../../../bin/mine,sha256=") {
		t.Errorf("RECORD is %s", got)
	}
	_, err = NewSynthetic(SyntheticSpec{Name: "a", Version: "1", Files: []File{{Path: "x", Content: fstree.Bytes("")}, {Path: "x", Content: fstree.Bytes("")}}})
	if err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a file that is there twice gives %v", err)
	}
}

func TestSkeleton(t *testing.T) {
	tree := &fstree.Tree{}
	v := testVenv
	v.Python, v.FreeThreaded, v.FullVersion, v.Interpreter = "3.13", true, "3.13.1", "/usr/local/bin/python3.13t"
	if err := v.Skeleton(tree); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range tree.All() {
		line := e.Path
		if e.Link != "" {
			line += " -> " + e.Link
		}
		got = append(got, line)
	}
	want := []string{
		"app/.venv", "app/.venv/bin", "app/.venv/bin/activate", "app/.venv/bin/python -> /usr/local/bin/python3.13t", "app/.venv/bin/python3 -> python",
		"app/.venv/bin/python3.13t -> python", "app/.venv/lib", "app/.venv/lib/python3.13t", "app/.venv/lib/python3.13t/site-packages",
		"app/.venv/lib64 -> lib", "app/.venv/pyvenv.cfg",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	expect(t, "pyvenv.cfg", show(t, tree, "app/.venv/pyvenv.cfg"),
		"0644 home = /usr/local/bin\nimplementation = CPython\nversion_info = 3.13.1\ninclude-system-site-packages = false\n")
	for _, bad := range []Venv{{}, {Path: "/x", Python: "3.12"}, {Path: "x", Python: "3"}, {Path: "x", Python: "3.12"}} {
		if err := bad.Skeleton(&fstree.Tree{}); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func FuzzRecord(f *testing.F) {
	addReal(f, "RECORD")
	f.Add([]byte("a/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\na-1.dist-info/RECORD,,\n"))
	f.Add([]byte("\"a,b\"\"c\",,\r\n\r\nx,y,z"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := ParseRecord(data)
		if err != nil {
			return
		}
		text := FormatRecord(rows)
		again, err := ParseRecord(text)
		if err != nil {
			t.Fatalf("%q, written as %q, is not read again: %v", data, text, err)
		}
		if second := FormatRecord(again); !bytes.Equal(text, second) || len(again) != len(rows) {
			t.Fatalf("%q becomes %q and then %q", data, text, second)
		}
	})
}

func FuzzEntryPoints(f *testing.F) {
	addReal(f, "entry_points.txt")
	f.Add([]byte("[console_scripts]\nuvicorn = uvicorn.main:main\n\n[gui_scripts]\nx=a.b:C.run [z]\n"))
	f.Add([]byte("; c\r\n[pytest11]\r\n  x = y\r\n   more\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		scripts, err := ParseEntryPoints(data)
		if err != nil {
			return
		}
		for _, s := range scripts {
			// Nothing of the wheel's but names may get into the program.
			if lines := strings.Count(string(launcher(s, "/v/bin/python")), "\n"); lines != 9+1 {
				t.Fatalf("%+v makes a launcher of %d lines", s, lines)
			}
			if strings.ContainsAny(s.Module+s.Function, " ()\n\r'\"#;:") {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func FuzzMetadata(f *testing.F) {
	addReal(f, "METADATA", "WHEEL")
	f.Add([]byte("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: x\n\nbody"))
	f.Add([]byte("Wheel-Version: 1.0\r\nRoot-Is-Purelib: true\r\nTag: a\r\n b\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		headers, err := ParseHeaders(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, h := range headers {
			if h.Name == "" || strings.ContainsAny(h.Name, ":\n") {
				t.Fatalf("%q gives %+v", data, h)
			}
			if _, ok := headers.Get(strings.ToUpper(h.Name)); !ok && strings.ToUpper(h.Name) == strings.ToLower(h.Name) {
				t.Fatalf("%q is not found", h.Name)
			}
		}
	})
}

// TestActivate sources the environment's activate in the shell at hand.
func TestActivate(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	v := testVenv
	v.Path = "opt/it's here/.venv"
	file := filepath.Join(t.TempDir(), "activate")
	if err := os.WriteFile(file, []byte(v.activate()), 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `before=$PATH; . "$0"; . "$0"; echo "$VIRTUAL_ENV"; echo "${PATH%%:*}"; deactivate; [ "$PATH" = "$before" ] && echo "${VIRTUAL_ENV-unset}"`
	out, err := exec.CommandContext(t.Context(), sh, "-euc", script, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	expect(t, "what it says", string(out), "/opt/it's here/.venv\n/opt/it's here/.venv/bin\nunset\n")
}
