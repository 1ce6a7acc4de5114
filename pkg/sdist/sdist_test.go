package sdist

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"
)

// entry is one of an archive: a folder where the name ends in a slash.
type entry struct {
	name, text, link string
	mode             int64
	kind             byte
	time             time.Time
}

func tarOf(t testing.TB, all ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range all {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.text)), Typeflag: e.kind, Linkname: e.link, ModTime: e.time, Format: tar.FormatPAX}
		switch {
		case e.kind == 0 && strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.kind == 0:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	return packed(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

func zipOf(t testing.TB, all ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range all {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: e.time}
		h.SetMode(fs.FileMode(e.mode))
		if e.link != "" {
			h.SetMode(fs.ModeSymlink | 0o777)
			e.text = e.link
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// found lists what lies in a folder, with modes, times and contents.
func found(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			all[rel+"/"] = fi.Mode().String()
		case fi.Mode()&fs.ModeSymlink != 0:
			all[rel], err = os.Readlink(p)
		default:
			var b []byte
			b, err = os.ReadFile(p)
			all[rel] = fmt.Sprintf("%v %d %s", fi.Mode(), fi.ModTime().Unix(), b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func unpack(t testing.TB, name string, data []byte, l Limits) (string, map[string]string, error) {
	t.Helper()
	dir := t.TempDir()
	top, err := Unpack(t.Context(), Archive{bytes.NewReader(data), int64(len(data)), name}, dir, l)
	return top, found(t, dir), err
}

func TestUnpack(t *testing.T) {
	at := time.Unix(1_500_000_000, 0)
	all := []entry{
		{name: "a-1.0/", mode: 0o700, time: at}, {name: "a-1.0/setup.py", text: "setup()", mode: 0o600, time: at},
		{name: "a-1.0/run.sh", text: "#!/bin/sh", mode: 0o744, time: at}, {name: "a-1.0/src/deep/x.py", text: "x", mode: 0o666, time: at},
		{name: "a-1.0/link", link: "src/deep/x.py", kind: tar.TypeSymlink},
	}
	want := map[string]string{
		"setup.py": "-rw-r--r-- 1500000000 setup()", "run.sh": "-rwxr-xr-x 1500000000 #!/bin/sh", "src/": "drwxr-xr-x", "src/deep/": "drwxr-xr-x",
		"src/deep/x.py": "-rw-r--r-- 1500000000 x", "link": "src/deep/x.py",
	}
	plain := tarOf(t, all...)
	withXZ := packed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
	for name, data := range map[string][]byte{"a.tar": plain, "a.tar.gz": gz(t, plain), "a.TGZ": gz(t, plain), "a.tar.xz": withXZ, "a.zip": zipOf(t, all...)} {
		top, got, err := unpack(t, name, data, Limits{})
		if err != nil || top != "a-1.0" {
			t.Errorf("%s: %q, %v", name, top, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
	bz, err := os.ReadFile("testdata/a.tar.bz2") // Go writes none
	if err != nil {
		t.Fatal(err)
	}
	if top, got, err := unpack(t, "a.tar.bz2", bz, Limits{}); err != nil || top != "a-1.0" || !strings.HasSuffix(got["setup.py"], "setup()") {
		t.Errorf("bzip2: %q, %v, %v", top, got, err)
	}
}

// TestLaterEntries: what comes later in an archive counts; a hard link is a file of its own.
func TestLaterEntries(t *testing.T) {
	_, got, err := unpack(t, "a.tar", tarOf(t, entry{name: "./a/x", text: "1"}, entry{name: "a/y", link: "a/x", kind: tar.TypeLink}, entry{name: "a/x", text: "2"},
		entry{name: "a/l", link: "x", kind: tar.TypeSymlink}, entry{name: "a/l", text: "3"}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"x": "-rw-r--r-- 0 2", "y": "-rw-r--r-- 0 1", "l": "-rw-r--r-- 0 3"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRefused(t *testing.T) {
	file := entry{name: "a/x", text: "x"}
	big := strings.Repeat("\x00", 1<<20)
	for want, tt := range map[string]struct {
		entries []entry
		limits  Limits
	}{
		"leads out of the archive":    {[]entry{file, {name: "a/../../evil", text: "x"}}, Limits{}},
		"its path is absolute":        {[]entry{{name: "/etc/passwd", text: "x"}}, Limits{}},
		"one top folder":              {[]entry{file, {name: "b/x", text: "x"}}, Limits{}},
		"a device or a pipe":          {[]entry{{name: "a/null", kind: tar.TypeChar}}, Limits{}},
		"of the kind":                 {[]entry{{name: "a/odd", kind: 'Z'}}, Limits{}},
		"lies outside of the archive": {[]entry{{name: "a/l", link: "../../etc/passwd", kind: tar.TypeSymlink}}, Limits{}},
		"only links within":           {[]entry{{name: "a/l", link: "/etc/passwd", kind: tar.TypeSymlink}}, Limits{}},
		"behind another one, b/c/l":   {[]entry{{name: "a/b/c/l", link: "../..", kind: tar.TypeSymlink}, {name: "a/b/c/l/m", link: "../../../x", kind: tar.TypeSymlink}}, Limits{}},
		"up again behind a name":      {[]entry{{name: "a/b/l", link: "..", kind: tar.TypeSymlink}, {name: "a/m", link: "b/l/../x", kind: tar.TypeSymlink}}, Limits{}},
		"which is no file before it":  {[]entry{{name: "a/l", link: "a/none", kind: tar.TypeLink}}, Limits{}},
		"outside of the archive's":    {[]entry{{name: "a/l", link: "b/x", kind: tar.TypeLink}}, Limits{}},
		"a folder is there already":   {[]entry{{name: "a/d/x", text: "x"}, {name: "a/d", text: "x"}}, Limits{}},
		"the top of the archive":      {[]entry{{name: "a", text: "x"}}, Limits{}},
		"is too long":                 {[]entry{{name: "a/" + strings.Repeat("n", 300), text: "x"}}, Limits{}},
		"more than 1":                 {[]entry{file, {name: "a/y"}}, Limits{Entries: 1}},
		"more than 10 bytes":          {[]entry{file, {name: "a/y", text: "0123456789"}}, Limits{Bytes: 10}},
		"it is empty":                 {nil, Limits{}},
	} {
		_, _, err := unpack(t, "a.tar.gz", gz(t, tarOf(t, tt.entries...)), tt.limits)
		a, ok := errors.AsType[*ArchiveError](err)
		if !ok || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a.tar.gz") {
			t.Errorf("the error is %v, and should say %q", err, want)
		} else if len(tt.entries) > 0 && (a.Entry == "" || a.Offset%512 != 0) {
			t.Errorf("%q: entry %q at %d", want, a.Entry, a.Offset)
		}
	}
	// A bomb: 100 MB of nothing in 100 kB.
	var bomb []entry
	for i := range 100 {
		bomb = append(bomb, entry{name: fmt.Sprintf("a/%d", i), text: big})
	}
	if _, _, err := unpack(t, "a.tar.gz", gz(t, tarOf(t, bomb...)), Limits{}); err == nil || !strings.Contains(err.Error(), "times its own size") {
		t.Errorf("a bomb: %v", err)
	}
	for name, data := range map[string][]byte{"a.tar.gz": []byte("no gzip"), "a.zip": []byte("PK"), "a.rar": nil, "a.tar": bytes.Repeat([]byte{1}, 1024)} {
		if _, _, err := unpack(t, name, data, Limits{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for want, e := range map[string]entry{"leads out": {name: "a/../../x", text: "x"}, "outside": {name: "a/l", link: "../../x"}, "absolute": {name: "/x"}} {
		if _, _, err := unpack(t, "a.zip", zipOf(t, e), Limits{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("zip: %v, want %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := tarOf(t, file)
	if _, err := Unpack(ctx, Archive{bytes.NewReader(data), int64(len(data)), "a.tar"}, t.TempDir(), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancellation: %v", err)
	}
}

// TestThroughLinks: a link within the archive may lead to a folder, and what is written by way of it stays in the archive.
func TestThroughLinks(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := tarOf(t, entry{name: "a/d/", kind: tar.TypeDir}, entry{name: "a/l", link: "d", kind: tar.TypeSymlink}, entry{name: "a/l/x", text: "x"})
	if _, err := Unpack(t.Context(), Archive{bytes.NewReader(data), int64(len(data)), "a.tar"}, dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "d", "x")); err != nil {
		t.Error(err)
	}
	// Were a link out of it there all the same, nothing would be written behind it.
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	data = tarOf(t, entry{name: "a/out/x", text: "x"})
	if _, err := Unpack(t.Context(), Archive{bytes.NewReader(data), int64(len(data)), "a.tar"}, dir, Limits{}); err == nil {
		t.Error("a file was written through a link that leads out")
	}
	if list, _ := os.ReadDir(outside); len(list) != 0 {
		t.Errorf("outside lie %v", list)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := Check(dir, "a.tar.gz", "a", "1.0"); err != nil {
		t.Errorf("without PKG-INFO: %v", err)
	}
	for info, want := range map[string]string{
		"Name: A_b\nVersion: 1.0\n":       "",
		"Name: A-B\nVersion: 1.0+local\n": "",
		"Name: evil\nVersion: 1.0\n":      `of the project "evil", and a-b is locked`,
		"Name: a.b\nVersion: 1.1\n":       "of version 1.1, and 1.0 is locked",
		"Name: a.b\nVersion: ?\n":         "PKG-INFO",
		"no header\n":                     "reading PKG-INFO",
	} {
		if err := os.WriteFile(filepath.Join(dir, "PKG-INFO"), []byte("Metadata-Version: 2.1\n"+info), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Check(dir, "a.tar.gz", "a-b", "1.0"); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", info, err, want)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out", "../x", "."} {
		if _, err := ReadFile(dir, name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// FuzzUnpack holds that no archive makes anything appear outside of its folder, nor a file there that is no file, folder or
// link within it.
func FuzzUnpack(f *testing.F) {
	ordinary := tarOf(f, entry{name: "a/", mode: 0o755}, entry{name: "a/x", text: "x"}, entry{name: "a/l", link: "x", kind: tar.TypeSymlink}, entry{name: "a/h", link: "a/x", kind: tar.TypeLink})
	f.Add("a.tar", ordinary)
	f.Add("a.tar.gz", gz(f, ordinary))
	f.Add("a.tar.xz", packed(f, ordinary, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }))
	f.Add("a.zip", zipOf(f, entry{name: "a/x", text: "x"}, entry{name: "a/l", link: "x"}))
	f.Add("a.tar", tarOf(f, entry{name: "a/../../evil", text: "x"}, entry{name: "a/l", link: "..", kind: tar.TypeSymlink}, entry{name: "a/l/x", text: "x"}))
	f.Add("a.tar", tarOf(f, entry{name: "a/b/l", link: "..", kind: tar.TypeSymlink}, entry{name: "a/b/l/m", link: "../..", kind: tar.TypeSymlink}, entry{name: "a/n", link: "b/l/..", kind: tar.TypeSymlink}))
	if bz, err := os.ReadFile("testdata/a.tar.bz2"); err == nil {
		f.Add("a.tar.bz2", bz)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		around := t.TempDir()
		dir := filepath.Join(around, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Unpack(t.Context(), Archive{bytes.NewReader(data), int64(len(data)), name}, dir, Limits{Entries: 200, Bytes: 1 << 20})
		if list, _ := os.ReadDir(around); len(list) != 1 {
			t.Fatalf("beside the folder lie %v", list)
		}
		if err != nil {
			return
		}
		for p := range maps.Keys(found(t, dir)) {
			fi, err := os.Lstat(filepath.Join(dir, p))
			if err != nil || !fi.Mode().IsRegular() && !fi.IsDir() && fi.Mode()&fs.ModeSymlink == 0 {
				t.Fatalf("%s: %v, %v", p, fi, err)
			}
			if target, err := os.Readlink(filepath.Join(dir, p)); err == nil && (filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(p), target)) && filepath.Join(filepath.Dir(p), target) != ".") {
				t.Fatalf("%s leads to %s", p, target)
			}
			if real, err := filepath.EvalSymlinks(filepath.Join(dir, p)); err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
				t.Fatalf("%s is %s", p, real)
			}
		}
	})
}
