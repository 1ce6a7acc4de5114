package base

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/regclient"
)

func TestParseSource(t *testing.T) {
	for s, want := range map[string]Source{
		"python:3.12-slim":                    {Kind: Registry, Ref: "python:3.12-slim"},
		"reg.example:5000/a/b@sha256:00":      {Kind: Registry, Ref: "reg.example:5000/a/b@sha256:00"},
		"oci:dir":                             {Kind: Layout, Path: "dir"},
		"oci:/a/b:1.4":                        {Kind: Layout, Path: "/a/b", Tag: "1.4"},
		"oci-archive:f.tar":                   {Kind: OCIArchive, Path: "f.tar"},
		"oci-archive:f.tar:python:3.12-slim":  {Kind: OCIArchive, Path: "f.tar", Tag: "python:3.12-slim"},
		"docker-archive:x/f.tar:reg/team/a:1": {Kind: DockerArchive, Path: "x/f.tar", Tag: "reg/team/a:1"},
	} {
		got, err := ParseSource(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%s: %+v (%s), %v", s, got, got, err)
		}
	}
	for _, s := range []string{"", "oci:", "docker-archive:", "docker://x", "dir:/x"} {
		if got, err := ParseSource(s); err == nil {
			t.Errorf("%q was taken as %+v", s, got)
		}
	}
}

// elf is the head of a 64-bit program with a loader.
func elf(interp string) []byte {
	b := make([]byte, 200)
	copy(b, "\x7fELF\x02\x01")
	le := binary.LittleEndian
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], 3)
	le.PutUint64(b[72:], 130)
	le.PutUint64(b[96:], uint64(len(interp)+1))
	copy(b[130:], interp)
	return b
}

type file struct {
	name, data, link string
	flag             byte
	mode             int64
}

