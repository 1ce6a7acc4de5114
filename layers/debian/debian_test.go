package debian

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/debfile/debfiletest"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/tarlayer"
)

type entry = debfiletest.Entry

// world is a base, and packages to lay over it.
type world struct {
	t    *testing.T
	o    Options
	said []string
}

// newWorld makes a base with a merged /usr and a database. files are its own, by path: "/" at the end makes a folder, and a
// content that begins with "-> " a link.
func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	store := castest.Open(t)
	w := &world{t: t}
	w.o = Options{Arch: "amd64", Store: store, Warn: func(s string) { w.said = append(w.said, s) },
		Facts: &base.Facts{Files: make(map[string]base.Stat), Passwd: []byte("root:x:0:0::/root:/bin/sh\n"), Group: []byte("root:x:0:\nmail:x:8:\n")},
		Dpkg:  &base.Dpkg{Files: make(map[string][]byte), Sums: make(map[string]string)}}
	w.file("bin", "-> usr/bin")
	w.file("lib", "-> usr/lib")
	w.file("usr/bin/", "")
	w.file("usr/lib/", "")
	w.file("var/lib/dpkg/info/", "")
	w.file("var/lib/dpkg/status", "Package: old\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: old\n\n")
	for p, content := range files {
		w.file(p, content)
	}
	return w
}

func (w *world) file(p, content string) {
	for dir := path.Dir(strings.TrimSuffix(p, "/")); dir != "."; dir = path.Dir(dir) {
		if _, ok := w.o.Facts.Files[dir]; !ok {
			w.o.Facts.Files[dir] = base.Stat{Kind: fstree.Dir, Mode: 0o755}
		}
	}
	s := base.Stat{Kind: fstree.File, Mode: 0o644, Size: int64(len(content))}
	if dir, ok := strings.CutSuffix(p, "/"); ok {
		p, s = dir, base.Stat{Kind: fstree.Dir, Mode: 0o755}
	} else if to, ok := strings.CutPrefix(content, "-> "); ok {
		s = base.Stat{Kind: fstree.Symlink, Mode: 0o777, Link: to}
	} else {
		w.o.Dpkg.Files[p] = []byte(content)
	}
	w.o.Facts.Files[p] = s
}

