package pybuild

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStrangers: the links of a repository that comes from strangers lead nowhere but in it, whoever follows them; those of the user's
// own source are followed.
func TestStrangers(t *testing.T) {
	with := func(text, key string) string { return strings.Replace(text, "version =", key+"\nversion =", 1) }
	hatch := func(packages string) string {
		return pyprojectFor("hatchling.build", "[tool.hatch.build.targets.wheel]\npackages = ["+packages+"]\n")
	}
	const space = "[tool.uv.build-backend]\nnamespace = true\nmodule-root = \"\"\n"
	dynamic := "[project]\nname = \"my-site\"\ndynamic = [\"version\"]\n[build-system]\nbuild-backend = \"hatchling.build\"\n[tool.hatch.version]\npath = \"v.py\"\n"
	for name, tc := range map[string]struct {
		text string
		link string // in the project, to the secret folder or a file of it
		to   string
	}{
		"readme":        {with(hatch(`"dep"`), `readme = "README.md"`), "README.md", "secret.txt"},
		"licence table": {with(hatch(`"dep"`), `license = { file = "COPY" }`), "COPY", "secret.txt"},
		"licence":       {hatch(`"dep"`), "LICENSE", "secret.txt"},
		"version":       {dynamic, "v.py", "v.py"},
		"package":       {hatch(`"dep", "conf"`), "conf", "."},
		"module":        {hatch(`"dep", "one.py"`), "one.py", "secret.txt"},
		"above it":      {hatch(`"dep", "conf/in"`), "conf", "."},
		"namespace":     {pyprojectFor("uv_build", space), "my_site", "in"},
		"data":          {pyprojectFor("uv_build", space+"module-name = \"dep\"\n[tool.uv.build-backend.data]\ndata = \"d\"\n"), "d", "in"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := lay(t, "secret.txt=s3cret", "in/secret.txt=s3cret", "v.py=__version__ = \"7.7+s3cret\"\n")
			top := lay(t, "p/dep/__init__.py=x", "p/my_site.py=x")
			if err := os.Symlink(filepath.Join(secret, tc.to), filepath.Join(top, "p", tc.link)); err != nil {
				t.Fatal(err)
			}
			for _, repository := range []string{"", top} {
				got, err := contents(t, Options{Dir: filepath.Join(top, "p"), Repository: repository, ImageDir: "/nowhere", Pyproject: []byte(tc.text), Name: "my-site"})
				if found := strings.Contains(fmt.Sprint(got), "s3cret"); found != (repository == "") {
					t.Errorf("repository %q: its wheel is %q, %v", repository, got, err)
				}
			}
		})
	}
	// Within the repository links may lead where they will. What stands above it is not looked at.
	above := lay(t, "top/LICENSE=mit", "top/p/dep/__init__.py=x", "top/lib/a.py=a", ".gitignore=a.py\n")
	top := filepath.Join(above, "top")
	for link, to := range map[string]string{"p/LICENSE": "../LICENSE", "p/lib": "../lib"} {
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := contents(t, Options{Dir: filepath.Join(top, "p"), Repository: top, ImageDir: "/nowhere", Pyproject: []byte(hatch(`"dep", "lib"`)), Name: "my-site"})
	if err != nil || got["my_site-1.0.dist-info/licenses/LICENSE"] != "mit" || got["lib/a.py"] != "a" {
		t.Errorf("%q, %v", got, err)
	}
}
