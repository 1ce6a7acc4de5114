//go:build oracle

package oracle

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/atomicfile"
)

// spec is a case of cases.toml, or the case.toml of a folder below cases.
type spec struct {
	// Dependencies make the pyproject.toml of a case that has no folder, with Extras and Groups.
	Dependencies []string            `toml:"dependencies"`
	Extras       map[string][]string `toml:"extras"`
	Groups       map[string][]string `toml:"groups"`
	// Lock names a folder of ORACLE_LOCKS whose lock is installed, without what is local.
	Lock string `toml:"lock"`
	// Args are the ways to ask, of uv sync and of jubako build alike; none is one.
	Args []string `toml:"args"`
	// Python is a minor version, Machine x86_64 or aarch64, Libc a version of glibc or musl: "3.12", "x86_64" and "2.40" where
	// they are absent.
	Python  string `toml:"python"`
	Machine string `toml:"machine"`
	Libc    string `toml:"libc"`
	// Check runs the environment that jubako made: uv pip check, uv sync --check, compileall, imports, --help.
	Check bool `toml:"check"`
	// Formats also installs from pylock.toml and requirements.txt, which uv exports.
	Formats bool `toml:"formats"`
	// AtLeast is how many packages there are to be.
	AtLeast int    `toml:"at-least"`
	Member  string `toml:"member"` // the project's folder within the case: a workspace's member
}

// testCase is a case with its name and, where it has files, its folder.
type testCase struct {
	spec
	name, dir string
}