func layer(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.data)), Typeflag: tar.TypeReg, Linkname: f.link, Uid: 3}
		switch {
		case f.flag != 0:
			h.Typeflag = f.flag
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag = tar.TypeSymlink
		}
		if f.mode != 0 {
			h.Mode = f.mode
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func scan(t testing.TB, config string, layers ...[]byte) (*Facts, error) {
	t.Helper()
	s := scanner{nodes: make(map[string]node), pattern: newDpkgPattern()}
	for _, l := range layers {
		if err := s.layer(bytes.NewReader(l)); err != nil {
			return nil, err
		}
	}
	return s.facts([]byte(config))
}

const env = `{"config":{"Env":["PATH=/usr/local/bin:/usr/bin"]}}`

func TestMergedTree(t *testing.T) {
	f, err := scan(t, "", layer(t, file{name: "a/"}, file{name: "a/x", data: "1"}, file{name: "a/y", data: "2"}, file{name: "b/deep/z", data: "3"}, file{name: "c/"}, file{name: "c/old"}, file{name: "swap", data: "f"}),
		layer(t, file{name: "a/.wh.x"}, file{name: "c/new", data: "n"}, file{name: "c/.wh..wh..opq"}, file{name: "hard", link: "a/y", flag: tar.TypeLink}, file{name: "swap/"}, file{name: "./dev/null", flag: tar.TypeChar}, file{name: "l", link: "/a"}))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for p, st := range f.Files {
		got[p] = fmt.Sprintf("%s %d", st.Kind, st.Size)
	}
	want := map[string]string{"a": "directory 0", "a/y": "file 1", "b": "directory 0", "b/deep": "directory 0", "b/deep/z": "file 1", "c": "directory 0", "c/new": "file 1", "hard": "file 1", "swap": "directory 0", "l": "symlink 0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for p, want := range map[string]string{"l/y": "a/y", "/l/../a/./y": "a/y", "../../a": "a", "none": "", "l/none": ""} {
		if got, _ := f.Resolve(p); got != want {
			t.Errorf("%s leads to %q, want %q", p, got, want)
		}
	}
}

func TestHostileLayers(t *testing.T) {
	for name, l := range map[string][]byte{
		"by dots":      layer(t, file{name: "../etc/passwd"}),
		"hidden dots":  layer(t, file{name: "a/../../x"}),
		"link to none": layer(t, file{name: "x", link: "none", flag: tar.TypeLink}),
		"no tar":       bytes.Repeat([]byte("x"), 2000),
		"huge":         layer(t, file{name: "etc/passwd", data: strings.Repeat("x", maxKept+1)}),
		"long path":    layer(t, file{name: strings.Repeat("d/", 3000) + "x"}),
		"cut":          layer(t, file{name: "x", data: strings.Repeat("x", 5000)})[:3000],
	} {
		if _, err := scan(t, "", l); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f, err := scan(t, "", layer(t, file{name: "a", link: "b"}, file{name: "b", link: "a"}))
	if _, ok := f.Resolve("a"); err != nil || ok {
		t.Errorf("a loop of links resolves: %v", err)
	}
}

func TestPython(t *testing.T) {
	glibc := file{name: "usr/lib/x86_64-linux-gnu/libc.so.6", data: string(elf("")) + "GNU C Library (Debian) stable release version 2.41."}
	python := file{name: "usr/local/bin/python3.12", data: string(elf("/lib64/ld-linux-x86-64.so.2")) + "\x003.12.4\x00"}
	link := file{name: "usr/local/bin/python3", link: "python3.12"}
	for name, tc := range map[string]struct {
		files  []file
		config string
		python Python
		libc   string
	}{
		"patchlevel.h": {[]file{python, link, glibc, {name: "usr/local/include/python3.12/patchlevel.h", data: "#define PY_VERSION      \t\"3.12.9\"\n"}}, env,
			Python{"/usr/local/bin/python3.12", "3.12.9", 3, 12, "cp312", false}, "glibc 2.41"},
		"libpython":      {[]file{python, link, glibc, {name: "usr/local/lib/libpython3.12.so.1.0", data: "x\x003.12.7\x00"}}, env, Python{"/usr/local/bin/python3.12", "3.12.7", 3, 12, "cp312", false}, "glibc 2.41"},
		"the program":    {[]file{python, link, glibc}, env, Python{"/usr/local/bin/python3.12", "3.12.4", 3, 12, "cp312", false}, "glibc 2.41"},
		"the variable":   {[]file{{name: "usr/bin/python3.13t"}, {name: "usr/bin/python", link: "/usr/bin/python3.13t"}, glibc}, `{"config":{"Env":["PATH=/usr/bin","PYTHON_VERSION=3.13.0rc1"]}}`, Python{"/usr/bin/python3.13t", "3.13.0rc1", 3, 13, "cp313t", true}, "glibc 2.41"},
		"musl":           {[]file{{name: "usr/bin/python3.12", data: string(elf("/lib/ld-musl-x86_64.so.1")) + "\x003.12.4\x00"}, {name: "usr/bin/python3", link: "python3.12"}, glibc, {name: "lib/ld-musl-x86_64.so.1", data: "\x001.2.5\x00"}}, "", Python{"/usr/bin/python3.12", "3.12.4", 3, 12, "cp312", false}, "musl 1.2"},
		"PATH's first":   {[]file{python, link, glibc, {name: "usr/bin/python3.11", data: "\x003.11.2\x00"}, {name: "usr/bin/python3", link: "python3.11"}}, `{"config":{"Env":["PATH=/usr/bin:/usr/local/bin"]}}`, Python{"/usr/bin/python3.11", "3.11.2", 3, 11, "cp311", false}, "glibc 2.41"},
		"none":           {[]file{glibc}, env, Python{}, " 0.0"},
		"no execute bit": {[]file{{name: "usr/bin/python3", data: "x", mode: 0o644}}, env, Python{}, " 0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := scan(t, tc.config, layer(t, tc.files...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.python, f.Python); d != "" || f.Libc.String() != tc.libc {
				t.Errorf("%s, want %s\n%s", f.Libc, tc.libc, d)
			}
		})
	}
	if _, err := scan(t, env, layer(t, file{name: "usr/bin/python3", data: "x"})); err == nil {
		t.Error("a Python without a version was taken")
	}
}

