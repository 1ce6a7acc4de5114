//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// fromSource are packages that are built from their sdists: those that have nothing else, and others that uv and jubako are
// told to build.
var fromSource = []struct {
	name          string
	dependencies  []string
	build         []string // what no-binary-package names
	packages      []string // Debian's, in the image
	buildPackages []string
	tool          string   // more of pyproject.toml
	try           []string // what the image has to run
}{
	{name: "pure", dependencies: []string{"docopt==0.6.2", "flask-secrets", "pyperclip", "django-distill", "tomlkit", "attrs", "typing-extensions", "flit-core"},
		build: []string{"pyperclip", "django-distill", "tomlkit", "attrs", "typing-extensions", "flit-core"}, // setuptools, hatchling, poetry-core, flit; in-tree
		try:   []string{"python", "-c", "import docopt, flask_secrets, pyperclip, django_distill, tomlkit, attr, typing_extensions, flit_core"}},
	{name: "native", dependencies: []string{"uwsgi", "mysqlclient", "psycopg[c]", "pycairo"}, build: []string{"mysqlclient", "pycairo"},
		packages:      []string{"libmariadb3", "libpq5", "libcairo2"},
		buildPackages: []string{"gcc", "libc6-dev", "libpq-dev", "default-libmysqlclient-dev", "pkg-config", "libcairo2-dev"},
		// The stand-in for python:3.12-slim names another place for its headers than they have; compilers look here as well.
		tool: "[tool.uv.extra-build-variables]\npycairo = { C_INCLUDE_PATH = \"/usr/local/include/python3.12\" }\n",
		try:  []string{"sh", "-c", "python -c 'import MySQLdb, psycopg, cairo; assert psycopg.pq.__impl__ == \"c\"' && uwsgi --version"}},
}

func quoted(names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = fmt.Sprintf("%q", n)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// uvWithPython is uv with a Python of the image's minor version: it asks sdists what they need.
func uvWithPython(t *testing.T) cmd {
	t.Helper()
	python := os.Getenv("E2E_PYTHON")
	if python == "" {
		t.Skip("this machine has no Python 3.12, and uv needs one to lock what has only an sdist")
	}
	return command(must(t, "E2E_UV")).with("UV_PYTHON=" + python)
}

// TestSdists builds from source twice, with nothing in common but the index: as root, and as an ordinary user where namespaces,
// mounts and changes of root are refused. It compares the two with one another, and what is installed with what uv
// installs. The image then runs in Docker.
func TestSdists(t *testing.T) {
	t.Parallel()
	for _, tt := range fromSource {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // a compiler takes one processor
			dir := filepath.Join(t.TempDir(), "app")
			text := fmt.Sprintf("[project]\nname = \"app\"\nversion = \"1.0\"\nrequires-python = \">=3.12\"\ndependencies = %s\n\n[tool.uv]\nno-binary-package = %s\n%s\n[tool.jubako]\nstaticfiles = false\ncmd = [\"python\"]\npackages = %s\nbuild-packages = %s\n",
				quoted(tt.dependencies), quoted(tt.build), tt.tool, quoted(tt.packages), quoted(tt.buildPackages))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "pyproject.toml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			uv := uvWithPython(t).in(dir)
			uv.arg("lock", "-q", "--no-python-downloads").run(t)
			jubako(t, "lock", "--base", base(t), dir).run(t)
			tag := must(t, "E2E_REGISTRY") + "/built/" + tt.name + ":1"
			var digests []string
			var layouts []string
			for i := range 2 {
				folder := t.TempDir()
				layout := filepath.Join(folder, "image")
				build := jubako(t, "build", "-v", "--frozen-base", "--base", base(t), "-t", tag, "-o", "oci:"+layout, dir).with("JUBAKO_CACHE_DIR="+filepath.Join(folder, "cache"), "HOME="+folder)
				if i == 0 {
					build = build.arg("--push")
				} else {
					lockdown(t)
					openUp(t, dir)
					openUp(t, folder)
					if err := os.Chmod(folder, 0o777); err != nil {
						t.Fatal(err)
					}
					build = ways[lockedDown](build)
				}
				out, log, err := build.try(t)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				if i > 0 && !strings.Contains(log, "ptrace (links to the tree's files); not userns: user namespaces: clone refused") {
					t.Errorf("it was not built on the ptrace rung:\n%s", log)
				}
				_, digest, _ := strings.Cut(strings.Split(out, "\n")[0], "@")
				digests, layouts = append(digests, digest), append(layouts, layout)
			}
			ours := venvFiles(t, layouts[0], "app/.venv/")
			if digests[0] != digests[1] {
				t.Errorf("the two builds are %s; they differ in:\n%s", digests, differences(ours, venvFiles(t, layouts[1], "app/.venv/")))
			}
			docker("run", "--rm", tag+"@"+digests[0]).arg(tt.try...).run(t)
			if len(tt.buildPackages) > 0 {
				return // uv would need this machine's compilers
			}
			uv.arg("sync", "-q", "--frozen", "--no-dev", "--no-python-downloads").run(t)
			if d := differences(ours, installedFiles(t, filepath.Join(dir, ".venv"))); d != "" {
				t.Errorf("uv installs something else:\n%s", d)
			}
		})
	}
}

