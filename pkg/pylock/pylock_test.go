package pylock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
)

func linux(t testing.TB, python string) pep508.Env {
	t.Helper()
	env, err := pep508.LinuxEnv(python, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func seed(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "seeds", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describe writes a selection on one line.
func describe(selected []locked.Selected) string {
	var all []string
	for _, s := range selected {
		text := s.Name
		if s.Source.Kind != locked.Registry {
			text += ":" + string(s.Source.Kind)
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestSelect(t *testing.T) {
	for name, tc := range map[string]struct {
		seed, python string
		r            locked.Request
		want, err    string
	}{
		"what uv exports":            {"uv.toml", "3.12.9", locked.Request{Project: "app", NoDefaultGroups: true}, "b:editable packaging six", ""},
		"for another Python":         {"uv.toml", "3.11.9", locked.Request{}, "b:editable six", ""},
		"for an older Python":        {"uv.toml", "3.10.9", locked.Request{}, "", "requires Python >=3.11"},
		"what pip locks":             {"pip.toml", "3.12.9", locked.Request{}, "iniconfig six", ""},
		"no editable":                {"uv.toml", "3.11.9", locked.Request{NoEditable: true}, "b:directory six", ""},
		"nothing local":              {"uv.toml", "3.11.9", locked.Request{NoInstallLocal: true}, "six", ""},
		"a package left out":         {"uv.toml", "3.11.9", locked.Request{NoInstallPackages: []string{"B"}}, "six", ""},
		"the default groups":         {"groups.toml", "3.12.9", locked.Request{NoDefaultGroups: true}, "app:editable six", ""},
		"without them":               {"groups.toml", "3.12.9", locked.Request{NoGroups: []string{"default"}}, "app:editable", ""},
		"a group":                    {"groups.toml", "3.12.9", locked.Request{Groups: []string{"Dev"}}, "app:editable pytest six", ""},
		"a group alone":              {"groups.toml", "3.12.9", locked.Request{OnlyGroups: []string{"dev"}}, "app:editable pytest six", ""},
		"all groups":                 {"groups.toml", "3.12.9", locked.Request{AllGroups: true}, "app:editable pytest six", ""},
		"an extra":                   {"groups.toml", "3.12.9", locked.Request{Extras: []string{"pdf"}}, "app:editable reportlab:url six", ""},
		"all extras but one":         {"groups.toml", "3.12.9", locked.Request{AllExtras: true, NoExtras: []string{"PDF"}}, "app:editable six", ""},
		"without the project":        {"groups.toml", "3.12.9", locked.Request{Project: "app", NoInstallProject: true}, "six", ""},
		"from git":                   {"groups.toml", "3.13.9", locked.Request{}, "app:editable lib:git six", ""},
		"an sdist":                   {"groups.toml", "3.11.9", locked.Request{}, "app:editable six twice:path", ""},
		"from hg":                    {"groups.toml", "3.14.1", locked.Request{}, "", "the package old comes from hg"},
		"twice":                      {"groups.toml", "3.11.2", locked.Request{}, "", "the package twice is there twice"},
		"a package's own Python":     {"groups.toml", "3.11.9", locked.Request{AllExtras: true}, "", "the package reportlab 4.0 requires Python >=3.12"},
		"no such extra":              {"groups.toml", "3.12.9", locked.Request{Extras: []string{"x"}}, "", `no extra "x"`},
		"no such extra to leave out": {"groups.toml", "3.12.9", locked.Request{NoExtras: []string{"x"}}, "", `no extra "x"`},
		"no such group":              {"groups.toml", "3.12.9", locked.Request{NoGroups: []string{"x"}}, "", `no dependency group "x"`},
		"members":                    {"groups.toml", "3.12.9", locked.Request{Packages: []string{"app"}}, "", "no workspace members"},
		"a group alone, and another": {"groups.toml", "3.12.9", locked.Request{OnlyGroups: []string{"dev"}, Groups: []string{"dev"}}, "", "--only-group"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Parse(seed(t, tc.seed), "pylock.toml")
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Select(tc.r, linux(t, tc.python))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || hint.KindOf(err) != hint.KindUsage {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, describe(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestFiles holds what is read of files: places, sizes that count, hashes that can be computed, names in their own key.
func TestFiles(t *testing.T) {
	l, err := Parse(seed(t, "groups.toml"), "pylock.toml")
	if err != nil {
		t.Fatal(err)
	}
	const sha = "sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
	six, pytest, lib := l.Packages[1], l.Packages[2], l.Packages[4]
	want := locked.File{URL: "https://files.index.example/six-1.17.0-py2.py3-none-any.whl", Size: 11050, Sized: true, Hashes: []string{"md5:" + strings.Repeat("0", 32), sha}}
	if d := cmp.Diff(want, six.Wheels[0].File); d != "" {
		t.Error(d)
	}
	if w := pytest.Wheels[0]; w.Filename.Raw != "pytest-8.0-py3-none-any.whl" || w.Path != "wheels/anything" || w.Sized || len(pytest.requires) != 1 {
		t.Errorf("%+v", w)
	}
	source := locked.Source{Kind: locked.Git, Location: "https://git.example/lib", Subdirectory: "python", Git: locked.Commit{ID: "ebd9b3af90247b8858d415a05e96e9ee61e48d07", Requested: "v1"}}
	if d := cmp.Diff(source, lib.Source); d != "" {
		t.Error(d)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{"pylock.toml": true, "pylock.prod.toml": true, "pylock.a.b.toml": false, "xpylock.toml": false, "pylock.toml.bak": false, "pylock..toml": false} {
		if IsName(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

func TestRefused(t *testing.T) {
	one := func(text string) string {
		return "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nversion = \"1\"\n" + text
	}
	const hashes = `hashes = { sha256 = "00" }`
	for want, text := range map[string]string{
		"line 2, column":                   "lock-version = \"1.0\"\npackages = [\n",
		"lock-version is missing":          "packages = []\n",
		`lock-version is "2.0"`:            "lock-version = \"2.0\"\n",
		"environments":                     "lock-version = \"1.0\"\nenvironments = [\"nope\"]\n",
		"requires-python":                  "lock-version = \"1.0\"\nrequires-python = \"nope\"\n",
		"no valid name":                    "lock-version = \"1.0\"\n[[packages]]\nname = \"-\"\n",
		"names 0 sources":                  one(""),
		"names 2 sources":                  one("directory = { path = \".\" }\narchive = { path = \"a\" }\n"),
		"directory has no path":            one("directory = {}\n"),
		"neither url nor path":             one("sdist = { " + hashes + " }\n"),
		"no hash that jubako knows":        one("archive = { path = \"a-1.tar.gz\", hashes = { sha1 = \"00\" } }\n"),
		"another project's":                one("wheels = [{ path = \"b-1-py3-none-any.whl\", " + hashes + " }]\n"),
		"another version":                  one("archive = { path = \"a-2-py3-none-any.whl\", " + hashes + " }\n"),
		"a-1.whl":                          one("wheels = [{ name = \"a-1.whl\", path = \"x\", " + hashes + " }]\n"),
		"no full commit":                   one("vcs = { type = \"git\", url = \"x\", commit-id = \"abc\" }\n"),
		"vcs lacks":                        one("vcs = { type = \"git\", commit-id = \"abc\" }\n"),
		`reading marker`:                   one("marker = \"x y\"\ndirectory = { path = \".\" }\n"),
		`package 1, "a": reading version`:  strings.Replace(one("directory = { path = \".\" }\n"), `"1"`, `"x"`, 1),
		`package 1, "a": requires-python:`: one("requires-python = \"x\"\ndirectory = { path = \".\" }\n"),
	} {
		_, err := Parse([]byte(text), "dir/pylock.toml")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "dir/pylock.toml") || hint.KindOf(err) != hint.KindUsage {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	l, err := Parse([]byte("lock-version = \"1.7\"\nlater = 1\nenvironments = [\"sys_platform == 'darwin'\"]\n"), "pylock.toml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Select(locked.Request{}, linux(t, "3.12.1")); err == nil || !strings.Contains(err.Error(), "supports only: sys_platform == 'darwin'") {
		t.Errorf("%v", err)
	}
}

// FuzzParse: any bytes give an error that names the file, or a lock from which can be selected.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"uv.toml", "pip.toml", "groups.toml"} {
		f.Add(seed(f, name))
	}
	env := linux(f, "3.12.1")
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data, "pylock.toml")
		if err != nil {
			if !strings.Contains(err.Error(), "pylock.toml") {
				t.Errorf("the file is not named: %v", err)
			}
			return
		}
		got, err := l.Select(locked.Request{AllExtras: true, AllGroups: true}, env)
		if err != nil {
			return
		}
		for i := 1; i < len(got); i++ {
			if got[i-1].Name >= got[i].Name {
				t.Errorf("%s comes before %s", got[i-1].Name, got[i].Name)
			}
		}
	})
}