// add adds a package; its name, version and architecture are read from "name version".
func (w *world) add(id string, d debfiletest.Deb, fields ...string) {
	name, version, _ := strings.Cut(id, " ")
	d.Control = debfiletest.Control(name, version, "amd64", fields...)
	d.Compression = "gz"
	b := d.Bytes(w.t)
	w.o.Packages = append(w.o.Packages, Package{Name: name, Version: version, Arch: "amd64", Filename: name + ".deb", SHA256: debfiletest.SHA256(b),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
}

func (w *world) layer() *Layer {
	w.t.Helper()
	l, err := New(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (w *world) tree() *fstree.Tree {
	w.t.Helper()
	tree, err := w.layer().Tree(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return tree
}

func (w *world) fails(want ...string) {
	w.t.Helper()
	_, err := w.layer().Tree(context.Background())
	for _, s := range want {
		if err == nil || !strings.Contains(err.Error(), s) {
			w.t.Errorf("%v\nlacks %q", err, s)
		}
	}
}

// text tells of an entry what matters.
func text(t *testing.T, tree *fstree.Tree, p string) string {
	t.Helper()
	x, ok := tree.Lookup(p)
	if !ok {
		return "absent"
	}
	switch x.Kind {
	case fstree.File:
		b, err := contentOf(x)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	case fstree.Symlink, fstree.Hardlink:
		return "-> " + x.Link
	}
	return x.Kind.String()
}

func expect(t *testing.T, tree *fstree.Tree, want map[string]string) {
	t.Helper()
	for p, w := range want {
		if got := text(t, tree, p); got != w {
			t.Errorf("/%s is %q, and should be %q", p, got, w)
		}
	}
}

func TestMergedUsr(t *testing.T) {
	w := newWorld(t, map[string]string{"tmp/": "", "usr/share/x": "-> /usr/share/y", "usr/share/y/": ""})
	w.o.Facts.Files["tmp"] = base.Stat{Kind: fstree.Dir, Mode: 0o1777}
	w.add("a 1", debfiletest.Deb{Entries: []entry{
		debfiletest.Dir("bin"), debfiletest.File("bin/nc", "nc"), debfiletest.Dir("tmp"), debfiletest.File("tmp/x", "x"), debfiletest.Hardlink("bin/ab", "bin/nc"),
		debfiletest.Dir("usr/share/x"), debfiletest.File("usr/share/x/f", "f"), {Name: "./usr/share/new/", Mode: 0o2775, GID: 50},
	}})
	tree := w.tree()
	expect(t, tree, map[string]string{"bin": "absent", "bin/nc": "absent", "usr/bin/nc": "-> usr/bin/ab", "usr/bin/ab": "nc", "usr/share/x": "absent", "usr/share/y/f": "f"})
	if x, _ := tree.Lookup("tmp"); x.Mode != 0o1777 {
		t.Errorf("/tmp has the mode %o", x.Mode)
	}
	if x, _ := tree.Lookup("usr/share/new"); x.Mode != 0o2775 || x.GID != 50 {
		t.Errorf("%+v", x)
	}
	if list := text(t, tree, "var/lib/dpkg/info/a.list"); list != "/.\n/bin\n/bin/nc\n/tmp\n/tmp/x\n/bin/ab\n/usr/share/x\n/usr/share/x/f\n/usr/share/new\n" {
		t.Error(list)
	}
	if _, err := tarlayer.Write(context.Background(), io.Discard, tree, tarlayer.Options{}); err != nil {
		t.Error(err)
	}
}

func TestClashes(t *testing.T) {
	file := func(p, data string) debfiletest.Deb {
		return debfiletest.Deb{Entries: []entry{debfiletest.File(p, data)}}
	}
	t.Run("two packages", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add("a 1", file("usr/f", "1"))
		w.add("b 1", file("usr/f", "2"))
		w.fails("laying out package b 1", "/usr/f is a file of package a 1 and a file of package b 1")
	})
	t.Run("the same", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add("a 1", file("usr/f", "1"))
		w.add("b 1", file("usr/f", "1"))
		expect(t, w.tree(), map[string]string{"usr/f": "1"})
	})
	t.Run("replaced", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add("a 1", file("usr/f", "1"), "Replaces: b (<< 2)\n")
		w.add("b 1", file("usr/f", "2"))
		tree := w.tree()
		expect(t, tree, map[string]string{"usr/f": "1", "var/lib/dpkg/info/b.list": "/.\n", "var/lib/dpkg/info/a.list": "/.\n/usr/f\n"})
	})
	t.Run("over a folder", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/d/": ""})
		w.add("a 1", file("usr/d", "1"))
		w.fails("/usr/d is a directory of the base and a file of package a 1")
	})
	t.Run("folder over a file", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/d": "x"})
		w.add("a 1", debfiletest.Deb{Entries: []entry{debfiletest.Dir("usr/d")}})
		w.fails("/usr/d is a file of the base and a directory of package a 1")
	})
	t.Run("below a file", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/d": "x"})
		w.add("a 1", file("usr/d/f", "1"))
		w.fails("/usr/d is a file of the base")
	})
	t.Run("the base's package", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/lib/f": "x", "var/lib/dpkg/info/old.list": "/.\n/lib\n/lib/f\n"})
		w.add("a 1", file("usr/lib/f", "1"))
		w.fails("/usr/lib/f is a file of the base's package old 1 and a file of package a 1")
		w.o.Packages = nil
		w.add("a 1", file("usr/lib/f", "1"), "Replaces: old\n")
		expect(t, w.tree(), map[string]string{"usr/lib/f": "1", "var/lib/dpkg/info/old.list": "/.\n/lib\n"})
	})
	t.Run("link over a folder", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/d/": ""})
		w.add("a 1", debfiletest.Deb{Entries: []entry{debfiletest.Symlink("usr/d", "elsewhere"), debfiletest.File("usr/d/f", "1")}})
		expect(t, w.tree(), map[string]string{"usr/d/f": "1"})
		if len(w.said) != 1 || !strings.Contains(w.said[0], "the folder stays") {
			t.Error(w.said)
		}
	})
	t.Run("loop", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/p": "-> q", "usr/q": "-> p"})
		w.add("a 1", file("usr/p/f", "1"))
		w.fails("laying out package a 1", "/usr/p/f: its folder is a loop of links")
	})
	t.Run("out through a link", func(t *testing.T) {
		w := newWorld(t, map[string]string{"usr/p": "-> ../../../../etc"})
		w.add("a 1", file("usr/p/f", "1"))
		expect(t, w.tree(), map[string]string{"etc/f": "1"})
	})
	t.Run("another package in the deb", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add("a 1", file("f", "1"))
		w.o.Packages[0].Version = "2"
		w.fails("reading a.deb", "it is a=1 for amd64, and a 2 for amd64 was wanted")
	})
	t.Run("twice", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add("a 1", file("f", "1"))
		w.add("a 2", file("f", "1"))
		if _, err := New(w.o); err == nil || !strings.Contains(err.Error(), "package a is wanted twice, at 1 and at 2") {
			t.Errorf("%v", err)
		}
	})
	t.Run("arch", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add("a 1", file("f", "1"))
		w.o.Packages[0].Arch = "arm64"
		if _, err := New(w.o); err == nil || !strings.Contains(err.Error(), "package a 1 is for arm64, and the image for amd64") {
			t.Errorf("%v", err)
		}
	})
}