func readCases(t *testing.T) []testCase {
	t.Helper()
	var listed map[string]spec
	decode(t, "cases.toml", &listed)
	var all []testCase
	for name, s := range listed {
		all = append(all, testCase{s, name, ""})
	}
	dirs, err := filepath.Glob("cases/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		c := testCase{name: filepath.Base(dir), dir: dir}
		if _, err := os.Stat(filepath.Join(dir, "case.toml")); err == nil {
			decode(t, filepath.Join(dir, "case.toml"), &c.spec)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b testCase) int { return strings.Compare(a.name, b.name) })
	return all
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := toml.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// project writes the case's files into a folder, and locks it.
func (c testCase) project(t *testing.T, py python) string {
	t.Helper()
	app := filepath.Join(workDir(t, "app"), "app")
	switch {
	case c.dir != "":
		if err := os.CopyFS(app, os.DirFS(c.dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(app, "case.toml")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	case c.Lock != "":
		c.realLock(t, app)
		return app
	default:
		doc := map[string]any{"project": map[string]any{"name": "case-" + c.name, "version": "0.1", "requires-python": ">=3.11", "dependencies": c.Dependencies}}
		if c.Extras != nil {
			doc["project"].(map[string]any)["optional-dependencies"] = c.Extras
		}
		if c.Groups != nil {
			doc["dependency-groups"] = c.Groups
		}
		b, err := toml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(app, "pyproject.toml"), string(b))
	}
	c.makeLock(t, app, py)
	return app
}

// makeLock locks the case, or takes the lock that an earlier run has made of the same files.
func (c testCase) makeLock(t *testing.T, app string, py python) {
	t.Helper()
	if script := filepath.Join(app, "before-lock.sh"); exists(script) {
		if out := run(app, []string{"PYTHON=" + py.path, "UV=" + setting(t, "ORACLE_UV")}, "sh", "./before-lock.sh"); out.err != nil {
			t.Fatal(out)
		}
		if err := os.Remove(script); err != nil {
			t.Fatal(err)
		}
	}
	h := sha256.New()
	err := filepath.WalkDir(app, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		fmt.Fprintf(h, "%s %d\n%s\n", strings.TrimPrefix(p, app), len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	lock, kept := filepath.Join(app, "uv.lock"), filepath.Join(setting(t, "ORACLE_CACHE"), fmt.Sprintf("%s-%x.lock", c.name, h.Sum(nil)[:8]))
	if b, err := os.ReadFile(kept); err == nil {
		write(t, lock, string(b))
		return
	}
	if out := run(app, nil, setting(t, "ORACLE_UV"), "lock", "-q", "--python", py.path); out.err != nil {
		t.Fatalf("uv lock: %v", out)
	}
	b, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteBytes(kept, 0o644, b); err != nil { // another case may be about to read it
		t.Fatal(err)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// realLock takes a lock of the collection, with the hosts that the collection has taken out put back: those of a lock that
// uv has just made.
func (c testCase) realLock(t *testing.T, app string) {
	t.Helper()
	dir := filepath.Join(setting(t, "ORACLE_LOCKS"), c.Lock)
	if !exists(dir) {
		t.Skipf("%s is not there", dir)
	}
	if err := os.CopyFS(app, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if out := run(app, nil, "chmod", "-R", "u+w", "."); out.err != nil {
		t.Fatal(out)
	}
	hosts := liveHosts(t)
	for _, name := range []string{"uv.lock", "pyproject.toml"} {
		b, err := os.ReadFile(filepath.Join(app, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(app, name), strings.NewReplacer("https://index.example/", hosts[0], "https://files.index.example/", hosts[1]).Replace(string(b)))
	}
}

// liveHosts are the roots of the index and of its files, as uv itself locks them here.
func liveHosts(t *testing.T) [2]string {
	t.Helper()
	c := testCase{name: "hosts", spec: spec{Dependencies: []string{"six"}}}
	app := c.project(t, pythons(t)[0])
	b, err := os.ReadFile(filepath.Join(app, "uv.lock"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	index := hostRE.FindString(text[strings.Index(text, "registry = "):])
	files := hostRE.FindString(text[strings.Index(text, "wheels = "):])
	if index == "" || files == "" {
		t.Fatalf("no hosts in\n%s", text)
	}
	return [2]string{index, files}
}

// TestInstall installs each case with uv at /app/.venv and with jubako into an image, and compares every path, its kind,
// mode and content. What differs otherwise than differences.txt says is printed as a diff. Two cases are compared at once: each waits
// for a disk or the index for much of its time.
func TestInstall(t *testing.T) {
	total, allowed := &counts{}, differences(t)
	t.Cleanup(func() {
		total.report(t)
		complete := !t.Failed()
		for _, d := range allowed {
			if d.used.Load() == 0 && complete && total.of["installs"] > 20 {
				t.Errorf("differences.txt has %s, and nothing differs so any more", d.pattern)
			}
		}
	})
	for _, c := range readCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			machine, libc := cmp.Or(c.Machine, "x86_64"), cmp.Or(c.Libc, "2.40")
			py := pythonOf(t, cmp.Or(c.Python, "3.12"))
			app := c.project(t, py)
			base := makeBase(t, py, machine, libc)
			args := c.Args
			if len(args) == 0 {
				args = []string{""}
			}
			for i, a := range args {
				in := &install{c: c, t: t, py: py, machine: machine, libc: libc, app: app, base: base, args: strings.Fields(a)}
				theirs, ours := in.uv(), in.jubako(nil)
				if n := in.packages(theirs); n < c.AtLeast {
					t.Errorf("%d packages are installed, and %d are wanted", n, c.AtLeast)
				}
				in.same(theirs, ours, allowed)
				t.Logf("%s %s, Python %s, %s, %s: %d packages, %d paths compared", c.name, a, py.version, machine, libc, in.packages(theirs), len(theirs))
				total.add("installs", 1)
				total.add("paths", len(theirs))
				if c.Formats && i == 0 {
					in.otherFormats(ours)
				}
				if c.Check && i == 0 {
					in.check(total)
				}
			}
		})
	}
}

// install is a case with one way of asking.
type install struct {
	c       testCase
	t       *testing.T
	py      python
	machine string
	libc    string
	app     string // the project's folder here, which is /app for uv
	base    string
	args    []string
	venv    string // of jubako, on disk
}

// platform is uv's name for the target.
func (in *install) platform() string {
	if in.libc == "musl" {
		return in.machine + "-unknown-linux-musl"
	}
	return in.machine + "-manylinux_" + strings.ReplaceAll(in.libc, ".", "_")
}

func (in *install) local() []string {
	if in.c.Lock != "" {
		return []string{"--no-install-local"}
	}
	return nil
}

// uv installs with uv, and takes the environment away again.
func (in *install) uv() map[string]node {
	in.t.Helper()
	venv := filepath.Join(in.app, in.c.Member, ".venv")
	if in.c.Member != "" {
		venv = filepath.Join(in.app, ".venv")
	}
	args := slices.Concat([]string{setting(in.t, "ORACLE_UV"), "sync", "-q", "--frozen", "--no-default-groups", "--python", in.py.path,
		"--python-platform", in.platform(), "--project", filepath.Join("/app", in.c.Member)}, in.local(), in.args)
	if out := at(in.t, in.app, args...); out.err != nil {
		in.t.Fatalf("uv sync %v: %v", in.args, out)
	}
	theirs := treeOf(in.t, venv)
	if err := os.RemoveAll(venv); err != nil {
		in.t.Fatal(err)
	}
	return theirs
}

// jubako builds the image, and reads the environment in it.
func (in *install) jubako(more []string) map[string]node {
	in.t.Helper()
	out := filepath.Join(workDir(in.t, "out"), "oci")
	args := slices.Concat([]string{setting(in.t, "ORACLE_JUBAKO"), "build", "--base", in.base, "--platform", "linux/" + architectures[in.machine],
		"-o", "oci:" + out, "--set", "staticfiles=false", "--set", `cmd=["python"]`, "--set", `owner="root"`, filepath.Join(in.app, in.c.Member)}, in.local(), in.args, more)
	if in.c.Member != "" {
		args = append(args, "--set", `source="`+strings.Repeat("../", strings.Count(in.c.Member, "/")+1)+`"`)
	}
	if o := run(".", []string{"JUBAKO_CACHE_DIR=" + filepath.Join(setting(in.t, "ORACLE_CACHE"), "jubako"), "CI=", "UV_PYTHON_DOWNLOADS=never"}, args...); o.err != nil {
		in.t.Fatalf("jubako build %v %v: %v", in.args, more, o)
	}
	in.venv = filepath.Join(workDir(in.t, "venv"), "app")
	if err := os.MkdirAll(in.venv, 0o755); err != nil {
		in.t.Fatal(err)
	}
	imageTree(in.t, out, "app", in.venv)
	return treeOf(in.t, filepath.Join(in.venv, ".venv"))
}

func (in *install) packages(tree map[string]node) int {
	n := 0
	for p := range tree {
		if strings.HasSuffix(p, ".dist-info/METADATA") {
			n++
		}
	}
	return n
}

// same compares two environments.
func (in *install) same(theirs, ours map[string]node, allowed []*difference) {
	in.t.Helper()
	lines := diffTrees(theirs, ours, func(p string, a, b node) bool { return explained(allowed, in.c.name, p, a, b) })
	if len(lines) > 60 {
		lines = append(lines[:60], fmt.Sprintf("… and %d lines more", len(lines)-60))
	}
	if len(lines) > 0 {
		in.t.Errorf("%v (- uv, + jubako):\n%s", in.args, strings.Join(lines, "\n"))
	}
}
