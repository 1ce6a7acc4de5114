package pybuild

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
)

func lay(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t testing.TB, editable bool, text string, files ...string) (map[string]string, error) {
	t.Helper()
	return contents(t, Options{Dir: lay(t, files...), ImageDir: "/app", Pyproject: []byte(text), Editable: editable, Name: "my-site", Version: "1.0"})
}

// contents gives the files of a project's wheel.
func contents(t testing.TB, o Options) (map[string]string, error) {
	t.Helper()
	b, err := New(context.Background(), o)
	if err != nil {
		return nil, err
	}
	w, err := b.Wheel()
	if err != nil {
		return nil, err
	}
	got := make(map[string]string)
	for _, f := range w.Files() {
		if f.Dir {
			continue
		}
		r, err := f.Content.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		got[f.Path] = string(text)
	}
	return got, nil
}

func pyprojectFor(backend, more string) string {
	return "[project]\nname = \"My.Site\"\nversion = \"1.0\"\n[build-system]\nrequires = []\nbuild-backend = \"" + backend + "\"\n" + more
}

// TestEditable has the .pth files that the backends write themselves.
func TestEditable(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		files []string
		pth   string
		want  string
	}{
		"uv_build":              {pyprojectFor("uv_build", ""), []string{"src/my_site/__init__.py"}, "my_site.pth", "/app/src"},
		"uv_build, at root":     {pyprojectFor("uv_build", "[tool.uv.build-backend]\nmodule-root = \"\"\n"), []string{"my_site/__init__.py"}, "my_site.pth", "/app/"},
		"uv_build, named":       {pyprojectFor("uv_build", "[tool.uv.build-backend]\nmodule-name = \"site\"\n"), []string{"src/site/__init__.py"}, "my_site.pth", "/app/src"},
		"hatchling, at root":    {pyprojectFor("hatchling.build", ""), []string{"my_site/__init__.py"}, "_editable_impl_my_site.pth", "/app"},
		"hatchling, src":        {pyprojectFor("hatchling.build", ""), []string{"src/my_site/__init__.py"}, "_editable_impl_my_site.pth", "/app/src"},
		"hatchling, packages":   {pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel]\npackages = [\"lib/b\", \"a\"]\n"), []string{"lib/b/__init__.py", "a/__init__.py"}, "_editable_impl_my_site.pth", "/app\n/app/lib"},
		"flit":                  {pyprojectFor("flit_core.buildapi", "[tool.flit.module]\nname = \"site\"\n"), []string{"site.py"}, "site.pth", "/app"},
		"flit, src":             {pyprojectFor("flit_core.buildapi", "[tool.flit.module]\nname = \"site\"\n"), []string{"src/site/__init__.py"}, "site.pth", "/app/src"},
		"setuptools, src":       {pyprojectFor("setuptools.build_meta", ""), []string{"src/my_site/__init__.py"}, "__editable__.my_site-1.0.pth", "/app/src\n"},
		"setuptools, flat":      {pyprojectFor("setuptools.build_meta", ""), []string{"my_site/__init__.py"}, "__editable__.my_site-1.0.pth", "/app\n"},
		"setuptools, elsewhere": {pyprojectFor("setuptools.build_meta", "[tool.setuptools]\npackage-dir = { \"\" = \"lib\" }\n"), nil, "__editable__.my_site-1.0.pth", "/app/lib\n"},
		"poetry":                {pyprojectFor("poetry.core.masonry.api", ""), []string{"my_site/__init__.py"}, "my_site.pth", "/app\n"},
		"pdm":                   {pyprojectFor("pdm.backend", ""), []string{"src/my_site/__init__.py"}, "_editable_impl_my_site.pth", "/app/src"},
		"no backend named":      {"[project]\nname = \"my-site\"\nversion = \"1.0\"\n[build-system]\nrequires = []\n", []string{"src/x/__init__.py"}, "__editable__.my_site-1.0.pth", "/app/src\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := build(t, true, tc.text, tc.files...)
			if err != nil {
				t.Fatal(err)
			}
			if got[tc.pth] != tc.want {
				t.Errorf("%s is %q, want %q; there is %q", tc.pth, got[tc.pth], tc.want, got)
			}
			if len(got) != 4 { // .pth, METADATA, WHEEL, RECORD
				t.Errorf("%d files", len(got))
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	got, err := build(t, true, `[project]
name = "My.Site"
version = "1.0"
description = "A site"
readme = "README.md"
requires-python = ">=3.12"
license = "MIT"
license-files = ["LICEN[CS]E*"]
authors = [{ name = "A", email = "a@example.com" }, { name = "B" }]
keywords = ["x", "y"]
classifiers = ["Framework :: Django"]
dependencies = ["django>=5", "uvicorn[standard] ; sys_platform == 'linux'"]
[project.optional-dependencies]
PDF = ["weasyprint ; python_version < '3.14'"]
[project.urls]
Source = "https://example.com"
[project.scripts]
site = "my_site:main"
[project.entry-points."x.y"]
b = "m:b"
a = "m:a"
[build-system]
build-backend = "uv_build"
`, "src/my_site/__init__.py", "README.md=# Site\n", "LICENSE=mit")
	if err != nil {
		t.Fatal(err)
	}
	want := `Metadata-Version: 2.4
Name: My.Site
Version: 1.0
Summary: A site
Keywords: x,y
Author: A, B
Author-email: A <a@example.com>
License-Expression: MIT
License-File: LICENSE
Classifier: Framework :: Django
Requires-Dist: django>=5
Requires-Dist: uvicorn[standard] ; sys_platform == 'linux'
Requires-Dist: weasyprint ; python_full_version < '3.14' and extra == 'pdf'
Requires-Python: >=3.12
Project-URL: Source, https://example.com
Provides-Extra: pdf
Description-Content-Type: text/markdown

# Site
`
	metadata := strings.ReplaceAll(got["my_site-1.0.dist-info/METADATA"], "python_version <", "python_full_version <")
	if d := cmp.Diff(want, metadata); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("[console_scripts]\nsite = my_site:main\n\n[x.y]\na = m:a\nb = m:b\n\n", got["my_site-1.0.dist-info/entry_points.txt"]); d != "" {
		t.Error(d)
	}
}

// TestCopied: a build that is not editable holds the modules.
func TestCopied(t *testing.T) {
	got, err := build(t, false, pyprojectFor("uv_build", "[tool.uv.build-backend]\nwheel-exclude = [\"*.tmp\"]\n"),
		"src/my_site/__init__.py=x", "src/my_site/data/a.txt=a", "src/my_site/b.tmp", "src/my_site/__pycache__/x.pyc", "tests/t.py")
	if err != nil {
		t.Fatal(err)
	}
	if got["my_site/__init__.py"] != "x" || got["my_site/data/a.txt"] != "a" || len(got) != 5 {
		t.Errorf("%q", got)
	}
}

func TestVersion(t *testing.T) {
	dynamic := func(backend, more string) string {
		return "[project]\nname = \"my-site\"\ndynamic = [\"version\"]\n[build-system]\nbuild-backend = \"" + backend + "\"\n" + more
	}
	for name, tc := range map[string]struct {
		text  string
		files []string
		want  string
	}{
		"hatch, from a file": {dynamic("hatchling.build", "[tool.hatch.version]\npath = \"my_site/v.py\"\n"), []string{"my_site/__init__.py", "my_site/v.py=\n__version__ = \"2.5\"\n"}, "2.5"},
		"flit":               {dynamic("flit_core.buildapi", "[tool.flit.module]\nname = \"my_site\"\n"), []string{"my_site/__init__.py=\"\"\"Doc.\"\"\"\n__version__ = '3.1'\n"}, "3.1"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := New(context.Background(), Options{Dir: lay(t, tc.files...), ImageDir: "/app", Pyproject: []byte(tc.text), Editable: true, Name: "my-site"})
			if err != nil || b.Version != tc.want {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	dynamic := "[project]\nname = \"my-site\"\ndynamic = [\"version\"]\n"
	for name, tc := range map[string]struct {
		text  string
		files []string
		want  string
	}{
		"unknown backend":    {pyprojectFor("maturin", ""), nil, "does not know"},
		"backend-path":       {pyprojectFor("hatchling.build", "backend-path = [\".\"]\n"), nil, "backend-path"},
		"hatch-vcs":          {dynamic + "[build-system]\nbuild-backend = \"hatchling.build\"\n[tool.hatch.version]\nsource = \"vcs\"\n", nil, "its version comes from vcs"},
		"hatch hooks":        {pyprojectFor("hatchling.build", "[tool.hatch.build.hooks.custom]\n"), nil, "build hooks"},
		"hatch force":        {pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel.force-include]\na = \"b\"\n"), nil, "force-include"},
		"hatch outside":      {pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel]\npackages = [\"../other\"]\n"), nil, "does not lie in the project"},
		"hatch no package":   {pyprojectFor("hatchling.build", ""), nil, "finds neither my_site"},
		"setup.py":           {pyprojectFor("setuptools.build_meta", ""), []string{"setup.py"}, "setup.py"},
		"extension":          {pyprojectFor("setuptools.build_meta", "[tool.setuptools]\next-modules = []\n"), nil, "extension modules"},
		"setuptools attr":    {dynamic + "[tool.setuptools.dynamic]\nversion = { attr = \"x.y\" }\n", nil, "tool.setuptools.dynamic"},
		"poetry build":       {pyprojectFor("poetry.core.masonry.api", "[tool.poetry]\nbuild = \"b.py\"\n"), nil, "build script"},
		"pdm version":        {pyprojectFor("pdm.backend", "[tool.pdm.version]\nsource = \"scm\"\n"), nil, "tool.pdm.version"},
		"no project table":   {"[build-system]\nbuild-backend = \"uv_build\"\n", nil, "no [project] table"},
		"uv without module":  {pyprojectFor("uv_build", ""), nil, "it expects src/my_site/__init__.py"},
		"computed version":   {dynamic + "[build-system]\nbuild-backend = \"flit_core.buildapi\"\n", []string{"my_site.py=__version__ = f()\n"}, "no literal one"},
		"only a dynamic one": {dynamic + "[build-system]\nbuild-backend = \"uv_build\"\n", nil, "its version is dynamic"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(context.Background(), Options{Dir: lay(t, tc.files...), ImageDir: "/app", Pyproject: []byte(tc.text), Editable: true, Name: "my-site"})
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) || hint.Of(err) == "" {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := build(t, false, pyprojectFor("setuptools.build_meta", ""), "src/my_site/__init__.py"); err == nil {
		t.Error("setuptools' builds are not static")
	}
}

// FuzzPyproject: any file is refused or gives a wheel; nothing outside the project is read.
func FuzzPyproject(f *testing.F) {
	f.Add(pyprojectFor("uv_build", ""))
	f.Add(pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel]\npackages = [\"../../etc\"]\n"))
	f.Add("[project]\nname = \"x\"\nversion = \"1\"\nreadme = \"../secret\"\nlicense-files = [\"../*\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := build(t, true, text, "src/my_site/__init__.py", "my_site/__init__.py")
		if err != nil {
			return
		}
		for p := range got {
			if strings.HasPrefix(p, "..") || strings.HasPrefix(p, "/") {
				t.Errorf("the wheel holds %q", p)
			}
		}
	})
}
