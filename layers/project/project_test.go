package project

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/pybuild"
	"github.com/jubako/jubako/pkg/wheel"
)

const pyproject = `[project]
name = "Chord.ify"
version = "1.4.0"
[project.scripts]
chord = "chord_ify:main"
[build-system]
requires = ["uv_build"]
build-backend = "uv_build"
`

const site = "app/.venv/lib/python3.12/site-packages/"

// options lays a project into a folder and describes its install.
func options(t *testing.T, text string, files ...string) Options {
	t.Helper()
	dir := t.TempDir()
	for _, f := range append(files, "pyproject.toml="+text) {
		name, content, _ := strings.Cut(f, "=")
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{Dir: dir, ImageDir: "/app", Pyproject: []byte(text), Editable: true, Name: "chord-ify", Version: "1.4.0",
		DirectURL: &wheel.DirectURL{URL: "file:///app", Dir: &wheel.DirInfo{Editable: true}},
		Venv:      wheel.Venv{Path: "app/.venv", Python: "3.12", UID: 999, GID: 998}}
}

func layer(t *testing.T, all ...Options) *Layer {
	t.Helper()
	l, err := New(context.Background(), all...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// files gives the text of every file of the layer, by path.
func files(t *testing.T, l *Layer) map[string]string {
	t.Helper()
	tree, err := l.Tree(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for e := range tree.All() {
		if e.UID != 999 || e.GID != 998 {
			t.Errorf("%s belongs to %d:%d", e.Path, e.UID, e.GID)
		}
		if e.Kind != fstree.File {
			continue
		}
		r, err := e.Content.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		got[e.Path] = string(b)
	}
	return got
}

// TestEditable, case 46 of the specification, holds what uv leaves of an editable install, all of it with paths of the image.
func TestEditable(t *testing.T) {
	l := layer(t, options(t, pyproject, "src/chord_ify/__init__.py"))
	if l.Name() != "project" || l.Summary() != "Chord.ify 1.4.0 (editable)" {
		t.Errorf("%s: %s", l.Name(), l.Summary())
	}
	got := files(t, l)
	const info = site + "chord_ify-1.4.0.dist-info/"
	var paths []string
	for p := range got {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	want := []string{
		"app/.venv/bin/chord", info + "INSTALLER", info + "METADATA", info + "RECORD", info + "REQUESTED", info + "WHEEL",
		info + "direct_url.json", info + "entry_points.txt", site + "chord_ify.pth",
	}
	if d := cmp.Diff(want, paths); d != "" {
		t.Error(d)
	}
	for p, text := range map[string]string{
		site + "chord_ify.pth":    "/app/src",
		info + "direct_url.json":  `{"url":"file:///app","dir_info":{"editable":true}}`,
		info + "entry_points.txt": "[console_scripts]\nchord = chord_ify:main\n\n",
		info + "REQUESTED":        "",
	} {
		if got[p] != text {
			t.Errorf("%s holds %q, want %q", p, got[p], text)
		}
	}
	if script := got["app/.venv/bin/chord"]; !strings.HasPrefix(script, "#!/app/.venv/bin/python\n") || !strings.Contains(script, "from chord_ify import main") {
		t.Errorf("the script is %q", script)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestBuilt(t *testing.T) {
	o := options(t, pyproject, "src/chord_ify/__init__.py=x = 1\n", "src/chord_ify/t.html=<p>")
	o.Editable, o.ImageDir = false, "/app/a b"
	o.DirectURL = &wheel.DirectURL{URL: "file:///app/a%20b", Dir: &wheel.DirInfo{}}
	l := layer(t, o)
	if l.Summary() != "Chord.ify 1.4.0" {
		t.Error(l.Summary())
	}
	got := files(t, l)
	for p, text := range map[string]string{
		site + "chord_ify/__init__.py":                     "x = 1\n",
		site + "chord_ify/t.html":                          "<p>",
		site + "chord_ify-1.4.0.dist-info/direct_url.json": `{"url":"file:///app/a%20b","dir_info":{"editable":false}}`,
	} {
		if got[p] != text {
			t.Errorf("%s holds %q, want %q", p, got[p], text)
		}
	}
	if _, ok := got[site+"chord_ify.pth"]; ok {
		t.Error("a built project has a .pth file")
	}
}

// TestKey: equal keys, equal bytes; and a comment in pyproject.toml, or another place on this machine, makes nothing anew.
func TestKey(t *testing.T) {
	module := []string{"src/chord_ify/__init__.py=x", "src/chord_ify/a.py=a"}
	built := func(files ...string) Options {
		o := options(t, pyproject, files...)
		o.Editable = false
		return o
	}
	first, firstBuilt := layer(t, options(t, pyproject, module...)).Key(), layer(t, built(module...)).Key()
	for name, o := range map[string]Options{
		"its place":         options(t, pyproject, module...),
		"a comment":         options(t, "# new\n"+pyproject, module...),
		"an editable's own": options(t, pyproject, module[0]), // an editable install holds none of the source
	} {
		if layer(t, o).Key() != first {
			t.Errorf("the key depends on %s", name)
		}
	}
	if layer(t, built(module...)).Key() != firstBuilt {
		t.Error("the same build elsewhere has another key")
	}
	moved, venv, owner := options(t, pyproject, module...), options(t, pyproject, module...), options(t, pyproject, module...)
	moved.ImageDir, venv.Venv.Python, owner.Venv.UID = "/srv", "3.13", 0
	seen := map[string]string{string(first): "the first", string(firstBuilt): "the first build"}
	for _, tc := range []struct {
		name string
		o    Options
	}{
		{"the image's folder", moved}, {"the Python", venv}, {"the owner", owner},
		{"the version", options(t, strings.Replace(pyproject, "1.4.0", "1.4.1", 1), module...)},
		{"the script", options(t, strings.Replace(pyproject, ":main", ":run", 1), module...)},
		{"the built content", built("src/chord_ify/__init__.py=y", module[1])},
		{"a built file's name", built(module[0], "src/chord_ify/b.py=a")},
	} {
		k := string(layer(t, tc.o).Key())
		if other, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", tc.name, other)
		}
		seen[k] = tc.name
	}
}

// TestSeveral: the members of a workspace share one layer.
func TestSeveral(t *testing.T) {
	a := options(t, pyproject, "src/chord_ify/__init__.py")
	b := options(t, strings.NewReplacer("Chord.ify", "lib", "chord = ", "lib = ").Replace(pyproject), "src/lib/__init__.py")
	b.Name, b.ImageDir = "lib", "/app/lib"
	l := layer(t, a, b)
	if l.Summary() != "2 projects" {
		t.Error(l.Summary())
	}
	if got := files(t, l); got[site+"lib.pth"] != "/app/lib/src" || got[site+"chord_ify.pth"] != "/app/src" {
		t.Errorf("%v", got)
	}
	if l.Key() == layer(t, a).Key() {
		t.Error("the key does not depend on the second project")
	}
}

func TestRefused(t *testing.T) {
	_, err := New(context.Background(), options(t, strings.Replace(pyproject, `build-backend = "uv_build"`, `build-backend = "maturin"`, 1)))
	var refused *pybuild.RefusedError
	if !errors.As(err, &refused) || refused.Backend != "maturin" || refused.Project != "chord-ify" {
		t.Errorf("got %v", err)
	}
}
