//go:build oracle

package oracle

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// architectures are images' names for machines.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// makeBase writes a base that has the facts of a Python at the place where this machine has it, and nothing that runs: what
// jubako installs upon it can then be used here. It gives a SOURCE.
func makeBase(t testing.TB, py python, machine string) string {
	t.Helper()
	minor := py.minor()
	prefix := strings.TrimPrefix(path.Dir(path.Dir(py.path)), "/")
	files := map[string]string{
		"etc/passwd":                          "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":                           "root:x:0:\n",
		"usr/lib/libc.so.6":                   "GNU C Library stable release version 2.40, by many",
		prefix + "/bin/" + path.Base(py.path): "x",
		prefix + "/include/python" + minor + "/patchlevel.h": fmt.Sprintf("#define PY_VERSION \"%s\"\n", py.version),
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	dirs := make(map[string]bool)
	for name, text := range files {
		var above []string
		for d := path.Dir(name); d != "." && !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
			above = append([]string{d}, above...)
		}
		for _, d := range above {
			if err := tw.WriteHeader(&tar.Header{Name: d + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.WriteHeader(&tar.Header{Name: prefix + "/bin/python3", Typeflag: tar.TypeSymlink, Linkname: path.Base(py.path)}); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	diffID, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: architectures[machine],
		Config: v1.Config{Env: []string{"PATH=" + path.Dir(py.path)}}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(workDir(t, "base"), "layout")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir
}
