package uvlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// pkg writes a package from the index without files.
func pkg(name, version, rest string) string {
	return fmt.Sprintf("\n[[package]]\nname = %q\nversion = %q\nsource = { registry = \"https://index.example/simple\" }\n%s\n", name, version, rest)
}

func root(rest string) string {
	return "\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\nsource = { editable = \".\" }\n" + rest + "\n"
}

func lock(parts ...string) string {
	return "version = 1\nrevision = 3\nrequires-python = \">=3.12\"\n" + strings.Join(parts, "")
}

func linux(t testing.TB, python, machine string) pep508.Env {
	t.Helper()
	env, err := pep508.LinuxEnv(python, machine)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// atLeast313 is a requires-python.
var atLeast313, _ = pep508.ParseSpecifiers(">=3.13")

// TestSelect has the cases of selection; the numbers are those of the specification's list.
func TestSelect(t *testing.T) {
	conflicting := "conflicts = [[{ package = \"app\", extra = \"cpu\" }, { package = \"app\", extra = \"gpu\" }]]\n"
	torch := root(`dependencies = [{ name = "base", marker = "extra != 'extra-3-app-cpu'" }]
[package.optional-dependencies]
cpu = [{ name = "torch", version = "2.5.0", marker = "extra == 'extra-3-app-cpu' or (extra == 'extra-3-app-gpu' and extra == 'extra-3-app-cpu')" }]
gpu = [{ name = "torch", version = "2.6.0", marker = "extra == 'extra-3-app-gpu'" }]
[package.metadata]
provides-extras = ["cpu", "gpu"]`) + pkg("torch", "2.5.0", "") + pkg("torch", "2.6.0", "") + pkg("base", "1", "")
	groups := root(`dependencies = [{ name = "a" }]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
test = [{ name = "cov" }]
[package.metadata.requires-dev]
dev = [{ name = "pytest" }]
test = [{ name = "cov" }]`) + pkg("a", "1", "") + pkg("pytest", "1", "") + pkg("cov", "1", "")
	workspace := "[manifest]\nmembers = [\"app\", \"b\"]\n" + root(`dependencies = [{ name = "a" }]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
lint = [{ name = "ruff" }]`) + "\n[[package]]\nname = \"b\"\nversion = \"1\"\nsource = { editable = \"b\" }\ndependencies = [{ name = \"c\" }]\n" +
		pkg("a", "1", "") + pkg("c", "1", "") + pkg("pytest", "1", "") + pkg("ruff", "1", "")
	rev5 := strings.Replace(lock(workspace), "revision = 3", "revision = 5", 1)
	rev5b := strings.Replace(rev5, `source = { editable = "b" }`, `source = { editable = "b" }
default-groups = ["test"]
dev-dependencies = { test = [{ name = "a" }], dev = [{ name = "pytest" }] }
group-requires-python = { test = ">=3.12" }`, 1)
	byEdges := conflicting + root(`dependencies = [{ name = "b", extra = ["cpu"] }, { name = "b", extra = ["gpu"] }]`) +
		"\n[[package]]\nname = \"b\"\nversion = \"1\"\nsource = { editable = \"b\" }\n[package.optional-dependencies]\ncpu = [{ name = \"a\" }]\ngpu = [{ name = \"c\" }]\n" +
		pkg("a", "1", "") + pkg("c", "1", "")
	byEdges = strings.ReplaceAll(byEdges, `package = "app"`, `package = "b"`)
	extraOrGroup := "conflicts = [[{ package = \"app\", extra = \"cpu\" }, { package = \"app\", group = \"g\" }]]\n" + root(`dependencies = [
    { name = "a", marker = "extra == 'extra-3-app-cpu' or group == 'x'" }, { name = "c", marker = "extra == 'group-3-app-g'" }, { name = "d", marker = "extra != 'group-3-app-g' and extra != 'extra-3-app-cpu'" }]
[package.optional-dependencies]
cpu = []
[package.dev-dependencies]
g = []`) + pkg("a", "1", "") + pkg("c", "1", "") + pkg("d", "1", "")
	extraOrGroup = strings.ReplaceAll(extraOrGroup, " or group == 'x'", "")
	app := locked.Request{Project: "app"}
	for name, tc := range map[string]struct {
		lock   string
		req    locked.Request
		python string
		want   string
		err    string
	}{
		"1 schema 2":                            {"version = 2\n", app, "", "", "unsupported schema"},
		"2 unknown keys":                        {"later = 1\n" + strings.Replace(lock(root("")), "revision = 3", "revision = 99", 1), app, "", "app", ""},
		"3 old spellings":                       {lock(strings.ReplaceAll(root(`dependencies = [{ name = "a" }]`)+pkg("a", "1", `wheels = [{ url = "https://x/a-1-py3-none-any.whl", hash = "sha256:00", upload_time = "2024" }]`), "[[package]]", "[[distribution]]")), app, "", "a app", ""},
		"4 older Python":                        {lock(root("")), app, "3.11.9", "", "requires Python >=3.12, and the base has 3.11.9"},
		"4 a release candidate":                 {strings.Replace(lock(root(`dependencies = [{ name = "a", marker = "python_full_version >= '3.13'" }]`), pkg("a", "1", "")), ">=3.12", ">=3.13", 1), app, "3.13.0rc1", "a app", ""},
		"5 other platforms only":                {lock("supported-markers = [\"sys_platform == 'darwin'\"]\n" + root("")), app, "", "", "supports only"},
		"6 a marker that is false":              {lock(root(`dependencies = [{ name = "w", marker = "sys_platform == 'win32'" }, { name = "d", marker = "sys_platform > 'darwin'" }]`), pkg("w", "1", `dependencies = [{ name = "below" }]`), pkg("d", "1", ""), pkg("below", "1", "")), app, "", "app", ""},
		"7 two versions by Python":              {lock(root(`dependencies = [{ name = "numpy", version = "1", marker = "python_full_version < '3.13'" }, { name = "numpy", version = "2", marker = "python_full_version >= '3.13'" }]`), pkg("numpy", "1", ""), pkg("numpy", "2", "")), app, "3.13.1", "app numpy-2", ""},
		"8 an ambiguous edge":                   {lock(root(`dependencies = [{ name = "n" }]`), pkg("n", "1", ""), pkg("n", "2", "")), app, "", "", `dependency "n": 2 packages`},
		"8 an unknown edge":                     {lock(root(`dependencies = [{ name = "n" }]`)), app, "", "", `dependency "n": 0 packages`},
		"9 an extra that is not":                {lock(root(`dependencies = [{ name = "a", extra = ["none"] }]`), pkg("a", "1", "")), app, "", "a app", ""},
		"10 an extra of one's own":              {lock(root("[package.optional-dependencies]\nall = [{ name = \"app\", extra = [\"x\"] }]\nx = [{ name = \"a\" }]"), pkg("a", "1", "")), locked.Request{Project: "app", Extras: []string{"all"}}, "", "a app", ""},
		"11 a cycle":                            {lock(root(`dependencies = [{ name = "a" }]`), pkg("a", "1", `dependencies = [{ name = "b" }]`), pkg("b", "1", `dependencies = [{ name = "a" }]`)), app, "", "a app b", ""},
		"12 conflicting extras":                 {lock(conflicting, torch), locked.Request{Project: "app", Extras: []string{"cpu", "gpu"}}, "", "", "declared incompatible"},
		"12 one of them":                        {lock(conflicting, torch), locked.Request{Project: "app", Extras: []string{"cpu"}}, "", "app torch-2.5.0", ""},
		"12 both by edges":                      {lock(byEdges), app, "", "", "declared incompatible"},
		"14 an extra against a group, neither":  {lock(extraOrGroup), app, "", "app d", ""},
		"14 the extra":                          {lock(extraOrGroup), locked.Request{Project: "app", Extras: []string{"cpu"}}, "", "a app", ""},
		"14 the group":                          {lock(extraOrGroup), locked.Request{Project: "app", Groups: []string{"g"}}, "", "app c", ""},
		"14 both":                               {lock(extraOrGroup), locked.Request{Project: "app", Extras: []string{"cpu"}, Groups: []string{"g"}}, "", "", "declared incompatible"},
		"13 none of them":                       {lock(conflicting, torch), app, "", "app base", ""},
		"15 dev by default":                     {lock(groups), app, "", "a app pytest", ""},
		"15 --no-dev":                           {lock(groups), locked.Request{Project: "app", NoGroups: []string{"dev"}}, "", "a app", ""},
		"16 default-groups":                     {lock(groups), locked.Request{Project: "app", DefaultGroups: []string{"test"}}, "", "a app cov", ""},
		"16 all by default":                     {lock(groups), locked.Request{Project: "app", AllDefault: true}, "", "a app cov pytest", ""},
		"16 a member's defaults of revision 5":  {rev5b, locked.Request{Packages: []string{"b"}, DefaultGroups: []string{"lint"}}, "", "a b c", ""},
		"16 a member without, of revision 5":    {strings.Replace(rev5b, `default-groups = ["test"]`+"\n", "", 1), locked.Request{Packages: []string{"b"}, DefaultGroups: []string{"lint"}}, "", "b c pytest", ""},
		"a group's Python, of revision 5":       {strings.Replace(rev5b, `test = ">=3.12"`, `test = ">=3.13"`, 1), locked.Request{Packages: []string{"b"}}, "", "", `the group "test" requires Python >=3.13`},
		"a group's Python, of pyproject.toml":   {lock(groups), locked.Request{Project: "app", Groups: []string{"test"}, GroupPython: map[string]pep508.Specifiers{"test": atLeast313}}, "", "", `the group "test" requires Python >=3.13`},
		"a Python of a group that is not in":    {lock(groups), locked.Request{Project: "app", GroupPython: map[string]pep508.Specifiers{"test": atLeast313}}, "", "a app pytest", ""},
		"17 with an extra":                      {lock(groups), locked.Request{Project: "app", OnlyGroups: []string{"test"}, Extras: []string{"x"}}, "", "", "--only-group leaves the project"},
		"18 --dev where there is no dev":        {lock(root("")), locked.Request{Project: "app", Dev: true}, "", "app", ""},
		"18 --no-dev where there is no dev":     {lock(root("")), locked.Request{Project: "app", NoDev: true}, "", "app", ""},
		"18 --no-dev":                           {lock(groups), locked.Request{Project: "app", NoDev: true}, "", "a app", ""},
		"no such extra to leave out":            {lock(groups), locked.Request{Project: "app", NoExtras: []string{"nope"}}, "", "", `no extra "nope"`},
		"21 two members but the project":        {lock(workspace), locked.Request{Project: "app", Packages: []string{"app", "b"}, NoInstallProject: true}, "", "a app b c pytest", ""},
		"a package that is no member":           {lock(workspace), locked.Request{Project: "app", Packages: []string{"a"}}, "", "", `no workspace member "a"`},
		"29 an sdist that is left out":          {lock(root(`dependencies = [{ name = "s" }]`), pkg("s", "1", `sdist = { url = "https://x/s-1.tar.gz", hash = "sha256:00" }`)), locked.Request{Project: "app", NoInstallPackages: []string{"s"}}, "", "app", ""},
		"17 --only-group":                       {lock(groups), locked.Request{Project: "app", OnlyGroups: []string{"test"}}, "", "cov", ""},
		"18 no such group":                      {lock(groups), locked.Request{Project: "app", Groups: []string{"nope"}}, "", "", `no dependency group "nope"`},
		"18 dev has to exist where it is named": {lock(root("")), locked.Request{Project: "app", NoGroups: []string{"dev"}}, "", "", `no dependency group "dev"`},
		"no such extra":                         {lock(groups), locked.Request{Project: "app", Extras: []string{"nope"}}, "", "", `no extra "nope"`},
		"19 a root without [project]":           {lock("[manifest]\n[manifest.dependency-groups]\ndev = [{ name = \"A\" }]\n", pkg("a", "1", "")), locked.Request{}, "", "a", ""},
		"19 its group has nothing for this target": {lock("conflicts = [[{ package = \"b\", extra = \"x\" }, { package = \"b\", extra = \"y\" }]]\n[manifest]\nmembers = [\"b\"]\n" +
			"[manifest.dependency-groups]\ndev = [{ name = \"torch\", marker = \"sys_platform == 'win32'\", specifier = \"==2.5\" }, { name = \"torch\", marker = \"sys_platform == 'darwin'\", specifier = \"==2.4\" }, { name = \"a\" }]\n" +
			"[[package]]\nname = \"b\"\nversion = \"1\"\nsource = { editable = \"b\" }\n" +
			pkg("torch", "2.4", "resolution-markers = [\"sys_platform == 'darwin'\"]") + pkg("torch", "2.5", "resolution-markers = [\"sys_platform == 'win32'\"]") + pkg("a", "1", "")),
			locked.Request{Groups: []string{"dev"}}, "", "a b", ""},
		"20 a member and a group of the root": {lock(workspace), locked.Request{Project: "app", Packages: []string{"b"}, Groups: []string{"lint"}}, "", "b c ruff", ""},
		"21 all members but the project":      {lock(workspace), locked.Request{Project: "app", AllPackages: true, NoInstallProject: true}, "", "a b c pytest", ""},
		"22 a virtual root":                   {lock("\n[[package]]\nname = \"app\"\nversion = \"1\"\nsource = { virtual = \".\" }\ndependencies = [{ name = \"a\" }]\n", pkg("a", "1", "")), app, "", "a", ""},
		"--no-install-package":                {lock(groups), locked.Request{Project: "app", NoInstallPackages: []string{"A"}}, "", "app pytest", ""},
		"no such member":                      {lock(groups), locked.Request{Packages: []string{"zzz"}}, "", "", `no workspace member "zzz"`},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Parse([]byte(tc.lock), "uv.lock")
			var selected []locked.Selected
			if err == nil {
				python := tc.python
				if python == "" {
					python = "3.12.9"
				}
				selected, err = l.Select(tc.req, linux(t, python, "x86_64"))
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || hint.KindOf(err) != hint.KindUsage {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range selected {
				n := s.Name
				if s.Version != "1" && s.Version != "0.1.0" {
					n += "-" + s.Version
				}
				got = append(got, n)
			}
			if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

func wheels(names ...string) string {
	var b strings.Builder
	b.WriteString("wheels = [\n")
	for _, n := range names {
		fmt.Fprintf(&b, "  { url = \"https://files.index.example/%s\", hash = \"sha256:00\" },\n", n)
	}
	return b.String() + "]\n"
}

// TestChooseWheel goes through targets that uv cannot reach from here.
func TestChooseWheel(t *testing.T) {
	glibc := func(minor int, arch string) wheel.Tags {
		return wheel.TagsFor(wheel.Target{Major: 3, Minor: 12, Arch: arch, Libc: "glibc", LibcMajor: 2, LibcMinor: minor})
	}
	musl := wheel.TagsFor(wheel.Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "musl", LibcMajor: 1, LibcMinor: 2})
	all := wheels("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", "a-1-cp312-cp312-manylinux_2_34_aarch64.whl", "a-1-cp312-cp312-musllinux_1_1_x86_64.whl", "a-1-cp39-abi3-manylinux_2_17_x86_64.whl")
	for name, tc := range map[string]struct {
		rest string
		tags wheel.Tags
		want string
	}{
		"23 arm64":               {all, glibc(41, "aarch64"), "a-1-cp312-cp312-manylinux_2_34_aarch64.whl"},
		"24 an older glibc":      {all, glibc(31, "aarch64"), ""},
		"25 the nearest":         {all + "", glibc(41, "x86_64"), "a-1-cp312-cp312-manylinux_2_17_x86_64.whl"},
		"28 Alpine":              {all, musl, "a-1-cp312-cp312-musllinux_1_1_x86_64.whl"},
		"28 Alpine, manylinux":   {wheels("a-1-cp312-cp312-manylinux_2_17_x86_64.whl"), musl, ""},
		"27 a build tag":         {wheels("a-1-py3-none-any.whl", "a-1-10-py3-none-any.whl", "a-1-9-py3-none-any.whl"), musl, "a-1-10-py3-none-any.whl"},
		"29 an sdist only":       {"sdist = { url = \"https://x/a-1.tar.gz\", hash = \"sha256:00\" }\n", musl, ""},
		"30 an encoded filename": {wheels("a-1%2Bcpu-py3-none-any.whl"), musl, "a-1+cpu-py3-none-any.whl"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Parse([]byte(lock(pkg("a", "1", tc.rest))), "uv.lock")
			if err != nil {
				t.Fatal(err)
			}
			w, err := l.Packages[0].ChooseWheel(tc.tags, locked.BuildOptions{})
			if tc.want != "" {
				if err != nil || w.Filename.Raw != tc.want {
					t.Errorf("%s, %v", w.Filename.Raw, err)
				}
				return
			}
			var none *locked.NoWheelError
			if !errors.As(err, &none) || !strings.Contains(err.Error(), "package a 1 has no wheel for cp312") || !strings.Contains(hint.Of(err), "--no-install-package a") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBrokenLocks(t *testing.T) {
	for want, text := range map[string]string{
		"line 2, column":             "version = 1\nrequires-python = \n",
		"requires-python is missing": "version = 1\n",
		"names 2 places":             lock("\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { registry = \"x\", url = \"y\" }\n"),
		"it has no version":          lock("\n[[package]]\nname = \"a\"\nsource = { registry = \"x\" }\n"),
		"is another project's":       lock(pkg("a", "1", wheels("b-1-py3-none-any.whl"))),
		"is of another version":      lock(pkg("a", "1", wheels("a-2-py3-none-any.whl"))),
		"has no hash":                lock("\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { url = \"https://x/a-1-py3-none-any.whl\" }\nwheels = [{ url = \"https://x/a-1-py3-none-any.whl\" }]\n"),
		"a-1.whl":                    lock(pkg("a", "1", wheels("a-1.whl"))),
		"marker":                     lock(root(`dependencies = [{ name = "a", marker = "sys_platform ==" }]`), pkg("a", "1", "")),
		"no hash that jubako knows":  lock(pkg("a", "1", "sdist = { url = \"https://x/a-1.tar.gz\", hash = \"sha1:00\" }\n")),
		"its sdist: it has no hash":  lock("\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { url = \"https://x/a-1.tar.gz\" }\nsdist = { url = \"https://x/a-1.tar.gz\" }\n"),
		"in place of a full commit":  lock("\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { git = \"https://x/a?tag=v1#abc\" }\n"),
		"asks for the commit":        lock("\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { git = \"https://x/a?rev=" + strings.Repeat("a", 40) + "#" + strings.Repeat("b", 40) + "\" }\n"),
		"it has no name":             lock("\n[[package]]\nversion = \"1\"\nsource = { registry = \"x\" }\n"),
	} {
		if _, err := Parse([]byte(text), "uv.lock"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "uv.lock") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestFiles: cases 31 and 32 of the specification. A file of an index may lack its hash, and its size is not held against it.
func TestFiles(t *testing.T) {
	l, err := Parse([]byte(lock(pkg("a", "1", `wheels = [{ url = "https://x/a-1-py3-none-any.whl", size = 7 }]`))), "uv.lock")
	if err != nil {
		t.Fatal(err)
	}
	want := locked.File{URL: "https://x/a-1-py3-none-any.whl", Size: 7}
	if d := cmp.Diff(want, l.Packages[0].Wheels[0].File); d != "" {
		t.Error(d)
	}
}

func TestRequires(t *testing.T) {
	l, err := Parse([]byte(lock(root(`dependencies = [{ name = "fastapi" }]`), pkg("fastapi", "1", `dependencies = [{ name = "cli" }, { name = "w", marker = "sys_platform == 'win32'" }]`), pkg("cli", "1", ""), pkg("w", "1", ""))), "uv.lock")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Select(locked.Request{Project: "app"}, linux(t, "3.12.1", "x86_64"))
	if err != nil || len(s) != 3 || strings.Join(s[2].Requires, " ") != "cli" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCheckMetadata(t *testing.T) {
	text := lock(root(`[package.metadata]
requires-dist = [{ name = "django", specifier = ">=5,<6" }, { name = "x", extras = ["b", "a"], marker = "extra == 'pdf'" }, { name = "lib", editable = "lib" }]
provides-extras = ["pdf"]
[package.metadata.requires-dev]
dev = [{ name = "pytest", specifier = ">=8" }]`))
	l, err := Parse([]byte(text), "uv.lock")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		d    Declared
		want string
	}{
		"in step": {Declared{Dependencies: []string{"Django<6,>=5", "lib"}, Optional: map[string][]string{"PDF": {"X[a,b]"}}, Groups: map[string][]string{"dev": {"pytest>=8", "pytest>=8"}}}, ""},
		"another version": {Declared{Dependencies: []string{"django>=4", "lib"}, Optional: map[string][]string{"pdf": {"x[a,b]"}}, Groups: map[string][]string{"dev": {"pytest>=8"}}},
			"dependencies: django>=5, <6 is now django>=4"},
		"new and gone": {Declared{Dependencies: []string{"django>=5,<6", "httpx", "lib"}, Groups: map[string][]string{"dev": {}}},
			`extra "pdf": it is in the lock only; dependencies: httpx is not in the lock; dependencies: x[a,b]; extra == 'pdf' is in the lock only; group "dev": pytest>=8 is in the lock only`},
		"a new extra": {Declared{Dependencies: []string{"Django<6,>=5", "lib"}, Optional: map[string][]string{"pdf": {"x[a,b]"}, "new": {}}, Groups: map[string][]string{"dev": {"pytest>=8"}}},
			`extra "new": it is not in the lock`},
		"a micro version": {Declared{Dependencies: []string{"Django<6,>=5; python_full_version >= '3.12.9'", "lib"}, Optional: map[string][]string{"pdf": {"x[a,b]"}}, Groups: map[string][]string{"dev": {"pytest>=8"}}},
			"dependencies: django>=5, <6 is now django<6, >=5; python_full_version >= '3.12.9'"},
		"dynamic": {Declared{Dynamic: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			diffs, err := l.CheckMetadata("app", tc.d)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range diffs {
				got = append(got, d.String())
			}
			if d := cmp.Diff(tc.want, strings.Join(got, "; ")); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzParseLock: any bytes give an error that names the file, or a lock from which can be selected.
func FuzzParseLock(f *testing.F) {
	f.Add([]byte(lock(root(`dependencies = [{ name = "a", extra = ["x"] }]`), pkg("a", "1", wheels("a-1-py3-none-any.whl")+"[package.optional-dependencies]\nx = [{ name = \"a\" }]"))))
	f.Add([]byte("version = 1\nrequires-python = \">=3\"\nconflicts = [[{ package = \"a\", extra = \"b\" }]]\n[manifest]\nmembers = [\"a\"]\n"))
	seeds, err := filepath.Glob("testdata/seeds/*.lock")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range seeds {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	env := linux(f, "3.12.1", "x86_64")
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data, "uv.lock")
		if err != nil {
			if !strings.Contains(err.Error(), "uv.lock") {
				t.Errorf("the file is not named: %v", err)
			}
			return
		}
		for _, r := range []locked.Request{{}, {Project: "app", AllExtras: true, AllGroups: true}, {AllPackages: true}} {
			_, _ = l.Select(r, env)
		}
		_, _ = l.CheckMetadata("app", Declared{Dependencies: []string{"a>=1"}})
	})
}
