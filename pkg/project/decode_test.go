package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/hint"
)

// TestWrongTypes: a wrong type is said in TOML's words, with place and key, wherever in the file it is.
func TestWrongTypes(t *testing.T) {
	for text, want := range map[string]string{
		"[project]\nname = 5\n":                   "f.toml:2:8: project.name: a string is wanted, not a value of the type integer",
		"[project]\ndependencies = \"x\"\n":       "f.toml:2:16: project.dependencies: a list of strings is wanted, not a value of the type string",
		"[project]\nurls = [1]\n":                 "project.urls: a table of strings is wanted, not a value of the type array",
		"tool = 5\n":                              "f.toml:1:8: tool: a table is wanted",
		"[tool.uv]\npackage = \"x\"\n":            "f.toml:2:11: tool.uv.package: true or false is wanted",
		"[tool.jubako]\nexpose = 8000\n":          "f.toml:2:10: tool.jubako.expose: a list is wanted",
		"[tool.jubako]\nstep = 5\n":               "tool.jubako.step: a list of tables is wanted",
		"[tool.jubako]\ncopy = \"a\"\n":           "tool.jubako.copy: a list of tables is wanted",
		"[tool.jubako]\nprofile = 5\n":            "tool.jubako.profile: a table is wanted",
		"[tool.jubako]\nprofile.dev = 5\n":        "tool.jubako.profile.dev: a table is wanted",
		"[tool.jubako]\nbase = 2020-01-01\n":      "a string is wanted, not a value of the type local date",
		"[tool.jubako]\ncmd = { a = 1 }\n":        "a list of strings is wanted, not a value of the type inline table",
		"[tool.jubako.cmd]\na = 1\n":              "not a table",
		"[[tool.jubako.env]]\na = 1\n":            "not a table",
		"[tool.jubako]\nextras = [1]\n":           "a string is wanted",
		"[dependency-groups]\ndev = \"pytest\"\n": "dependency-groups.dev: a list is wanted",
	} {
		_, err := parse("f.toml", []byte(text), DefaultProfile, nil)
		if err == nil || hint.KindOf(err) != hint.KindUsage || !strings.Contains(err.Error(), want) || len(err.Error()) > 200 {
			t.Errorf("%q: %v lacks %q", text, err, want)
		}
		for _, leaked := range []string{"struct", "interface", "project.raw", "slice", "Go "} {
			if err != nil && strings.Contains(err.Error(), leaked) {
				t.Errorf("%q: %v speaks Go", text, err)
			}
		}
	}
}

// TestWrongTypesOfUV: the same of uv's settings, which another decoder reads.
func TestWrongTypesOfUV(t *testing.T) {
	for name, text := range map[string]string{"pyproject.toml": "[tool.uv]\nno-build = 1\n", "uv.toml": "\nno-build = 1\n"} {
		dir := t.TempDir()
		for file, b := range map[string]string{"pyproject.toml": "", name: text} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(b), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Load(dir, DefaultProfile, nil)
		if want := name + ":2:12: "; err == nil || hint.KindOf(err) != hint.KindUsage || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "no-build: true or false is wanted") {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}
