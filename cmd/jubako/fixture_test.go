package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/jubako/jubako/pkg/registry"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// images holds what makeImage has made.
var images string

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(func() int {
		var err error
		if images, err = os.MkdirTemp("", "jubako-images-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(images)
		sleep = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
		return m.Run()
	}())
}

// fakePython builds the program that stands for Python, and fakeProg one that does what steps may do, once.
var (
	fakePython = sync.OnceValues(func() ([]byte, error) { return sandboxtest.Program(before, "../../layers/staticfiles/testdata/python") })
	fakeProg   = sync.OnceValues(func() ([]byte, error) { return sandboxtest.Program(before, "../../pkg/sandbox/testdata/prog") })
)

// before is the environment before any test gives itself another home, where Go would look for what it has built.
var before = os.Environ()

// world is all that a build needs, on loopback and in temporary folders.
type world struct {
	t        *testing.T
	dir      string // the project
	base     string // a SOURCE
	index    *httptest.Server
	registry *httptest.Server
	// refuse, where set, answers registry requests in place of the registry when it returns true.
	refuse func(http.ResponseWriter, *http.Request) bool
	// serve, where set, answers requests for wheels likewise.
	serve  func(http.ResponseWriter, *http.Request) bool
	wheels map[string][]byte
	pulled atomic.Int64 // bytes that the registry has sent in its answers' bodies
}

// pulledWriter counts what goes through it.
type pulledWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *pulledWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.n.Add(int64(n))
	return n, err
}

const settings = `STATIC_ROOT = "/app/staticfiles"
`

const pyproject = `[project]
name = "mysite"
version = "1.0"
requires-python = ">=3.12"
dependencies = ["django>=5", "uvicorn"]

[tool.jubako.staticfiles]
output = "staticfiles"
env = { DO = "write /app/staticfiles/site.css body{}" }
`

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "mysite"), wheels: map[string][]byte{}}
	w.index = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.serve != nil && w.serve(rw, r) {
			return
		}
		b, ok := w.wheels[filepath.Base(r.URL.Path)]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write(b)
	}))
	t.Cleanup(w.index.Close)
	g, err := registry.New(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.registry = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.refuse != nil && w.refuse(rw, r) {
			return
		}
		g.ServeHTTP(&pulledWriter{rw, &w.pulled}, r)
	}))
	t.Cleanup(w.registry.Close)
	for _, v := range []string{"CI", "SOURCE_DATE_EPOCH", "UV_INDEX_URL", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(v, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())

	for name, text := range map[string]string{
		"pyproject.toml": pyproject, "manage.py": `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")`,
		"mysite/__init__.py": "", "mysite/settings.py": settings, "mysite/asgi.py": "application = None\n", ".env": "SECRET=1", "mysite/__pycache__/x.pyc": "x",
	} {
		w.write(name, text)
	}
	w.lock(wheeltest.Wheel{Name: "django", Version: "5.2", Files: []wheeltest.File{{Name: "django/__init__.py", Data: "VERSION = 5\n"}}},
		wheeltest.Wheel{Name: "uvicorn", Version: "0.30", Files: []wheeltest.File{{Name: "uvicorn/__init__.py", Data: "def main(): pass\n"}}, EntryPoints: "[console_scripts]\nuvicorn = uvicorn:main\n"})
	python, err := fakePython()
	if err != nil {
		t.Fatal(err)
	}
	w.base = "oci:" + makeBase(t, baseFiles(python))
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// edit changes a file of the project.
func (w *world) edit(name, old, new string) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil || !bytes.Contains(b, []byte(old)) {
		w.t.Fatalf("%s does not hold %q: %v", name, old, err)
	}
	w.write(name, strings.Replace(string(b), old, new, 1))
}

