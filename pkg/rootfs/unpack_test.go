package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/decompress"
)

// archive makes a tar of entries, each in short: "dir/", "file=content", "link -> target", "hard => target", "dev!".
func archive(t testing.TB, entries ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := tar.Header{Name: e, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1000, 0)}
		var content string
		if name, target, ok := strings.Cut(e, " -> "); ok {
			hdr.Name, hdr.Linkname, hdr.Typeflag = name, target, tar.TypeSymlink
		} else if name, target, ok := strings.Cut(e, " => "); ok {
			hdr.Name, hdr.Linkname, hdr.Typeflag = name, target, tar.TypeLink
		} else if name, ok := strings.CutSuffix(e, "/"); ok {
			hdr.Name, hdr.Typeflag, hdr.Mode = name+"/", tar.TypeDir, 0o555 // hostile to whoever unpacks below
		} else if name, ok := strings.CutSuffix(e, "!"); ok {
			hdr.Name, hdr.Typeflag, hdr.Devmajor = name, tar.TypeBlock, 8
		} else if name, s, ok := strings.Cut(e, "="); ok {
			hdr.Name, content, hdr.Mode = name, s, 0o4755
		}
		hdr.Size = int64(len(content))
		if err := tw.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layer(tarball []byte) Layer {
	sum := sha256.Sum256(tarball)
	return Layer{DiffID: hex.EncodeToString(sum[:]), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(tarball)), nil
	}}
}

// list says what a view holds, in the notation of archive.
func list(t testing.TB, v View) (lines []string) {
	t.Helper()
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n Node)
	walk = func(n Node) {
		children, err := n.Children()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range children {
			switch mode := c.Info.Mode(); {
			case mode.IsDir():
				lines = append(lines, c.Path+"/")
				walk(c)
			case mode.IsRegular():
				b, err := os.ReadFile(c.Real())
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, c.Path+"="+string(b))
			case mode&fs.ModeSymlink != 0:
				target, err := os.Readlink(c.Real())
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, c.Path+" -> "+target)
			default:
				lines = append(lines, c.Path+" "+mode.String())
			}
		}
	}
	walk(root)
	return lines
}

func TestUnpack(t *testing.T) {
	type layers = [][]string
	tests := map[string]struct {
		groups []layers
		want   []string
	}{
		"plain":           {[]layers{{{"./", "./a/", "./a/f=1", "a/s -> f", "a/h => a/f", "b/c/d=2"}}}, []string{"a/", "a/f=1", "a/h=1", "a/s -> f", "b/", "b/c/", "b/c/d=2"}},
		"absolute names":  {[]layers{{{"/etc/x=1", "//y=2"}}}, []string{"etc/", "etc/x=1", "y=2"}},
		"devices left":    {[]layers{{{"dev/", "dev/sda!", "f=1"}}}, []string{"dev/", "f=1"}},
		"last one counts": {[]layers{{{"a=1", "a=2", "b/", "b/x=1", "b=3", "c=4", "c/", "c/y=5"}}}, []string{"a=2", "b=3", "c/", "c/y=5"}},
		"over a symlink":  {[]layers{{{"f=1", "s -> f", "s=2"}}}, []string{"f=1", "s=2"}},
		"through links": {[]layers{{{"var/", "var/run -> /run", "var/run/pid=1", "usr/lib/", "lib -> usr/lib", "lib/x=2", "up -> ../../..", "up/y=3"}}},
			[]string{"lib -> usr/lib", "run/", "run/pid=1", "up -> ../../..", "usr/", "usr/lib/", "usr/lib/x=2", "var/", "var/run -> /run", "y=3"}},
		"link through a link": {[]layers{{{"usr/f=1", "u -> /usr", "h => u/f"}}}, []string{"h=1", "u -> /usr", "usr/", "usr/f=1"}},

		"chain: whiteout":       {[]layers{{{"a/x=1", "a/y=2", "b/z=3"}, {"a/.wh.x", ".wh.b"}}}, []string{"a/", "a/y=2"}},
		"chain: opaque":         {[]layers{{{"a/x=1", "a/d/e=1", "a/d/f=1"}, {"a/new=2", "a/d/g=2", "a/.wh..wh..opq"}}}, []string{"a/", "a/d/", "a/d/g=2", "a/new=2"}},
		"chain: own file stays": {[]layers{{{"a=1"}, {"a=2", ".wh.a"}}}, []string{"a=2"}},
		"chain: kinds":          {[]layers{{{"a/x=1", "b=1", "l -> a"}, {"a=2", "b/", "b/y=3", "l/", "l/q=4"}}}, []string{"a=2", "b/", "b/y=3", "l/", "l/q=4"}},

		"groups: whiteout":         {[]layers{{{"a/x=1", "a/y=2", "b/z=3"}}, {{"a/.wh.x", ".wh.b"}}}, []string{"a/", "a/y=2"}},
		"groups: opaque":           {[]layers{{{"a/x=1", "a/d/e=1"}}, {{"a/.wh..wh..opq", "a/n=2"}}}, []string{"a/", "a/n=2"}},
		"groups: whiteout, anew":   {[]layers{{{"a/x=1"}}, {{".wh.a", "a/n=2"}}}, []string{"a/", "a/n=2"}},
		"groups: anew, whiteout":   {[]layers{{{"a/x=1"}}, {{"a/n=2", ".wh.a"}}}, []string{"a/", "a/n=2"}},
		"groups: three":            {[]layers{{{"a/x=1"}}, {{"a/.wh.x", "a/y=2"}}, {{"a/x=3"}}}, []string{"a/", "a/x=3", "a/y=2"}},
		"groups: file over folder": {[]layers{{{"a/x=1"}}, {{"a=2"}}, {{"b=3"}}}, []string{"a=2", "b=3"}},
		"groups: no AUFS":          {[]layers{{{"a=1"}}, {{".wh..wh.plnk", ".wh..wh.aufs"}}}, []string{"a=1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var groups []Group
			for _, g := range test.groups {
				var group Group
				for _, l := range g {
					group = append(group, layer(archive(t, l...)))
				}
				groups = append(groups, group)
			}
			trees, err := Unpack(t.Context(), castest.Open(t), groups, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			v := NewView(trees...)
			if d := cmp.Diff(test.want, list(t, v)); d != "" {
				t.Error(d)
			}
			dst := t.TempDir()
			if err := v.Copy(t.Context(), dst); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, list(t, NewView(dst))); d != "" {
				t.Errorf("the copy: %s", d)
			}
			if entries, err := Changes(v, NewView(dst), "."); err != nil || len(entries) > 0 {
				t.Errorf("the copy differs: %v %v", entries, err)
			}
		})
	}
}