func TestRules(t *testing.T) {
	w := newWorld(t, map[string]string{
		"etc/dpkg/dpkg.cfg.d/docker": "# slim\npath-exclude /usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-include /usr/share/doc/*/copyright\n",
		"var/lib/dpkg/diversions":    "/usr/f\n/usr/f.distrib\nother\n/lib64\n/.lib64.usr-is-merged\nbase-files\n/usr/own\n/usr/own.old\na\n",
		"var/lib/dpkg/statoverride":  "root mail 4750 /usr/g\n",
	})
	w.add("a 1", debfiletest.Deb{Entries: []entry{
		debfiletest.File("usr/share/doc/a/copyright", "c"), debfiletest.File("usr/share/doc/a/changelog", "l"), debfiletest.Dir("usr/share/man/man1"), debfiletest.File("usr/share/man/man1/a", "m"),
		debfiletest.File("usr/f", "1"), debfiletest.File("usr/own", "2"), debfiletest.File("usr/g", "3"),
	}})
	tree := w.tree()
	expect(t, tree, map[string]string{"usr/share/doc/a/copyright": "c", "usr/share/doc/a/changelog": "absent", "usr/share/man/man1/a": "absent", "usr/share/man/man1": "absent",
		"usr/f": "absent", "usr/f.distrib": "1", "usr/own": "2"})
	if x, _ := tree.Lookup("usr/g"); x.Mode != 0o4750 || x.GID != 8 {
		t.Errorf("%o %d", x.Mode, x.GID)
	}
	if list := text(t, tree, "var/lib/dpkg/info/a.list"); !strings.Contains(list, "/usr/share/doc/a/changelog\n") || !strings.Contains(list, "/usr/f\n") {
		t.Error(list)
	}
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{{"/a/*", "/a/b/c", true}, {"/a/*", "/a", false}, {"/a/?c", "/a/bc", true}, {"/a/[b-d]x", "/a/cx", true}, {"/a/[!b-d]x", "/a/cx", false}, {`/a/\*`, "/a/*", true}, {`/a/\*`, "/a/b", false}, {"*x*y", "/axby", true}, {"*x*y", "/axbyz", false}, {"/a/[", "/a/[", true}} {
		if got := match(tc.pattern, tc.name); got != tc.want {
			t.Errorf("%q matches %q: %t", tc.pattern, tc.name, got)
		}
	}
}

