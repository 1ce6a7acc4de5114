package passwd

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
)

func facts() *base.Facts {
	return &base.Facts{
		Passwd: []byte("root:x:0:0::/root:/bin/sh\n"), Group: []byte("root:x:0:\n"), Shadow: []byte("root:*:1::::::\n"),
		Files: map[string]base.Stat{
			"etc/passwd": {Kind: fstree.File, Mode: 0o600}, "etc/group": {Kind: fstree.File, Mode: 0o644},
			"etc/shadow": {Kind: fstree.File, Mode: 0o640, GID: 42},
		},
	}
}

func newLayer(t *testing.T, f *base.Facts, name string, epoch int64) *Layer {
	t.Helper()
	u, err := FilesOf(f).Resolve(accounts.Request{Name: name, UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(f, u, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayer(t *testing.T) {
	l := newLayer(t, facts(), "app", 20782*86400+5)
	if l.Empty() || l.Summary() != "app 999:999" {
		t.Errorf("empty %v, %s", l.Empty(), l.Summary())
	}
	tree, err := l.Tree(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range tree.All() {
		r, _ := e.Content.Open()
		b, _ := io.ReadAll(r)
		got = append(got, fmt.Sprintf("%s %o %d:%d %s", e.Path, e.Mode, e.UID, e.GID, b))
	}
	want := []string{
		"etc/group 644 0:0 root:x:0:\napp:x:999:\n",
		"etc/passwd 600 0:0 root:x:0:0::/root:/bin/sh\napp:x:999:999::/home/app:/bin/sh\n",
		"etc/shadow 640 0:42 root:*:1::::::\napp:!:20782::::::\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestKey(t *testing.T) {
	first := newLayer(t, facts(), "app", 0).Key()
	if again := newLayer(t, facts(), "app", 0).Key(); again != first {
		t.Error("the key is not stable")
	}
	other := facts()
	other.Passwd = append(other.Passwd, "x:x:5:5::/:/bin/sh\n"...)
	for what, l := range map[string]*Layer{"name": newLayer(t, facts(), "web", 0), "epoch": newLayer(t, facts(), "app", 86400*9), "base": newLayer(t, other, "app", 0)} {
		if l.Key() == first {
			t.Errorf("the key does not depend on the %s", what)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	if !newLayer(t, facts(), "root", 0).Empty() {
		t.Error("root is in every base, and needs no layer")
	}
}

func TestPasswdIsNoFile(t *testing.T) {
	f := facts()
	f.Files["etc/passwd"] = base.Stat{Kind: fstree.Symlink, Link: "/etc/other"}
	u, err := FilesOf(f).Resolve(accounts.Request{Name: "app", UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(f, u, 0); err == nil {
		t.Error("a link was overwritten")
	}
}