// hostile tars must be refused; whatever they do before that must stay inside.
var hostile = map[string][]string{
	`"../evil": the name leads out`:                 {"../evil=x"},
	`"a/../../evil": the name leads out`:            {"a/../../evil=x"},
	`hard link to "../outside": the name leads out`: {"h => ../outside"},
	`hard link to "s/secret"`:                       {"s -> /../..", "h => s/secret"},
	`hard link to "none"`:                           {"h => none"},
	`hard link to "d", which is no file`:            {"d/", "h => d"},
	`hard link to "d/f", which lies below it`:       {"d/f=1", "d => d/f"},
	`too many symlinks on the way to /a`:            {"a -> b", "b -> a", "a/x=1"},
	`/f is no directory`:                            {"f=1", "f/x=2"},
	`a whiteout without a name`:                     {"a/.wh."},
	`"" is no target for a symlink`:                 {"s -> "},
	`the name is too long`:                          {strings.Repeat("a/", 300) + "f=1"},
	`leads too deep`:                                append([]string{strings.Repeat("a/", 150) + "f=1", "l -> " + strings.Repeat("a/", 100)}, "m/l -> ../l/l/l", "m/l/x=1", "a/l -> /l", "l/"+strings.Repeat("b/", 150)+"x=1"),
	`the root must be a directory`:                  {". -> /etc"},
	`it holds more entries than any image should`:   strings.Split(strings.Repeat("d/ ", 65)[:65*3-1], " "),
	`it holds more bytes than any image should`:     {"big=" + strings.Repeat("x", 1<<20)},
}

func TestHostile(t *testing.T) {
	for want, entries := range hostile {
		t.Run(want, func(t *testing.T) {
			dir, check := trap(t)
			l := layer(archive(t, entries...))
			err := unpackGroup(t.Context(), dir, Group{l}, true, Limits{Entries: 64, Bytes: 1 << 20})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v\nwant %s", err, want)
			}
			check()
		})
	}
}

