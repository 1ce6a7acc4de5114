package accounts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/hint"
)

func TestLookup(t *testing.T) {
	f := accounts.Files{
		Passwd: []byte("root:x:0:0:root:/root:/bin/sh\n# app2:x:1:1::/:\napp:x:999:998::/home/app:/bin/sh\n7up:x:7:7::/up:\n"),
		Group:  []byte("root:x:0:\napp:x:998:\nvideo:x:44:other,app\naudio:x:29:app\nagain:x:29:app\nown:x:998:app\n"),
	}
	app := accounts.Login{Name: "app", UID: 999, GID: 998, Groups: []int{29, 44}, Home: "/home/app"}
	with := func(gid int) accounts.Login { l := app; l.GID, l.Groups = gid, nil; return l }
	for s, want := range map[string]accounts.Login{
		"": {Name: "root", Home: "/root"}, "root": {Name: "root", Home: "/root"}, "0": {Name: "root", Home: "/root"},
		"app": app, "999": app, "app:video": with(44), "999:5": with(5), "app:app": with(998),
		"1234": {UID: 1234, Home: "/"}, "1234:1": {UID: 1234, GID: 1, Home: "/"}, "7up": {Name: "7up", UID: 7, GID: 7, Home: "/up"},
	} {
		got, err := f.Lookup(s)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v %s", s, err, d)
		}
	}
	for _, s := range []string{"nobody", "app:nogroup", "-1", "app:-1", "99999999999999"} {
		if got, err := f.Lookup(s); err == nil || hint.KindOf(err) != hint.KindUsage {
			t.Errorf("%q: %+v %v", s, got, err)
		}
	}
	if got, err := (accounts.Files{}).Lookup(""); err != nil || got.UID != 0 || got.Home != "/" {
		t.Errorf("an image without the files: %+v %v", got, err)
	}
}