func TestUpgrade(t *testing.T) {
	w := newWorld(t, map[string]string{
		"usr/lib/old/gone": "x", "usr/lib/old/sub/gone": "y", "usr/lib/stays": "z", "usr/lib/shared/mine": "m", "usr/lib/shared/theirs": "t",
		"etc/kept.conf": "a", "etc/fresh.conf": "b", "etc/obsolete.conf": "c",
		"var/lib/dpkg/info/old.list":     "/.\n/lib\n/lib/old\n/lib/old/gone\n/usr/lib/old/sub\n/usr/lib/old/sub/gone\n/usr/lib/stays\n/usr/lib/shared\n/usr/lib/shared/mine\n/etc/kept.conf\n/etc/fresh.conf\n/etc/obsolete.conf\n",
		"var/lib/dpkg/info/old.postinst": "x", "var/lib/dpkg/info/old.md5sums": "x", "var/lib/dpkg/info/older.list": "/usr/lib/shared/theirs\n",
		"var/lib/dpkg/triggers/File": "/usr/lib/t old/noawait\n/usr/lib/u other\n",
		"var/lib/dpkg/status": "Package: old\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nConffiles:\n /etc/kept.conf 11111111111111111111111111111111\n" +
			" /etc/fresh.conf 22222222222222222222222222222222\n /etc/obsolete.conf 33333333333333333333333333333333\nDescription: old\n\nPackage: older\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: x\n\n",
	})
	w.o.Dpkg.Sums = map[string]string{"etc/kept.conf": "changed", "etc/fresh.conf": "22222222222222222222222222222222", "etc/obsolete.conf": "33333333333333333333333333333333"}
	w.add("old 2", debfiletest.Deb{Members: map[string]string{"conffiles": "/etc/kept.conf\n/etc/fresh.conf\n", "triggers": "interest-noawait /usr/lib/v\ninterest named\n"}, Entries: []entry{
		debfiletest.Dir("usr"), debfiletest.File("usr/lib/stays", "new"), debfiletest.File("etc/kept.conf", "new kept"), debfiletest.File("etc/fresh.conf", "new fresh"),
	}})
	tree := w.tree()
	expect(t, tree, map[string]string{
		"usr/lib/old": "whiteout", "usr/lib/old/gone": "absent", "usr/lib/old/sub": "absent", "usr/lib/stays": "new", "usr/lib/shared": "directory", "usr/lib/shared/mine": "whiteout",
		"usr/lib/shared/theirs": "absent", "etc/kept.conf": "absent", "etc/fresh.conf": "new fresh", "etc/obsolete.conf": "absent",
		"var/lib/dpkg/info/old.postinst": "whiteout", "var/lib/dpkg/info/older.list": "absent", "var/lib/dpkg/triggers/File": "/usr/lib/u other\n/usr/lib/v old/noawait\n",
		"var/lib/dpkg/triggers/named": "old\n",
	})
	status := text(t, tree, "var/lib/dpkg/status")
	for _, want := range []string{"Version: 2\n", " /etc/obsolete.conf 33333333333333333333333333333333 obsolete\n", "\n\nPackage: older\n", "Status: install ok installed\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("the status lacks %q:\n%s", want, status)
		}
	}
	if strings.Contains(status, "Version: 1\nConffiles") {
		t.Error(status)
	}
	if len(w.said) != 1 || !strings.Contains(w.said[0], "/etc/kept.conf") {
		t.Error(w.said)
	}
	effects, err := w.layer().Effects(context.Background())
	if err != nil || !slices.Contains(effects.Removed, "usr/lib/old") {
		t.Errorf("%v %v", effects.Removed, err)
	}
	over := effects.Over(w.o.Facts)
	if _, ok := over.Files["usr/lib/old/sub/gone"]; ok {
		t.Error("what lay in a folder that is gone is there still")
	}
	if _, ok := over.Files["usr/lib/shared/mine"]; ok || over.Files["usr/lib/stays"].Size != 3 {
		t.Errorf("%+v", over.Files["usr/lib/stays"])
	}
}

// TestUpgradeRevives: a script makes folders anew that the new version has no more, and what lay in them stays away.
func TestUpgradeRevives(t *testing.T) {
	files, list := map[string]string{}, "/.\n"
	for _, dir := range []string{"a", "b", "c", "d"} {
		files["srv/"+dir+"/f"], files["srv/"+dir+"/sub/g"] = "x", "y"
		list += strings.ReplaceAll("/srv/D\n/srv/D/f\n/srv/D/sub\n/srv/D/sub/g\n", "D", dir)
	}
	files["srv/file"], files["var/lib/dpkg/info/old.list"] = "z", list+"/srv/file\n"
	w := newWorld(t, files)
	w.add("old 2", debfiletest.Deb{Members: map[string]string{"postinst": "#!/bin/sh\nmkdir -p -m 750 /srv/a\ntouch /srv/b/sub/new\nln -s /x /srv/c/link\nmkdir /srv/file\n"}})
	tree := w.tree()
	expect(t, tree, map[string]string{
		"srv/a": "directory", "srv/a/f": "whiteout", "srv/a/sub": "whiteout", "srv/a/sub/g": "absent",
		"srv/b": "directory", "srv/b/f": "whiteout", "srv/b/sub": "directory", "srv/b/sub/g": "whiteout", "srv/b/sub/new": "",
		"srv/c": "directory", "srv/c/f": "whiteout", "srv/c/sub": "whiteout", "srv/c/link": "-> /x",
		"srv/d": "whiteout", "srv/d/f": "absent", "srv/file": "directory",
	})
	if x, _ := tree.Lookup("srv/a"); x.Mode != 0o750 {
		t.Errorf("%o", x.Mode)
	}
	if _, err := tarlayer.Write(context.Background(), io.Discard, tree, tarlayer.Options{}); err != nil {
		t.Error(err)
	}
}

