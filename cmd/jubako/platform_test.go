package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// twoPlatforms makes an index of the base for this machine and, with the same files, for another.
func (w *world) twoPlatforms() (base, other string) {
	w.t.Helper()
	other = "arm64"
	if runtime.GOARCH == "arm64" {
		other = "amd64"
	}
	single := must(layout.FromPath(strings.TrimPrefix(w.base, "oci:")))
	idx := must(must(single.ImageIndex()).IndexManifest())
	img := must(single.Image(idx.Manifests[0].Digest))
	var both v1.ImageIndex = empty.Index
	for _, arch := range []string{runtime.GOARCH, other} {
		config := must(img.ConfigFile()).DeepCopy()
		config.Architecture = arch
		one := must(mutate.ConfigFile(img, config))
		both = mutate.AppendManifests(both, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	dir := w.t.TempDir()
	p := must(layout.Write(dir, empty.Index))
	if err := p.AppendIndex(both); err != nil {
		w.t.Fatal(err)
	}
	return "oci:" + dir, other
}

// TestPlatforms: an index of a base is narrowed, and several platforms make an index, for which static files are made once.
func TestPlatforms(t *testing.T) {
	w := newWorld(t)
	var other string
	w.base, other = w.twoPlatforms()
	if _, log := w.build("-t", w.host()+"/one:1", "--push"); !strings.Contains(log, "linux/"+runtime.GOARCH) {
		t.Errorf("this machine's platform was to be taken:\n%s", log)
	}
	tag := w.host() + "/both:1"
	got, log := w.build("-t", tag, "--push", "--platform", "linux/"+runtime.GOARCH+",linux/"+other)
	if strings.Count(log, "staticfiles  made") > 0 || strings.Count(log, "staticfiles  reused") != 2 {
		t.Errorf("static files were to be made once, for the first build:\n%s", log)
	}
	resp := must(http.Get(w.registry.URL + "/v2/both/manifests/1"))
	defer resp.Body.Close()
	var m v1.IndexManifest
	if err := json.Unmarshal(must(io.ReadAll(resp.Body)), &m); err != nil || len(m.Manifests) != 2 || m.Manifests[1].Platform.Architecture != other {
		t.Fatalf("%+v, %v", m, err)
	}
	if !strings.HasSuffix(got, resp.Header.Get("Docker-Content-Digest")) {
		t.Errorf("%s was printed, and the tag leads to %s", got, resp.Header.Get("Docker-Content-Digest"))
	}
	if code, _, log := w.jubako("verify", tag); code != 0 {
		t.Errorf("verify: %d\n%s", code, log)
	}
	// An index that is pushed from elsewhere arrives unchanged, with both of its images.
	index := must(must(must(layout.FromPath(strings.TrimPrefix(w.base, "oci:"))).ImageIndex()).IndexManifest()).Manifests[0].Digest
	far := w.host() + "/far/base:1"
	if code, stdout, log := w.jubako("push", w.base, far); code != 0 || strings.TrimSpace(stdout) != far+"@"+index.String() {
		t.Errorf("push of an index: %d %s\n%s", code, stdout, log)
	}
	if code, _, log := w.jubako("build", "--base", far, "--platform", "linux/"+other, "--set", "staticfiles=false", w.dir); code != 0 {
		t.Errorf("the other image of the index: %d\n%s", code, log)
	}
	code, _, log := w.jubako("build", "--base", w.base, "--platform", "linux/s390x", w.dir)
	if code != 2 || !strings.Contains(log, "it is there for linux/") {
		t.Errorf("%d\n%s", code, log)
	}
	if code, _, log = w.jubako("build", "--base", w.base, "--platform", "linux/"+runtime.GOARCH+",linux/"+other, "-o", "docker-archive:"+t.TempDir()+"/x.tar", w.dir); code != 2 || !strings.Contains(log, "holds one platform") {
		t.Errorf("%d\n%s", code, log)
	}
}

// TestPlatformsAnew: what runs although a cache has what it makes runs once for all platforms.
func TestPlatformsAnew(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "lottery"
command = ["prog", "mkdir", "dist", ";", "random", "dist/number"]
output = ["dist"]
`)
	var other string
	w.base, other = w.twoPlatforms()
	for _, flags := range []string{"--no-cache", "--no-reuse", "--no-cache --no-reuse"} {
		_, log := w.build(append([]string{"--platform", "linux/" + runtime.GOARCH + ",linux/" + other}, strings.Fields(flags)...)...)
		for _, name := range []string{"lottery    ", "staticfiles"} {
			if strings.Count(log, name+"  made") != 1 || strings.Count(log, name+"  reused") != 1 {
				t.Errorf("%s: %s was to be made once, and shared:\n%s", flags, name, log)
			}
		}
	}
}

// TestNoOtherPlatformGoesUp: of the layers that are there for commands to run in, none goes to the registry.
func TestNoOtherPlatformGoesUp(t *testing.T) {
	w := newWorld(t)
	var other string
	w.base, other = w.twoPlatforms()
	var wheels []string
	for i, arch := range []string{runtime.GOARCH, other} {
		large := make([]byte, 2<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(large)
		name, data := wheeltest.Build(wheeltest.Wheel{Name: "native", Version: "1.0", Tag: "cp312-cp312-manylinux_2_17_" + base.Machine(arch), Files: []wheeltest.File{{Name: "native.so", Data: string(large)}}})
		w.wheels[name] = data
		wheels = append(wheels, fmt.Sprintf("{ url = \"%s/%s\", hash = \"sha256:%x\", size = %d }", w.index.URL, name, sha256.Sum256(data), len(data)))
	}
	w.edit("uv.lock", "dependencies = [\n", "dependencies = [\n    { name = \"native\" },\n")
	w.edit("uv.lock", "[[package]]\nname = \"django\"", "[[package]]\nname = \"native\"\nversion = \"1.0\"\nsource = { registry = \"https://index.example/simple\" }\nwheels = ["+strings.Join(wheels, ", ")+"]\n\n[[package]]\nname = \"django\"")
	var mu sync.Mutex
	var sent []string
	w.refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		if digest := r.URL.Query().Get("digest"); r.Method == http.MethodPut && r.ContentLength > 1<<20 {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, digest)
		}
		return false
	}
	w.build("-t", w.host()+"/site:1", "--push", "--platform", "linux/"+other)
	resp := must(http.Get(w.registry.URL + "/v2/site/manifests/1"))
	defer resp.Body.Close()
	manifest := string(must(io.ReadAll(resp.Body)))
	if len(sent) == 0 {
		t.Error("nothing has gone up")
	}
	for _, digest := range sent {
		if !strings.Contains(manifest, digest) {
			t.Errorf("%s has gone up, and is none of the image's:\n%s", digest, manifest)
		}
	}
}

// TestCopyFromImage takes a front end's files out of another image.
func TestCopyFromImage(t *testing.T) {
	w := newWorld(t)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "id_rsa"), []byte("key"), 0o644); err != nil {
		t.Fatal(err)
	}
	front := "oci:" + makeBase(t, []entry{{name: "dist/", mode: 0o755}, {name: "dist/app.js", data: []byte("js"), mode: 0o644}, {name: "secret", data: []byte("x"), mode: 0o600},
		{name: "srv/", mode: 0o755}, {name: "srv/front", link: "/../dist"}, {name: "latest.js", link: "srv/front/app.js"}, {name: "host", link: host}})
	w.write("pyproject.toml", pyproject+"\n[[tool.jubako.copy]]\nfrom = \""+front+"#/dist\"\nto = \"static/dist\"\n")
	_, log := w.build()
	if !strings.Contains(log, "app          made     7 files") {
		t.Errorf("six files of the source and one of the front end were to come:\n%s", log)
	}
	// Links lead where they lead in the image, and never to files of this machine.
	for _, from := range []string{"/none", "/host", "/host/id_rsa", "/srv/front/none"} {
		w.write("pyproject.toml", pyproject+"\n[[tool.jubako.copy]]\nfrom = \""+front+"#"+from+"\"\nto = \"static/dist\"\n")
		if code, _, log := w.jubako("build", "--base", w.base, w.dir); code != 2 || !strings.Contains(log, "the image has no "+from) {
			t.Errorf("%s: %d\n%s", from, code, log)
		}
	}
	for from, want := range map[string]string{"/srv/front": "static/dist/app.js", "/latest.js": "static/dist"} {
		w.write("pyproject.toml", pyproject+"\n[[tool.jubako.copy]]\nfrom = \""+front+"#"+from+"\"\nto = \"static/dist\"\n")
		out := t.TempDir()
		w.build("-o", "oci:"+out)
		if got := imageFiles(t, out)["app/"+want]; got != "js" {
			t.Errorf("%s: %s holds %q", from, want, got)
		}
	}
}

// TestLayouts: the project in a subfolder of the source, and manage.py in src.
func TestLayouts(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"manage.py", "mysite/settings.py", "mysite/asgi.py", "mysite/__init__.py"} {
		w.write("src/"+name, map[string]string{"manage.py": `x.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")`, "mysite/settings.py": settings, "mysite/asgi.py": "application = 1\n"}[name])
		w.remove(name)
	}
	out := t.TempDir()
	_, log := w.build("-o", "oci-archive:"+out+"/x.tar")
	if !strings.Contains(log, `using manage = "src/manage.py"`) {
		t.Errorf("manage.py was to be found:\n%s", log)
	}
	code, stdout, _ := w.jubako("inspect", "oci-archive:"+out+"/x.tar")
	if code != 0 || !strings.Contains(stdout, "workdir      /app/src") {
		t.Errorf("commands were to run beside manage.py:\n%s", stdout)
	}
	if _, log = w.build("--set", `source=".."`); !strings.Contains(log, `using manage = "mysite/src/manage.py"`) {
		t.Errorf("the source lies above the project:\n%s", log)
	}
}
