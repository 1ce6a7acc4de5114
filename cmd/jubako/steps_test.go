package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// stepWorld is a world whose base has a program for steps, and whose project has these.
func stepWorld(t *testing.T, steps string) *world {
	t.Helper()
	w := newWorld(t)
	python, err := fakePython()
	if err != nil {
		t.Fatal(err)
	}
	prog, err := fakeProg()
	if err != nil {
		t.Fatal(err)
	}
	w.base = "oci:" + makeBase(t, append(baseFiles(python), entry{name: "usr/local/bin/prog", data: prog, mode: 0o755}))
	w.write("pyproject.toml", pyproject+steps)
	w.write("locale/de.po", "de")
	return w
}

const twoSteps = `
[[tool.jubako.step]]
name = "messages"
command = ["prog", "write", "locale/de.mo", "compiled", ";", "write", "/etc/issue", "x"]
output = ["locale"]

[[tool.jubako.step]]
name = "css"
command = ["prog", "copy", "/app/locale/de.mo", "/app/site.css", ";", "copy", "/app/locale/de.mo", "/app/other.css"]
output = ["site.css", "other.css"]
`

// layerStates gives each layer's state as the log tells it.
func layerStates(log string, names ...string) string {
	var all []string
	for _, name := range names {
		state := "absent"
		if m := regexp.MustCompile(`(?m)^(?:[0-9:]+ )?` + name + ` +(made|reused|to make)`).FindStringSubmatch(log); m != nil {
			state = m[1]
		}
		all = append(all, name+" "+state)
	}
	return strings.Join(all, ", ")
}

// TestSteps: each sees what those before it made, and runs again when that has changed.
func TestSteps(t *testing.T) {
	w := stepWorld(t, twoSteps)
	names := []string{"app", "messages", "css", "staticfiles"}
	plan := func() string {
		t.Helper()
		code, out, log := w.jubako("plan", "--base", w.base, w.dir)
		if code != 0 {
			t.Fatalf("%d %s", code, log)
		}
		return layerStates(out, names...)
	}
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nexclude = [\"pyproject.toml\"]\n[tool.jubako.staticfiles]")
	if got := plan(); got != "app to make, messages to make, css to make, staticfiles to make" {
		t.Error(got)
	}
	out := filepath.Join(t.TempDir(), "out")
	_, log := w.build("-o", "oci:"+out)
	if got := layerStates(log, names...); got != "app made, messages made, css made, staticfiles made" || !strings.Contains(log, "2 files") {
		t.Errorf("%s\n%s", got, log)
	}
	if want := "step messages wrote outside of its outputs, which is dropped: /etc/issue"; !strings.Contains(log, want) {
		t.Errorf("the log lacks %q:\n%s", want, log)
	}
	code, list, log := w.jubako("inspect", "oci:"+out)
	if code != 0 || !regexp.MustCompile(`messages[^\n]*\n[^\n]*css[^\n]*\n[^\n]*staticfiles`).MatchString(list) {
		t.Errorf("%d %s%s", code, list, log)
	}
	if _, log = w.build(); layerStates(log, names...) != "app reused, messages reused, css reused, staticfiles reused" {
		t.Errorf("nothing has changed, and:\n%s", log)
	}
	if got := plan(); got != "app reused, messages reused, css reused, staticfiles reused" {
		t.Error(got)
	}
	w.edit("pyproject.toml", `"/app/other.css"`, `"/app/other.css", ";", "env"`)
	if _, log = w.build(); layerStates(log, names...) != "app reused, messages reused, css made, staticfiles reused" {
		t.Errorf("the second step has changed and made the same files, and:\n%s", log)
	}
	w.write("mysite/views.py", "x = 1\n")
	if _, log = w.build(); layerStates(log, names...) != "app made, messages reused, css reused, staticfiles reused" || !strings.Contains(log, "no file it read has changed") {
		t.Errorf("a file has come that no step reads, and:\n%s", log)
	}
	if _, log = w.build("--set", "step=[]"); layerStates(log, names...) != "app reused, messages absent, css absent, staticfiles made" {
		t.Errorf("there are no steps, and:\n%s", log)
	}
}

// TestStepOffline: a step that wants the network does not get it with --offline; one whose layer is there does not run.
func TestStepOffline(t *testing.T) {
	w := stepWorld(t, strings.Replace(twoSteps, "name = \"css\"", "name = \"css\"\nnetwork = true", 1))
	w.build("--set", "step=[]")
	code, _, log := w.jubako("build", "--offline", "--base", w.base, w.dir)
	if code != 2 || !strings.Contains(log, "step css has network = true and has to run") || !strings.Contains(log, "build once with a network") {
		t.Errorf("%d\n%s", code, log)
	}
	w.build()
	if _, log := w.build("--offline"); layerStates(log, "messages", "css") != "messages reused, css reused" {
		t.Error(log)
	}
}

