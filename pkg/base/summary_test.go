package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/regclient"
)

// somewhere is the image that the summaries of these tests are of.
func somewhere(env string) *Image {
	return &Image{Digest: digestOf([]byte("somewhere")), Config: fmt.Appendf(nil, `{"config":{"Env":[%q]}}`, env)}
}

// standIn has the shape of a slim base: thousands of files in deep folders, links to programs by way of others.
func standIn() *Facts {
	f := &Facts{
		OS: OS{"debian", "13", "trixie", "Debian GNU/Linux 13 (trixie)"}, Libc: Libc{"glibc", 2, 41},
		Python: Python{Path: "/usr/local/bin/python3.12", Version: "3.12.9", Major: 3, Minor: 12, ABI: "cp312"},
		Passwd: []byte("root:x:0:0:root:/root:/bin/bash\n\xff"), Group: []byte("root:x:0:\n"), Shadow: []byte{},
		LoginDefs: []byte("# comment\n\nSYS_UID_MAX\t\t 999\n"),
		Files:     make(map[string]Stat),
	}
	r := rand.New(rand.NewPCG(1, 2))
	dir := func(p string, mode uint32) {
		for ; p != ""; p = dirOf(p) {
			if _, there := f.Files[p]; !there {
				f.Files[p] = Stat{Kind: fstree.Dir, Mode: mode}
			}
		}
	}
	file := func(p string, mode uint32) {
		dir(dirOf(p), 0o755)
		f.Files[p] = Stat{Kind: fstree.File, Mode: mode, Size: r.Int64N(1 << 20)}
	}
	word := func() string {
		b := make([]byte, 3+r.IntN(9))
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		return string(b)
	}
	for _, p := range []string{"app", "home", "opt", "srv", "usr/src", "var/lib/dpkg/info", "usr/share/doc"} {
		dir(p, 0o755)
	}
	dir("tmp", 0o1777)
	for range 450 {
		file("usr/bin/"+word(), 0o755)
	}
	for range 500 {
		dir("usr/share/"+word()+"/"+word(), 0o755)
	}
	for p := range maps.Clone(f.Files) {
		if f.Files[p].Kind == fstree.Dir && strings.HasPrefix(p, "usr/share/") || p == "var/lib/dpkg/info" {
			for range 8 {
				file(p+"/"+word()+".py", 0o644)
			}
		}
	}
	for _, p := range []string{"etc/passwd", "etc/group"} {
		file(p, 0o644)
	}
	f.Files["etc/shadow"] = Stat{Kind: fstree.File, Mode: 0o640, GID: 42}
	file("usr/local/bin/python3.12", 0o755)
	file("usr/lib/git-core/git", 0o755)
	file("etc/app.conf", 0o600)
	for p, to := range map[string]string{
		"bin": "usr/bin", "usr/local/bin/python3": "python3.12", "usr/bin/awk": "/etc/alternatives/awk", "etc/alternatives/awk": "../../usr/bin/mawk",
		"usr/bin/git": "../lib/git-core/git", "usr/bin/loop": "loop", "usr/bin/dangling": "/nowhere/x", "var/link": "/usr/share",
	} {
		dir(dirOf(p), 0o755)
		f.Files[p] = Stat{Kind: fstree.Symlink, Mode: 0o777, Link: to}
	}
	file("usr/bin/mawk", 0o755)
	return f
}

const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// summaryOf gives the summary of facts, and counts how often the whole are asked for.
func summaryOf(t testing.TB, f *Facts) (part *Facts, raw []byte, asked *int) {
	t.Helper()
	img := somewhere("PATH=" + usualPath)
	raw, err := img.Summarize(f, &Dpkg{})
	if err != nil {
		t.Fatal(err)
	}
	asked = new(int)
	part, err = ParseSummary(raw, img.Digest, func(context.Context) (*Facts, error) { *asked++; return f, nil })
	if err != nil {
		t.Fatal(err)
	}
	return part, raw, asked
}

