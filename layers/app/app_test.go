package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/source"
)

func tree(t *testing.T, files map[string]string) *source.Tree {
	t.Helper()
	dir := t.TempDir()
	for n, text := range files {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := source.Walk(context.Background(), source.Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func options(t *testing.T) Options {
	return Options{
		Workdir: "app", UID: 999, GID: 998, WriteUID: 5, WriteGID: 6, Writable: []string{"app/data", "app/var/cache"},
		Parts: []Part{
			{Tree: tree(t, map[string]string{"manage.py": "m", "static/dist/old.js": "old", "static/x.css": "x"}), To: "app", Name: "the source tree"},
			{Tree: tree(t, map[string]string{"old.js": "new", "more.js": "more"}), To: "app/static/dist", Name: "copy"},
		},
	}
}

func TestTree(t *testing.T) {
	l, err := New(context.Background(), options(t), nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := l.Tree(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range tr.All() {
		text := ""
		if e.Content != nil {
			r, err := e.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(r)
			_ = r.Close()
			text = " " + string(b)
		}
		got = append(got, fmt.Sprintf("%s %o %d:%d%s", e.Path, e.Mode, e.UID, e.GID, text))
	}
	want := []string{
		"app 755 999:998", "app/data 755 5:6", "app/manage.py 644 999:998 m", "app/static 755 999:998", "app/static/dist 755 999:998",
		"app/static/dist/more.js 644 999:998 more", "app/static/dist/old.js 644 999:998 new", "app/static/x.css 644 999:998 x",
		"app/var 755 999:998", "app/var/cache 755 5:6",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if l.Summary() != "4 files" {
		t.Error(l.Summary())
	}
}

func TestKey(t *testing.T) {
	o := options(t)
	key := func(change func(*Options)) string {
		p := o
		p.Parts = append([]Part(nil), o.Parts...)
		if change != nil {
			change(&p)
		}
		l, err := New(context.Background(), p, nil, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return string(l.Key())
	}
	first := key(nil)
	if key(nil) != first {
		t.Error("the key is not stable")
	}
	for name, change := range map[string]func(*Options){
		"owner":    func(o *Options) { o.UID = 1 },
		"workdir":  func(o *Options) { o.Workdir = "srv" },
		"writable": func(o *Options) { o.Writable = nil },
		"place":    func(o *Options) { o.Parts[1].To = "app/other" },
		"order":    func(o *Options) { o.Parts[0], o.Parts[1] = o.Parts[1], o.Parts[0] },
		"content":  func(o *Options) { o.Parts[0].Tree = tree(t, map[string]string{"manage.py": "M"}) },
	} {
		if key(change) == first {
			t.Errorf("the key does not depend on the %s", name)
		}
	}
}

// TestParents: every folder below the working folder has the owner that was asked for, also one that only a copy, or a
// file brought back by an exception, needs.
func TestParents(t *testing.T) {
	o := options(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "docs/keep"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docs/keep/a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := source.Walk(context.Background(), source.Options{Root: dir, Exclude: []string{"docs", "!docs/keep/a"}})
	if err != nil {
		t.Fatal(err)
	}
	o.Parts = []Part{
		{Tree: kept, To: "app"},
		{Tree: tree(t, map[string]string{"x": ""}), To: "app/deep/er/y", File: true},
		{Tree: tree(t, nil), To: "app/empty"},
	}
	for _, workdir := range []string{"app", ""} {
		o.Workdir = workdir
		l, err := New(context.Background(), o, nil, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := l.Tree(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for e := range tr.All() {
			if e.UID != 5 && (e.UID != 999 || e.GID != 998) {
				t.Errorf("%s belongs to %d:%d", e.Path, e.UID, e.GID)
			}
			got = append(got, e.Path)
		}
		want := []string{"app", "app/data", "app/deep", "app/deep/er", "app/deep/er/y", "app/docs", "app/docs/keep", "app/docs/keep/a", "app/empty", "app/var", "app/var/cache"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("below %q: %s", workdir, d)
		}
		if l.Summary() != "2 files" {
			t.Error(l.Summary())
		}
	}
}

func TestClash(t *testing.T) {
	o := options(t)
	o.Parts[1].To = "app/manage.py"
	l, err := New(context.Background(), o, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var conflict *fstree.ConflictError
	if _, err := l.Tree(context.Background()); !errors.As(err, &conflict) || conflict.Path != "app/manage.py" || hint.Of(err) == "" {
		t.Errorf("a file became a folder: %v", err)
	}
	o = options(t)
	o.Writable = []string{"app/manage.py"}
	l, _ = New(context.Background(), o, nil, time.Time{})
	if _, err := l.Tree(context.Background()); err == nil {
		t.Error("a file became a writable folder")
	}
}
