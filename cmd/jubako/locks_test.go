package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/jubako/jubako/pkg/checkout/checkouttest"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// simple lets the world's index answer as an index does: a page for each project.
func (w *world) simple() (index string, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
		project, ok := strings.CutPrefix(r.URL.Path, "/simple/")
		if !ok {
			return false
		}
		asked.Add(1)
		rw.Header().Set("Content-Type", "text/html")
		for name, b := range w.wheels {
			if strings.HasPrefix(name, strings.TrimSuffix(project, "/")+"-") {
				fmt.Fprintf(rw, "<a href=\"/files/%s#sha256=%x\">%s</a>\n", name, sha256.Sum256(b), name)
			}
		}
		return true
	}
	return w.index.URL + "/simple", asked
}

// hashOf gives the SHA-256 of the one wheel whose name begins so.
func (w *world) hashOf(prefix string) string {
	w.t.Helper()
	for name, b := range w.wheels {
		if strings.HasPrefix(name, prefix) {
			return fmt.Sprintf("%x", sha256.Sum256(b))
		}
	}
	w.t.Fatalf("no wheel %s", prefix)
	return ""
}

func (w *world) requirements() string {
	const other = "--hash=sha256:0000000000000000000000000000000000000000000000000000000000000000"
	return fmt.Sprintf("django==5.2 \\\n    %s \\\n    --hash=sha256:%s\nuvicorn==0.30 \\\n    --hash=sha256:%s\nnever==1 ; sys_platform == 'win32' %s\n",
		other, w.hashOf("django"), w.hashOf("uvicorn"), other)
}

func (w *world) pylock() string {
	var b strings.Builder
	b.WriteString("lock-version = \"1.0\"\ncreated-by = \"a test\"\n")
	for _, p := range []string{"django 5.2", "uvicorn 0.30"} {
		name, version, _ := strings.Cut(p, " ")
		file := fmt.Sprintf("%s-%s-py3-none-any.whl", name, version)
		fmt.Fprintf(&b, "[[packages]]\nname = %q\nversion = %q\nwheels = [{ url = \"%s/%s\", size = %d, hashes = { sha256 = %q } }]\n",
			name, version, w.index.URL, file, len(w.wheels[file]), w.hashOf(name))
	}
	return b.String()
}

// layerDigests gives the digests of an image's layers, by name.
func layerDigests(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Jubako struct {
			Platforms []struct {
				Layers []struct{ Name, Digest string }
			}
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, l := range m.Jubako.Platforms[0].Layers {
		all[l.Name] = l.Digest
	}
	return all
}

// TestLockFormats: the same packages make the same layer, whichever lock names them.
func TestLockFormats(t *testing.T) {
	w := newWorld(t)
	index, asked := w.simple()
	meta := filepath.Join(t.TempDir(), "meta.json")
	w.build("--metadata-file", meta)
	want := layerDigests(t, meta)["venv"]
	if want == "" {
		t.Fatal("there is no venv layer")
	}
	w.write("pylock.toml", w.pylock())
	w.write("requirements.txt", w.requirements())
	for name, args := range map[string][]string{
		"pylock.toml":             {"--lock", filepath.Join(w.dir, "pylock.toml")},
		"requirements.txt, --set": {"--lock", filepath.Join(w.dir, "requirements.txt"), "--set", "index=\"" + index + "\""},
		"requirements.txt, anew":  {"--lock", filepath.Join(w.dir, "requirements.txt"), "--set", "index=\"" + index + "\"", "--no-cache"},
	} {
		w.build(append(args, "--metadata-file", meta)...)
		if got := layerDigests(t, meta)["venv"]; got != want {
			t.Errorf("%s: the venv layer is %s, and %s from uv.lock", name, got, want)
		}
	}
	before := asked.Load()
	if before == 0 {
		t.Error("the index was not asked")
	}
	w.build("--lock", filepath.Join(w.dir, "requirements.txt"), "--offline", "--metadata-file", meta)
	if got := layerDigests(t, meta)["venv"]; got != want || asked.Load() != before {
		t.Errorf("offline: %s, and the index was asked %d times more", got, asked.Load()-before)
	}
	// Without a uv.lock the others are found, pylock.toml first.
	for _, name := range []string{"uv.lock", "pylock.toml"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
		w.build("--metadata-file", meta)
		if got := layerDigests(t, meta)["venv"]; got != want {
			t.Errorf("without %s: the venv layer is %s", name, got)
		}
	}
	t.Setenv("JUBAKO_LOCK", filepath.Join(w.dir, "requirements.txt"))
	w.build("--metadata-file", meta)
}

// TestOtherDefaultIndex: case 49 of the specification. An index that uv's variables name is not asked for what has its URL
// in the lock.
func TestOtherDefaultIndex(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"UV_DEFAULT_INDEX", "UV_INDEX", "PIP_INDEX_URL"} {
		t.Setenv(name, "http://127.0.0.1:1/simple")
	}
	if _, stderr := w.build(); !strings.Contains(stderr, "2 packages") {
		t.Error(stderr)
	}
}