func TestSummary(t *testing.T) {
	f := standIn()
	part, raw, asked := summaryOf(t, f)
	if again, err := somewhere("PATH="+usualPath).Summarize(f, &Dpkg{}); err != nil || !bytes.Equal(raw, again) {
		t.Errorf("two summaries of the same facts differ: %v", err)
	}
	t.Logf("%d paths in %d bytes; %d paths are left out", len(part.Files), len(raw), len(f.Files)-len(part.Files))
	if len(f.Files) < 5000 || len(raw) > 12<<10 {
		t.Errorf("the summary of %d paths has %d bytes", len(f.Files), len(raw))
	}
	if d := cmp.Diff([]any{f.OS, f.Python, f.Libc, f.Passwd, f.Group, f.Shadow, f.GShadow, []byte("SYS_UID_MAX\t\t 999\n"), []byte(nil)},
		[]any{part.OS, part.Python, part.Libc, part.Passwd, part.Group, part.Shadow, part.GShadow, part.LoginDefs, part.UseraddDefaults}); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for p, st := range part.Files {
		want := f.Files[p]
		if want.Size = 0; st != want {
			t.Errorf("%s is %+v, want %+v", p, st, want)
		}
	}
	ctx := context.Background()
	for _, program := range []string{"awk", "git", "python3", "curl", "loop", "dangling", "/usr/bin/awk", "/bin/mawk", "/srv/run.sh", "/run.sh", "../usr/bin/git"} {
		_, want := f.LookPath(program, usualPath)
		if got, err := part.Has(ctx, program, usualPath); err != nil || got != want {
			t.Errorf("Has(%q) = %v, %v; want %v", program, got, err, want)
		}
	}
	for _, dir := range []string{"app", "app/x/y", "srv/www", "usr/src/app", "home/app", "opt/app", "data", "tmp", "usr/bin", "bin", "etc"} {
		want := f.Parent(dir)
		_, there := f.Files[dir]
		if got, ok, err := part.ParentAt(ctx, dir); err != nil || ok != there || !cmp.Equal(want, got) {
			t.Errorf("ParentAt(%q) = %+v, %v, %v; want %+v", dir, got, ok, err, want)
		}
	}
	if *asked != 0 {
		t.Errorf("the whole facts were asked for %d times", *asked)
	}
}

// TestSummaryLeavesOpen: what a summary does not say is asked of the whole facts, so that it is never taken to be absent.
func TestSummaryLeavesOpen(t *testing.T) {
	f := standIn()
	part, _, asked := summaryOf(t, f)
	ctx := context.Background()
	dirs := []string{"", "x/y"}
	for p := range f.Files {
		dirs = append(dirs, p, p+"/below", path.Dir(p)+"/absent")
	}
	for _, dir := range dirs {
		want := f.Parent(dir)
		_, there := f.Files[dir]
		if got, ok, err := part.ParentAt(ctx, dir); err != nil || ok != there || !cmp.Equal(want, got) {
			t.Fatalf("ParentAt(%q) = %+v, %v, %v; want %+v", dir, got, ok, err, want)
		}
		_, want2 := f.LookPath("/"+dir, usualPath)
		if got, err := part.Has(ctx, "/"+dir, usualPath); err != nil || got != want2 {
			t.Fatalf("Has(%q) = %v, %v; want %v", dir, got, err, want2)
		}
		if got, err := part.Has(ctx, path.Base(dir), "/usr/share/doc:/"+path.Dir(dir)); err != nil {
			t.Fatal(err)
		} else if _, want := f.LookPath(path.Base(dir), "/usr/share/doc:/"+path.Dir(dir)); got != want {
			t.Fatalf("Has(%q) in its folder = %v, want %v", dir, got, want)
		}
	}
	if *asked != 1 {
		t.Errorf("the whole facts were asked for %d times, want once", *asked)
	}

	_, raw, _ := summaryOf(t, f)
	none := errors.New("no network")
	part, err := ParseSummary(raw, somewhere("").Digest, func(context.Context) (*Facts, error) { return nil, none })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := part.ParentAt(ctx, "etc/app.conf.d"); !errors.Is(err, none) {
		t.Errorf("what the summary leaves open: %v", err)
	}
	if _, err := part.Has(ctx, "/etc/app.conf", ""); !errors.Is(err, none) {
		t.Errorf("what the summary leaves open: %v", err)
	}
}

