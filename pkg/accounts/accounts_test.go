package accounts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const basePasswd = `root:x:0:0:root:/root:/bin/bash
# a comment
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
+nis::::::
`

const baseGroup = "root:x:0:\nusers:x:100:\nnogroup:x:65534:"

func files(passwd, group string) Files {
	return Files{Passwd: []byte(basePasswd + passwd), Group: []byte(baseGroup + "\n" + group), Shadow: []byte("root:*:1::::::\n"), GShadow: []byte("root:*::\n"),
		LoginDefs: []byte("UID_MIN\t\t 1000\nGID_MIN 1000\n#SYS_UID_MAX 5\n"), UseraddDefaults: []byte("# SHELL=/x\nSHELL=/bin/sh\n")}
}

func user(name string) Request { return Request{Name: name, UID: -1, GID: -1} }

// TestResolve has the ids that groupadd -r and useradd -r chose when they were run on the base with these accounts.
func TestResolve(t *testing.T) {
	for name, tc := range map[string]struct {
		files Files
		req   Request
		want  User
		err   string
	}{
		"python:slim": {files("", ""), user("app"), User{"app", "app", 999, 999, "/home/app", "/bin/sh", true, true}, ""},
		"one below the lowest": {files("a:x:995:995::/home/a:/bin/sh\n", "a:x:995:\n"), user("b"),
			User{"b", "b", 994, 994, "/home/b", "/bin/sh", true, true}, ""},
		"the range is used down to its end": {files("low:x:101:101::/:/bin/sh\n", "low:x:101:\n"), user("f"),
			User{"f", "f", 999, 999, "/home/f", "/bin/sh", true, true}, ""},
		"uid and gid apart":  {files("", "c:x:500:\n"), user("e"), User{"e", "e", 999, 499, "/home/e", "/bin/sh", true, true}, ""},
		"the group is there": {files("", "app:x:1234:\n"), user("app"), User{"app", "app", 999, 1234, "/home/app", "/bin/sh", true, false}, ""},
		"the user is there": {files("node:x:1000:100::/home/node:/bin/bash\n", ""), user("node"),
			User{"node", "users", 1000, 100, "/home/node", "/bin/bash", false, false}, ""},
		"root":               {files("", ""), user("root"), User{"root", "root", 0, 0, "/root", "/bin/bash", false, false}, ""},
		"ids asked for":      {files("", ""), Request{"app", 10001, 10002}, User{"app", "app", 10001, 10002, "/home/app", "/bin/sh", true, true}, ""},
		"gid follows uid":    {files("", ""), Request{"app", 10001, -1}, User{"app", "app", 10001, 10001, "/home/app", "/bin/sh", true, true}, ""},
		"a number":           {files("", ""), Request{"", 10001, -1}, User{"", "", 10001, 10001, "/", "/bin/sh", false, false}, ""},
		"a number with name": {files("", ""), Request{"", 65534, -1}, User{"nobody", "nogroup", 65534, 65534, "/nonexistent", "/usr/sbin/nologin", false, false}, ""},
		"defaults said twice": {Files{LoginDefs: []byte("UID_MIN 1000\nUID_MIN 500\nSYS_GID_MAX 300\n"), UseraddDefaults: []byte("SHELL=/bin/sh\nHOME=/srv\nSHELL=/bin/bash\n")}, user("app"),
			User{"app", "app", 499, 300, "/srv/app", "/bin/bash", true, true}, ""},
		"no files at all": {Files{}, user("app"), User{"app", "app", 999, 999, "/home/app", "/bin/sh", true, true}, ""},
		"uid clash":       {files("node:x:1000:1000::/:/bin/sh\n", ""), Request{"app", 1000, -1}, User{}, "uid 1000 is node's"},
		"gid clash":       {files("", ""), Request{"app", -1, 100}, User{}, "gid 100 is users's"},
		"name clash":      {files("", ""), Request{"nobody", 5, -1}, User{}, "user nobody is 65534:65534"},
		"group clash":     {files("", "app:x:7:\n"), Request{"app", -1, 8}, User{}, "group app has gid 7"},
		"bad name":        {files("", ""), user("App:x"), User{}, "a name has at most"},
		"too large":       {Files{Group: make([]byte, maxFile+1)}, user("b"), User{}, "/etc/group"},
		"no id is left":   {Files{LoginDefs: []byte("SYS_UID_MIN 999\nSYS_GID_MIN 999\n"), Passwd: []byte("a:x:999:1::/:/x\n")}, user("b"), User{}, "is taken"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.files.Resolve(tc.req)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	f := files("", "")
	u, err := f.Resolve(user("app"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Add(u, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{
		"etc/passwd":  []byte(strings.Replace(basePasswd, "+nis", "app:x:999:999::/home/app:/bin/sh\n+nis", 1)),
		"etc/group":   []byte(baseGroup + "\napp:x:999:\n"),
		"etc/shadow":  []byte("root:*:1::::::\napp:!:::::::\n"),
		"etc/gshadow": []byte("root:*::\napp:!::\n"),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err = (Files{}).Add(u, 20000); err != nil || len(got) != 2 || string(got["etc/passwd"]) != "app:!:999:999::/home/app:/bin/sh\n" {
		t.Errorf("without shadow: %q, %v", got, err)
	}
	f.Shadow, f.GShadow = []byte("app:*:7::::::\n"), []byte("app:!::\n")
	if got, err = f.Add(u, 0); err != nil || got["etc/shadow"] != nil || got["etc/gshadow"] != nil || got["etc/passwd"] == nil {
		t.Errorf("lines of a user that is gone were doubled: %q, %v", got, err)
	}
	f.Shadow = nil
	root, _ := f.Resolve(user("root"))
	if got, err = f.Add(root, 0); err != nil || len(got) != 0 {
		t.Errorf("root needs nothing: %q, %v", got, err)
	}
}

func TestParseRequest(t *testing.T) {
	for s, want := range map[string]Request{"app": {"app", -1, -1}, "10001": {"", 10001, -1}, "10001:20": {"", 10001, 20}} {
		if got, err := ParseRequest(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "A", "1:x", "4294967295", "a:b"} {
		if r, err := ParseRequest(s); err == nil && r.Name != "" {
			t.Errorf("%q was taken as %+v", s, r)
		}
	}
}

// FuzzResolve: whatever the files hold, the answer is free of clashes with them, and the files stay line files.
func FuzzResolve(f *testing.F) {
	f.Add([]byte(basePasswd), []byte(baseGroup), "app")
	f.Add([]byte("a:b:c"), []byte(":::::"), "x")
	f.Fuzz(func(t *testing.T, passwd, group []byte, name string) {
		fs := Files{Passwd: passwd, Group: group, Shadow: []byte("")}
		u, err := fs.Resolve(user(name))
		if err != nil {
			return
		}
		out, err := fs.Add(u, 1)
		if err != nil {
			return
		}
		if u.NewUser {
			again, err := Files{Passwd: out["etc/passwd"], Group: group}.Resolve(user(name))
			if err != nil || again.UID != u.UID || again.NewUser {
				t.Errorf("what was added is not found again: %+v, %v", again, err)
			}
		}
	})
}
