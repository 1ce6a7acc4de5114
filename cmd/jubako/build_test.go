package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

func TestBuildAndPush(t *testing.T) {
	w := newWorld(t)
	tag := w.host() + "/team/site:1"
	meta := filepath.Join(t.TempDir(), "meta.json")
	first, log := w.build("-t", tag, "-t", w.host()+"/team/site:latest", "--push", "--metadata-file", meta)
	lines := strings.Split(first, "\n")
	if len(lines) != 2 || !regexp.MustCompile(`^`+regexp.QuoteMeta(tag)+`@sha256:[0-9a-f]{64}$`).MatchString(lines[0]) {
		t.Errorf("stdout is %q", first)
	}
	for _, want := range []string{
		`using cmd = ["uvicorn", "mysite.asgi:application", "--host", "0.0.0.0", "--port", "8000"] (uvicorn is locked)`,
		`using env.DJANGO_SETTINGS_MODULE = "mysite.settings"`, "using expose = [8000]",
		"Python 3.12.9, glibc 2.41", "passwd       made     app 999:999", "venv         made     2 packages", "app          made", "staticfiles  made     1 file",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if got := w.tags("team/site"); !strings.Contains(got, `["1","latest"]`) {
		t.Errorf("tags: %s", got)
	}
	var m map[string]any
	if b, err := os.ReadFile(meta); err != nil || json.Unmarshal(b, &m) != nil || !strings.HasSuffix(lines[0], m["containerimage.digest"].(string)) {
		t.Errorf("metadata: %s, %v", b, err)
	}

	again, log := w.build("-t", tag, "--push")
	if again != lines[0] || strings.Contains(log, " made ") || !strings.Contains(log, "0 blobs, 0.0 kB") {
		t.Errorf("nothing has changed, and:\n%s\n%s", again, log)
	}

	w.write("mysite/views.py", "x = 1\n")
	_, log = w.build("-t", tag, "--push")
	if !strings.Contains(log, "venv         reused") || !strings.Contains(log, "app          made") {
		t.Errorf("one file has changed, and:\n%s", log)
	}
}

// TestRegistryIsTheCache: a machine with an empty disk makes only what has changed, and fetches no wheel.
func TestRegistryIsTheCache(t *testing.T) {
	for _, format := range []string{"oci", "docker"} {
		t.Run(format, func(t *testing.T) { registryIsTheCache(t, format) })
	}
}

func registryIsTheCache(t *testing.T, format string) {
	w := newWorld(t)
	tag := w.host() + "/team/site:1"
	t.Setenv("JUBAKO_FORMAT", format)
	w.build("-t", tag, "--push")
	keys := w.inspect(tag).keys
	if len(keys) != 5 || keys[0] != "" || slices.Contains(keys[1:], "") {
		t.Errorf("the keys are %q", keys)
	}
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
		t.Errorf("%s was fetched", r.URL)
		return false
	}
	_, log := w.build("-t", tag, "--push")
	for _, layer := range []string{"passwd", "venv", "app", "staticfiles"} {
		if !regexp.MustCompile(layer + ` +reused .*from the registry`).MatchString(log) {
			t.Errorf("%s was to come from the registry:\n%s", layer, log)
		}
	}
}

func TestSameBytes(t *testing.T) {
	w := newWorld(t)
	first, _ := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "a"), "--jobs", "1")
	digest := first[strings.LastIndex(first, "@"):]
	other := filepath.Join(t.TempDir(), "elsewhere", "mysite")
	if err := os.CopyFS(other, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.dir = other
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	t.Setenv("TZ", "Asia/Tokyo")
	second, _ := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "b"), "--jobs", "9")
	if !strings.HasSuffix(second, digest) {
		t.Errorf("%s, and then %s", first, second)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	third, _ := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "c"))
	if strings.HasSuffix(third, digest) {
		t.Error("SOURCE_DATE_EPOCH changed nothing")
	}
}