// lock serves wheels and writes the uv.lock that names them, each a dependency of the project.
func (w *world) lock(all ...wheeltest.Wheel) {
	var b strings.Builder
	b.WriteString("version = 1\nrevision = 3\nrequires-python = \">=3.12\"\n\n[[package]]\nname = \"mysite\"\nversion = \"1.0\"\nsource = { virtual = \".\" }\ndependencies = [\n")
	for _, x := range all {
		fmt.Fprintf(&b, "    { name = %q },\n", x.Name)
	}
	b.WriteString("]\n\n[package.metadata]\nrequires-dist = [{ name = \"django\", specifier = \">=5\" }, { name = \"uvicorn\" }]\n")
	for _, x := range all {
		name, data := wheeltest.Build(x)
		w.wheels[name] = data
		fmt.Fprintf(&b, "\n[[package]]\nname = %q\nversion = %q\nsource = { registry = \"https://index.example/simple\" }\nwheels = [{ url = \"%s/%s\", hash = \"sha256:%x\", size = %d }]\n",
			x.Name, x.Version, w.index.URL, name, sha256.Sum256(data), len(data))
	}
	w.write("uv.lock", b.String())
}

// entry is a path of a base: a folder where the name ends in a slash, a link where link is set.
type entry struct {
	name, link string
	data       []byte
	mode       int64
}

func baseFiles(python []byte) []entry {
	return []entry{
		{name: "etc/", mode: 0o755}, {name: "tmp/", mode: 0o1777}, {name: "usr/local/bin/", mode: 0o755},
		{name: "etc/passwd", data: []byte("root:x:0:0:root:/root:/bin/sh\n"), mode: 0o644},
		{name: "etc/group", data: []byte("root:x:0:\n"), mode: 0o644},
		{name: "etc/os-release", data: []byte("ID=debian\nVERSION_CODENAME=trixie\n"), mode: 0o644},
		{name: "usr/lib/libc.so.6", data: []byte("GNU C Library stable release version 2.41, by many"), mode: 0o755},
		{name: "usr/local/bin/python3.12", data: python, mode: 0o755},
		{name: "usr/local/bin/python3", link: "python3.12"},
		{name: "usr/local/include/python3.12/patchlevel.h", data: []byte("#define PY_VERSION \"3.12.9\"\n"), mode: 0o644},
	}
}

// makeBase writes a base image as an OCI layout.
func makeBase(t *testing.T, files []entry) string {
	t.Helper()
	return makeImage(t, files, runtime.GOARCH, v1.Config{Env: []string{"PATH=/usr/local/bin:/usr/bin"}})
}

// makeImage writes an image of one layer as an OCI layout. What was made before is copied: to compress a program of a few
// megabytes for every test takes longer than most of the tests.
func makeImage(t *testing.T, files []entry, arch string, conf v1.Config) string {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	// As JSON: the config has pointers, whose addresses are given to other values later.
	template := filepath.Join(images, fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(b.Bytes(), "%s %s", arch, must(json.Marshal(conf))))))
	if _, err := os.Stat(template); err != nil {
		writeImage(t, template, b.Bytes(), arch, conf)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeImage writes an image of one layer.
func writeImage(t *testing.T, dir string, layer []byte, arch string, conf v1.Config) {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: arch, Config: conf,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{must(l.DiffID())}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) host() string { return strings.TrimPrefix(w.registry.URL, "http://") }

// jubako runs the program, and gives its exit code and what it printed.
func (w *world) jubako(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	f, err := os.CreateTemp(w.t.TempDir(), "stderr")
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	code = run(args, &out, f)
	b, err := os.ReadFile(f.Name())
	if err != nil {
		w.t.Fatal(err)
	}
	return code, out.String(), string(b)
}

// build builds the project with the usual flags, and insists on success.
func (w *world) build(args ...string) (stdout, stderr string) {
	w.t.Helper()
	code, stdout, stderr := w.jubako(append([]string{"build", "--base", w.base, w.dir}, args...)...)
	if code != 0 {
		w.t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	return strings.TrimSpace(stdout), stderr
}

// tags lists what the registry holds.
func (w *world) tags(repo string) string {
	w.t.Helper()
	resp, err := http.Get(w.registry.URL + "/v2/" + repo + "/tags/list")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}
