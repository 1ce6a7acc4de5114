package source

import (
	"context"
	"io"
	"io/fs"
	"maps"
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
	"github.com/jubako/jubako/pkg/cas/castest"
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

// TestLinks follows links through links, as the kernel does.
func TestLinks(t *testing.T) {
	for name, tc := range map[string]struct {
		links []string // link=target
		leaks string
	}{
		"up, and inside":           {[]string{"sub/l=../x"}, ""},
		"to the root":              {[]string{"sub/l=.."}, ""},
		"above the root":           {[]string{"sub/l=../.."}, "sub/l"},
		"dots after a link down":   {[]string{"down=sub/deep", "l=down/../../x"}, ""},
		"dots after a link up":     {[]string{"sub/up=..", "sub/l=up/../x"}, "sub/l"},
		"a link to a link outside": {[]string{"a=b", "b=/etc"}, "a"},
		"round in a circle":        {[]string{"a=b", "b=a"}, ""},
		"to nothing":               {[]string{"a=none/../none"}, ""},
		"with dots and slashes":    {[]string{"sub/l=.//../sub/./deep/"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := lay(t, "x", "sub/deep/y")
			for _, l := range tc.links {
				link, target, _ := strings.Cut(l, "=")
				if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Walk(context.Background(), Options{Root: dir})
			switch {
			case tc.leaks == "" && err != nil:
				t.Error(err)
			case tc.leaks != "" && (err == nil || !strings.Contains(err.Error(), "the link "+tc.leaks+" leads out of it") || hint.KindOf(err) != hint.KindUsage):
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestRoot: the root may be a link, or a file.
func TestRoot(t *testing.T) {
	dir := lay(t, "a/x", "a/y")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "a"), link); err != nil {
		t.Fatal(err)
	}
	if got := walk(t, Options{Root: link}); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("behind a link: %v", got)
	}
	if got := walk(t, Options{Root: filepath.Join(link, "x")}); !slices.Equal(got, []string{"x"}) {
		t.Errorf("a file: %v", got)
	}
}

// TestPrune: a folder that is left out is not even opened, unless something below it can be wanted.
func TestPrune(t *testing.T) {
	for name, tc := range map[string]struct {
		o     Options
		prune bool
	}{
		"a pattern":                  {Options{Exclude: []string{"big"}}, true},
		"an exception elsewhere":     {Options{Exclude: []string{"*", "!src"}}, true},
		"an exception below":         {Options{Exclude: []string{"big", "!big/sub/x"}}, false},
		"an exception before":        {Options{Exclude: []string{"!big", "big/sub", "big"}}, true},
		"an exception after another": {Options{Exclude: []string{"*", "!**/*.py", "big", "!big/x"}}, false},
		"the last match counts":      {Options{Exclude: []string{"*", "!**/*.py", "!big/x", "big"}}, true},
		"an exception with wildcard": {Options{Exclude: []string{"big", "!bi*/x"}}, false},
		"include elsewhere":          {Options{Exclude: []string{"big"}, Include: []string{"/other/"}}, true},
		"include below":              {Options{Exclude: []string{"big"}, Include: []string{"big/sub"}}, false},
		"include anywhere":           {Options{Exclude: []string{"big"}, Include: []string{"**/x"}}, false},
	} {
		m, err := NewMatcher(tc.o)
		if err != nil {
			t.Fatal(err)
		}
		excluded, prune, err := m.match("big")
		if err != nil || !excluded || prune != tc.prune {
			t.Errorf("%s: excluded %v, pruned %v, %v", name, excluded, prune, err)
		}
	}
	m, err := NewMatcher(Options{Exclude: []string{"!.git/config"}})
	if err != nil {
		t.Fatal(err)
	}
	if excluded, prune, err := m.match(".git"); err != nil || !excluded || !prune {
		t.Errorf("what is left out always is brought back by include alone: %v, %v, %v", excluded, prune, err)
	}
	if excluded, err := m.Excludes(".git/config"); err != nil || !excluded {
		t.Errorf("%v, %v", excluded, err)
	}
}

func TestBadPatterns(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".dockerignore")
	if err := os.WriteFile(file, []byte("ok\n[\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"patterns of .dockerignore": {Ignorefile: file},
		"patterns of exclude":       {Ignorefile: file, Exclude: []string{"a["}},
		"patterns of include":       {Include: []string{"["}},
	} {
		if _, err := NewMatcher(o); err == nil || !strings.Contains(err.Error(), want) || hint.KindOf(err) != hint.KindUsage {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := os.WriteFile(file, make([]byte, maxIgnore+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := NewMatcher(Options{Ignorefile: file}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	// Root reads everything, so that the message is held on its own.
	err := unreadable("sub/secret", fs.ErrPermission)
	if !strings.Contains(err.Error(), "sub/secret cannot be read") || !strings.Contains(hint.Of(err), `exclude = ["sub/secret"]`) {
		t.Errorf("%v; %s", err, hint.Of(err))
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
	store := castest.Open(t)
	dir := lay(t, "a")
	file := filepath.Join(dir, "a")
	later := time.Now().Add(time.Hour)
	first := digest(t, dir, store, later)
	if digest(t, dir, store, later) != first {
		t.Error("unchanged, and another digest")
	}
	// The same size, times and inode, read long after: told by stat alone, so that even a lie is believed.
	record, err := store.Record(statRecords, (&Tree{Root: dir}).key())
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseKnown(record)
	if err != nil {
		t.Fatal(err)
	}
	k.files["a"] = knownFile{k.files["a"].mark, "a lie"}
	if err := store.PutRecord(statRecords, (&Tree{Root: dir}).key(), k.marshal()); err != nil {
		t.Fatal(err)
	}
	if digest(t, dir, store, later) == first {
		t.Error("an unchanged file was read again")
	}
	if err := store.PutRecord(statRecords, (&Tree{Root: dir}).key(), []byte("{damaged")); err != nil {
		t.Fatal(err)
	}
	if digest(t, dir, store, later) != first {
		t.Error("a damaged record was believed")
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
	for _, s := range []string{"docs\n!docs/keep", "!**/x\nsrc\n!src/deep\nsrc/deep\n", "*\n!src/**", "**/x\n", "#\n!\n", "[", "a/../b\n", "\\\n"} {
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

// FuzzKnown: a record of a folder's files is read as it was written, or refused.
func FuzzKnown(f *testing.F) {
	f.Add(known{at: -1, files: map[string]knownFile{"a\nb/c": {cas.Mark{Size: 1, MTime: 2, CTime: -3, Inode: 4}, "sum"}, "d": {}}}.marshal())
	f.Add([]byte("1\x00a\x00"))
	f.Fuzz(func(t *testing.T, record []byte) {
		k, err := parseKnown(record)
		if err != nil {
			return
		}
		again, err := parseKnown(k.marshal())
		if err != nil || again.at != k.at || !maps.Equal(again.files, k.files) {
			t.Errorf("%v, and %v (%v)", k, again, err)
		}
	})
}

func TestBelow(t *testing.T) {
	for _, root := range []string{".", "..", "/", "a", "../a.b", "/a/b"} {
		for _, rel := range []string{".", ".env", "..x", "a", "a/b/.c"} {
			p := filepath.Join(root, rel)
			if want, err := filepath.Rel(root, p); err != nil || below(root, p) != want {
				t.Errorf("%s below %s: %q, want %q (%v)", p, root, below(root, p), want, err)
			}
		}
	}
}
