package assemble

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/project"
)

// TestWritableParents: a folder that the service writes to is the service's in every layer, and keys change where that changes bytes.
func TestWritableParents(t *testing.T) {
	makerOf := func(uid int, owner string, writable ...string) *maker {
		t.Helper()
		b := newBuilder(Tools{}, Spec{Project: &project.Project{Config: &project.Config{Workdir: "/app", Venv: ".venv", Owner: owner, Writable: writable}}})
		facts := &base.Facts{Files: map[string]base.Stat{"app": {Kind: fstree.Dir, Mode: 0o755, UID: 5}, "app/there": {Kind: fstree.Dir, Mode: 0o700, UID: 33, GID: 33}, "app/link": {Kind: fstree.Symlink, Link: "/x"}}}
		m, err := b.maker(t.Context(), &lower{facts: facts, user: accounts.User{UID: uid, GID: uid}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := makerOf(999, "root", "var", "there", "link", "data/db")
	for dir, want := range map[string]fstree.Entry{
		"app/var": {Kind: fstree.Dir, Mode: 0o755, UID: 999, GID: 999}, "app/there": {Kind: fstree.Dir, Mode: 0o755, UID: 999, GID: 999}, "app/data/db": {Kind: fstree.Dir, Mode: 0o755, UID: 999, GID: 999},
		"app/data": {Kind: fstree.Dir, Mode: 0o755}, "app/var/static": {Kind: fstree.Dir, Mode: 0o755}, "app/link": {Kind: fstree.Symlink, Link: "/x"}, "app": {Kind: fstree.Dir, Mode: 0o755, UID: 5},
	} {
		got, err := m.parent(t.Context(), dir)
		got = m.service(got)
		if got.Producer, want.Path = "", dir; err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if d := cmp.Diff(makerOf(999, "root", "var").context, makerOf(1000, "root", "var").context); d == "" {
		t.Error("of another user the key is the same")
	}
	if d := cmp.Diff(makerOf(999, "app").context, makerOf(999, "app", "var").context); d != "" {
		t.Errorf("the folder is the service's anyway, and the key is another: %s", d)
	}
}