// TestRequirementsAlone builds a project that has no pyproject.toml.
func TestRequirementsAlone(t *testing.T) {
	w := newWorld(t)
	index, _ := w.simple()
	t.Setenv("PIP_INDEX_URL", index)
	w.write("requirements.txt", w.requirements())
	for _, name := range []string{"uv.lock", "pyproject.toml"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	_, stderr := w.build("--set", "staticfiles=false")
	for _, want := range []string{"2 packages", `using cmd = ["uvicorn", "mysite.asgi:application"`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing in\n%s", want, stderr)
		}
	}
}

// TestOtherLocksRefused: what is wrong with a lock is said with its file, its place and the way out.
func TestOtherLocksRefused(t *testing.T) {
	w := newWorld(t)
	index, _ := w.simple()
	const sha = "--hash=sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for name, tc := range map[string]struct {
		file, text string
		args       []string
		want       []string
	}{
		"poetry.lock":    {"poetry.lock", "", nil, []string{"poetry.lock is not read", "poetry export"}},
		"Pipfile.lock":   {"Pipfile.lock", "", nil, []string{"pipenv requirements --hash"}},
		"pdm.lock":       {"pdm.lock", "", nil, []string{"pdm export"}},
		"a strange name": {"lock.json", "{}", nil, []string{"tells no format", "pylock.toml"}},
		"no hashes":      {"requirements.txt", "django==5.2\n", nil, []string{"requirements.txt:1: django 5.2 has no --hash", "uv pip compile --generate-hashes"}},
		"no index":       {"requirements.txt", "django==5.2 " + sha, nil, []string{"names no index", "--index-url"}},
		"other hashes":   {"requirements.txt", "django==5.2 " + sha, []string{"--set", "index=\"" + index + "\""}, []string{"no index has a file of django 5.2 with one of the 1 hashes"}},
		"a group":        {"requirements.txt", w.requirements(), []string{"--group", "dev"}, []string{"has no dependency groups to choose from"}},
		"another size":   {"pylock.toml", strings.Replace(w.pylock(), "size = ", "size = 9", 1), nil, []string{"and the lock says 9"}},
		"an sdist":       {"pylock.toml", strings.Replace(w.pylock(), "wheels = [{ url", "sdist = { url", 1), nil, []string{"reading"}},
		"no-build":       {"requirements.txt", "--only-binary :all:\n-e .\n", nil, []string{"mysite 1.0 has to be built from source", "no-build forbids it"}},
		"no-binary":      {"requirements.txt", "--no-binary django\n" + w.requirements(), []string{"--set", "index=\"" + index + "\""}, []string{"package django 5.2 is to be built from source (no-binary)", "--find-links"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.write(tc.file, tc.text)
			args := append([]string{"build", "--base", w.base, w.dir, "--lock", filepath.Join(w.dir, tc.file), "-o", "oci:" + t.TempDir() + "/out"}, tc.args...)
			code, stdout, stderr := w.jubako(args...)
			wanted := 2
			if c, ok := map[string]int{"another size": 4, "no-binary": 1}[name]; ok {
				wanted = c
			}
			if code != wanted || stdout != "" {
				t.Errorf("exit code %d, %q", code, stdout)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is missing in\n%s", want, stderr)
				}
			}
		})
	}
}