// passedOver are files that differ by nature: of the environment itself, of the installer, and RECORD, which lists them.
var passedOver = regexp.MustCompile(`^(?:bin/(?:(?:de)?activate.*|pydoc\.bat|python.*)|pyvenv\.cfg|CACHEDIR\.TAG|\.gitignore|\.lock)$|/(?:RECORD|uv_cache\.json|uv_build\.json)$|\.pyc$`)

func differences(a, b map[string]string) string {
	var all []string
	for p, sum := range a {
		if other, ok := b[p]; !ok || other != sum {
			all = append(all, fmt.Sprintf("%s: %s and %s", p, sum, other))
		}
	}
	for p, sum := range b {
		if _, ok := a[p]; !ok {
			all = append(all, fmt.Sprintf("%s: none and %s", p, sum))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func fingerprint(mode fs.FileMode, content []byte) string {
	return fmt.Sprintf("%v %x", mode.Perm(), sha256.Sum256(content))
}

// installedFiles lists an environment on this machine, as if it were the image's.
func installedFiles(t *testing.T, venv string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(venv, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(venv, p)
		if err != nil || passedOver.MatchString(rel) {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		all[rel] = fingerprint(fi.Mode(), bytes.ReplaceAll(b, []byte(venv), []byte("/app/.venv")))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// venvFiles lists what lies below a folder of the image in a layout.
func venvFiles(t *testing.T, layout, below string) map[string]string {
	t.Helper()
	blob := func(digest string) []byte {
		b, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type list struct {
		Manifests, Layers []struct{ MediaType, Digest string }
	}
	var index, manifest list
	raw, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err == nil {
		err = json.Unmarshal(blob(index.Manifests[0].Digest), &manifest)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, l := range manifest.Layers {
		z, err := gzip.NewReader(bytes.NewReader(blob(l.Digest)))
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			rel, ok := strings.CutPrefix(h.Name, below)
			if !ok || h.Typeflag != tar.TypeReg || passedOver.MatchString(rel) {
				continue
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			all[rel] = fingerprint(h.FileInfo().Mode(), b)
		}
	}
	return all
}

// TestSdistLinked: an image without a library that a built extension is linked with is not made.
func TestSdistLinked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "[project]\nname = \"app\"\nversion = \"1.0\"\nrequires-python = \">=3.12\"\ndependencies = [\"mysqlclient\"]\n\n[tool.jubako]\nstaticfiles = false\ncmd = [\"python\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "pyproject.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	uvWithPython(t).in(dir).arg("lock", "-q", "--no-python-downloads").run(t)
	build := jubako(t, "build", "--base", base(t), dir)
	if _, said, err := build.try(t); err == nil || !strings.Contains(said, `build-packages = ["gcc", "libc6-dev", "default-libmysqlclient-dev", "pkg-config"]`) {
		t.Errorf("without a compiler: %v\n%s", err, said)
	}
	build = build.arg("--set", `build-packages=["gcc", "libc6-dev", "default-libmysqlclient-dev", "pkg-config"]`)
	if _, said, err := build.try(t); err == nil || !strings.Contains(said, "libmariadb.so.3, which neither the base nor packages hold") || !strings.Contains(said, `packages = ["libmariadb3"]`) {
		t.Errorf("without the library: %v\n%s", err, said)
	}
	build.arg("--set", `packages=["libmariadb3"]`).run(t)
}