// TestStepReuse: a step runs again only when something that it looked at has changed, and plan says what.
func TestStepReuse(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "messages"
command = ["prog", "copy", "locale/de.po", "locale/de.mo"]
output = ["locale"]

[[tool.jubako.step]]
name = "css"
command = ["prog", "child", "copy", "locale/de.mo", "site.css", ";", "ls", "mysite"]
output = ["site.css"]
`)
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nexclude = [\"pyproject.toml\"]\n[tool.jubako.staticfiles]")
	names := []string{"app", "messages", "css"}
	check := func(when, want, why string) {
		t.Helper()
		code, plan, log := w.jubako("plan", "--base", w.base, w.dir)
		if planned := strings.ReplaceAll(want, "made", "to make"); code != 0 || layerStates(plan, names...) != planned || !strings.Contains(plan, why) {
			t.Errorf("%s: the plan is not %s, with %q\n%s%s", when, planned, why, plan, log)
		}
		made, log := w.build("-v")
		if layerStates(log, names...) != want || !strings.Contains(log, why) {
			t.Errorf("%s: not %s, with %q\n%s", when, want, why, log)
		}
		if anew, log := w.build("-v", "--no-reuse"); anew != made || strings.Contains(layerStates(log, "messages", "css"), "reused") {
			t.Errorf("%s: %s, and where no step is reused, %s\n%s", when, made, anew, log)
		}
	}
	check("at first", "app made, messages made, css made", "")
	w.write("mysite/urls.py", "urls\n")
	check("a new file", "app made, messages reused, css made", "/app/mysite holds other files")
	w.write("mysite/urls.py", "other urls\n")
	check("a file that nobody reads", "app made, messages reused, css reused", "no file it read has changed")
	w.write("locale/fr.po", "fr")
	check("a file in a folder that nobody lists", "app made, messages reused, css reused", "no file it read has changed")
	w.write("locale/de.po", "DE")
	check("a file that is read", "app made, messages made, css made", "/app/locale/de.po has changed")
	w.write("locale/de.mo", "DE")
	check("what the step makes is there", "app made, messages made, css made", "/app/locale/de.mo is new")
	w.write("locale/de.po", "de")
	w.remove("locale/de.mo")
	w.write("locale/fr.po", "FR")
	check("all as it was", "app made, messages reused, css reused", "no file it read has changed")
}

// TestStepReuseElsewhere: a machine with an empty disk reuses what steps have made by the image that was pushed last.
func TestStepReuseElsewhere(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "messages"
command = ["prog", "copy", "locale/de.po", "locale/de.mo"]
output = ["locale"]
`)
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nexclude = [\"pyproject.toml\"]\n[tool.jubako.staticfiles]")
	if code, _, log := w.jubako("push", w.base, w.host()+"/base/python:3"); code != 0 {
		t.Fatal(log)
	}
	w.base = w.host() + "/base/python:3"
	var r recorder
	w.refuse = r.note
	tag := w.host() + "/team/site:1"
	elsewhere := func(args ...string) (string, string) {
		t.Helper()
		t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
		r.take()
		return w.build(append([]string{"-v", "-t", tag, "--push"}, args...)...)
	}
	elsewhere()
	for i, want := range []string{"app made, messages reused, staticfiles reused", "app made, messages reused, staticfiles reused"} { // the second by what the first has passed on
		w.write("mysite/views.py", fmt.Sprintf("x = %d\n", i))
		made, log := elsewhere()
		if got := layerStates(log, "app", "messages", "staticfiles"); got != want || !strings.Contains(log, "no file it read has changed") {
			t.Errorf("%d: %s\n%s", i, got, log)
		}
		asked := r.take()
		lists := 0
		for _, req := range asked {
			if strings.Contains(req, "/referrers/") {
				lists++
			}
		}
		if lists != 1 {
			t.Errorf("%d: what was looked at was asked for %d times\n%s", i, lists, strings.Join(asked, "\n"))
		}
		if anew, log := elsewhere("--no-reuse", "--no-cache"); anew != made {
			t.Errorf("%d: %s, and made anew %s\n%s", i, made, anew, log)
		}
	}
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	code, plan, log := w.jubako("plan", "--base", w.base, "-t", tag, w.dir)
	if code != 0 || layerStates(plan, "app", "messages") != "app reused, messages reused" {
		t.Errorf("%d %s%s", code, plan, log)
	}
	w.write("locale/de.po", "DE")
	code, plan, log = w.jubako("plan", "--base", w.base, "-t", tag, w.dir)
	if code != 0 || layerStates(plan, "app", "messages") != "app to make, messages to make" || !strings.Contains(plan, "/app/locale/de.po has changed") {
		t.Errorf("%d %s%s", code, plan, log)
	}
	// What a registry says is not to be believed in its form.
	w.replaceAttached("team/site", "1", func(name string, data []byte) []byte {
		if name == "looks" {
			return []byte("x")
		}
		return data
	})
	if _, log := elsewhere(); layerStates(log, "app", "messages") != "app made, messages made" || !strings.Contains(log, "entry 0 is not one") {
		t.Errorf("%s", log)
	}
}

