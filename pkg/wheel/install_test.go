package wheel

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

var testVenv = Venv{Path: "app/.venv", Python: "3.12", UID: 999, GID: 998, Interpreter: "/usr/local/bin/python3.12", FullVersion: "3.12.9"}

const (
	site = "app/.venv/lib/python3.12/site-packages/"
	bin  = "app/.venv/bin/"
)

// install builds a wheel and installs it into a tree of its own.
func install(t *testing.T, v Venv, w wheeltest.Wheel, o InstallOptions) (*fstree.Tree, error) {
	t.Helper()
	name, data := wheeltest.Build(w)
	a, err := Open(bytes.NewReader(data), int64(len(data)), name)
	if err != nil {
		t.Fatal(err)
	}
	tree := &fstree.Tree{}
	return tree, Install(tree, a, v, o)
}

// demo is a wheel with these files besides one module.
func demo(files ...wheeltest.File) wheeltest.Wheel {
	return wheeltest.Wheel{Name: "demo", Version: "1.0", Files: append([]wheeltest.File{{Name: "demo/__init__.py", Data: "x = 1\n"}}, files...)}
}

func installed(t *testing.T, w wheeltest.Wheel) *fstree.Tree {
	t.Helper()
	tree, err := install(t, testVenv, w, InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// show gives a file as its mode and content, and "" where there is none.
func show(t *testing.T, tree *fstree.Tree, p string) string {
	t.Helper()
	e, ok := tree.Lookup(p)
	if !ok {
		return ""
	}
	if e.Kind != fstree.File {
		return e.Kind.String()
	}
	return fmt.Sprintf("%04o %s", e.Mode, contentOf(t, e.Content))
}

// record gives the rows of the installed RECORD, by path.
func record(t *testing.T, tree *fstree.Tree) map[string]string {
	t.Helper()
	_, text, _ := strings.Cut(show(t, tree, site+"demo-1.0.dist-info/RECORD"), " ")
	rows, err := ParseRecord([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	byPath := make(map[string]string)
	for _, r := range rows {
		if _, ok := byPath[r.Path]; ok {
			t.Errorf("%s has two rows", r.Path)
		}
		byPath[r.Path] = r.Hash + "," + r.Size
	}
	return byPath
}

func rowFor(s string) string {
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("sha256=%s,%d", base64.RawURLEncoding.EncodeToString(sum[:]), len(s))
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is\n%q, want\n%q", what, got, want)
	}
}

func TestCase33PlatlibGoesToTheSameFolder(t *testing.T) {
	w := demo()
	w.WheelFile = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n"
	tree := installed(t, w)
	expect(t, "the module", show(t, tree, site+"demo/__init__.py"), "0644 x = 1\n")
	expect(t, "its row", record(t, tree)["demo/__init__.py"], rowFor("x = 1\n"))
}

func TestCase34Data(t *testing.T) {
	tree := installed(t, demo(
		wheeltest.File{Name: "demo-1.0.data/data/share/x", Data: "1"},
		wheeltest.File{Name: "demo-1.0.data/headers/demo.h", Data: "2"},
		wheeltest.File{Name: "demo-1.0.data/platlib/demo/c.so", Data: "3", Mode: 0o100755},
		wheeltest.File{Name: "demo-1.0.data/data/lib64/python3.12/q", Data: "4"},
		wheeltest.File{Name: "demo-1.0.data/data/etc/empty/", Mode: 0o40755},
		wheeltest.File{Name: "Demo-1.0.data/data/y", Data: "5"},
	))
	rows := record(t, tree)
	for _, tt := range []struct{ path, row, want string }{
		{"app/.venv/share/x", "../../../share/x", "0644 1"},
		{"app/.venv/include/site/python3.12/demo/demo.h", "../../../include/site/python3.12/demo/demo.h", "0644 2"},
		{site + "demo/c.so", "demo/c.so", "0755 3"},
		{"app/.venv/lib/python3.12/q", "../../../lib64/python3.12/q", "0644 4"},
		{site + "Demo-1.0.data/data/y", "Demo-1.0.data/data/y", "0644 5"},
	} {
		expect(t, tt.path, show(t, tree, tt.path), tt.want)
		expect(t, "row "+tt.row, rows[tt.row], rowFor(tt.want[5:]))
	}
	expect(t, "the empty folder", show(t, tree, "app/.venv/etc/empty"), "directory")
	expect(t, ".data itself", show(t, tree, site+"demo-1.0.data"), "")
}

func TestCase35And36Scripts(t *testing.T) {
	const s = "demo-1.0.data/scripts/"
	w := demo(
		wheeltest.File{Name: s + "foo", Data: "#!python -E\r\nimport demo\n"},
		wheeltest.File{Name: s + "cr", Data: "#!pythonw\rx"},
		wheeltest.File{Name: s + "bare", Data: "#!python"},
		wheeltest.File{Name: s + "bin.sh", Data: "#!/bin/sh\n"},
		wheeltest.File{Name: s + "spaced", Data: "#! python\n"},
		wheeltest.File{Name: s + "run.exe", Data: "MZ"},
		wheeltest.File{Name: "demo-1.0.data/data/bin/plain", Data: "#!python\n"},
	)
	w.EntryPoints = "[console_scripts]\nrun = demo:run\n"
	tree := installed(t, w)
	rows := record(t, tree)
	for name, content := range map[string]string{
		"foo":    "0755 #!/app/.venv/bin/python\nimport demo\n",
		"cr":     "0755 #!/app/.venv/bin/python\nx",
		"bare":   "0755 #!/app/.venv/bin/python\n",
		"bin.sh": "0755 #!/bin/sh\n",
		"spaced": "0755 #! python\n",
		"plain":  "0644 #!python\n", // moved only
	} {
		expect(t, name, show(t, tree, bin+name), content)
		expect(t, "row of "+name, rows["../../../bin/"+name], rowFor(content[5:]))
	}
	expect(t, "a launcher's copy", show(t, tree, bin+"run.exe"), "")
	for p := range rows {
		if strings.Contains(p, ".data/") || strings.Contains(p, "run.exe") {
			t.Errorf("RECORD holds %s", p)
		}
	}
}

func TestCase37EntryPoint(t *testing.T) {
	w := demo()
	w.EntryPoints = "[console_scripts]\nx = a.b:C.run [extra]\n[gui_scripts]\ng=m:f\n"
	tree := installed(t, w)
	text := `#!/app/.venv/bin/python
# -*- coding: utf-8 -*-
import sys
from a.b import C
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit(C.run())
`
	expect(t, "bin/x", show(t, tree, bin+"x"), "0755 "+text)
	expect(t, "its row", record(t, tree)["../../../bin/x"], rowFor(text))
	if !strings.Contains(show(t, tree, bin+"g"), "from m import f\n") {
		t.Errorf("bin/g is %s", show(t, tree, bin+"g"))
	}
}

func TestCase38LongAndSpacedPaths(t *testing.T) {
	long := strings.Repeat("l", 140)
	for _, tt := range []struct{ path, want string }{
		{"opt/a b/.venv", "#!/bin/sh\n'''exec' '/opt/a b/.venv/bin/python' \"$0\" \"$@\"\n' '''\n"},
		{"opt/it's here", "#!/bin/sh\n'''exec' '/opt/it'\"'\"'s here/bin/python' \"$0\" \"$@\"\n' '''\n"},
		{long, "#!/bin/sh\n'''exec' '/" + long + "/bin/python' \"$0\" \"$@\"\n' '''\n"},
		{long[:112], "#!/" + long[:112] + "/bin/python\n"}, // 127 bytes with its end
		{long[:113], "#!/bin/sh\n'''exec' '/" + long[:113] + "/bin/python' \"$0\" \"$@\"\n' '''\n"},
	} {
		v := testVenv
		v.Path = tt.path
		w := demo(wheeltest.File{Name: "demo-1.0.data/scripts/s", Data: "#!python\npass\n"})
		w.EntryPoints = "[console_scripts]\nx = a:b\n"
		tree, err := install(t, v, w, InstallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "the script", show(t, tree, tt.path+"/bin/s"), "0755 "+tt.want+"pass\n")
		if got := show(t, tree, tt.path+"/bin/x"); !strings.HasPrefix(got, "0755 "+tt.want+"# -*- coding") {
			t.Errorf("the launcher is %s", got)
		}
	}
}

func TestShebangWithCoding(t *testing.T) {
	for text, coding := range map[string]string{
		"# -*- coding: latin-1 -*-\nx": "latin-1", " \f# vim: fileencoding=utf-8 :": "utf-8",
		"x # coding: utf-8\n": "", "# coding  utf-8\n": "", "\n# coding: utf-8": "", "# coding:\tkoi8-r\rx": "koi8-r",
	} {
		expect(t, fmt.Sprintf("the coding of %q", text), codingOf(text), coding)
	}
	expect(t, "the shebang", shebang("/a b/é", "latin-1"),
		"#!/bin/sh\n# coding: latin-1\n'''exec' \"$(printf %b '\\'0057 '\\'0141 '\\'0040 '\\'0142 '\\'0057 '\\'0303 '\\'0251)\" \"$0\" \"$@\"\n' '''\n")
}

func TestCase39ReservedNames(t *testing.T) {
	for _, name := range []string{"Python3", "python", "pythonw", "python.py", "python3.11", "python3.99t", "pythonw3.12t", "pypy", "PyPy3", "graalpy", "activate"} {
		w := demo()
		w.EntryPoints = "[console_scripts]\n" + name + " = a:b\n"
		if _, err := install(t, testVenv, w, InstallOptions{}); err == nil || hint.Of(err) == "" {
			t.Errorf("the entry point %s gives %v, hint %q", name, err, hint.Of(err))
		}
		for _, p := range []string{"demo-1.0.data/scripts/", "demo-1.0.data/data/bin/"} {
			if _, err := install(t, testVenv, demo(wheeltest.File{Name: p + name, Data: "x"}), InstallOptions{}); err == nil {
				t.Errorf("%s%s was accepted", p, name)
			}
		}
	}
	for _, name := range []string{"python2", "pypy4", "python3.x", "ipython", "python3.", "a b:c"} {
		w := demo()
		w.EntryPoints = "[console_scripts]\n" + name + " = a:b\n"
		if _, err := install(t, testVenv, w, InstallOptions{}); err != nil {
			t.Error(err)
		}
	}
	w := demo()
	w.EntryPoints = "[console_scripts]\npip = p:m\npip3 = p:m\npip3.11 = p:m\npip3.x = p:m\n"
	tree := installed(t, w)
	for name, there := range map[string]bool{"pip": true, "pip3": true, "pip3.11": false, "pip3.12": true, "pip3.x": true} {
		if got := show(t, tree, bin+name) != ""; got != there {
			t.Errorf("bin/%s is there: %v", name, got)
		}
	}
}

func TestCase40RecordIsHealed(t *testing.T) {
	w := demo(wheeltest.File{Name: "demo/unlisted.txt", Data: "123"}, wheeltest.File{Name: "demo/dotted.py", Data: ""})
	w.DistInfo = []wheeltest.File{{Name: "RECORD.jws", Data: "{}"}}
	w.RecordMode = 0o100755
	w.Record = func(r string) string {
		var kept []string
		for line := range strings.Lines(r) {
			if !strings.Contains(line, "unlisted") && !strings.Contains(line, "dotted") && !strings.Contains(line, "jws") {
				kept = append(kept, line)
			}
		}
		return "absent.py,sha256=x,1\n./demo/dotted.py,sha256=y,2\n/demo\\dotted.py,,\n" + strings.Join(kept, "")
	}
	tree := installed(t, w)
	diff := cmp.Diff(map[string]string{
		"./demo/dotted.py":            "sha256=y,2",
		"demo/unlisted.txt":           ",3",
		"demo/__init__.py":            rowFor("x = 1\n"),
		"demo-1.0.dist-info/METADATA": rowFor("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nA test.\n"),
		"demo-1.0.dist-info/WHEEL":    rowFor("Wheel-Version: 1.0\nGenerator: wheeltest\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
		"demo-1.0.dist-info/RECORD":   ",", "demo-1.0.dist-info/INSTALLER": rowFor("uv"), "demo-1.0.dist-info/REQUESTED": rowFor(""),
	}, record(t, tree))
	if diff != "" {
		t.Errorf("RECORD (-want +got):\n%s", diff)
	}
	if e, _ := tree.Lookup(site + "demo-1.0.dist-info/RECORD"); e.Mode != 0o755 {
		t.Errorf("RECORD, 0755 in the wheel, has mode %04o", e.Mode)
	}
}

func TestCase44SymlinkBecomesAFile(t *testing.T) {
	tree := installed(t, demo(wheeltest.File{Name: "demo/libx.so", Data: "libx.so.1", Mode: 0o120777}))
	expect(t, "the link", show(t, tree, site+"demo/libx.so"), "0755 libx.so.1")
}

func TestCase45InstallerFiles(t *testing.T) {
	tree := installed(t, demo())
	info := site + "demo-1.0.dist-info/"
	expect(t, "INSTALLER", show(t, tree, info+"INSTALLER"), "0644 uv")
	expect(t, "REQUESTED", show(t, tree, info+"REQUESTED"), "0644 ")
	expect(t, "direct_url.json", show(t, tree, info+"direct_url.json"), "")

	w := demo()
	w.DistInfo = []wheeltest.File{{Name: "INSTALLER", Data: "pip\n"}, {Name: "direct_url.json", Data: "{}"}}
	tree, err := install(t, testVenv, w, InstallOptions{DirectURL: &DirectURL{URL: "file:///app", Dir: &DirInfo{Editable: true}}, Installer: "x"})
	if err != nil {
		t.Fatal(err)
	}
	const url = `{"url":"file:///app","dir_info":{"editable":true}}`
	expect(t, "INSTALLER", show(t, tree, info+"INSTALLER"), "0644 x")
	expect(t, "direct_url.json", show(t, tree, info+"direct_url.json"), "0644 "+url)
	expect(t, "its row", record(t, tree)["demo-1.0.dist-info/direct_url.json"], rowFor(url))
}

func TestDirectURL(t *testing.T) {
	for _, tt := range []struct {
		url  DirectURL
		want string
	}{
		{DirectURL{URL: "https://h.example/a.whl?x&y"}, `{"url":"https://h.example/a.whl?x&y","archive_info":{}}`},
		{DirectURL{URL: "https://h.example/a.zip", Subdirectory: "s"}, `{"url":"https://h.example/a.zip","archive_info":{},"subdirectory":"s"}`},
		{DirectURL{URL: "file:///l", Dir: &DirInfo{}}, `{"url":"file:///l","dir_info":{"editable":false}}`},
		{DirectURL{URL: "https://h.example/r", Subdirectory: "s", VCS: &VCSInfo{VCS: "git", CommitID: "c0", RequestedRevision: "v1"}},
			`{"url":"https://h.example/r","vcs_info":{"vcs":"git","commit_id":"c0","requested_revision":"v1"},"subdirectory":"s"}`},
		{DirectURL{URL: "https://h.example/r", VCS: &VCSInfo{VCS: "git", CommitID: "c0", Path: "a.whl"}},
			`{"url":"https://h.example/r","vcs_info":{"vcs":"git","commit_id":"c0"},"path":"a.whl"}`},
	} {
		b, err := tt.url.JSON()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, tt.url.URL, string(b), tt.want)
	}
}

func TestInstallRefuses(t *testing.T) {
	with := func(change func(*wheeltest.Wheel)) wheeltest.Wheel {
		w := demo()
		change(&w)
		return w
	}
	file := func(name string) wheeltest.Wheel { return demo(wheeltest.File{Name: name, Data: "x"}) }
	for name, tt := range map[string]struct {
		wheel wheeltest.Wheel
		want  string
	}{
		"two dist-infos":        {file("other-1.dist-info/METADATA"), "two .dist-info folders"},
		"another name":          {with(func(w *wheeltest.Wheel) { w.Metadata = "Name: evil\nVersion: 1.0\n" }), `its Name is "evil"`},
		"another version":       {with(func(w *wheeltest.Wheel) { w.Metadata = "Name: demo\nVersion: 2.0\n" }), `its Version is "2.0"`},
		"no name":               {with(func(w *wheeltest.Wheel) { w.Metadata = "\nName: demo\n" }), "no Name"},
		"a line of nothing":     {with(func(w *wheeltest.Wheel) { w.Metadata = "Metadata-Version: 2.1\njunk\n" }), "line 2 is no header"},
		"wheel 2.0":             {with(func(w *wheeltest.Wheel) { w.WheelFile = "Wheel-Version: 2.0\n" }), "1.x is understood"},
		"no wheel version":      {with(func(w *wheeltest.Wheel) { w.WheelFile = "Tag: x\n" }), "no Wheel-Version"},
		"no RECORD":             {with(func(w *wheeltest.Wheel) { w.Record = func(string) string { return "" } }), "no demo-1.0.dist-info/RECORD"},
		"a short row":           {with(func(w *wheeltest.Wheel) { w.Record = func(r string) string { return r + "x,\n" } }), "line 5: it has 2 fields"},
		"a long row":            {with(func(w *wheeltest.Wheel) { w.Record = func(r string) string { return r + "x,,,\n" } }), "line 5: it has 4 fields"},
		"an unknown kind":       {file("demo-1.0.data/foo/x"), "not of a kind"},
		"a file for a kind":     {file("demo-1.0.data/scripts"), "not of a kind"},
		"a folder of scripts":   {file("demo-1.0.data/scripts/d/x"), "only files"},
		"pyvenv.cfg":            {file("demo-1.0.data/data/pyvenv.cfg"), "would overwrite pyvenv.cfg"},
		"bin/python":            {file("demo-1.0.data/data/bin/python"), "would overwrite bin/python"},
		"bin/python3.12":        {file("demo-1.0.data/scripts/python3.12"), "would overwrite bin/python3.12"},
		"lib64":                 {file("demo-1.0.data/data/lib64"), "would overwrite lib64"},
		"a file bin":            {file("demo-1.0.data/data/bin"), "would overwrite bin"},
		"a file lib/python3.12": {file("demo-1.0.data/data/lib/python3.12"), "would overwrite lib/python3.12"},
		"below bin/python":      {file("demo-1.0.data/data/bin/python/x"), "would overwrite bin/python/x"},
		"below pyvenv.cfg":      {file("demo-1.0.data/data/pyvenv.cfg/x"), "would overwrite pyvenv.cfg/x"},
		"below activate":        {file("demo-1.0.data/data/bin/activate/x"), "would overwrite bin/activate/x"},
		"a file for lib":        {file("demo-1.0.data/data/lib"), "would overwrite lib of"},
		"a file for a folder":   {file("demo-1.0.data/purelib/demo"), "directory"},
		"an entry point beyond": {with(func(w *wheeltest.Wheel) { w.EntryPoints = "[console_scripts]\n../x = a:b\n" }), "does not lie directly in bin"},
		"a script below":        {with(func(w *wheeltest.Wheel) { w.EntryPoints = "[gui_scripts]\na/x = a:b\n" }), "does not lie directly in bin"},
		"no function":           {with(func(w *wheeltest.Wheel) { w.EntryPoints = "[console_scripts]\nx = a\n" }), "module:function"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := install(t, testVenv, tt.wheel, InstallOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "demo-1.0-py3-none-any.whl") {
				t.Errorf("the error is %v, and should say %q", err, tt.want)
			}
		})
	}
}

// TestOwnOverride checks that what .data brings a second time has the last word, in RECORD as well.
func TestOwnOverride(t *testing.T) {
	w := demo(wheeltest.File{Name: "demo-1.0.data/purelib/demo/__init__.py", Data: "y"}, wheeltest.File{Name: "demo-1.0.data/data/bin/x", Data: "z"})
	w.EntryPoints = "[console_scripts]\nx = a:b\n"
	tree := installed(t, w)
	expect(t, "the module", show(t, tree, site+"demo/__init__.py"), "0644 y")
	expect(t, "bin/x", show(t, tree, bin+"x"), "0644 z")
	rows := record(t, tree)
	expect(t, "the module's row", rows["demo/__init__.py"], rowFor("y"))
	expect(t, "the script's row", rows["../../../bin/x"], rowFor("z"))
}

func TestOwnersAndModes(t *testing.T) {
	tree := installed(t, demo(wheeltest.File{Name: "demo/x", Mode: 0o104711}, wheeltest.File{Name: "demo/y", Mode: 0o100600}))
	for e := range tree.All() {
		wantMode := uint32(0o644)
		if e.Kind == fstree.Dir || e.Path == site+"demo/x" {
			wantMode = 0o755
		}
		if e.UID != 999 || e.GID != 998 || e.Mode != wantMode || e.Producer != "wheel demo 1.0" {
			t.Errorf("%+v", e)
		}
	}
	if _, ok := tree.Lookup("app"); ok {
		t.Error("the folder that the environment lies in is not the wheel's to make")
	}
}

// FuzzInstall installs wheels with a file and metadata of any form, and holds what comes of it to the environment.
func FuzzInstall(f *testing.F) {
	f.Add("demo-1.0.data/scripts/x", "#!python\n", "[console_scripts]\nx = a:b\n", "demo/__init__.py,,\n")
	f.Add("demo-1.0.data/data/lib64/../bin/python", "x", "[gui_scripts]\n../y = a:b\n", "/a\\b,,\n")
	f.Add("demo-1.0.data/data/pyvenv.cfg", "", "", "\"a\",b,c")
	f.Add("demo-1.0.data/purelib/demo/", "", "[console_scripts]\npip3 = a:b\n", ",,\n")
	f.Fuzz(func(t *testing.T, name, data, points, rows string) {
		if len(name) > maxPath || len(points)+len(rows)+len(data) > 1<<16 {
			return
		}
		w := demo(wheeltest.File{Name: name, Data: data})
		w.EntryPoints, w.Record = points, func(r string) string { return rows + r }
		filename, zip := wheeltest.Build(w)
		a, err := Open(bytes.NewReader(zip), int64(len(zip)), filename)
		if err != nil {
			return
		}
		tree := &fstree.Tree{}
		if Install(tree, a, testVenv, InstallOptions{}) != nil {
			return
		}
		skeleton := &fstree.Tree{}
		if err := testVenv.Skeleton(skeleton); err != nil {
			t.Fatal(err)
		}
		for e := range tree.All() {
			if e.Path != testVenv.Path && !strings.HasPrefix(e.Path, testVenv.Path+"/") {
				t.Errorf("%q lies outside", e.Path)
			}
			if old, ok := skeleton.Lookup(e.Path); ok && old.Kind != fstree.Dir && e.Kind != fstree.Dir {
				t.Errorf("%q is the environment's", e.Path)
			}
			if e.Kind == fstree.Symlink {
				t.Errorf("%q is a link", e.Path)
			}
		}
		record(t, tree)
	})
}
