package pep517

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/wheel"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

func TestReadSystem(t *testing.T) {
	legacy := System{Requires: []string{"setuptools>=40.8.0"}, Backend: "setuptools.build_meta:__legacy__"}
	for text, want := range map[string]System{
		"":                                     legacy,
		"[project]\nname = \"a\"\n":            legacy,
		"[build-system]\nrequires = [\"x\"]\n": {Requires: []string{"x"}, Backend: legacy.Backend},
		"[build-system]\nrequires = []\nbuild-backend = \"a.b:c\"\nbackend-path = [\".\", \"sub/dir\"]\n": {Requires: []string{}, Backend: "a.b:c", Path: []string{".", "sub/dir"}},
	} {
		got, err := ReadSystem([]byte(text))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, d)
		}
	}
	for text, want := range map[string]string{
		"[build-system\n": "pyproject.toml:1:",
		"[build-system]\nrequires = []\nbuild-backend = \"a\"\nbackend-path = [\"..\"]\n":   "does not lie in the source",
		"[build-system]\nrequires = []\nbuild-backend = \"a\"\nbackend-path = [\"/etc\"]\n": "does not lie in the source",
		"[build-system]\nrequires = []\nbackend-path = [\".\"]\n":                           "without a build-backend",
		"[build-system]\nrequires = \"x\"\n":                                                "pyproject.toml:2:",
		"#" + strings.Repeat("x", maxPyproject):                                             "at most",
	} {
		if _, err := ReadSystem([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// TestAdvice holds the remedies against lines that real builds have printed.
func TestAdvice(t *testing.T) {
	for line, want := range map[string]string{
		"error: command 'gcc' failed: No such file or directory":                                                    `build-packages = ["gcc", "libc6-dev"]`,
		"error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory":                                   `["gcc", "libc6-dev"]`,
		"FileNotFoundError: [Errno 2] No such file or directory: 'gcc'":                                             `["gcc", "libc6-dev"]`,
		"/bin/sh: 1: gcc: not found":                                                                                `["gcc", "libc6-dev"]`,
		"../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc'], ['clang']]":                              `["gcc", "libc6-dev"]`,
		"gcc: fatal error: cannot execute 'cc1plus': execvp: No such file or directory":                             `["g++"]`,
		"/usr/include/python3.12/Python.h:12:10: fatal error: stdio.h: No such file or directory":                   `["libc6-dev"]`,
		"Error: pg_config executable not found.":                                                                    `["gcc", "libc6-dev", "libpq-dev"]`,
		"Exception: Can not find valid pkg-config name.":                                                            `"default-libmysqlclient-dev", "pkg-config"]`,
		"/bin/sh: 1: mysql_config: not found":                                                                       `"default-libmysqlclient-dev", "pkg-config"]`,
		`../meson.build:25:13: ERROR: Dependency "cairo" not found, tried pkgconfig`:                                `"libcairo2-dev", "pkg-config"]`,
		"c/_cffi_backend.c:15:10: fatal error: ffi.h: No such file or directory":                                    `"libffi-dev"]`,
		"Error: Please make sure the libxml2 and libxslt development packages are installed.":                       `"libxml2-dev", "libxslt1-dev"]`,
		"src/lxml/includes/etree_defs.h:14:10: fatal error: libxml/xmlversion.h: No such file or directory":         `"libxml2-dev"`,
		"RequiredDependencyException: The headers or library files could not be found for jpeg,":                    `"libjpeg-dev"]`,
		"fatal error: zlib.h: No such file or directory":                                                            `"zlib1g-dev"]`,
		"fatal error: openssl/ssl.h: No such file or directory":                                                     `"libssl-dev"`,
		"Modules/common.h:15:10: fatal error: lber.h: No such file or directory":                                    `"libldap-dev", "libsasl2-dev"]`,
		"sasl/sasl.h: No such file or directory":                                                                    `"libsasl2-dev"]`,
		"/bin/sh: 1: krb5-config: not found":                                                                        `"libkrb5-dev"]`,
		"FileNotFoundError: [Errno 2] No such file or directory: 'gdal-config'":                                     `"libgdal-dev"]`,
		"  error: can't find Rust compiler":                                                                         `["rustc", "cargo"]`,
		"Cargo, the Rust package manager, is not installed or is not on PATH.":                                      `["rustc", "cargo"]`,
		"FileNotFoundError: [Errno 2] No such file or directory: 'cmake'":                                           `["cmake"]`,
		"FileNotFoundError: [Errno 2] No such file or directory: 'git'":                                             `["git"]`,
		"src/x.c:1:10: fatal error: unheard/of.h: No such file or directory":                                        "needs the header unheard/of.h",
		"fatal error: Python.h: No such file or directory":                                                          "without its headers",
		"/usr/bin/ld: cannot find -lfoo: No such file or directory":                                                 "libfoo",
		"ModuleNotFoundError: No module named 'numpy'":                                                              "extra-build-dependencies",
		"ImportError: libz.so.1: cannot open shared object file: No such file or directory":                         "build-packages",
		"urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>":                    "builds have no network",
		"fatal: unable to access 'https://x.example/': Could not resolve host: x.example":                           "builds have no network",
		"LookupError: Error getting the version from source `vcs`: setuptools-scm was unable to detect version for": "SETUPTOOLS_SCM_PRETEND_VERSION",
		"everything went well": "",
	} {
		got := advice().Diagnose([]string{"running build_ext", line, "ERROR: it failed"})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\ngives %q, and should say %q", line, got, want)
		}
	}
}

// TestNeeds looks into programs that this machine's compiler makes.
func TestNeeds(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("there is no C compiler")
	}
	dir := t.TempDir()
	compile := func(name string, args ...string) string {
		src := filepath.Join(dir, "x.c")
		if err := os.WriteFile(src, []byte("int f(void) { return 1; }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, name)
		if said, err := exec.Command(cc, append([]string{"-shared", "-fPIC", "-nostdlib", "-o", out, src, "-L" + dir, "-Wl,--no-as-needed"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, lib := range []string{"pq", "own", "other"} {
		compile("lib"+lib+".so", "-Wl,-soname,lib"+lib+".so.5")
	}
	name, data := wheeltest.Build(wheeltest.Wheel{Name: "a", Version: "1", Tag: "cp312-cp312-linux_x86_64", Files: []wheeltest.File{
		{Name: "a/ext.so", Data: compile("ext.so", "-lpq", "-lown")}, {Name: "a.libs/libown.so.5", Data: "x"},
		{Name: "a/by_origin.so", Data: compile("o.so", "-lother", "-Wl,-rpath,$ORIGIN/../other.libs")}, {Name: "a/x.py", Data: "\x7fEL"}, {Name: "a/no.so", Data: "\x7fELF and more that is none"},
		{Name: "a-1.data/scripts/run", Data: compile("run", "-lpq")},
	}})
	w, err := wheel.Open(bytes.NewReader([]byte(data)), int64(len(data)), name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Needs(w)
	if d := cmp.Diff([]string{"libpq.so.5"}, got); d != "" || err != nil {
		t.Error(err, d)
	}
}