const secretStep = `
[[tool.jubako.step]]
name = "private"
command = ["prog", "env", ";", "cat", "/run/secrets/npmrc", ";", "write", "dist", "built"]
output = ["dist"]
secret = ["env:NPM_TOKEN", "file:npmrc"]
`

// TestStepSecrets: values are in no log, no layer, no config, no key, and nowhere in the cache.
func TestStepSecrets(t *testing.T) {
	w := stepWorld(t, secretStep)
	w.write("npmrc", "//npm.example/:_auth=qwe-7788-zzz\n")
	code, _, log := w.jubako("build", "--base", w.base, w.dir)
	if code != 2 || !strings.Contains(log, "step private: secret env:NPM_TOKEN: there is no such variable") || !strings.Contains(log, "set NPM_TOKEN in the environment") {
		t.Errorf("%d\n%s", code, log)
	}
	t.Setenv("NPM_TOKEN", "tok-1234-abcd")
	out := filepath.Join(t.TempDir(), "out")
	first, log := w.build("-v", "-o", "oci:"+out, "--set", `include=["npmrc"]`)
	if !strings.Contains(log, "NPM_TOKEN=$NPM_TOKEN") || !strings.Contains(log, "$npmrc") {
		t.Errorf("-v shows:\n%s", log)
	}
	for _, value := range []string{"tok-1234-abcd", "qwe-7788-zzz"} {
		if strings.Contains(log, value) {
			t.Errorf("the log tells %s:\n%s", value, log)
		}
		nowhere(t, out, value)
		nowhere(t, os.Getenv("JUBAKO_CACHE_DIR"), value)
	}
	// Another value makes no other image, and none is asked for where the layer is there.
	t.Setenv("NPM_TOKEN", "another-value")
	again, log := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "b"), "--set", `include=["npmrc"]`)
	if layerStates(log, "private") != "private reused" || first[strings.LastIndex(first, "@"):] != again[strings.LastIndex(again, "@"):] {
		t.Errorf("%s\n%s\n%s", first, again, log)
	}
	if err := os.Unsetenv("NPM_TOKEN"); err != nil {
		t.Fatal(err)
	}
	w.build("--set", `include=["npmrc"]`)
	for name, tc := range map[string]struct{ set, token, want string }{
		"short":   {`step=[{name="a",command=["prog"],output=["x"],secret=["env:NPM_TOKEN"]}]`, "abc", "fewer than 6 characters"},
		"no file": {`step=[{name="a",command=["prog"],output=["x"],secret=["file:nowhere"]}]`, "", "no such file"},
		"leaked":  {`step=[{name="a",command=["prog","copy","/run/secrets/npmrc","/app/x"],output=["x"],secret=["file:npmrc"]}]`, "", "/app/x holds the secret npmrc"},
	} {
		t.Setenv("NPM_TOKEN", tc.token)
		if code, _, log := w.jubako("build", "--base", w.base, w.dir, "--set", tc.set); code == 0 || !strings.Contains(log, tc.want) {
			t.Errorf("%s: %d\n%s", name, code, log)
		}
	}
}

