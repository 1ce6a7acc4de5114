package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// services is how many of one monorepo the test builds.
const services = 10

// monorepo is a workspace of services that have their dependencies in common.
func monorepo(t *testing.T) (w *world, dirs []string) {
	t.Helper()
	w = newWorld(t)
	root := filepath.Join(filepath.Dir(w.dir), "mono")
	w.dir = root
	var lock strings.Builder
	lock.WriteString("version = 1\nrevision = 3\nrequires-python = \">=3.12\"\n\n[manifest]\nmembers = [\n")
	for n := range services {
		fmt.Fprintf(&lock, "    \"s%d\",\n", n)
	}
	lock.WriteString("]\n")
	for n := range services {
		dir := fmt.Sprintf("services/s%d", n)
		dirs = append(dirs, filepath.Join(root, dir))
		w.write(dir+"/pyproject.toml", fmt.Sprintf("[project]\nname = \"s%d\"\nversion = \"1.0\"\nrequires-python = \">=3.12\"\ndependencies = [\"django>=5\", \"uvicorn\"]\n\n[tool.jubako]\nstaticfiles = false\n", n))
		w.write(dir+"/manage.py", `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")`)
		w.write(dir+"/site/settings.py", fmt.Sprintf("N = %d\n", n))
		w.write(dir+"/site/asgi.py", "application = None\n")
		fmt.Fprintf(&lock, "\n[[package]]\nname = \"s%d\"\nversion = \"1.0\"\nsource = { virtual = %q }\ndependencies = [\n    { name = \"django\" },\n    { name = \"uvicorn\" },\n]\n\n"+
			"[package.metadata]\nrequires-dist = [{ name = \"django\", specifier = \">=5\" }, { name = \"uvicorn\" }]\n", n, dir)
	}
	for _, x := range []wheeltest.Wheel{
		{Name: "django", Version: "5.2", Files: []wheeltest.File{{Name: "django/__init__.py", Data: "VERSION = 5\n"}}},
		{Name: "uvicorn", Version: "0.30", Files: []wheeltest.File{{Name: "uvicorn/__init__.py", Data: "def main(): pass\n"}}, EntryPoints: "[console_scripts]\nuvicorn = uvicorn:main\n"},
	} {
		name, data := wheeltest.Build(x)
		fmt.Fprintf(&lock, "\n[[package]]\nname = %q\nversion = %q\nsource = { registry = \"https://index.example/simple\" }\nwheels = [{ url = \"%s/%s\", hash = \"sha256:%x\" }]\n",
			x.Name, x.Version, w.index.URL, name, sha256.Sum256(data))
		w.wheels[name] = data
	}
	w.write("pyproject.toml", "[tool.uv.workspace]\nmembers = [\"services/*\"]\n")
	w.write("uv.lock", lock.String())
	return w, dirs
}

// TestMonorepo: of the services of one monorepo the first makes and sends what they have in common. Each further one makes its
// own source's layer, and has the rest mounted.
func TestMonorepo(t *testing.T) {
	w, dirs := monorepo(t)
	var r recorder
	w.refuse = r.note
	for round, change := range []string{"", "N = 'changed'\n"} {
		for n, dir := range dirs {
			if change != "" {
				w.write(fmt.Sprintf("services/s%d/site/settings.py", n), change+dir)
			}
			r.take()
			_, log := w.buildIn(dir, "-t", fmt.Sprintf("%s/mono/s%d:1", w.host(), n), "--push")
			puts := 0
			for _, req := range r.take() {
				if strings.HasPrefix(req, "PUT ") && strings.Contains(req, "/blobs/") {
					puts++
				}
			}
			if round == 0 && n == 0 {
				continue
			}
			if !strings.Contains(log, "venv         reused") || strings.Count(log, " made ") != 1 {
				t.Errorf("service %d of round %d makes more than its app layer:\n%s", n, round, log)
			}
			if puts != 2 { // the app layer and the config
				t.Errorf("service %d of round %d: %d blobs sent\n%s", n, round, puts, log)
			}
			if round == 0 && !strings.Contains(log, "3 blobs mounted") { // the base's, passwd, venv
				t.Errorf("service %d: the common layers were not mounted:\n%s", n, log)
			}
		}
	}
}

// TestMonorepoOnFreshMachines: a service that is new to the registry finds its layers in another one's image.
func TestMonorepoOnFreshMachines(t *testing.T) {
	w, dirs := monorepo(t)
	w.buildIn(dirs[0], "-t", w.host()+"/mono/s0:1", "--push")
	var fetched atomic.Int32
	w.serve = func(http.ResponseWriter, *http.Request) bool {
		fetched.Add(1)
		return false
	}
	for n, dir := range dirs[1:4] {
		t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
		_, log := w.buildIn(dir, "-t", fmt.Sprintf("%s/mono/s%d:1", w.host(), n+1), "--push", "--cache-from", w.host()+"/mono/s0:1")
		if !strings.Contains(log, "venv         reused") || !strings.Contains(log, " mounted") || fetched.Load() > 0 {
			t.Errorf("service %d makes the environment anew, or fetches wheels:\n%s", n+1, log)
		}
	}
}

// buildIn builds a project of the world.
func (w *world) buildIn(dir string, args ...string) (stdout, stderr string) {
	w.t.Helper()
	was := w.dir
	defer func() { w.dir = was }()
	w.dir = dir
	return w.build(args...)
}
