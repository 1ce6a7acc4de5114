package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// sdistOf makes an sdist of files: what the fixture's backend reads of it is told in layers/staticfiles/testdata/python.
func sdistOf(t *testing.T, stem string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: stem + "/" + name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// needsBuild is a world whose lock has a package with an sdist alone; files are what is in it beside the usual, "" for one
// that is not to be there. Its index has the build requirements as well.
func needsBuild(t *testing.T, files map[string]string) *world {
	t.Helper()
	w := newWorld(t)
	all := []wheeltest.Wheel{{Name: "backend", Version: "1.0", Files: []wheeltest.File{{Name: "backend/__init__.py"}}, Requires: []string{"helper>=2"}},
		{Name: "backend", Version: "2.0", Files: []wheeltest.File{{Name: "backend/__init__.py"}}, Requires: []string{"helper>=3"}},
		{Name: "helper", Version: "2.0", Files: []wheeltest.File{{Name: "helper/__init__.py"}}}, {Name: "more", Version: "1.0", Files: []wheeltest.File{{Name: "more/__init__.py"}}}}
	for _, x := range all {
		name, data := wheeltest.Build(x)
		w.wheels[name] = data
	}
	w.serve = w.simpleIndex
	t.Setenv("UV_DEFAULT_INDEX", w.index.URL+"/simple")
	built, data := wheeltest.Build(wheeltest.Wheel{Name: "tool", Version: "1.5", Files: []wheeltest.File{{Name: "tool/__init__.py", Data: "made = True\n"}}, EntryPoints: "[console_scripts]\ntool = tool:main\n"})
	in := map[string]string{
		"PKG-INFO": "Metadata-Version: 2.1\nName: tool\nVersion: 1.5\n", "pyproject.toml": "[build-system]\nrequires = [\"backend\"]\nbuild-backend = \"backend\"\n",
		"needs": "more", "imports": "backend helper more", "build_wheel/" + built: string(data),
	}
	for name, text := range files {
		if in[name] = text; text == "" {
			delete(in, name)
		}
	}
	sdist := sdistOf(t, "tool-1.5", in)
	w.wheels["tool-1.5.tar.gz"] = sdist
	lock, err := os.ReadFile(filepath.Join(w.dir, "uv.lock"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(lock), "dependencies = [\n", "dependencies = [\n    { name = \"tool\" },\n", 1)
	w.write("uv.lock", text+fmt.Sprintf("\n[[package]]\nname = \"tool\"\nversion = \"1.5\"\nsource = { registry = \"https://index.example/simple\" }\nsdist = { url = \"%s/tool-1.5.tar.gz\", hash = \"sha256:%x\" }\n",
		w.index.URL, sha256.Sum256(sdist)))
	return w
}

// simpleIndex answers for a simple index of all wheels (PEP 691).
func (w *world) simpleIndex(rw http.ResponseWriter, r *http.Request) bool {
	project, ok := strings.CutPrefix(r.URL.Path, "/simple/")
	if !ok {
		return false
	}
	type file struct {
		Filename string            `json:"filename"`
		URL      string            `json:"url"`
		Hashes   map[string]string `json:"hashes"`
	}
	page := map[string]any{"meta": map[string]string{"api-version": "1.1"}}
	files := []file{}
	for name, data := range w.wheels {
		if strings.HasPrefix(name, strings.Trim(project, "/")+"-") {
			files = append(files, file{name, w.index.URL + "/" + name, map[string]string{"sha256": fmt.Sprintf("%x", sha256.Sum256(data))}})
		}
	}
	page["files"] = files
	rw.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
	if err := json.NewEncoder(rw).Encode(page); err != nil {
		w.t.Error(err)
	}
	return true
}

// TestSdist builds a package that has an sdist alone, locks what it is built with, and builds no more than it has to.
func TestSdist(t *testing.T) {
	w := needsBuild(t, nil)
	first, said := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "out"))
	for _, want := range []string{"built        tool 1.5 from its sdist", "what wheels are built with is not pinned", "3 packages"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if _, said := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "out")); strings.Contains(said, "built   ") {
		t.Errorf("it was built again:\n%s", said)
	}
	again, said := w.build("--no-cache", "-o", "oci:"+filepath.Join(t.TempDir(), "out"))
	if !strings.Contains(said, "built   ") || digestOf(again) != digestOf(first) {
		t.Errorf("%s is not %s\n%s", again, first, said)
	}

	// Pinned: nothing is asked of the index but files, and the image is the same.
	code, _, said := w.jubako("build", "--frozen-base", "--base", w.base, w.dir)
	if code != 2 || !strings.Contains(said, "not pinned") {
		t.Errorf("frozen without a lock: %d\n%s", code, said)
	}
	if code, _, said := w.jubako("lock", "--base", w.base, w.dir); code != 0 {
		t.Fatalf("%d\n%s", code, said)
	}
	lock, err := os.ReadFile(filepath.Join(w.dir, "jubako.lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"asked = [\"backend\"]", "requires = [\"backend==1.0\", \"helper==2.0\", \"more==1.0\"]", "/backend-1.0-py3-none-any.whl"} {
		if !strings.Contains(string(lock), want) {
			t.Errorf("jubako.lock lacks %s:\n%s", want, lock)
		}
	}
	var asked atomic.Int32
	w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/simple/") {
			asked.Add(1)
		}
		return w.simpleIndex(rw, r)
	}
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	out, said := w.build("--frozen-base", "--set", "exclude=[\"jubako.lock\"]", "-o", "oci:"+filepath.Join(t.TempDir(), "out"))
	if asked.Load() != 0 || !strings.Contains(said, "built        tool 1.5") || strings.Contains(said, "not pinned") || digestOf(out) != digestOf(first) {
		t.Errorf("pinned: %d questions, %s, and %s before\n%s", asked.Load(), out, first, said)
	}

	// What is pinned stays, although there is a newer one, until it is asked for.
	name, data := wheeltest.Build(wheeltest.Wheel{Name: "helper", Version: "3.0", Files: []wheeltest.File{{Name: "helper/__init__.py"}}})
	w.wheels[name] = data
	if code, _, said := w.jubako("lock", "--base", w.base, w.dir); code != 0 || !strings.Contains(said, "already") {
		t.Errorf("%d\n%s", code, said)
	}
	if code, _, said := w.jubako("lock", "--check", "--base", w.base, w.dir); code != 4 {
		t.Errorf("--check: %d\n%s", code, said)
	}
	if code, _, said := w.jubako("lock", "--upgrade", "--base", w.base, w.dir); code != 0 || !strings.Contains(said, "backend 2.0 was 1.0 (a build requirement)") {
		t.Errorf("%d\n%s", code, said)
	}
}

