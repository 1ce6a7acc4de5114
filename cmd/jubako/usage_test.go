package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// jubako runs the program where no project, base or registry is needed.
func jubako(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return (&world{t: t}).jubako(args...)
}

// TestMisused: whatever is wrong with how jubako is called, the exit code is 2, standard output is empty, and there is a hint.
func TestMisused(t *testing.T) {
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	for args, want := range map[string][]string{
		"foo":                         {`there is no command "jubako foo"`, "build, cache, completion"},
		"biuld -t x --push":           {`there is no command "jubako biuld"`, `mean "jubako build"?`},
		"Build":                       {`mean "jubako build"?`},
		"build a b":                   {"at most 1 arg", "write jubako build [DIR] [flags]", "jubako build --help"},
		"build --pushh":               {"unknown flag: --pushh", "jubako build --help"},
		"build --jobs many":           {`invalid argument "many"`, "jubako build --help"},
		"inspect":                     {"accepts 1 arg", "write jubako inspect SOURCE"},
		"push x":                      {"at least 2 arg", "write jubako push SOURCE REF..."},
		"diff a":                      {"accepts 2 arg", "write jubako diff A B"},
		"diff --exit-code a":          {"accepts 2 arg"},
		"verify":                      {"between 1 and 2 arg", "write jubako verify SOURCE [DIR]"},
		"login":                       {"accepts 1 arg", "write jubako login REGISTRY"},
		"logout":                      {"accepts 1 arg", "write jubako logout REGISTRY"},
		"version x":                   {`unknown command "x"`, "jubako version --help"},
		"cache foo":                   {`there is no command "jubako cache foo"`, "dir, du, prune"},
		"cache prnue --keep 1GB":      {`mean "jubako cache prune"?`},
		"cache dir x":                 {`unknown command "x"`},
		"registry serv":               {`mean "jubako registry serve"?`},
		"completion foo":              {`there is no command "jubako completion foo"`, "bash, fish"},
		"completion bash x":           {`unknown command "x"`},
		"help foo":                    {`there is no command "jubako foo"`},
		"help cache foo":              {`there is no command "jubako cache foo"`},
		"--no-such-flag":              {"unknown flag", "jubako --help"},
		"cache --no-such-flag":        {"unknown flag", "jubako cache --help"},
		"cache du --color pink":       {"--color is auto, always or never"},
		"cache du --log-format yaml":  {"--log-format is text or json"},
		"diff --exit-code --format x": {"accepts 2 arg"},
	} {
		code, stdout, stderr := jubako(t, strings.Fields(args)...)
		if code != 2 || stdout != "" {
			t.Errorf("%s: exit code %d, stdout %q\n%s", args, code, stdout, stderr)
		}
		for _, w := range want {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: the message lacks %q:\n%s", args, w, stderr)
			}
		}
	}
}