// TestAirGap: archives carry the image as it is, and push brings it to the far side.
func TestAirGap(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	got, _ := w.build("-t", "team/site:1", "-o", "oci-archive:"+out+"/oci.tar", "-o", "docker-archive:"+out+"/docker.tar", "-o", "oci:"+out+"/layout:1")
	digest := got[strings.LastIndex(got, "@")+1:]
	for _, source := range []string{"oci-archive:" + out + "/oci.tar", "oci:" + out + "/layout:1"} {
		ref := w.host() + "/far/site:1"
		code, stdout, log := w.jubako("push", source, ref)
		if code != 0 || strings.TrimSpace(stdout) != ref+"@"+digest {
			t.Errorf("%s: %d %s\n%s", source, code, stdout, log)
		}
		if code, _, log = w.jubako("verify", ref); code != 0 {
			t.Errorf("verify: %d\n%s", code, log)
		}
		if code, _, log = w.jubako("verify", "--base", w.base, ref, w.dir); code != 0 {
			t.Errorf("verify with the project: %d\n%s", code, log)
		}
	}
	if code, _, log := w.jubako("verify", "--base", w.base, "docker-archive:"+out+"/docker.tar", w.dir); code != 0 {
		t.Errorf("verify of a docker-archive: %d\n%s", code, log)
	}
	w.write("mysite/views.py", "changed = True\n")
	for kind, want := range map[string]string{"oci": "the image is sha256:", "docker": "the image's config"} {
		if code, _, log := w.jubako("verify", "--base", w.base, kind+"-archive:"+out+"/"+kind+".tar", w.dir); code != 4 || !strings.Contains(log, want) {
			t.Errorf("the source has changed, and verify of the %s-archive gave %d\n%s", kind, code, log)
		}
	}
	code, stdout, _ := w.jubako("inspect", "--format", "json", "docker-archive:"+out+"/docker.tar")
	var v struct {
		Images []struct {
			Config struct{ Config map[string]any }
			Layers []inspectedLayer
		}
	}
	if err := json.Unmarshal([]byte(stdout), &v); code != 0 || err != nil || len(v.Images) != 1 || len(v.Images[0].Layers) != 5 {
		t.Fatalf("inspect: %d %v\n%s", code, err, stdout)
	}
	c := v.Images[0].Config.Config
	if c["User"] != "app" || c["WorkingDir"] != "/app" || !strings.Contains(stdout, "PATH=/app/.venv/bin:/usr/local/bin:/usr/bin") {
		t.Errorf("config: %v", c)
	}
}

func TestPlanTouchesNothing(t *testing.T) {
	w := newWorld(t)
	code, stdout, log := w.jubako("plan", "--base", w.base, w.dir)
	if code != 0 || strings.Count(stdout, "to make") != 4 {
		t.Errorf("%d\n%s%s", code, stdout, log)
	}
	w.build()
	if _, stdout, _ = w.jubako("plan", "--base", w.base, w.dir); strings.Count(stdout, "reused") != 4 {
		t.Errorf("after a build:\n%s", stdout)
	}
}

// TestPlanLooksAtTags: plan finds what build --push would, by -t or by the name in the configuration.
func TestPlanLooksAtTags(t *testing.T) {
	w := newWorld(t)
	tag := w.host() + "/team/site"
	w.build("-t", tag, "--push")
	for _, args := range [][]string{{"-t", tag}, {"--set", "image=" + tag}} {
		t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
		code, stdout, log := w.jubako(append([]string{"plan", "--base", w.base, w.dir}, args...)...)
		if code != 0 || strings.Count(stdout, "from the registry") != 4 {
			t.Errorf("%v: %d\n%s%s", args, code, stdout, log)
		}
	}
	if code, _, log := w.jubako("plan", "--base", w.base, w.dir, "--compression", "zstd", "--format", "docker"); code != 2 || !strings.Contains(log, "no media type") {
		t.Errorf("%d\n%s", code, log)
	}
}

func TestLock(t *testing.T) {
	w := newWorld(t)
	w.build("-t", w.host()+"/python:3.12-slim", "--push", "--set", "staticfiles=false")
	base := w.host() + "/python:3.12-slim"
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nbase = \""+base+"\"\n\n[tool.jubako.staticfiles]")
	if code, _, log := w.jubako("build", "--frozen-base", w.dir); code != 2 || !strings.Contains(log, "not pinned") {
		t.Errorf("--frozen-base without a lock: %d\n%s", code, log)
	}
	code, pinned, log := w.jubako("lock", w.dir)
	if code != 0 {
		t.Fatalf("%d\n%s", code, log)
	}
	w.write("mysite/new.py", "x = 1\n")
	w.build("-t", base, "--push", "--base", w.base, "--set", "staticfiles=false")
	if code, _, log = w.jubako("lock", "--check", w.dir); code != 4 {
		t.Errorf("the base has moved, and lock --check gave %d\n%s", code, log)
	}
	if code, _, log = w.jubako("build", "--frozen-base", "--set", "staticfiles=false", w.dir); code != 0 || !strings.Contains(log, strings.TrimSpace(pinned)[7:19]) {
		t.Errorf("the pinned base was to be taken: %d\n%s", code, log)
	}
	code, upgraded, _ := w.jubako("lock", "--upgrade", w.dir)
	if code != 0 || upgraded == pinned {
		t.Errorf("--upgrade: %d %s", code, upgraded)
	}
}

