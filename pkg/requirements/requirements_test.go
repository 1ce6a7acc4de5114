package requirements

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
)

const sha = "--hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"

func linux(t testing.TB, python string) pep508.Env {
	t.Helper()
	env, err := pep508.LinuxEnv(python, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// from loads requirements.txt from files in memory.
func from(files map[string]string) (*File, error) {
	return LoadWith("requirements.txt", func(name string) ([]byte, error) {
		text, ok := files[filepath.ToSlash(name)]
		if !ok {
			return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
		}
		return []byte(text), nil
	}, func(v string) string { return map[string]string{"TOKEN": "s3cret"}[v] })
}

func describe(selected []locked.Selected) string {
	var all []string
	for _, s := range selected {
		text := s.Name + " " + s.Version
		if s.Source.Kind != locked.Registry {
			text += " " + s.Source.String()
		}
		if len(s.Hashes) > 0 {
			text += fmt.Sprintf(" (%d)", len(s.Hashes))
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// TestRealFiles reads what uv and pip-compile write.
func TestRealFiles(t *testing.T) {
	for name, want := range map[string]string{
		"uv-compile.txt":  "iniconfig 2.3.1 (2); packaging 26.3 (2); six 1.17.0 (2)",
		"pip-compile.txt": "iniconfig 2.3.1 (2); packaging 26.3 (2); six 1.17.0 (2)",
		"uv-export.txt":   "b 0.1 editable b; packaging 26.3 (2); six 1.17.0 (2)",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "seeds", name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := from(map[string]string{"requirements.txt": string(text), "b/pyproject.toml": "[project]\nname = \"B\"\nversion = \"0.1\"\n"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := f.Select(locked.Request{}, linux(t, "3.12.9"))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, describe(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestForms(t *testing.T) {
	commit := strings.Repeat("ab", 20)
	for line, want := range map[string]string{
		"Six == 1.17 \\\n  # between\n" + sha:                                            "",
		"six==1.17 \\\n    " + sha + " \\\n    " + sha + "\n    # via x":                 "six 1.17 (2)",
		"six == 1.17 ; python_version < '3' " + sha + "\na==1 " + sha:                    "a 1 (1)",
		"six[x,y]==1.17 --hash sha256:" + sha[len("--hash=sha256:"):] + " # why":         "six 1.17 (1)",
		"\ufeffsix==1.17 " + sha + "\r\n":                                                "six 1.17 (1)",
		"six @ https://files.index.example/six-1.17%2Bcpu-py3-none-any.whl " + sha:       "six 1.17+cpu url https://files.index.example/six-1.17%2Bcpu-py3-none-any.whl (1)",
		"https://u:${TOKEN}@files.index.example/six-1.17-py3-none-any.whl#sha1=0 " + sha: "six 1.17 url https://u:s3cret@files.index.example/six-1.17-py3-none-any.whl (1)",
		"six @ https://files.index.example/six-1.17.tar.gz#subdirectory=a " + sha:        "six  url https://files.index.example/six-1.17.tar.gz (1)",
		"./six-1.17-py3-none-any.whl " + sha:                                             "six 1.17 path six-1.17-py3-none-any.whl (1)",
		"six @ file:///w/six-1.17-py3-none-any.whl " + sha:                               "six 1.17 path /w/six-1.17-py3-none-any.whl (1)",
		"-e ./b[x] ; python_version > '3'":                                               "b 0.1 editable b",
		"--editable=b":                                                                   "b 0.1 editable b",
		"./b":                                                                            "b 0.1 directory b",
		"lib @ git+https://git.example/lib@" + commit + "#subdirectory=python":           "lib  git https://git.example/lib",
		"git+ssh://git@git.example/lib@" + commit + "#egg=lib":                           "lib  git ssh://git@git.example/lib",
		"-r more.txt":                   "m 1 (1)",
		"-rmore.txt\nsix==1 " + sha:     "m 1 (1); six 1 (1)",
		"-c constraints.txt\nsix==1.17": "six 1.17 (1)",
		"--index-url https://i.example/simple --extra-index-url 'https://e.example'\na==1 " + sha:  "a 1 (1)",
		"--require-hashes\n--pre\n--trusted-host x\na==1 " + sha + "\na==1 " + sha:                 "a 1 (1)",
		"six==1.17 " + sha + " --hash=sha512:" + strings.Repeat("0", 128) + " --config-settings=x": "six 1.17 (2)",
	} {
		f, err := from(map[string]string{
			"requirements.txt": line, "more.txt": "m==1 " + sha, "constraints.txt": "six>=1,<2 " + sha, "b/pyproject.toml": "[project]\nname = \"B\"\nversion = \"0.1\"\n",
		})
		if want == "" { // a comment in the middle ends the requirement, as it does for pip
			if err == nil || !strings.Contains(err.Error(), "requirements.txt:3: --hash begins a line") {
				t.Errorf("%q: %v", line, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		got, err := f.Select(locked.Request{Project: "p", NoDefaultGroups: true}, linux(t, "3.12.9"))
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if d := cmp.Diff(want, describe(got)); d != "" {
			t.Errorf("%q: %s", line, d)
		}
	}
}

func TestSettings(t *testing.T) {
	f, err := from(map[string]string{"requirements.txt": "-i https://i.example/simple\n--extra-index-url https://e.example\n-f wheels\n" +
		"--only-binary=:all:\n--no-binary=A_b,c\n--no-binary=:none:\n--no-binary d\na==1 " + sha})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"https://i.example/simple", "https://e.example"}, f.Indexes); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(locked.BuildOptions{NoBuild: true, NoBinaryPackages: pep508.SetOf("d")}, f.BuildOptions()); d != "" {
		t.Error(d)
	}
	if len(f.FindLinks) != 1 || f.FindLinks[0] != "wheels" || f.File() != "requirements.txt" || f.RequiresPython() != nil {
		t.Errorf("%+v", f)
	}
	if f, err = from(map[string]string{"requirements.txt": "--no-index\n-i https://i.example\na==1 " + sha}); err != nil || len(f.Indexes) > 0 || !f.NoIndex {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestRefused(t *testing.T) {
	for line, want := range map[string]string{
		"":                        "requirements.txt asks for nothing",
		"\n\nsix":                 "requirements.txt:3: six is not pinned",
		"six>=1 " + sha:           "six is not pinned with ==",
		"six==1.* " + sha:         "six is not pinned with ==",
		"six==1":                  "requirements.txt:1: six 1 has no --hash",
		"six==1 --hash=sha256:00": `"sha256:00" is no sha256 hash`,
		"six==1 --hash=md5:" + strings.Repeat("0", 32): "too weak",
		"six==1 --frobnicate":                          "the option --frobnicate is not known",
		"--frobnicate":                                 "the option --frobnicate is not known",
		"-r":                                           "-r needs a value",
		"-r 'x":                                        "a quote is not closed",
		"-r requirements.txt":                          "requirements.txt:1: requirements.txt includes itself",
		"-r gone.txt":                                  "requirements.txt:1: open gone.txt",
		"-r bad.txt":                                   "bad.txt:2: x is not pinned",
		"-r worse.txt":                                 "worse.txt:1: reading requirement",
		"-r https://x.example/r":                       "local files and folders only",
		"x @ https://x.example/six-1-py3-none-any.whl " + sha: "another project's",
		"https://x.example/six-1.tar.gz " + sha:               "it has no name",
		"git+https://x.example/six":                           "it has no name",
		"six @ git+https://x.example/six@v1":                  `comes from a repository at "v1", which is no full commit`,
		"six @ ftp://x.example/six-1-py3-none-any.whl " + sha: `scheme "ftp"`,
		"six @ https://x.example/six-1-py3-none-any.whl":      "six has no --hash",
		"./nowhere":          "open nowhere/pyproject.toml",
		"-e ./nameless":      "nameless/pyproject.toml has no [project] name",
		"./six-1.whl " + sha: "six-1.whl",
		"y @ file:b":         "b is the project b, not y",
	} {
		_, err := from(map[string]string{"requirements.txt": line, "bad.txt": "\nx", "worse.txt": "=", "nameless/pyproject.toml": "", "b/pyproject.toml": "[project]\nname = \"b\"\n"})
		if err == nil || !strings.Contains(err.Error(), want) || hint.KindOf(err) != hint.KindUsage {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
	f, err := from(map[string]string{"requirements.txt": "a==1 " + sha + "\na==2 ; python_version > '3' " + sha})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Select(locked.Request{}, linux(t, "3.12.9")); err == nil || !strings.Contains(err.Error(), "requirements.txt:2: a is there twice") {
		t.Errorf("%v", err)
	}
	for _, r := range []locked.Request{{Extras: []string{"x"}}, {Groups: []string{"x"}}, {Packages: []string{"x"}}} {
		if _, err := f.Select(r, linux(t, "3.12.9")); err == nil || !strings.Contains(err.Error(), "to choose from") {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestConstraints: those count whose markers hold for the target, for what they allow as for their hashes.
func TestConstraints(t *testing.T) {
	const forks = "six==1.16 ; python_version < '3.12' " + sha + "\nsix==1.17 ; python_version >= '3.12' " + sha + " " + sha
	for name, tc := range map[string]struct{ line, constraints, python, want, err string }{
		"one of two holds":          {"six==1.17 " + sha, forks, "3.12.9", "six 1.17 (1)", ""},
		"the other does":            {"six==1.17 " + sha, forks, "3.11.2", "", "requirements.txt:1: six 1.17 contradicts the constraint ==1.16 of c:1"},
		"the hashes of the one":     {"six==1.17", forks, "3.12.9", "six 1.17 (2)", ""},
		"its requirement is not of": {"six==1.17 ; python_version < '3'\na==1 " + sha, forks, "3.11.2", "a 1 (1)", ""},
		"no hashes where none does": {"six==1.17", "six==1.17 ; python_version < '3' " + sha, "3.12.9", "", "requirements.txt:1: six 1.17 has no --hash"},
		"without a marker":          {"six==1 " + sha, "six>=2", "3.12.9", "", "requirements.txt:1: six 1 contradicts the constraint >=2 of c:1"},
	} {
		f, err := from(map[string]string{"requirements.txt": tc.line + "\n-c c", "c": tc.constraints})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := f.Select(locked.Request{}, linux(t, tc.python))
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || hint.KindOf(err) != hint.KindUsage {
				t.Errorf("%s: got %v, want %q", name, err, tc.err)
			}
			continue
		}
		if err != nil || describe(got) != tc.want {
			t.Errorf("%s: %s, %v; want %s", name, describe(got), err, tc.want)
		}
	}
}

// FuzzLoad: any bytes give an error, or packages that are all pinned.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"uv-compile.txt", "pip-compile.txt", "uv-export.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata", "seeds", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("-r more.txt\n-c c\n--index-url=x --no-binary :all:\na @ git+https://x@y/z@" + strings.Repeat("a", 40) + "#egg=a\n")
	f.Add("a==1 ; python_version in '3.12' \\\n " + sha + "\n./x.whl ; a\n-e b[x]\n${HOME}")
	env := linux(f, "3.12.1")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := from(map[string]string{"requirements.txt": text, "more.txt": "m==1 " + sha, "b/pyproject.toml": "[project]\nname = \"b\"\n"})
		if err != nil {
			return
		}
		got, err := file.Select(locked.Request{}, env)
		if err != nil {
			return
		}
		for _, s := range got {
			if s.Name == "" || len(s.Hashes) == 0 && !s.Source.Tree() && s.Source.Git.ID == "" {
				t.Errorf("%+v is not pinned", s.Package)
			}
		}
	})
}
