//go:build oracle

package oracle

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
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
func makeBase(t testing.TB, py python, machine, libc string) string {
	t.Helper()
	minor := py.minor()
	prefix := strings.TrimPrefix(path.Dir(path.Dir(py.path)), "/")
	files := map[string]string{
		"etc/passwd":                          "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":                           "root:x:0:\n",
		prefix + "/bin/" + path.Base(py.path): "x",
		prefix + "/include/python" + minor + "/patchlevel.h": fmt.Sprintf("#define PY_VERSION \"%s\"\n", py.version),
	}
	if libc == "musl" {
		files["lib/ld-musl-"+machine+".so.1"] = "\x001.2.5\x00"
		files[prefix+"/bin/"+path.Base(py.path)] = program("/lib/ld-musl-" + machine + ".so.1")
	} else {
		files["usr/lib/libc.so.6"] = "GNU C Library stable release version " + libc + ", by many"
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

// program is the head of an ELF file, as far as it names its interpreter (System V ABI, "ELF-64 object file format").
func program(interpreter string) string {
	text := append([]byte(interpreter), 0)
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64 + 56, Filesz: uint64(len(text)), Memsz: uint64(len(text))}
	var b bytes.Buffer
	for _, v := range []any{h, p, text} {
		_ = binary.Write(&b, binary.LittleEndian, v) // into memory: it cannot fail
	}
	return b.String()
}