// TestDamagedLock: the remedy that is named for a lock which cannot be read is one.
func TestDamagedLock(t *testing.T) {
	w := newWorld(t)
	w.write("jubako.lock", "version = 99\n")
	for _, verb := range []string{"build", "lock"} {
		if code, _, log := w.jubako(verb, "--base", w.base, w.dir); code != 2 || !strings.Contains(log, "jubako lock --upgrade writes it anew") {
			t.Errorf("%s: %d\n%s", verb, code, log)
		}
	}
	if code, _, log := w.jubako("lock", "--upgrade", "--base", w.base, w.dir); code != 0 {
		t.Errorf("%d\n%s", code, log)
	}
	w.remove("jubako.lock")
	if code, _, log := w.jubako("lock", "--check", "--base", w.base, w.dir); code != 4 || !strings.Contains(log, "there is no jubako.lock") {
		t.Errorf("%d\n%s", code, log)
	}
}

func TestProfilesAndSettings(t *testing.T) {
	w := newWorld(t)
	w.write("pyproject.toml", pyproject+"\n[tool.jubako.profile.dev]\nstaticfiles = false\ncmd = [\"python\", \"manage.py\", \"runserver\"]\n")
	_, log := w.build("-p", "dev", "--set", `env.COLOUR="red"`, "--set", "user.uid=4711")
	if strings.Contains(log, "staticfiles") || !strings.Contains(log, "app 4711:4711") {
		t.Errorf("the profile was not taken:\n%s", log)
	}
	t.Setenv("JUBAKO_PROFILE", "dev")
	if _, log = w.build(); strings.Contains(log, "staticfiles") {
		t.Errorf("JUBAKO_PROFILE was not read:\n%s", log)
	}
}

// TestNothingElseIsIn: what is excluded always, and build-only variables, are in no layer.
func TestNothingElseIsIn(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(t.TempDir(), "x")
	w.build("-o", "oci:"+out, "--set", `staticfiles.env.PASSWORD="hunter2hunter2"`)
	files, err := filepath.Glob(out + "/blobs/sha256/*")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"hunter2", "SECRET=1", "mysite/__pycache__"} {
			if strings.Contains(string(gunzip(b)), secret) {
				t.Errorf("%s holds %s", f, secret)
			}
		}
	}
}

func TestWheelForOtherPlatform(t *testing.T) {
	w := newWorld(t)
	w.lock(wheeltest.Wheel{Name: "django", Version: "5.2"}, wheeltest.Wheel{Name: "uvicorn", Version: "0.30", Tag: "cp312-cp312-win_amd64"})
	code, _, log := w.jubako("build", "--base", w.base, w.dir)
	if code != 1 || !strings.Contains(log, "uvicorn-0.30-cp312-cp312-win_amd64.whl: ") || !strings.Contains(log, "--find-links") {
		t.Errorf("%d\n%s", code, log)
	}
	// The way out that the hint names.
	links := t.TempDir()
	name, data := wheeltest.Build(wheeltest.Wheel{Name: "uvicorn", Version: "0.30"})
	if err := os.WriteFile(filepath.Join(links, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
	w.build("--find-links", links)
	w.build("--no-install-package", "uvicorn", "--set", `cmd=["x"]`)
}

// TestSourcesBesideProject: the SOURCEs of the configuration are relative to the project, those of flags to where jubako runs.
func TestSourcesBesideProject(t *testing.T) {
	w := newWorld(t)
	kind, dir, _ := strings.Cut(w.base, ":")
	if err := os.CopyFS(filepath.Join(filepath.Dir(w.dir), "base"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nbase = \""+kind+":../base\"\nexclude = [\"pyproject.toml\", \"jubako.lock\"]\n"+
		"copy = [{ from = \"oci:../base#/etc/passwd\", to = \"accounts\" }]\n\n[tool.jubako.staticfiles]")
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"build"}, {"lock"}, {"build", "--frozen-base"}} {
		if code, _, log := w.jubako(append(args, w.dir)...); code != 0 {
			t.Errorf("%v: %d\n%s", args, code, log)
		}
	}
	if b := must(os.ReadFile(filepath.Join(w.dir, "jubako.lock"))); !strings.Contains(string(b), "\"oci:../base\"") {
		t.Errorf("the lock names the base in another way:\n%s", b)
	}
	if code, _, log := w.jubako("build", "--base", "oci:../base", w.dir); code != 2 || !strings.Contains(log, "opening oci:../base") {
		t.Errorf("--base: %d\n%s", code, log)
	}
	t.Chdir(w.dir)
	if code, _, log := w.jubako("build", "--base", "oci:../base", w.dir); code != 0 {
		t.Errorf("--base: %d\n%s", code, log)
	}
}
