package source

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
)

// lay makes files, and folders where a name ends in a slash.
func lay(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n, "/") {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, []byte("content of "+n), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func walk(t testing.TB, o Options) []string {
	t.Helper()
	tree, err := Walk(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range tree.Files {
		paths = append(paths, f.Path)
	}
	return paths
}

func TestStandingExclusions(t *testing.T) {
	dir := lay(t, "manage.py", ".git/config", "app/.git", ".venv/bin/python", "app/__pycache__/a.pyc", "app/a.pyc", ".env", ".env.local", "app/.env.prod",
		"node_modules/x/index.js", ".mypy_cache/x", "app/x.py", "environment.py", ".envrc", "data/", ".github/workflow.yml")
	want := []string{".envrc", ".github", ".github/workflow.yml", "app", "app/x.py", "data", "environment.py", "manage.py"}
	if d := cmp.Diff(want, walk(t, Options{Root: dir})); d != "" {
		t.Error(d)
	}
	want = append(want, ".env.local", "node_modules/x/index.js")
	slices.Sort(want)
	got := walk(t, Options{Root: dir, Include: []string{".env.local", "node_modules/x"}})
	got = slices.DeleteFunc(got, func(p string) bool { return p == "node_modules/x" })
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("with include: %s", d)
	}
}

func TestDockerignore(t *testing.T) {
	dir := lay(t, "a.md", "docs/a.md", "docs/keep/b.md", "docs/keep/c.txt", "src/x.py", "src/x.log", "tmp/deep/y", "root.txt", "sub/root.txt")
	for name, tc := range map[string]struct {
		ignore  string
		exclude []string
		want    string
	}{
		"nothing":                     {"", nil, "a.md docs/a.md docs/keep/b.md docs/keep/c.txt root.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"comments and blank lines":    {"# docs\n\n  \n", nil, "a.md docs/a.md docs/keep/b.md docs/keep/c.txt root.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"a pattern is from the root":  {"*.md\nroot.txt\n", nil, "docs/a.md docs/keep/b.md docs/keep/c.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"two stars go anywhere":       {"**/*.md\n**/root.txt\n", nil, "docs/keep/c.txt src/x.log src/x.py tmp/deep/y"},
		"an exception in a folder":    {"docs\n!docs/keep/b.md\n", nil, "a.md docs/keep/b.md root.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"all but":                     {"*\n!src\n", nil, "src/x.log src/x.py"},
		"the last match counts":       {"!docs\ndocs\n", nil, "a.md root.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"a leading slash is dropped":  {"/docs/\n", nil, "a.md root.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"a byte order mark":           {"\ufeffdocs\n", nil, "a.md root.txt src/x.log src/x.py sub/root.txt tmp/deep/y"},
		"exclude beside it":           {"docs\n", []string{"**/*.log", "tmp"}, "a.md root.txt src/x.py sub/root.txt"},
		"a question mark and a range": {"[a-b].md\nsrc/?.log\n", nil, "docs/a.md docs/keep/b.md docs/keep/c.txt root.txt src/x.py sub/root.txt tmp/deep/y"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), ".dockerignore")
			if err := os.WriteFile(file, []byte(tc.ignore), 0o644); err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, p := range walk(t, Options{Root: dir, Ignorefile: file, Exclude: tc.exclude}) {
				if fi, err := os.Stat(filepath.Join(dir, p)); err == nil && !fi.IsDir() {
					files = append(files, p)
				}
			}
			slices.Sort(files)
			if d := cmp.Diff(tc.want, strings.Join(files, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestModesAndLinks(t *testing.T) {
	dir := lay(t, "plain", "script", "sub/x")
	for name, mode := range map[string]os.FileMode{"plain": 0o666, "script": 0o700} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"sub/up": "../plain", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Walk(context.Background(), Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range tree.Files {
		got[f.Path] = f.Kind.String() + " " + f.Link + " " + map[uint32]string{0o644: "644", 0o755: "755"}[f.Mode]
	}
	want := map[string]string{"plain": "file  644", "script": "file  755", "sub": "directory  755", "sub/x": "file  644", "sub/up": "symlink ../plain 644", "dangling": "symlink nowhere 644"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRefused(t *testing.T) {
	for name, target := range map[string]string{"absolute": "/etc/passwd", "by dots": "../outside", "deep": "a/../../outside"} {
		dir := lay(t, "x")
		if err := os.Symlink(target, filepath.Join(dir, "leak")); err != nil {
			t.Fatal(err)
		}
		_, err := Walk(context.Background(), Options{Root: dir})
		if err == nil || !strings.Contains(err.Error(), "leak") || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if got := walk(t, Options{Root: dir, Exclude: []string{"leak"}}); len(got) != 1 {
			t.Errorf("%s: excluded, and still %v", name, got)
		}
	}
	dir := lay(t, "x")
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Walk(context.Background(), Options{Root: dir}); err == nil || !strings.Contains(err.Error(), "s is a socket") {
		t.Errorf("a socket: %v", err)
	}
}

func digest(t *testing.T, dir string, store *cas.Store, now time.Time) string {
	t.Helper()
	tree, err := Walk(context.Background(), Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	d, err := tree.Digest(context.Background(), store, now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDigest: every change of path, mode, link and content shows; times and owners do not.
func TestDigest(t *testing.T) {
	dir := lay(t, "a", "b/c", "empty/")
	first := digest(t, dir, nil, time.Time{})
	if err := os.Chtimes(filepath.Join(dir, "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if digest(t, dir, nil, time.Time{}) != first {
		t.Error("a time is in the digest")
	}
	seen := map[string]string{first: "nothing"}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"content", func() error { return os.WriteFile(filepath.Join(dir, "a"), []byte("other"), 0o640) }},
		{"mode", func() error { return os.Chmod(filepath.Join(dir, "a"), 0o755) }},
		{"name", func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "z")) }},
		{"new folder", func() error { return os.Mkdir(filepath.Join(dir, "new"), 0o755) }},
		{"link", func() error { return os.Symlink("z", filepath.Join(dir, "l")) }},
		{"link's target", func() error { _ = os.Remove(filepath.Join(dir, "l")); return os.Symlink("b", filepath.Join(dir, "l")) }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		d := digest(t, dir, nil, time.Time{})
		if before, ok := seen[d]; ok {
			t.Errorf("after a change of %s the digest is that after %s", step.name, before)
		}
		seen[d] = step.name
	}
}

// TestStatCache: an unchanged tree is not read again, and a change in the same tick of the clock is not missed.
func TestStatCache(t *testing.T) {
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir := lay(t, "a")
	file := filepath.Join(dir, "a")
	later := time.Now().Add(time.Hour)
	first := digest(t, dir, store, later)
	// The same size, time of change and inode, read long after: told by stat, so that even a lie is believed.
	record, err := store.Record(statRecords, (&Tree{Root: dir}).key())
	if err != nil || !strings.Contains(string(record), `"a"`) {
		t.Fatalf("nothing was remembered: %s, %v", record, err)
	}
	if digest(t, dir, store, later) != first {
		t.Error("unchanged, and another digest")
	}
	if err := os.WriteFile(file, []byte("CONTENT OF a"), 0o640); err != nil {
		t.Fatal(err)
	}
	if digest(t, dir, store, later) == first {
		t.Error("a change of content was missed")
	}
	// Racily clean: the record is as young as the file, so that the file is read again.
	now := time.Now()
	second := digest(t, dir, store, now)
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("content of A"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	if digest(t, dir, store, now) == second {
		t.Error("a change within the clock's tick was missed")
	}
}

func TestChangedWhileBuilding(t *testing.T) {
	dir := lay(t, "a")
	tree, err := Walk(context.Background(), Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := tree.Content(tree.Files[0])
	r, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(r); string(b) != "content of a" {
		t.Errorf("%q", b)
	}
	_ = r.Close()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("content of b"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "a"), time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(); err == nil || !strings.Contains(err.Error(), "changed while") {
		t.Errorf("got %v", err)
	}
}

func TestCancelledAndMissing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Walk(ctx, Options{Root: lay(t, "a")}); err == nil {
		t.Error("a cancelled walk went on")
	}
	if _, err := Walk(context.Background(), Options{Root: filepath.Join(t.TempDir(), "none")}); hint.KindOf(err) != hint.KindUsage {
		t.Errorf("no folder: %v", err)
	}
}

// FuzzDockerignore: whatever stands in the file, a walk finds just the files that Docker's own matcher leaves.
func FuzzDockerignore(f *testing.F) {
	for _, s := range []string{"docs\n!docs/keep", "*\n!src/**", "**/x\n", "#\n!\n", "[", "a/../b\n", "\\\n"} {
		f.Add(s)
	}
	dir := lay(f, "a.md", "docs/a.md", "docs/keep/b.md", "src/x", "src/deep/x")
	files := []string{"a.md", "docs/a.md", "docs/keep/b.md", "src/x", "src/deep/x"}
	f.Fuzz(func(t *testing.T, text string) {
		patterns, err := parseIgnore([]byte(text))
		if err != nil {
			return
		}
		pm, err := patternmatcher.New(patterns)
		if err != nil {
			return
		}
		var want []string
		for _, p := range files {
			out, err := pm.MatchesOrParentMatches(p)
			if err != nil {
				return
			}
			if !out {
				want = append(want, p)
			}
		}
		ignore := filepath.Join(t.TempDir(), "i")
		if err := os.WriteFile(ignore, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		tree, err := Walk(context.Background(), Options{Root: dir, Ignorefile: ignore})
		if err != nil {
			return
		}
		var got []string
		for _, file := range tree.Files {
			if slices.Contains(files, file.Path) {
				got = append(got, file.Path)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%q leaves %v, and the walk found %v", text, want, got)
		}
	})
}
