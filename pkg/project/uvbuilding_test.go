package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const buildSettings = `[tool.uv]
build-constraint-dependencies = ["setuptools<80"]
exclude-newer = 2026-01-02
exclude-newer-package = { "My.Pkg" = false, other = "7 days", third = 2026-01-02T03:04:05Z, fourth = 2026-01-02T03:04:05 }
config-settings = { a = "1" }
config-settings-package = { "My.Pkg" = { b = ["2", "3"] } }
extra-build-dependencies = { "My.Pkg" = ["numpy", { requirement = "cython<4" }], "Deep_Gemm" = [{ requirement = "torch", match-runtime = true }] }
extra-build-variables = { "My.Pkg" = { CFLAGS = "-O1" } }
no-build-isolation-package = ["My.Pkg"]
`

func settingsOf(t *testing.T, text string) (UVSettings, error) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if err := os.WriteFile(filepath.Join(dir, "pyproject.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return readUVSettings(dir)
}

func TestBuilding(t *testing.T) {
	got, err := settingsOf(t, buildSettings)
	if err != nil {
		t.Fatal(err)
	}
	want := Building{
		Constraints: []string{"setuptools<80"}, ExcludeNewer: "2026-01-02",
		ExcludeNewerPackage: map[string]string{"my-pkg": "false", "other": "7 days", "third": "2026-01-02T03:04:05Z", "fourth": "2026-01-02T03:04:05Z"},
		Settings:            map[string]any{"a": "1"}, PackageSettings: map[string]map[string]any{"my-pkg": {"b": []any{"2", "3"}}},
		ExtraRequires: map[string][]string{"my-pkg": {"numpy", "cython<4"}, "deep-gemm": {"torch"}}, MatchRuntime: map[string]string{"deep-gemm": "torch"}, ExtraVariables: map[string]map[string]string{"my-pkg": {"CFLAGS": "-O1"}},
		NoIsolation: []string{"my-pkg"},
	}
	if d := cmp.Diff(want, got.Building); d != "" {
		t.Error(d)
	}
	for text, want := range map[string]string{
		"build-constraint-dependencies = [1]":    "no requirement",
		"extra-build-dependencies = { a = [1] }": "no requirement",
		"exclude-newer = 5":                      "exclude-newer: 5 is no time",
		"exclude-newer-package = { a = true }":   "exclude-newer-package.a",
	} {
		if _, err := settingsOf(t, "[tool.uv]\n"+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