// nowhere insists that no file below a folder holds the text, plain or in gzip.
func nowhere(t *testing.T, dir, text string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(p)
		if strings.Contains(string(b), text) || strings.Contains(string(gunzip(b)), text) {
			t.Errorf("%s holds %q", p, text)
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestCheckSteps: what two runs make differently is named.
func TestCheckSteps(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "lottery"
command = ["prog", "mkdir", "dist", ";", "write", "dist/same", "x", ";", "random", "dist/number", ";", "random", "dist/other"]
output = ["dist"]
`)
	w.build() // also what a cache has is checked
	code, _, log := w.jubako("build", "--check-steps", "--base", w.base, w.dir, "-o", "oci:"+filepath.Join(t.TempDir(), "out"))
	if code != 4 || !strings.Contains(log, "step lottery made 2 paths differently") || !strings.Contains(log, "/app/dist/number") || !strings.Contains(log, "/app/dist/other") ||
		strings.Contains(log, "/app/dist/same") || !strings.Contains(log, "collectstatic: two runs made the same files") || strings.Contains(log, "written") {
		t.Errorf("%d\n%s", code, log)
	}
	w.edit("pyproject.toml", `"random", "dist/number", ";", "random", "dist/other"`, `"write", "dist/number", "4"`)
	if _, log := w.build("--check-steps"); !strings.Contains(log, "step lottery: two runs made the same files") {
		t.Error(log)
	}
	// What it reads beyond the source, and makes something else of.
	w.edit("pyproject.toml", `"write", "dist/number", "4"]`, `"survey", "dist/number", "stat:/run/secrets/npmrc"]`+"\nsecret = [\"file:npmrc\"]")
	w.write("npmrc", "//npm.example/:_auth=qwe-7788-zzz\n")
	w.build()
	for i, flags := range []string{"--check-steps", "--check-steps --no-reuse"} {
		w.write("npmrc", "//npm.example/:_auth=qwe-7788-zzz-and-more"+strings.Repeat("!", i)+"\n")
		code, _, log = w.jubako(append([]string{"build", "--base", w.base, w.dir}, strings.Fields(flags)...)...)
		if want := "step lottery makes something else than it did, though no file of the source that it read has changed"; code != 4 || !strings.Contains(log, want) {
			t.Errorf("%s: %d\n%s", flags, code, log)
		}
	}
}

// TestStepInterrupted: Ctrl-C ends the step and all that it started.
func TestStepInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	long := fmt.Sprintf("%ds", 100_000+os.Getpid()) // which no other test's command names
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "endless"
command = ["prog", "daemon", "late", ";", "dial", "`+l.Addr().String()+`", ";", "sleep", "`+long+`"]
output = ["late"]
network = true
`)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_ = c.Close()
			_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		}
	}()
	code, _, log := w.jubako("build", "--base", w.base, w.dir)
	if strings.Contains(log, "allows no way of running a command") {
		t.Skip(log)
	}
	if code != 130 || !strings.Contains(log, "interrupted; nothing was left half-written") {
		t.Errorf("%d\n%s", code, log)
	}
	if left, err := os.ReadDir(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	for _, p := range processes(t) {
		if strings.Contains(p, "sleep\x00"+long) {
			t.Errorf("%q is alive", p)
		}
	}
}

// processes are the command lines of all that run.
func processes(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			all = append(all, string(b))
		}
	}
	return all
}

// TestBytecode: each layer with sources has its bytecode in a layer of its own, which a change elsewhere leaves alone.
func TestBytecode(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "generated"
command = ["prog", "write", "gen.py", "g = 1"]
output = ["gen.py"]
`)
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nbytecode = true\nwritable = [\"plugins\"]\nexclude = [\"pyproject.toml\"]\n[tool.jubako.staticfiles]")
	w.write("mysite/old.py", "print 'two'\n")
	w.write("plugins/p.py", "p = 1\n")
	out := filepath.Join(t.TempDir(), "out")
	first, log := w.build("-v", "-o", "oci:"+out)
	for _, want := range []string{"bytecode     made     compiled by Python 3.12.9", "bytecode of app: 1 files do not compile, and have none: /app/mysite/old.py: SyntaxError: Missing parentheses"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	files := layoutFiles(t, out)
	for name, want := range map[string]string{
		"app/mysite/__pycache__/settings.cpython-312.pyc": "pyc of " + settings, "app/__pycache__/gen.cpython-312.pyc": "pyc of g = 1",
		"app/.venv/lib/python3.12/site-packages/django/__pycache__/__init__.cpython-312.pyc": "pyc of VERSION = 5\n",
		"app/mysite/__pycache__/old.cpython-312.pyc":                                         "", "app/plugins/__pycache__/p.cpython-312.pyc": "",
	} {
		if files[name] != want {
			t.Errorf("%s holds %q", name, files[name])
		}
	}
	again, log := w.build("-o", "oci:"+filepath.Join(t.TempDir(), "b"), "--jobs", "3")
	if layerStates(log, "bytecode") != "bytecode reused" || first[strings.LastIndex(first, "@"):] != again[strings.LastIndex(again, "@"):] {
		t.Errorf("nothing has changed, and:\n%s\n%s\n%s", first, again, log)
	}
	w.write("mysite/views.py", "x = 1\n")
	if _, log = w.build(); !strings.Contains(log, "compiled by Python 3.12.9, 1 made") {
		t.Errorf("one file has changed, and:\n%s", log)
	}
	code, plan, log := w.jubako("plan", "--base", w.base, w.dir)
	if code != 0 || !strings.Contains(plan, "bytecode     reused") {
		t.Errorf("%d %s%s", code, plan, log)
	}
	if _, log = w.build("--set", "bytecode=false"); layerStates(log, "bytecode") != "bytecode absent" {
		t.Errorf("it is switched off, and:\n%s", log)
	}
}

// layoutFiles gives the files of all layers of the one image in a layout.
func layoutFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for tr := tar.NewReader(mutate.Extract(img)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
	}
}