func TestDatabase(t *testing.T) {
	w := newWorld(t, nil)
	w.add("a 1", debfiletest.Deb{Members: map[string]string{"conffiles": "/etc/a.conf\nremove-on-upgrade /etc/gone.conf\n", "postinst": "#!/bin/sh\n"},
		Entries: []entry{debfiletest.File("etc/a.conf", "x"), debfiletest.File("usr/b", "y")}},
		"Multi-Arch: same\n", "X-Odd: 1\n", "Depends: c\n", "Section: misc\n")
	w.add("m 1", debfiletest.Deb{Members: map[string]string{"md5sums": "its own\n"}})
	tree := w.tree()
	want := `Package: a
Status: install ok installed
Section: misc
Maintainer: Nobody <n@example.org>
Architecture: amd64
Multi-Arch: same
Version: 1
Depends: c
Conffiles:
 /etc/a.conf 9dd4e461268c8034f5c8564e155c67a6
 /etc/gone.conf newconffile remove-on-upgrade
Description: a package
X-Odd: 1

`
	if got := text(t, tree, "var/lib/dpkg/status"); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "Package: old\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: old\n\n") {
		t.Error(got)
	}
	expect(t, tree, map[string]string{
		"var/lib/dpkg/info/a:amd64.list":     "/.\n/etc/a.conf\n/usr/b\n",
		"var/lib/dpkg/info/a:amd64.md5sums":  "9dd4e461268c8034f5c8564e155c67a6  etc/a.conf\n415290769594460e2e485922904f345d  usr/b\n",
		"var/lib/dpkg/info/a:amd64.postinst": "#!/bin/sh\n", "var/lib/dpkg/info/m.md5sums": "its own\n",
	})
	if x, _ := tree.Lookup("var/lib/dpkg/info/a:amd64.postinst"); x.Mode != 0o755 {
		t.Errorf("%o", x.Mode)
	}
}

func TestStatusD(t *testing.T) {
	w := newWorld(t, map[string]string{"var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 1\nArchitecture: amd64\n"})
	delete(w.o.Dpkg.Files, "var/lib/dpkg/status")
	delete(w.o.Facts.Files, "var/lib/dpkg/status")
	w.add("a 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/b", "y")}})
	tree := w.tree()
	expect(t, tree, map[string]string{"var/lib/dpkg/status": "absent", "var/lib/dpkg/info/a.list": "absent", "var/lib/dpkg/status.d/a.md5sums": "415290769594460e2e485922904f345d  usr/b\n"})
	if !strings.HasPrefix(text(t, tree, "var/lib/dpkg/status.d/a"), "Package: a\nVersion: 1\n") {
		t.Error(text(t, tree, "var/lib/dpkg/status.d/a"))
	}
}

// TestKey: what the bytes depend on is in the key, and nothing else; and the bytes are the same every time.
func TestKey(t *testing.T) {
	make := func(change func(*world)) (string, string) {
		w := newWorld(t, nil)
		w.add("a 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/f", "1")}})
		w.add("b 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/g", "1")}})
		change(w)
		l := w.layer()
		tree, err := l.Tree(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		res, err := tarlayer.Write(context.Background(), io.Discard, tree, tarlayer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return string(l.Key()), res.DiffID
	}
	key, diffID := make(func(*world) {})
	for name, change := range map[string]func(*world){
		"order":     func(w *world) { slices.Reverse(w.o.Packages) },
		"jobs":      func(w *world) { w.o.Jobs = 1 },
		"requested": func(w *world) { w.o.Requested = []string{"a"} },
	} {
		if k, d := make(change); k != key || d != diffID {
			t.Errorf("%s changes the layer", name)
		}
	}
	for name, change := range map[string]func(*world){
		"file":    func(w *world) { w.file("usr/another", "x") },
		"package": func(w *world) { w.o.Packages = w.o.Packages[1:] },
		"exclude": func(w *world) { w.o.Exclude = []Rule{{Pattern: "/usr/g"}} },
	} {
		if k, _ := make(change); k == key {
			t.Errorf("%s does not change the key", name)
		}
	}
}

func TestFetchFails(t *testing.T) {
	w := newWorld(t, nil)
	w.add("a 1", debfiletest.Deb{})
	w.o.Packages[0].Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("no network") }
	w.fails("no network")
}
