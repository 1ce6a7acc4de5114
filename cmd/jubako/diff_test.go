package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// TestDiff compares a build with itself, with a later one, and with its base.
func TestDiff(t *testing.T) {
	w := newWorld(t)
	one, two := "oci:"+filepath.Join(t.TempDir(), "x"), "oci:"+filepath.Join(t.TempDir(), "x")
	tag := w.host() + "/team/x:1"
	w.build("-o", one, "-t", tag, "--push")
	w.write("mysite/new.py", "x = 1\n")
	w.edit("manage.py", "mysite", "the_site")
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]", "[tool.jubako]\nenv = { ADDED = \"1\" }\nlabels = { team = \"x\" }\n\n[tool.jubako.staticfiles]")
	w.lock(wheeltest.Wheel{Name: "django", Version: "5.2.1", Files: []wheeltest.File{{Name: "django/__init__.py", Data: "VERSION = 5\n"}}},
		wheeltest.Wheel{Name: "uvicorn", Version: "0.30", Files: []wheeltest.File{{Name: "uvicorn/__init__.py", Data: "def main(): pass\n"}}, EntryPoints: "[console_scripts]\nuvicorn = uvicorn:main\n"})
	w.build("-o", two)

	t.Run("equal", func(t *testing.T) {
		code, stdout, stderr := w.jubako("diff", "--exit-code", one, tag)
		if code != 0 || !strings.HasPrefix(stdout, "equal: both are sha256:") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	})
	t.Run("text", func(t *testing.T) {
		code, stdout, stderr := w.jubako("diff", tag, two)
		if code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		for _, want := range []string{
			"config    +  Env.ADDED \"1\"\n", "config    +  Labels.team \"x\"\n", "layer     -  sha256:", "layer     +  sha256:", "  venv\n", "  app\n",
			"python    ~  django 5.2 → 5.2.1\n", "file      ~  /app/manage.py  content (66 B → 68 B)\n", "file      +  /app/mysite/new.py\n",
			"file      -  /app/.venv/lib/python3.12/site-packages/django-5.2.dist-info/METADATA\n",
		} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q is missing in\n%s", want, stdout)
			}
		}
		for _, banned := range []string{"uvicorn", "passwd", "settings.py", "/usr", "Env.PATH", "rootfs"} {
			if strings.Contains(stdout, banned) {
				t.Errorf("%q is said to differ in\n%s", banned, stdout)
			}
		}
	})
	t.Run("json", func(t *testing.T) {
		code, stdout, stderr := w.jubako("diff", "--exit-code", "--format", "json", two, one)
		var d difference
		if err := json.Unmarshal([]byte(stdout), &d); code != 1 || err != nil || d.Equal || len(d.Platforms) != 1 || d.Platforms[0].Layers.Same < 2 || strings.Contains(stdout, "null") {
			t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
		}
		p := d.Platforms[0]
		if diff := cmp.Diff([]packageDiff{{"python", "django", "5.2.1", "5.2"}}, p.Packages); diff != "" {
			t.Error(diff)
		}
		var changes []string
		for _, f := range p.Files {
			if strings.HasPrefix(f.Path, "/app/m") {
				changes = append(changes, f.Change+" "+f.Path+" "+strings.Join(f.What, ","))
			}
		}
		if diff := cmp.Diff([]string{"changed /app/manage.py content", "removed /app/mysite/new.py "}, changes); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("platforms", func(t *testing.T) {
		both, other := w.twoPlatforms()
		code, stdout, stderr := w.jubako("diff", "--exit-code", both, w.base)
		if code != 1 || !strings.Contains(stdout, "platform  -  linux/"+other+"\n") || strings.Contains(stdout, "file ") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	})
	for name, args := range map[string][]string{"one source": {one}, "a format": {"--format", "x", one, two}, "no image": {one, "oci:/nowhere"}} {
		if code, _, stderr := w.jubako(append([]string{"diff"}, args...)...); code == 0 || code == 4 {
			t.Errorf("%s: exit code %d\n%s", name, code, stderr)
		}
	}
}

func TestDiffFiles(t *testing.T) {
	file := func(mode uint32, uid int, sum string) base.File {
		return base.File{Stat: base.Stat{Kind: fstree.File, Mode: mode, UID: uid, Size: 5}, SHA256: sum}
	}
	link := func(to string, mode uint32) base.File {
		return base.File{Stat: base.Stat{Kind: fstree.Symlink, Mode: mode, Link: to}}
	}
	a := map[string]base.File{"same": file(0o644, 0, "1"), "mode": file(0o644, 0, "1"), "owner": file(0o644, 0, "1"), "content": file(0o644, 0, "1"),
		"link": link("x", 0o777), "linkmode": link("x", 0o777), "kind": file(0o644, 0, "1"), "gone": file(0o644, 0, "1"), "all": file(0o644, 0, "1")}
	b := map[string]base.File{"same": file(0o644, 0, "1"), "mode": file(0o755, 0, "1"), "owner": file(0o644, 7, "1"), "content": file(0o644, 0, "2"),
		"link": link("y", 0o777), "linkmode": link("x", 0o755), "kind": link("x", 0o777), "new": file(0o644, 0, "1"), "all": file(0o600, 1, "3")}
	var got []string
	for _, d := range diffFiles(a, b) {
		got = append(got, d.Change+" "+d.text())
	}
	want := []string{"changed /all  mode 0644 → 0600, owner 0:0 → 1:0, content (5 B → 5 B)", "changed /content  content (5 B → 5 B)", "removed /gone",
		"changed /kind  file → symlink", "changed /link  link x → y", "changed /mode  mode 0644 → 0755", "added /new", "changed /owner  owner 0:0 → 7:0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDiffPackages(t *testing.T) {
	status := func(version string) base.File {
		return base.File{Kept: []byte("Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n")}
	}
	a := map[string]base.File{dpkgStatus: status("8.14"), "a/x-1.dist-info/METADATA": {}, "b/x-2.dist-info/METADATA": {}, "a/old-1.dist-info/METADATA": {}}
	b := map[string]base.File{dpkgStatus: status("8.15"), "a/x-1.dist-info/METADATA": {}, "a/new-1.dist-info/METADATA": {}}
	got, err := diffPackages(a, b)
	want := []packageDiff{{"debian", "curl", "8.14", "8.15"}, {"python", "new", "", "1"}, {"python", "old", "1", ""}, {"python", "x", "1, 2", "1"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
}

func TestDiffConfigs(t *testing.T) {
	a := `{"architecture":"amd64","created":"x","rootfs":{"a":1},"history":[1],"config":{"Env":["A=1","B=2"],"Cmd":["a", "b"],"Labels":{"l":"1"},"Volumes":null,"User":"","Healthcheck":{"Test":["CMD","x"]}}}`
	b := `{"architecture":"amd64","created":"y","rootfs":{"a":2},"config":{"Env":["B=2","C=3"],"Cmd":["a","b"],"Labels":{"l":"2","m":""},"Entrypoint":[],"Healthcheck":{"Test":["CMD","y"]}}}`
	got, err := diffConfigs([]byte(a), []byte(b))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got {
		lines = append(lines, d.Name+" "+string(d.A)+" "+string(d.B))
	}
	want := []string{`Env.A "1" `, `Env.C  "3"`, `Healthcheck {"Test":["CMD","x"]} {"Test":["CMD","y"]}`, `Labels.l "1" "2"`, `Labels.m  ""`, `created "x" "y"`}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31m\nb\u009bc é"); got != "a\ufffd[31m\ufffdb\ufffdc é" {
		t.Errorf("%q", got)
	}
}

// FuzzConfig: no config makes it panic, and each is equal to itself.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["A=1","A=2",""],"Labels":{"l":1},"Volumes":[]},"created":null}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		if got, err := diffConfigs(config, config); err == nil && len(got) > 0 {
			t.Errorf("%+v", got)
		}
	})
}
