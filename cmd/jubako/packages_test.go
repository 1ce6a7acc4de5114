package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// TestInspectPackages lists what the venv layer holds.
func TestInspectPackages(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(t.TempDir(), "x")
	w.build("-o", "oci:"+out)
	code, stdout, stderr := w.jubako("inspect", "--packages", "oci:"+out)
	for _, want := range []string{"python       django 5.2\n", "python       uvicorn 0.30\n"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d; %q is missing in\n%s%s", code, want, stdout, stderr)
		}
	}
	_, stdout, _ = w.jubako("inspect", "--packages", "--format", "json", "oci:"+out)
	var doc struct {
		Images []struct{ Packages []installed }
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatal(err)
	}
	want := []installed{{"python", "django", "5.2", "/app/.venv/lib/python3.12/site-packages"}, {"python", "uvicorn", "0.30", "/app/.venv/lib/python3.12/site-packages"}}
	if d := cmp.Diff(want, doc.Images[0].Packages); d != "" {
		t.Error(d)
	}
	if _, stdout, _ := w.jubako("inspect", "oci:"+out); strings.Contains(stdout, "django") {
		t.Error("packages are listed without being asked for")
	}
}

// TestPackagesOfDamaged: a layer that is damaged where its tar has ended lists nothing.
func TestPackagesOfDamaged(t *testing.T) {
	w := newWorld(t)
	dir := makeImage(t, []entry{{name: "usr/lib/python3/x-1.dist-info/METADATA", data: []byte("Metadata-Version: 2.1\nName: x\nVersion: 1\n"), mode: 0o644}}, runtime.GOARCH, v1.Config{})
	if code, stdout, stderr := w.jubako("inspect", "--packages", "oci:"+dir); code != 0 || !strings.Contains(stdout, "python       x 1\n") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	index := must(layout.ImageIndexFromPath(dir))
	img := must(index.Image(must(index.IndexManifest()).Manifests[0].Digest))
	blob := filepath.Join(dir, "blobs", "sha256", must(must(img.Layers())[0].Digest()).Hex)
	b := must(os.ReadFile(blob))
	b[len(b)-5] ^= 1 // in the gzip member's checksum, which nobody looks at
	if err := os.WriteFile(blob, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := w.jubako("inspect", "--packages", "oci:"+dir); code != 4 || stdout != "" || !strings.Contains(stderr, "is damaged") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// TestReadPackages goes through layers that replace and remove packages.
func TestReadPackages(t *testing.T) {
	layer := func(files ...string) []byte {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			if err := tw.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Size: int64(len(files[i+1]))}); err != nil {
				t.Fatal(err)
			}
			if _, err := tw.Write([]byte(files[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const status = "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 8.14\nDescription: x\n more: y\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2026a\n"
	found := make(map[string]installed)
	for _, l := range [][]byte{
		layer("var/lib/dpkg/status", status, "./a/My_Pkg-1.0.dist-info/METADATA", "x", "b/old-2.dist-info/METADATA", "", "c/x-1.dist-info/METADATA", "", "c/y-1.dist-info/METADATA", ""),
		layer("var/lib/dpkg/status", strings.Replace(status, "8.14", "8.15", 1), "b/.wh.old-2.dist-info", "", "c/.wh..wh..opq", ""),
	} {
		if err := readPackages(bytes.NewReader(l), found); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]installed{
		"var/lib/dpkg/status#curl:amd64": {"debian", "curl", "8.15", ""}, "var/lib/dpkg/status#tzdata:all": {"debian", "tzdata", "2026a", ""},
		"a/My_Pkg-1.0.dist-info/METADATA": {"python", "my-pkg", "1.0", "/a"},
	}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
	if err := readPackages(bytes.NewReader(layer("x", "y")[:300]), found); err == nil {
		t.Error("a cut layer passed")
	}
}

// FuzzPackages: no layer makes it panic, and what is found has a name.
func FuzzPackages(f *testing.F) {
	f.Add([]byte("Package: a\nStatus: install ok installed\nVersion: 1\n\n: x\n y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found := make(map[string]installed)
		_ = readPackages(bytes.NewReader(data), found)
		_ = readStatus(bytes.NewReader(data), "s", found)
		for _, p := range found {
			if p.Kind == "debian" && p.Name == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