// TestHelpIsNoMistake: what asks for help gets it.
func TestHelpIsNoMistake(t *testing.T) {
	for _, args := range []string{"", "--help", "help", "help cache", "help cache prune", "help build", "cache", "cache --help", "registry", "completion", "build --help", "--version"} {
		if code, stdout, stderr := jubako(t, strings.Fields(args)...); code != 0 || !strings.Contains(stdout, "jubako") || stderr != "" {
			t.Errorf("%s: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestMisusedInJSON: an error before a command runs is printed as the others are, wherever the flag stands.
func TestMisusedInJSON(t *testing.T) {
	for _, args := range []string{
		"--log-format json foo", "foo -t x --log-format=json", "build --log-format json --pushh", "build --pushh --log-format json", "build --jobs x --log-format json",
		"inspect --log-format json", "cache foo --log-format json", "cache du --color pink --log-format json",
	} {
		_, _, stderr := jubako(t, strings.Fields(args)...)
		wantJSON(t, args, stderr)
	}
	t.Setenv("JUBAKO_LOG_FORMAT", "json")
	for _, args := range []string{"foo", "inspect", "build --pushh", "help foo", "cache du --color pink", "cache prune --keep x"} {
		_, _, stderr := jubako(t, strings.Fields(args)...)
		wantJSON(t, args, stderr)
	}
	if code, _, stderr := jubako(t, "foo", "--log-format", "text"); code != 2 || !strings.HasPrefix(stderr, "jubako: ") {
		t.Errorf("the flag does not beat the environment: %d\n%s", code, stderr)
	}
}

func wantJSON(t *testing.T, what, stderr string) {
	t.Helper()
	var e map[string]string
	if err := json.Unmarshal([]byte(stderr), &e); err != nil || e["event"] != "error" || e["text"] == "" {
		t.Errorf("%s: %v\n%s", what, err, stderr)
	}
}

// TestDiffExitCode: 1 says that the images differ, and nothing else does.
func TestDiffExitCode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := jubako(t, "diff", "--exit-code", "--cache-dir", file, "oci:a", "oci:b"); code != 2 {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// TestVariablesInErrors: a message names what the person has written, also where that is a variable, and a verb does not read
// another's.
func TestVariablesInErrors(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct{ name, value, args, want string }{
		{"JUBAKO_FORMAT", "x", "build DIR", `jubako: JUBAKO_FORMAT is oci or docker, not "x"`},
		{"JUBAKO_FORMAT", "oci", "build DIR --format x", `jubako: --format is oci or docker, not "x"`},
		{"JUBAKO_INSPECT_FORMAT", "docker", "inspect BASE", `jubako: JUBAKO_INSPECT_FORMAT is text or json, not "docker"`},
		{"JUBAKO_DIFF_FORMAT", "docker", "diff BASE BASE", `jubako: JUBAKO_DIFF_FORMAT is text or json, not "docker"`},
		{"JUBAKO_INSPECT_FORMAT", "json", "inspect --format x BASE", `jubako: --format is text or json, not "x"`},
		{"JUBAKO_OUTPUT", "oci:-", "build DIR", "jubako: JUBAKO_OUTPUT oci:-: a layout is a folder"},
		{"JUBAKO_PROFILE", "stage", "build DIR", "jubako: JUBAKO_PROFILE: "},
		{"JUBAKO_SET", "imag=1", "build DIR", `jubako: JUBAKO_SET: there is no key "imag"`},
		{"JUBAKO_COLOR", "pink", "cache dir", "jubako: JUBAKO_COLOR is auto, always or never"},
		{"JUBAKO_KEEP", "nan", "cache prune", "jubako: JUBAKO_KEEP nan: "},
		{"JUBAKO_JOBS", "4", "build DIR --jobs", "jubako: flag needs an argument: --jobs"},
		{"JUBAKO_JOBS", "many", "build DIR", "jubako: reading JUBAKO_JOBS=many: "},
	} {
		t.Run(tc.name+" "+tc.args, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			code, _, stderr := w.jubako(strings.Fields(strings.NewReplacer("DIR", w.dir, "BASE", w.base).Replace(tc.args))...)
			if code != 2 || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d\n%s\nlacks %s", code, stderr, tc.want)
			}
		})
	}
	t.Run("what a command has printed", func(t *testing.T) {
		a := &app{fromEnv: map[string]string{"-o": "JUBAKO_OUTPUT"}}
		if got := a.namingVariables(errors.New("running gcc: cc -o x.o")).Error(); got != "running gcc: cc -o x.o" {
			t.Errorf("%q", got)
		}
	})
	t.Run("another verb's", func(t *testing.T) {
		t.Setenv("JUBAKO_FORMAT", "docker")
		t.Setenv("JUBAKO_INSPECT_FORMAT", "json")
		if code, stdout, stderr := w.jubako("inspect", w.base); code != 0 || !json.Valid([]byte(stdout)) {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		if code, stdout, stderr := w.jubako("diff", w.base, w.base); code != 0 || !strings.HasPrefix(stdout, "equal: ") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	})
}
