package base

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/jubako/jubako/pkg/fstree"
)

// countedLayer counts how often its tar is read.
func countedLayer(t *testing.T, reads *atomic.Int64, files ...file) v1.Layer {
	t.Helper()
	raw := layer(t, files...)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		reads.Add(1)
		return io.NopCloser(bytes.NewReader(raw)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ofLayers(t *testing.T, layers ...v1.Layer) *Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return &Image{Image: img}
}

// TestFiles reads two images with a layer in common, which is read once.
func TestFiles(t *testing.T) {
	var below, above atomic.Int64
	common := countedLayer(t, &below, file{name: "etc/conf", data: "1"}, file{name: "d/gone", data: "x"}, file{name: "var/status", data: "kept"}, file{name: "usr/lib/libpython3.12.so", data: "y"})
	a := ofLayers(t, common, countedLayer(t, &above, file{name: "etc/conf", data: "2", mode: 0o600}, file{name: "hard", link: "d/gone", flag: tar.TypeLink}))
	b := ofLayers(t, common, countedLayer(t, &above, file{name: "d/.wh.gone"}, file{name: "soft", link: "etc/conf"}))
	below.Store(0)
	got, err := Files(t.Context(), map[string]int{"var/status": 4}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	if n := below.Load(); n != 1 {
		t.Errorf("the common layer was read %d times", n)
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	for i, want := range []map[string]string{
		{"etc/conf": sum("2"), "d/gone": sum("x"), "hard": sum("x"), "var/status": sum("kept"), "usr/lib/libpython3.12.so": sum("y")},
		{"etc/conf": sum("1"), "soft": "", "var/status": sum("kept"), "usr/lib/libpython3.12.so": sum("y")},
	} {
		files := make(map[string]string)
		for p, f := range got[i] {
			if f.Kind != fstree.Dir {
				files[p] = f.SHA256
			}
		}
		if d := cmp.Diff(want, files); d != "" {
			t.Errorf("image %d: %s", i, d)
		}
		if string(got[i]["var/status"].Kept) != "kept" || got[i]["etc/conf"].Kept != nil {
			t.Errorf("image %d keeps %q", i, got[i]["var/status"].Kept)
		}
	}
	if got[0]["etc/conf"].Mode != 0o600 || got[1]["soft"].Link != "etc/conf" {
		t.Errorf("%+v %+v", got[0]["etc/conf"], got[1]["soft"])
	}
	if _, err := Files(t.Context(), map[string]int{"var/status": 3}, a); err == nil || !strings.Contains(err.Error(), "at most 3 are read") {
		t.Errorf("a file that is too large: %v", err)
	}
	if got, err := Files(t.Context(), nil, a, ofLayers(t)); err != nil || len(got[0]) == 0 || len(got[1]) != 0 {
		t.Errorf("an image without layers: %v", err)
	}
}

// FuzzFiles: any tar gives an error, or files whose paths are clean and whose digests are whole.
func FuzzFiles(f *testing.F) {
	f.Add(layer(f, file{name: "a", data: "x"}, file{name: "b", link: "a", flag: tar.TypeLink}, file{name: "c", link: "a"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scanner{nodes: make(map[string]node), sums: true, keep: map[string]int{"a": 8}}
		if s.layer(bytes.NewReader(b)) != nil {
			return
		}
		for p, n := range s.nodes {
			if fstree.CheckPath(p) != nil || n.Kind == fstree.File && len(n.sum) != 64 || len(n.kept) > 8 {
				t.Errorf("%q %+v", p, n)
			}
		}
	})
}
