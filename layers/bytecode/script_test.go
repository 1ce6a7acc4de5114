package bytecode

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sources are files that share strings, constants and names with one another, which is what leaks from one into the next
// where a process compiles several; some do not compile.
func sources() map[string]string {
	all := map[string]string{
		"py2.py": "print 'two'\n", "latin.py": "x = '\xe9'\n", "nul.py": "x = 1\x00\n", "template.py": "class {{ name }}:\n    pass\n",
		"declared.py": "# -*- coding: latin-1 -*-\nx = '\xe9'\n", "empty.py": "", "warns.py": "assert (1, 'always true')\nx = 'a' is 'a'\ny = '\\d'\n",
		"pkg/__init__.py": "from . import a\n", "data.txt": "no source", "__pycache__/x.py": "x = 1\n",
	}
	for i := range 12 {
		all[fmt.Sprintf("pkg/m%d.py", i)] = fmt.Sprintf(`"""A module."""
import os, sys
NAMES = ("alpha", "beta", ",", "a b", "é", 1, 1.5, 10**30, frozenset({"alpha", "gamma", None, 2}))
def f%d(self, alpha, *, beta=",", **kwargs):
    "alpha"
    if alpha in {"alpha", "beta", "a b", "delta%d"}:
        return [x for x in ("alpha", "a b", %d) if x != "," and x is not None]
    return lambda y: (y, "a b", beta, "%s")
class C:
    alpha = "alpha"; m%d = 1
    def __init__(self): self.alpha, self.m%d = ",", "a b"
`, i, i, i, strings.Repeat("é", i), i, (i+1)%12)
	}
	return all
}

func pythons(t *testing.T) (found []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range []string{"python3", "python3.11", "python3.12", "python3.13", "python3.14"} {
		out, err := exec.Command(c, "-S", "-c", "import sys; print(sys.version_info >= (3, 11)); print(sys.executable)").Output()
		recent, at, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if err != nil || recent != "True" || seen[at] {
			continue
		}
		seen[at] = true
		found = append(found, at) // and not a shell's script that leads there
	}
	if len(found) == 0 {
		t.Skip("this machine has no Python 3.11 or newer")
	}
	return found
}

// compile runs the script in a folder, and gives what it wrote and what it said.
func compile(t *testing.T, python, dir string, jobs int, optimize string, excluded ...string) (files, skipped map[string]string) {
	t.Helper()
	args, err := json.Marshal(map[string]any{"jobs": jobs, "tops": []string{"."}, "excluded": append([]string{}, excluded...)})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-S", "-s", "-B", "-c", script, string(args))
	cmd.Dir, cmd.Env = dir, []string{"PYTHONHASHSEED=0", "LANG=C.UTF-8", "PYTHONOPTIMIZE=" + optimize}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("%v\n%s", err, said.String())
	}
	skipped = map[string]string{}
	for line := range strings.Lines(string(out)) {
		var a [2]string
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		skipped[a[0]], _, _ = strings.Cut(a[1], ":")
	}
	files = map[string]string{}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".pyc") {
			return err
		}
		b, err := os.ReadFile(p)
		rel, rerr := filepath.Rel(dir, p)
		files[rel] = fmt.Sprintf("%x", sha256.Sum256(b))
		return errors.Join(err, rerr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, skipped
}

func lay(t *testing.T, all map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range all {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestScriptSameBytes: whatever is compiled before or beside it, a file gives the same bytes.
func TestScriptSameBytes(t *testing.T) {
	for _, python := range pythons(t) {
		want, skipped := compile(t, python, lay(t, sources()), 1, "")
		if len(want) != 16 { // twelve modules, and four
			t.Errorf("%s: %d files: %v", python, len(want), want)
		}
		if d := cmp.Diff(map[string]string{"./py2.py": "SyntaxError", "./template.py": "SyntaxError", "./latin.py": "SyntaxError", "./nul.py": skipped["./nul.py"]}, skipped); d != "" || skipped["./nul.py"] == "" {
			t.Errorf("%s: %s", python, d)
		}
		for _, jobs := range []int{2, 5} {
			got, _ := compile(t, python, lay(t, sources()), jobs, "")
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s, %d jobs: %s", python, jobs, d)
			}
		}
		for _, name := range []string{"pkg/m0.py", "pkg/m7.py", "pkg/__init__.py", "warns.py", "declared.py"} {
			text := sources()[name]
			got, _ := compile(t, python, lay(t, map[string]string{name: text}), 1, "")
			for file, sum := range got {
				if want[file] != sum {
					t.Errorf("%s: %s alone is another than among others", python, file)
				}
			}
		}
	}
}

// TestScriptIsUsed: the interpreter takes the files without a look at the sources, and those of the level that it runs at.
func TestScriptIsUsed(t *testing.T) {
	for _, python := range pythons(t) {
		for _, level := range []string{"", "1", "2"} {
			dir := lay(t, map[string]string{"m.py": "import n\nprint('compiled', __debug__)\n", "n.py": "x = 1\n", "out/o.py": "x = 1\n"})
			files, _ := compile(t, python, dir, 2, level, "./out")
			if len(files) != 2 {
				t.Errorf("%s: %v", python, files)
			}
			for _, name := range []string{"m.py", "n.py"} { // another source, and younger
				p := filepath.Join(dir, name)
				if err := errors.Join(os.WriteFile(p, []byte("print('the source')\n"), 0o644), os.Chtimes(p, time.Now(), time.Now())); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(python, "-v", "-S", "-c", "import m")
			cmd.Dir, cmd.Env = dir, []string{"PYTHONOPTIMIZE=" + level, "PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}
			out, err := cmd.CombinedOutput()
			debug := map[bool]string{true: "compiled True", false: "compiled False"}[level == ""]
			if err != nil || !strings.Contains(string(out), debug) || strings.Contains(string(out), "the source") || strings.Count(string(out), " matches "+dir) != 2 {
				t.Errorf("%s, level %q: %v\n%s", python, level, err, out)
			}
		}
	}
}

func FuzzSkips(f *testing.F) {
	f.Add("[\"a\", \"b\"]\n[1, 2]\n", 3)
	f.Fuzz(func(t *testing.T, text string, piece int) {
		s := &skips{}
		for piece = max(1, piece); len(text) > 0; {
			n := min(piece, len(text))
			if m, err := s.Write([]byte(text[:n])); m != n || err != nil {
				t.Fatal(m, err)
			}
			text = text[n:]
		}
		if len(s.files) > shownSkips || s.count < len(s.files) || len(s.partial) > maxAnswer+piece {
			t.Errorf("%d of %d kept", len(s.files), s.count)
		}
	})
}