// TestSummaryRefusals: cut, changed, of another base, and what contradicts itself.
func TestSummaryRefusals(t *testing.T) {
	f := standIn()
	_, raw, _ := summaryOf(t, f)
	for n := 0; n < len(raw); n += 1 + n/20 {
		if _, err := ParseSummary(raw[:n], somewhere("").Digest, nil); err == nil {
			t.Fatalf("cut at %d of %d bytes, it is read", n, len(raw))
		}
	}
	if _, err := ParseSummary(raw, digestOf(nil), nil); err == nil || !strings.Contains(err.Error(), somewhere("").Digest.Hex) {
		t.Errorf("of another base: %v", err)
	}
	if _, err := ParseSummary(append([]byte("jubako base summary 2\n"), raw[len(summaryMagic):]...), somewhere("").Digest, nil); err == nil {
		t.Error("of another form, it is read")
	}
	if _, err := ParseSummary(make([]byte, maxSummary+1), somewhere("").Digest, nil); err == nil {
		t.Error("too long, it is read")
	}
	for what, lie := range map[string]func(f *Facts){
		"another version than ABI": func(f *Facts) { f.Python.ABI = "cp313" },
		"no version":               func(f *Facts) { f.Python.Version = "3.12.x" },
		"Python 2": func(f *Facts) {
			f.Python = Python{Path: "/usr/bin/python", Version: "2.7.1", Major: 2, Minor: 7, ABI: "cp27"}
		},
		"a relative path":            func(f *Facts) { f.Python.Path = "python3" },
		"a libc of nobody":           func(f *Facts) { f.Libc.Kind = "bionic" },
		"a libc without Python":      func(f *Facts) { f.Python = Python{} },
		"a file as folder":           func(f *Facts) { f.Files["etc"] = Stat{Kind: fstree.File} },
		"a folder that is not there": func(f *Facts) { delete(f.Files, "usr/local") },
		"a path that leaves":         func(f *Facts) { f.Files[".."] = Stat{Kind: fstree.Dir} },
		"a mode of too many bits":    func(f *Facts) { f.Files["etc"] = Stat{Kind: fstree.Dir, Mode: 0o40755} },
		"an id below 0":              func(f *Facts) { f.Files["etc"] = Stat{Kind: fstree.Dir, UID: -1} },
	} {
		f := standIn()
		lie(f)
		raw, err := somewhere("PATH="+usualPath).Summarize(f, &Dpkg{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSummary(raw, somewhere("").Digest, nil); err == nil {
			t.Errorf("%s: it is read", what)
		}
	}
}

// TestSummaryIsKept: what a machine has read of a base itself, it has as a summary too, also where the facts are older.
func TestSummaryIsKept(t *testing.T) {
	store := castest.Open(t)
	repo, _, stop := serve(t, image(t, "amd64"), nil)
	defer stop()
	img, err := facts(repo+":1", Options{Client: regclient.New(regclient.Options{Sleep: noWait}), Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := img.Summary(store); ok {
		t.Error("a machine that has read nothing has a summary")
	}
	if _, err := img.Facts(context.Background(), store); err != nil {
		t.Fatal(err)
	}
	_, raw, ok := img.Summary(store)
	if !ok {
		t.Fatal("there is no summary")
	}
	if err := os.RemoveAll(filepath.Join(store.Dir(), "records", summaries)); err != nil {
		t.Fatal(err)
	}
	if _, again, ok := img.Summary(store); !ok || !bytes.Equal(raw, again) {
		t.Error("the summary is not made of the facts that are there")
	}
}

func FuzzSummary(f *testing.F) {
	small := &Facts{Passwd: []byte("root:x:0:0::/:/bin/sh\n"), Python: standIn().Python, Files: map[string]Stat{
		"etc": {Kind: fstree.Dir, Mode: 0o755}, "etc/passwd": {Kind: fstree.File, Mode: 0o644}, "etc/x": {Kind: fstree.File}, "bin": {Kind: fstree.Symlink, Link: "usr/bin"},
		"usr": {Kind: fstree.Dir}, "usr/bin": {Kind: fstree.Dir}, "usr/bin/sh": {Kind: fstree.Symlink, Link: "dash"}, "usr/bin/dash": {Kind: fstree.File, Mode: 0o755},
	}}
	_, raw, _ := summaryOf(f, small)
	f.Add(raw[len(summaryMagic):], []byte(nil))
	z, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := z.DecodeAll(raw[len(summaryMagic):], nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(nil), plain)
	ctx := context.Background()
	// What is compressed is changed by itself too, since no changed frame would hold its checksum.
	f.Fuzz(func(t *testing.T, frame, plain []byte) {
		whole := func(context.Context) (*Facts, error) { return &Facts{}, nil }
		part, err := ParseSummary(append([]byte(summaryMagic), frame...), somewhere("").Digest, whole)
		if err != nil {
			if part, err = parsePlain(plain, somewhere("").Digest, whole); err != nil {
				return
			}
		}
		n := 0
		for p := range part.Files {
			if n++; n > 50 {
				break
			}
			if err := fstree.CheckPath(p); err != nil {
				t.Error(err)
			}
			if _, _, err := part.ParentAt(ctx, p+"/x"); err != nil {
				t.Error(err)
			}
			if _, err := part.Has(ctx, path.Base(p), usualPath); err != nil {
				t.Error(err)
			}
		}
	})
}