func TestParent(t *testing.T) {
	f, err := scan(t, "", layer(t, file{name: "etc/", mode: 0o750}, file{name: "lib", link: "usr/lib"}))
	if err != nil {
		t.Fatal(err)
	}
	if e := f.Parent("etc"); e.Mode != 0o750 || e.UID != 3 || e.Kind != fstree.Dir {
		t.Errorf("%+v", e)
	}
	if e := f.Parent("new"); e.Mode != 0o755 || e.UID != 0 || e.Kind != fstree.Dir {
		t.Errorf("%+v", e)
	}
	var tree fstree.Tree
	_ = tree.Add(fstree.Entry{Path: "lib/x", Kind: fstree.File, Content: fstree.Bytes("x")})
	if err := tree.AddParents(f.Parent); err == nil || !strings.Contains(err.Error(), "leads to usr/lib") {
		t.Errorf("a link of the base was written through: %v", err)
	}
}

func image(t testing.TB, arch string) v1.Image {
	t.Helper()
	raw := layer(t, file{name: "etc/passwd", data: "root:x:0:0::/:/x\n"}, file{name: arch, data: arch})
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// TestOpen reads one image from every place where it can be.
func TestOpen(t *testing.T) {
	img := image(t, "amd64")
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refName: "1"})); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag("team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "docker.tar"), ref, img); err != nil {
		t.Fatal(err)
	}
	var files []file
	for _, f := range []string{"index.json", "oci-layout"} {
		b, err := os.ReadFile(filepath.Join(dir, "layout", f))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{name: f, data: string(b)})
	}
	blobs, _ := filepath.Glob(filepath.Join(dir, "layout/blobs/sha256/*"))
	for _, f := range blobs {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{name: "blobs/sha256/" + filepath.Base(f), data: string(b)})
	}
	archive := layer(t, files...)
	for name, b := range map[string][]byte{"oci.tar": archive, "cut.tar": archive[:len(archive)/2], "lacking.tar": layer(t, files[:3]...)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"oci:" + dir + "/layout", "oci:" + dir + "/layout:1", "oci-archive:" + dir + "/oci.tar", "docker-archive:" + dir + "/docker.tar"} {
		src, err := ParseSource(s)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Open(context.Background(), src, Options{})
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		got, err := o.Image(context.Background(), amd64)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		f, err := got.Facts(context.Background(), nil)
		if err != nil || string(f.Passwd) != "root:x:0:0::/:/x\n" || !bytes.Equal(got.Config, config) {
			t.Errorf("%s: %v", s, err)
		}
		if _, err := o.Image(context.Background(), v1.Platform{OS: "linux", Architecture: "arm64"}); err == nil || !strings.Contains(err.Error(), "linux/arm64 is wanted") {
			t.Errorf("%s: another platform: %v", s, err)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"oci:" + dir, "oci:" + dir + "/layout:2", "oci-archive:" + dir + "/none", "oci-archive:" + dir + "/docker.tar", "oci-archive:" + dir + "/cut.tar", "docker-archive:" + dir + "/docker.tar:other:1", "oci-archive:" + dir + "/lacking.tar"} {
		src, _ := ParseSource(s)
		o, err := Open(context.Background(), src, Options{})
		if err == nil {
			var img *Image
			if img, err = o.Image(context.Background(), amd64); err == nil {
				_, err = img.Facts(context.Background(), nil)
			}
		}
		if err == nil {
			t.Errorf("%s was opened", s)
		}
	}
}

