package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

func gunzip(b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return b
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return b
	}
	return out
}

// TestBadInput: each mistake gets an error that names the place and the remedy, its exit code, and leaves no tag, no
// archive and nothing half-written in the cache.
func TestBadInput(t *testing.T) {
	plain := []wheeltest.Wheel{{Name: "django", Version: "5.2"}, {Name: "uvicorn", Version: "0.30"}}
	for name, tc := range map[string]struct {
		prepare func(w *world)
		args    []string
		code    int
		want    []string
	}{
		"no lock":     {func(w *world) { w.remove("uv.lock") }, nil, 2, []string{"there is no uv.lock", "uv lock"}},
		"no project":  {func(w *world) { w.remove("pyproject.toml") }, nil, 2, []string{"there is no pyproject.toml"}},
		"broken lock": {func(w *world) { w.write("uv.lock", "version = 1\n[[package") }, nil, 2, []string{"uv.lock: line 2"}},
		"future lock": {func(w *world) { w.edit("uv.lock", "version = 1", "version = 2") }, nil, 2, []string{"unsupported schema"}},
		"unknown key": {func(w *world) { w.write("pyproject.toml", pyproject+"\n[tool.jubako]\nworkdri = \"/x\"\n") }, nil, 2, []string{"pyproject.toml:", `"workdri"`, `did you mean "workdir"?`}},
		"wrong type": {func(w *world) {
			w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\ncmd = 3\n[tool.jubako.staticfiles]")
		}, nil, 2, []string{"pyproject.toml:8:7: tool.jubako.cmd: a list of strings is wanted"}},
		"no profile":           {nil, []string{"-p", "stage"}, 2, []string{`no profile "stage"`, "it has: prod"}},
		"a layout on stdout":   {nil, []string{"-o", "oci:-"}, 2, []string{"-o oci:-: a layout is a folder", "oci-archive:-"}},
		"a layout's tag":       {nil, []string{"-o", "oci:-:1"}, 2, []string{"-o oci:-:1: a layout is a folder"}},
		"two archives, stdout": {nil, []string{"-o", "oci-archive:-", "-o", "docker-archive:-"}, 2, []string{"-o docker-archive:-: standard output takes one archive"}},
		"no such flag":         {nil, []string{"--pushh"}, 2, []string{"unknown flag", "--help"}},
		"base without dpkg":    {nil, []string{"--set", `packages=["curl"]`}, 2, []string{"has no Debian packages", "leave packages out"}},
		"bad user":             {nil, []string{"--set", `user="Bad Name"`}, 2, []string{`user "Bad Name"`}},
		"id clash":             {nil, []string{"--set", "user.uid=0"}, 2, []string{"uid 0 is root's"}},
		"out of step, in CI": {func(w *world) {
			w.t.Setenv("CI", "true")
			w.edit("pyproject.toml", `"uvicorn"`, `"uvicorn", "httpx>=1"`)
		}, nil, 2, []string{"out of step", "httpx>=1 is not in the lock", "uv lock mends it"}},
		"hash mismatch": {func(w *world) {
			for n, b := range w.wheels {
				w.wheels[n] = append(b, 0)
			}
		}, nil, 4, []string{"has the hash sha256:", "and the lock has"}},
		"truncated download": {func(w *world) {
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
				rw.Header().Set("Content-Length", "100000")
				_, _ = rw.Write([]byte("PK"))
				return true
			}
		}, nil, 3, []string{"cut after"}},
		"index forbids": {func(w *world) {
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool { rw.WriteHeader(403); return true }
		}, nil, 3, []string{"403", "UV_INDEX_"}},
		"wheel that escapes": {func(w *world) {
			w.lock(plain[0], wheeltest.Wheel{Name: "uvicorn", Version: "0.30", Files: []wheeltest.File{{Name: "../evil.py", Data: "x"}}})
		}, nil, 1, []string{"../evil.py"}},
		"wheel with an absolute name": {func(w *world) {
			w.lock(plain[0], wheeltest.Wheel{Name: "uvicorn", Version: "0.30", Files: []wheeltest.File{{Name: "/etc/cron.d/evil", Data: "x"}}})
		}, nil, 1, []string{"/etc/cron.d/evil"}},
		"offline":            {nil, []string{"--offline", "--push=false"}, 3, []string{"--offline forbids"}},
		"pushed offline":     {nil, []string{"--offline"}, 2, []string{"--push needs the network", "jubako push"}},
		"wrong Python":       {func(w *world) { w.edit("uv.lock", ">=3.12", ">=3.13") }, nil, 2, []string{"requires Python", "the base has 3.12.9"}},
		"missing base":       {nil, []string{"--base", "oci:/nowhere"}, 2, []string{"opening oci:/nowhere"}},
		"other architecture": {nil, []string{"--platform", "linux/s390x"}, 2, []string{"linux/s390x is wanted"}},
		"no such snapshot":   {nil, []string{"--snapshot", "foo"}, 2, []string{"--snapshot: ", "20260301T000000Z"}},
		"no such mirror":     {nil, []string{"--deb-mirror", "foo"}, 2, []string{`--deb-mirror: "foo" is no URL`}},
		"bad cache-from":     {nil, []string{"--cache-from", "Bad ref"}, 2, []string{"--cache-from: ", `"Bad ref"`}},
		"no such links":      {nil, []string{"--find-links", "/nonexistent"}, 2, []string{"--find-links /nonexistent: there is no such folder"}},
		"jobs":               {nil, []string{"--jobs", "-3"}, 2, []string{"--jobs -3"}},
		"epoch":              {func(w *world) { w.t.Setenv("SOURCE_DATE_EPOCH", "99999999999999") }, nil, 2, []string{"SOURCE_DATE_EPOCH", "before the year 10000"}},
		"link out of the source": {func(w *world) {
			if err := os.Symlink("/etc/passwd", filepath.Join(w.dir, "leak")); err != nil {
				w.t.Fatal(err)
			}
		}, nil, 2, []string{"the link leak leads out", "exclude"}},
		"collectstatic fails": {nil, []string{"--set", `staticfiles.env.DO="print django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable; fail"`}, 1,
			[]string{"Set the SECRET_KEY environment variable", "[tool.jubako.staticfiles]", "SECRET_KEY ="}},
		"nothing to start": {func(w *world) { w.lock(plain[0]) }, nil, 2, []string{"does not say what the image starts", "uv add uvicorn"}},
		"strict": {func(w *world) { w.remove("mysite/settings.py") }, []string{"--strict"}, 4,
			[]string{"the settings module mysite.settings is not in the source", "--strict"}},
		"no curl":                {nil, []string{"--strict", "--set", `healthcheck.cmd="curl -f http://localhost:8000/ || exit 1"`}, 4, []string{"the image has no curl"}},
		"registry wants a login": {func(w *world) { w.refuseWith(401) }, nil, 3, []string{"jubako login"}},
		"registry forbids":       {func(w *world) { w.refuseWith(403) }, nil, 3, []string{"rights"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tc.prepare != nil {
				tc.prepare(w)
			}
			archive := filepath.Join(t.TempDir(), "app.tar")
			args := append([]string{"build", "--base", w.base, "-t", w.host() + "/team/site:1", w.dir, "--push"}, tc.args...)
			if !strings.HasPrefix(name, "registry") {
				args = append(args, "-o", "oci-archive:"+archive)
			}
			code, stdout, log := w.jubako(args...)
			if code != tc.code || stdout != "" {
				t.Errorf("exit code %d, want %d; stdout %q\n%s", code, tc.code, stdout, log)
			}
			for _, want := range tc.want {
				if !strings.Contains(log, want) {
					t.Errorf("the message lacks %q:\n%s", want, log)
				}
			}
			w.refuse = nil
			if got := w.tags("team/site"); !strings.Contains(got, "NAME_UNKNOWN") {
				t.Errorf("the registry has %s", got)
			}
			if _, err := os.Stat(archive); err == nil {
				t.Error("an archive was left")
			}
			if left, _ := filepath.Glob(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "tmp", "*")); len(left) != 0 {
				t.Errorf("left in the cache: %v", left)
			}
		})
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refuseWith(status int) {
	w.refuse = func(rw http.ResponseWriter, r *http.Request) bool {
		rw.WriteHeader(status)
		return true
	}
}

