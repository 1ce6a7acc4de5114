package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestVerifyNamesTheLayer: of a layer that is damaged, verify says which one it is, wherever the damage is found.
func TestVerifyNamesTheLayer(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(t.TempDir(), "out")
	w.build("-o", "oci:"+out)
	layer := w.inspect("oci:" + out).digests[2]
	blob := filepath.Join(out, "blobs", "sha256", strings.TrimPrefix(layer, "sha256:"))
	whole := must(os.ReadFile(blob))
	for _, at := range []int{0, 2, len(whole) / 2, len(whole) - 1} {
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= 0xff
		if err := os.WriteFile(blob, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if code, stdout, log := w.jubako("verify", "oci:"+out); code != 4 || stdout != "" || !strings.Contains(log, "verifying layer 3, "+layer+": ") {
			t.Errorf("byte %d: %d %s\n%s", at, code, stdout, log)
		}
	}
}

// TestVerifyEveryDiffID: what a config says of a layer is compared, also where the blob has been read for another.
func TestVerifyEveryDiffID(t *testing.T) {
	w := &world{t: t}
	l := static.NewLayer([]byte("no tar, and no matter"), types.OCIUncompressedLayer)
	right := must(l.DiffID())
	wrong := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	for second, want := range map[v1.Hash]int{right: 0, wrong: 4} {
		img := must(mutate.AppendLayers(empty.Image, l, l))
		img = must(mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{right, second}}}))
		dir := t.TempDir()
		if err := must(layout.Write(dir, empty.Index)).AppendImage(img); err != nil {
			t.Fatal(err)
		}
		code, _, log := w.jubako("verify", "oci:"+dir)
		if code != want || want != 0 && !strings.Contains(log, "verifying layer 2, "+right.String()+": it has the diffID "+right.String()+", and the config says "+wrong.String()) {
			t.Errorf("exit code %d, want %d\n%s", code, want, log)
		}
	}
}

// TestNoSuchName: where nothing in a layout has a name, the hint offers none.
func TestNoSuchName(t *testing.T) {
	w := newWorld(t)
	code, _, log := w.jubako("inspect", w.base+":nope")
	if code != 2 || !strings.Contains(log, "nothing in it has a name: leave :nope out") {
		t.Errorf("%d\n%s", code, log)
	}
}