// TestRegistry: an index is narrowed, blobs come once, and what is pinned needs no registry any more.
func TestRegistry(t *testing.T) {
	var requests atomic.Int32
	handler := ggcr.New()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler.ServeHTTP(w, r)
	}))
	defer s.Close()
	var idx v1.ImageIndex = empty.Index
	for _, arch := range []string{"amd64", "arm64"} {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: image(t, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	repo := strings.TrimPrefix(s.URL, "http://") + "/team/base"
	ref, err := name.ParseReference(repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, idx); err != nil {
		t.Fatal(err)
	}
	store := castest.Open(t)
	o := Options{Client: regclient.New(regclient.Options{}), Store: store}
	read := func(ref string) (*Facts, *Opened) {
		t.Helper()
		opened, err := Open(context.Background(), Source{Kind: Registry, Ref: ref}, o)
		if err != nil {
			t.Fatal(err)
		}
		img, err := opened.Image(context.Background(), amd64)
		if err != nil {
			t.Fatal(err)
		}
		f, err := img.Facts(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return f, opened
	}
	f, opened := read(repo + ":1")
	if _, ok := f.Files["amd64"]; !ok || len(opened.Platforms()) != 2 {
		t.Errorf("%v, %v", f.Files, opened.Platforms())
	}
	if _, err := opened.Image(context.Background(), v1.Platform{OS: "linux", Architecture: "s390x"}); err == nil || !strings.Contains(err.Error(), "no image for linux/s390x") {
		t.Errorf("got %v", err)
	}
	before := requests.Load()
	o.Offline = true
	pinned := repo + "@" + opened.Digest.String()
	read(pinned)
	if n := requests.Load() - before; n != 0 {
		t.Errorf("%d requests for what the store has", n)
	}
	if _, err := Open(context.Background(), Source{Kind: Registry, Ref: repo + ":1"}, o); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("offline: %v", err)
	}
	if m := opened.Manifests(); len(m) != 2 || m[0].Digest.Hex == "" || m[0].Platform.OS != "linux" {
		t.Errorf("manifests: %v", m)
	}
}

func TestFactsAreKept(t *testing.T) {
	store := castest.Open(t)
	img := &Image{Image: image(t, "amd64"), Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}}
	first, err := img.Facts(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	img.Image = nil // nothing is read again
	second, err := img.Facts(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, second, cmpopts.IgnoreUnexported(Facts{})); d != "" {
		t.Error(d)
	}
}

func FuzzSource(f *testing.F) {
	for _, s := range []string{"oci:a:b", "docker-archive:x:y:z", "reg/a@sha256:0", "oci-archive:/a:b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		src, err := ParseSource(s)
		if err != nil {
			return
		}
		if again, err := ParseSource(src.String()); err != nil || again != src {
			t.Errorf("%q is written %q, which is read as %+v, %v", s, src, again, err)
		}
	})
}

// FuzzLayerTar: any tar gives an error, or facts whose paths are clean.
func FuzzLayerTar(f *testing.F) {
	f.Add(layer(f, file{name: "usr/bin/python3", data: string(elf("/lib/ld.so"))}, file{name: "a", link: "../b"}, file{name: "a/.wh.x"}))
	f.Add(layer(f, file{name: "x", link: "x"}, file{name: "y", link: "x", flag: tar.TypeLink}))
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := scan(t, env, b)
		if err != nil {
			return
		}
		for p := range facts.Files {
			if fstree.CheckPath(p) != nil {
				t.Errorf("path %q", p)
			}
			facts.Resolve(p)
		}
	})
}

// FuzzArchive: any file is an archive that can be opened, or an error.
func FuzzArchive(f *testing.F) {
	f.Add(layer(f, file{name: "manifest.json", data: `[{"Config":"c","Layers":["l"]}]`}, file{name: "c", data: "{}"}, file{name: "l", data: "x"}))
	f.Add(layer(f, file{name: "index.json", data: `{"manifests":[{"digest":"sha256:00"}]}`}))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "a.tar")
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, k := range []Kind{OCIArchive, DockerArchive} {
			o, err := Open(context.Background(), Source{Kind: k, Path: name}, Options{})
			if err != nil {
				continue
			}
			if img, err := o.Image(context.Background(), v1.Platform{}); err == nil {
				_, _ = img.Facts(context.Background(), nil)
			}
			_ = o.Close()
		}
	})
}