func TestBaseWithoutPython(t *testing.T) {
	w := newWorld(t)
	w.base = "oci:" + makeBase(t, baseFiles(nil)[:5])
	code, _, log := w.jubako("build", "--base", w.base, w.dir)
	if code != 2 || !strings.Contains(log, "no python3 on its PATH") {
		t.Errorf("%d\n%s", code, log)
	}
}

// TestDamagedCache: a blob that was changed on disk is found out, and never goes out.
func TestDamagedCache(t *testing.T) {
	w := newWorld(t)
	w.build()
	blobs, err := filepath.Glob(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "blobs/sha256/*/*"))
	if err != nil || len(blobs) < 4 {
		t.Fatal(blobs, err)
	}
	for _, b := range blobs {
		if err := os.Truncate(b, 10); err != nil {
			t.Fatal(err)
		}
	}
	if _, log := w.build("-t", w.host()+"/x:1", "--push"); strings.Contains(log, "reused") {
		t.Errorf("a cut blob was reused:\n%s", log)
	}
	if code, _, log := w.jubako("verify", w.host()+"/x:1"); code != 0 {
		t.Errorf("%d\n%s", code, log)
	}
}

func TestOtherVerbs(t *testing.T) {
	w := newWorld(t)
	w.build()
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "jubako "},
		{[]string{"cache", "dir"}, 0, os.Getenv("JUBAKO_CACHE_DIR")},
		{[]string{"cache", "du"}, 0, "total"},
		{[]string{"cache", "prune", "--keep", "0"}, 0, "removed"},
		{[]string{"cache", "prune", "--keep", "much"}, 2, ""},
		{[]string{"logout", "registry.example"}, 2, ""},
		{[]string{"login", "registry.example"}, 2, ""},
		{[]string{"completion", "bash"}, 0, "bash completion"},
		{[]string{"registry", "serve", "--listen", "0.0.0.0:0", "--dir", t.TempDir()}, 2, ""},
		{[]string{"--help"}, 0, "Exit codes"},
	} {
		if code, stdout, log := w.jubako(tc.args...); code != tc.code || !strings.Contains(stdout, tc.want) {
			t.Errorf("%v: %d %s%s", tc.args, code, stdout, log)
		}
	}
}