// TestGitSource installs a package from a repository, built from its source by its static settings.
func TestGitSource(t *testing.T) {
	w := newWorld(t)
	repo := t.TempDir()
	for name, text := range map[string]string{
		"python/pyproject.toml":           "[project]\nname = \"lib\"\nversion = \"2.0\"\n[build-system]\nrequires = [\"uv_build\"]\nbuild-backend = \"uv_build\"\n",
		"python/src/lib/__init__.py":      "x = 1\n",
		"wheels/other-1-py3-none-any.whl": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(repo, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		b := []byte(text)
		if strings.HasSuffix(name, ".whl") {
			_, b = wheeltest.Build(wheeltest.Wheel{Name: "other", Version: "1", Files: []wheeltest.File{{Name: "other.py", Data: "y = 2\n"}}})
		}
		if err := os.WriteFile(filepath.Join(repo, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	commit := checkouttest.Commit(t, repo)
	other, err := os.ReadFile(filepath.Join(repo, "wheels/other-1-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	lock := fmt.Sprintf("version = 1\nrevision = 3\nrequires-python = \">=3.12\"\n[[package]]\nname = \"mysite\"\nversion = \"1.0\"\nsource = { virtual = \".\" }\ndependencies = [{ name = \"lib\" }, { name = \"other\" }]\n"+
		"[package.metadata]\nrequires-dist = [{ name = \"django\", specifier = \">=5\" }, { name = \"uvicorn\" }]\n"+
		"[[package]]\nname = \"lib\"\nversion = \"2.0\"\nsource = { git = \"file://%s?subdirectory=python&tag=v1#%s\" }\n"+
		"[[package]]\nname = \"other\"\nversion = \"1\"\nsource = { git = \"file://%s?path=wheels%%2Fother-1-py3-none-any.whl#%s\" }\nwheels = [{ filename = \"other-1-py3-none-any.whl\", hash = \"sha256:%x\" }]\n",
		repo, commit, repo, commit, sha256.Sum256(other))
	w.write("uv.lock", lock)
	out := filepath.Join(t.TempDir(), "out")
	w.build("-o", "oci:"+out, "--set", "staticfiles=false", "--set", `cmd=["python"]`)
	files := imageFiles(t, out)
	const site = "app/.venv/lib/python3.12/site-packages/"
	for name, want := range map[string]string{
		site + "lib/__init__.py":                   "x = 1\n",
		site + "lib-2.0.dist-info/direct_url.json": fmt.Sprintf(`{"url":"file://%s","vcs_info":{"vcs":"git","commit_id":"%s","requested_revision":"v1"},"subdirectory":"python"}`, repo, commit),
		site + "other.py":                          "y = 2\n",
		site + "other-1.dist-info/direct_url.json": fmt.Sprintf(`{"url":"file://%s","vcs_info":{"vcs":"git","commit_id":"%s"},"path":"wheels/other-1-py3-none-any.whl"}`, repo, commit),
	} {
		if files[name] != want {
			t.Errorf("%s holds %q, want %q", name, files[name], want)
		}
	}
	for name, bad := range map[string]string{
		"no full commit": strings.Replace(lock, "#"+commit, "#abc", 1),
		"no such commit": strings.ReplaceAll(lock, commit, strings.Repeat("a", 40)),
	} {
		w.write("uv.lock", bad)
		if code, _, stderr := w.jubako("build", "--base", w.base, w.dir); code == 0 || !strings.Contains(stderr, "commit") {
			t.Errorf("%s: exit code %d\n%s", name, code, stderr)
		}
	}
}

// imageFiles gives the text of every file of a layout's layers, by path; what is in several layers is the last one's.
func imageFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	p, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := must(p.IndexManifest())
	img, err := p.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, l := range must(img.Layers()) {
		r := must(l.Uncompressed())
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all[h.Name] = string(must(io.ReadAll(tr)))
		}
		_ = r.Close()
	}
	return all
}
