package pybuild

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/source"
)

// TestLeftOut holds which files come into a built wheel to what the backends themselves take, run side by side.
func TestLeftOut(t *testing.T) {
	module := []string{"src/my_site/__init__.py", "src/my_site/a.py", "src/my_site/data/t.txt", "src/my_site/sub/__init__.py"}
	const all = "my_site/__init__.py my_site/a.py my_site/data/t.txt my_site/sub/__init__.py"
	for name, tc := range map[string]struct {
		text  string
		files []string
		want  string
	}{
		"uv_build: patterns match anywhere, or from the project": {
			pyprojectFor("uv_build", "[tool.uv.build-backend]\nwheel-exclude = [\"*.tmp\", \"/src/my_site/a.py\", \"data\"]\n"+
				"source-exclude = [\"/src/my_site/sub/*.py\", \"b.py\", \"/my_site/k.py\", \"/k2.py\"]\n"),
			[]string{"src/my_site/x.tmp", "src/my_site/k.py", "src/my_site/k2.py", "src/my_site/deep/b.py", "src/my_site/.hidden/x"},
			"my_site/.hidden/x my_site/__init__.py my_site/k.py my_site/k2.py",
		},
		"uv_build: data": {
			pyprojectFor("uv_build", "[tool.uv.build-backend.data]\nscripts = \"scripts\"\ndata = \"d\"\n"),
			[]string{"scripts/run.sh", "d/share/x", "d/__pycache__/x.pyc"},
			"my_site-1.0.data/data/share/x my_site-1.0.data/scripts/run.sh " + all,
		},
		"hatchling: .gitignore": {
			pyprojectFor("hatchling.build", ""),
			[]string{".gitignore=build/\n*.txt\n!keep.txt\n/src/my_site/a.py\nsrc/my_site/*.bak\n\\!odd\n#c\n", "src/my_site/build/x.py", "src/my_site/x.bak",
				"src/my_site/sub/x.bak", "src/my_site/!odd", "src/my_site/keep.txt", "src/my_site/x.pyd", "src/my_site/dist/x.py"},
			"my_site/__init__.py my_site/dist/x.py my_site/keep.txt my_site/sub/__init__.py my_site/sub/x.bak",
		},
		"hatchling: exclude, and no .gitignore": {
			pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel]\nignore-vcs = true\nexclude = [\"*.txt\"]\n"),
			[]string{".gitignore=a.py\n"}, "my_site/__init__.py my_site/a.py my_site/sub/__init__.py",
		},
		"flit":                    {pyprojectFor("flit_core.buildapi", "[tool.flit.module]\nname = \"my_site\"\n"), []string{"src/my_site/a.pyc"}, all},
		"what is left out always": {pyprojectFor("uv_build", ""), []string{"src/my_site/.env", "src/my_site/node_modules/x.js"}, all},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := build(t, false, tc.text, append(tc.files, module...)...)
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for p := range got {
				if !strings.HasPrefix(p, "my_site-1.0.dist-info/") {
					paths = append(paths, p)
				}
			}
			slices.Sort(paths)
			if d := cmp.Diff(tc.want, strings.Join(paths, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDockerignore: what the image's source leaves out does not come into the image by way of a wheel.
func TestDockerignore(t *testing.T) {
	dir := lay(t, ".dockerignore=**/secret.pem\nsites/one/src/my_site/private\n", "sites/one/src/my_site/__init__.py", "sites/one/src/my_site/secret.pem",
		"sites/one/src/my_site/private/x", "sites/one/src/my_site/token")
	b, err := New(context.Background(), Options{Dir: filepath.Join(dir, "sites/one"), ImageDir: "/app", Pyproject: []byte(pyprojectFor("uv_build", "")), Name: "my-site",
		Source: &source.Options{Root: dir, Ignorefile: filepath.Join(dir, ".dockerignore"), Include: []string{"sites/one/src/my_site/token"},
			Skip: func(rel string) bool { return rel == "sites/one/src/my_site/token" }}}) // a secret, whatever include says
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range b.files() {
		got = append(got, f.Path)
	}
	if d := cmp.Diff([]string{"my_site/__init__.py"}, got); d != "" {
		t.Error(d)
	}
}

// TestLicences: without license-files, each backend has patterns of its own; uv_build has none.
func TestLicences(t *testing.T) {
	files := []string{"my_site/__init__.py", "LICENSE=a", "NOTICE=b", "AUTHORS=c", "my_site/LICENSE.x=d"}
	with := func(text, key string) string { return strings.Replace(text, "version =", key+"\nversion =", 1) }
	flat := pyprojectFor("uv_build", "[tool.uv.build-backend]\nmodule-root = \"\"\n")
	for name, tc := range map[string]struct {
		editable bool
		text     string
		want     string
		named    int // in METADATA
	}{
		"uv_build":            {false, flat, "", 0},
		"uv_build, editable":  {true, with(flat, `license-files = ["LIC*"]`), "", 1},
		"hatchling, editable": {true, pyprojectFor("hatchling.build", ""), "AUTHORS LICENSE NOTICE", 3},
		"pdm":                 {true, pyprojectFor("pdm.backend", ""), "LICENSE NOTICE", 2},
		"named":               {false, with(pyprojectFor("hatchling.build", ""), `license-files = ["**/LIC*"]`), "LICENSE my_site/LICENSE.x", 2},
		"none wanted":         {false, with(pyprojectFor("hatchling.build", ""), `license-files = []`), "", 0},
	} {
		got, err := build(t, tc.editable, tc.text, files...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var licences []string
		for p := range got {
			if rest, ok := strings.CutPrefix(p, "my_site-1.0.dist-info/licenses/"); ok {
				licences = append(licences, rest)
			}
		}
		slices.Sort(licences)
		named := strings.Count(got["my_site-1.0.dist-info/METADATA"], "\nLicense-File: ")
		if strings.Join(licences, " ") != tc.want || named != tc.named {
			t.Errorf("%s: %v, %d named; want %q, %d", name, licences, named, tc.want, tc.named)
		}
	}
}

// TestRefusedToo holds what must not be passed over in silence, with the key that is in the way.
func TestRefusedToo(t *testing.T) {
	with := func(text, key string) string { return strings.Replace(text, "version =", key+"\nversion =", 1) }
	for name, tc := range map[string]struct {
		text  string
		files []string
		want  string
	}{
		"dynamic readme":       {with(pyprojectFor("hatchling.build", ""), `dynamic = ["readme"]`), []string{"my_site.py"}, "its readme is dynamic"},
		"an unknown hatch key": {pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel]\nartifacts = [\"*.so\"]\n"), nil, "tool.hatch.build.targets.wheel.artifacts is set"},
		"a hatch package":      {pyprojectFor("hatchling.build", "[tool.hatch.build]\npackages = [\"none\"]\n"), nil, "names the package none"},
		"setup.cfg":            {pyprojectFor("setuptools.build_meta", ""), []string{"setup.cfg=[flake8]\n[options]\npackages = find:\n"}, "setup.cfg"},
		"a setuptools key":     {pyprojectFor("setuptools.build_meta", "[tool.setuptools]\nscript-files = [\"x\"]\n"), nil, "tool.setuptools.script-files is set"},
		"flit, twice there":    {pyprojectFor("flit_core.buildapi", "[tool.flit.module]\nname = \"x\"\n"), []string{"x.py", "src/x/__init__.py"}, "there twice"},
		"pdm_build.py":         {pyprojectFor("pdm.backend", ""), []string{"pdm_build.py"}, "pdm_build.py"},
		"pdm editables":        {pyprojectFor("pdm.backend", "[tool.pdm.build]\neditable-backend = \"editables\"\n"), nil, "tool.pdm.build.editable-backend is set"},
		"poetry scripts":       {pyprojectFor("poetry.core.masonry.api", "[tool.poetry.scripts]\na = \"b:c\"\n"), nil, "tool.poetry.scripts is set"},
		"no package":           {pyprojectFor("poetry.core.masonry.api", "[tool.poetry]\npackage-mode = false\n"), nil, "package-mode"},
		"uv data elsewhere":    {pyprojectFor("uv_build", "[tool.uv.build-backend.data]\nbin = \"x\"\n"), nil, "data.bin is set"},
		"uv data outside":      {pyprojectFor("uv_build", "[tool.uv.build-backend.data]\ndata = \"../x\"\n"), []string{"src/my_site/__init__.py"}, "../x does not lie"},
		"a licence outside":    {with(pyprojectFor("uv_build", ""), `license-files = ["../*"]`), nil, "license-files may not leave"},
		"two versions": {"[project]\nname = \"my-site\"\ndynamic = [\"version\"]\n[build-system]\nbuild-backend = \"flit_core.buildapi\"\n",
			[]string{"my-site.py", "my_site.py=__version__ = '1'\n__version__ = '2'\n"}, "more than once"},
	} {
		_, err := New(context.Background(), Options{Dir: lay(t, tc.files...), ImageDir: "/app", Pyproject: []byte(tc.text), Editable: true, Name: "my-site"})
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	dir := lay(t, "src/my_site/__init__.py")
	if err := os.Symlink("__init__.py", filepath.Join(dir, "src/my_site/l.py")); err != nil {
		t.Fatal(err)
	}
	_, err := New(context.Background(), Options{Dir: dir, ImageDir: "/app", Pyproject: []byte(pyprojectFor("uv_build", "")), Name: "my-site"})
	if refused, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(refused.Reason, "src/my_site/l.py is a symlink") {
		t.Errorf("a link in a wheel: %v", err)
	}
}