// trap makes a folder to unpack into, with a secret and a folder beside it, and gives a function that fails the test
// when anything but that folder has been touched.
func trap(t testing.TB) (dir string, check func()) {
	t.Helper()
	outside := t.TempDir()
	dir = filepath.Join(outside, "in", "tree")
	for _, err := range []error{os.MkdirAll(dir, 0o755), os.Mkdir(filepath.Join(outside, "etc"), 0o755),
		os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600), os.WriteFile(filepath.Join(outside, "in", "secret"), []byte("secret"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, outside, dir)
	return dir, func() {
		t.Helper()
		if d := cmp.Diff(before, snapshot(t, outside, dir)); d != "" {
			t.Fatalf("outside of the tree: %s", d)
		}
		// Everything can be removed again.
		if err := cas.RemoveTree(dir); err != nil {
			t.Error(err)
		}
	}
}

func snapshot(t testing.TB, outside, but string) map[string]string {
	t.Helper()
	seen := make(map[string]string)
	err := filepath.WalkDir(outside, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == but {
			return fs.SkipDir
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		s := fmt.Sprint(fi.Mode(), st.Uid, st.Ctim, st.Size)
		if !fi.IsDir() {
			s += fmt.Sprint(st.Nlink) // of a directory, the tree's own removal is no change of the trap
		}
		seen[p] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func FuzzUnpack(f *testing.F) {
	for _, entries := range hostile {
		if len(entries) < 10 && len(entries[0]) < 100 {
			f.Add(archive(f, entries...), archive(f, "a/.wh.x", ".wh.b", "c/.wh..wh..opq"))
		}
	}
	f.Add(archive(f, "var/run -> /run", "var/run/pid=1", "up -> ../../..", "up/y=3"), archive(f, "up/secret=1", "h => up/y"))
	f.Add(archive(f, "etc -> /../../etc", "a/b -> ../../../../.."), archive(f, "etc/passwd=x", "a/b/c=1", "a/b/.wh.secret", "a/b/.wh..wh..opq"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, lowest := range []bool{true, false} {
			dir, check := trap(t)
			err := unpackGroup(t.Context(), dir, Group{layer(first), layer(second)}, lowest, Limits{Entries: 64, Bytes: 1 << 20})
			if err == nil {
				list(t, NewView(dir))
			}
			check()
		}
	})
}

func TestCompression(t *testing.T) {
	plain := archive(t, "a=1", "b=2")
	zw := func(p []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(p)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for name, b := range map[string][]byte{"gzip": append(zw(plain[:700]), zw(plain[700:])...), "zstd": enc.EncodeAll(plain, nil)} {
		l := layer(plain)
		l.Open = layer(b).Open
		store := castest.Open(t)
		trees, err := Unpack(t.Context(), store, []Group{{l}}, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff([]string{"a=1", "b=2"}, list(t, NewView(trees...))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		// A stream that is cut leaves nothing.
		l.Open = layer(b[:len(b)-12]).Open
		store = castest.Open(t)
		if _, err := Unpack(t.Context(), store, []Group{{l}}, Limits{}); err == nil {
			t.Errorf("%s: a cut stream was taken", name)
		}
		empty(t, store)
	}
}

func empty(t *testing.T, store *cas.Store) {
	t.Helper()
	for _, dir := range []string{"tmp", "trees"} {
		left, err := os.ReadDir(filepath.Join(store.Dir(), dir))
		if err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}

func TestDamaged(t *testing.T) {
	store := castest.Open(t)
	l := layer(archive(t, "a=1"))
	l.Open = layer(archive(t, "a=2")).Open
	_, err := Unpack(t.Context(), store, []Group{{l}}, Limits{})
	if _, ok := errors.AsType[*decompress.DiffIDError](err); !ok {
		t.Errorf("%v", err)
	}
	empty(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Unpack(ctx, store, []Group{{layer(archive(t, "a=1"))}}, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	empty(t, store)
	if _, err := Unpack(t.Context(), store, []Group{{Layer{DiffID: "../../etc"}}}, Limits{}); err == nil {
		t.Error("a diffID that is a path was taken")
	}
}

// TestConcurrent unpacks the same layers many times at once; all must get the one tree.
func TestConcurrent(t *testing.T) {
	store := castest.Open(t)
	groups := []Group{{layer(archive(t, "a/x=1", "a/y=2"))}, {layer(archive(t, "a/.wh.x"))}}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			trees, err := Unpack(t.Context(), store, groups, Limits{})
			if err != nil {
				t.Error(err)
				return
			}
			if d := cmp.Diff([]string{"a/", "a/y=2"}, list(t, NewView(trees...))); d != "" {
				t.Error(d)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestModes: nothing is setuid, everything can be read and removed, times are kept.
func TestModes(t *testing.T) {
	trees, err := Unpack(t.Context(), castest.Open(t), []Group{{layer(archive(t, "d/", "d/f=1"))}}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewView(trees...).Resolve("d/f")
	if err != nil {
		t.Fatal(err)
	}
	if n.Info.Mode() != 0o755 || !n.Info.ModTime().Equal(time.Unix(1000, 0)) {
		t.Errorf("%v %v", n.Info.Mode(), n.Info.ModTime())
	}
	if n, err = NewView(trees...).Resolve("d"); err != nil || n.Info.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", n.Info.Mode(), err)
	}
}

// TestOrdinaryUser runs these tests again as a user without privilege.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rootfs-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer cas.RemoveTree(dir)
	b, err := os.ReadFile(exe)
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "test"), b, 0o755), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"))
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPlace makes a tree once, and leaves nothing of one that fails.
func TestPlace(t *testing.T) {
	store := castest.Open(t)
	made := 0
	fill := func(dir string) error {
		made++
		return os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o644)
	}
	dir, err := Place(store, "key", fill)
	again, err2 := Place(store, "key", fill)
	if err := errors.Join(err, err2); err != nil || dir != again || made != 1 {
		t.Errorf("%s, %s, made %d times: %v", dir, again, made, err)
	}
	if other, err := Place(store, "other", fill); err != nil || other == dir {
		t.Errorf("%s: %v", other, err)
	}
	failed := errors.New("failed")
	if _, err := Place(store, "third", func(dir string) error { return errors.Join(fill(dir), failed) }); !errors.Is(err, failed) {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
