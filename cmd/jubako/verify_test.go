package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// TestNoSuchName: where nothing in a layout has a name, the hint offers none.
func TestNoSuchName(t *testing.T) {
	w := newWorld(t)
	code, _, log := w.jubako("inspect", w.base+":nope")
	if code != 2 || !strings.Contains(log, "nothing in it has a name: leave :nope out") {
		t.Errorf("%d\n%s", code, log)
	}
}