func digestOf(line string) string {
	_, d, _ := strings.Cut(line, "@")
	return d
}

// TestSdistRefused is about sdists that cannot be built, or may not be.
func TestSdistRefused(t *testing.T) {
	wrong, wrongData := wheeltest.Build(wheeltest.Wheel{Name: "tool", Version: "9", Files: []wheeltest.File{{Name: "x.py"}}})
	foreign, foreignData := wheeltest.Build(wheeltest.Wheel{Name: "tool", Version: "1.5", Tag: "cp39-cp39-win32", Files: []wheeltest.File{{Name: "x.py"}}})
	name, _ := wheeltest.Build(wheeltest.Wheel{Name: "tool", Version: "1.5"})
	for what, tt := range map[string]struct {
		files map[string]string
		set   []string
		code  int
		want  []string
	}{
		"a compiler":          {map[string]string{"fails": "error: command 'gcc' failed: No such file or directory"}, nil, 1, []string{"tool 1.5", "| error: command 'gcc'", "build-packages = [\"gcc\", \"libc6-dev\"]"}},
		"the network":         {map[string]string{"fails": "<urlopen error [Errno -3] Temporary failure in name resolution>"}, nil, 1, []string{"tool 1.5", "builds have no network"}},
		"another's":           {map[string]string{"PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1.5\n"}, nil, 1, []string{"PKG-INFO is of the project \"evil\""}},
		"its name leads out":  {map[string]string{"../evil": "x"}, nil, 1, []string{"tool-1.5.tar.gz", "tool-1.5/../evil", "at byte", "leads out of the archive"}},
		"another version":     {map[string]string{"build_wheel/" + name: "", "build_wheel/" + wrong: string(wrongData)}, nil, 1, []string{"not what is locked", wrong}},
		"another platform":    {map[string]string{"build_wheel/" + name: "", "build_wheel/" + foreign: string(foreignData)}, nil, 1, []string{foreign, "does not fit the image"}},
		"no such requirement": {map[string]string{"pyproject.toml": "[build-system]\nrequires = [\"gone\"]\nbuild-backend = \"x\"\n"}, nil, 1, []string{"tool 1.5", "no wheel of gone", "no index knows"}},
		"no-build":            {nil, []string{"UV_NO_BUILD=1"}, 2, []string{"package tool 1.5", "no-build forbids it"}},
		"a missing import":    {map[string]string{"imports": "numpy"}, nil, 1, []string{"extra-build-dependencies"}},
		"no wheel":            {map[string]string{"build_wheel/" + name: "no zip", "imports": ""}, nil, 1, []string{"wheel tool-1.5"}},
	} {
		t.Run(what, func(t *testing.T) {
			w := needsBuild(t, tt.files)
			for _, kv := range tt.set {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			code, _, said := w.jubako("build", "--base", w.base, w.dir)
			if code != tt.code {
				t.Errorf("exit code %d", code)
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			left, err := filepath.Glob(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "tmp", "*"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestSdistForOtherPlatform: a pure wheel is built once for all platforms, and one that fits this machine alone is in no other
// platform's image, whether the cache has it, its layer, or neither.
func TestSdistForOtherPlatform(t *testing.T) {
	pure, _ := wheeltest.Build(wheeltest.Wheel{Name: "tool", Version: "1.5"})
	native, data := wheeltest.Build(wheeltest.Wheel{Name: "tool", Version: "1.5", Tag: "cp312-cp312-linux_" + base.Machine(runtime.GOARCH), Files: []wheeltest.File{{Name: "tool.so", Data: "ELF"}}})
	w := needsBuild(t, nil)
	var other string
	w.base, other = w.twoPlatforms()
	both := "linux/" + runtime.GOARCH + ",linux/" + other
	if _, said := w.build("--platform", both); strings.Count(said, "built   ") != 1 {
		t.Errorf("a pure wheel was to be built once:\n%s", said)
	}
	w = needsBuild(t, map[string]string{"build_wheel/" + pure: "", "build_wheel/" + native: string(data)})
	w.base, other = w.twoPlatforms()
	refused := func(when, platforms string, more ...string) {
		t.Helper()
		code, _, said := w.jubako(append([]string{"build", "--base", w.base, "--platform", platforms, w.dir}, more...)...)
		if code != 1 || !strings.Contains(said, "its wheel "+native+" is for this machine, and the image for linux/"+other) {
			t.Errorf("%s: %d\n%s", when, code, said)
		}
	}
	refused("at first", "linux/"+other)
	refused("both at once", both)
	w.build("--platform", "linux/"+runtime.GOARCH)
	refused("after this machine's", "linux/"+other)
	refused("after this machine's, anew", "linux/"+other, "--no-reuse")
}

// TestBackendOfProject runs the backend of the project itself, editable and not: on a copy of what the image's source holds.
func TestBackendOfProject(t *testing.T) {
	w := needsBuild(t, nil)
	built, data := wheeltest.Build(wheeltest.Wheel{Name: "mysite", Version: "1.0", Files: []wheeltest.File{{Name: "mysite-built.py", Data: "x = 1\n"}}})
	pth, editable := wheeltest.Build(wheeltest.Wheel{Name: "mysite", Version: "1.0", Files: []wheeltest.File{{Name: "mysite.pth", Data: "/app\n"}}})
	w.write("build_wheel/"+built, string(data))
	w.write("build_editable/"+pth, string(editable))
	w.write("imports", "backend")
	w.edit("pyproject.toml", "[project]", "[build-system]\nrequires = [\"backend\"]\nbuild-backend = \"backend\"\n\n[project]")
	w.edit("uv.lock", `source = { virtual = "." }`, `source = { editable = "." }`)
	for args, want := range map[string]string{"": "mysite 1.0 (editable)", "--no-editable": "mysite 1.0  "} {
		var more []string
		if args != "" {
			more = append(more, args)
		}
		_, said := w.build(more...)
		if !strings.Contains(said, "built        mysite 1.0 from its source") || !strings.Contains(said, "project      made     "+want) {
			t.Errorf("%q:\n%s", args, said)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "left-behind")); err == nil {
		t.Error("the backend has written into the source itself")
	}
	w.write("leaves", "compiled.so")
	if code, _, said := w.jubako("build", "--base", w.base, w.dir); code != 1 || !strings.Contains(said, "compiles /app/compiled.so into the source") || !strings.Contains(said, "--no-editable") {
		t.Errorf("an extension in the source: %d\n%s", code, said)
	}
	w.build("--no-editable")
	w.write("leaves", "")
	if code, _, said := w.jubako("lock", "--base", w.base, w.dir); code != 0 {
		t.Fatal(said)
	}
	lock, err := os.ReadFile(filepath.Join(w.dir, "jubako.lock"))
	if err != nil || !strings.Contains(string(lock), "name = \"mysite\"\nversion = \"1.0\"\neditable = true\nasked = [\"backend\"]\n") {
		t.Errorf("%v\n%s", err, lock)
	}
	w.edit("pyproject.toml", `requires = ["backend"]`, `requires = ["backend<3"]`)
	if code, _, said := w.jubako("build", "--frozen-base", "--base", w.base, w.dir); code != 2 || !strings.Contains(said, "does not pin what it is built with") {
		t.Errorf("after a change of its requirements: %d\n%s", code, said)
	}
}
