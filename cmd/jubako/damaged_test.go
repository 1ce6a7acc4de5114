package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/cas"
)

// damageGzip changes a byte in the middle of each layer in the cache, or of the first of them, and takes what was unpacked of them.
func damageGzip(t *testing.T, all bool) {
	t.Helper()
	cache := os.Getenv("JUBAKO_CACHE_DIR")
	blobs, err := filepath.Glob(filepath.Join(cache, "blobs/sha256/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range blobs {
		b := must(os.ReadFile(name))
		if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) || bytes.Contains(gunzip(b), []byte("PKG-INFO")) {
			continue
		}
		b[len(b)/2] ^= 0xff
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if damaged++; !all {
			break
		}
	}
	if damaged == 0 {
		t.Fatal("the cache holds no layer")
	}
	if err := cas.RemoveTree(filepath.Join(cache, "trees")); err != nil {
		t.Fatal(err)
	}
}

// failsOnce insists that each of some damaged blobs is seen, and is in nobody's way then.
func (w *world) failsOnce(blobs int, args ...string) {
	w.t.Helper()
	args = append([]string{"build", "--base", w.base, w.dir}, args...)
	for range blobs {
		if code, _, log := w.jubako(args...); code != 1 || !strings.Contains(log, "is damaged") {
			w.t.Errorf("with a damaged blob: %d\n%s", code, log)
		}
	}
	if code, _, log := w.jubako(args...); code != 0 {
		w.t.Errorf("after that: %d\n%s", code, log)
	}
}

// TestDamagedBuildRequirements is about the layers in which a backend is asked what it needs, and in which it builds then.
func TestDamagedBuildRequirements(t *testing.T) {
	w := needsBuild(t, nil)
	w.build("--set", "staticfiles=false")
	damageGzip(t, true)
	w.failsOnce(2, "--set", "staticfiles=false", "--no-cache")
}

// TestDamagedForm is about the gzip blob that a zstd one is made of.
func TestDamagedForm(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	w.build("-o", "oci:"+out+"/a")
	damageGzip(t, false)
	w.failsOnce(1, "-o", "oci:"+out+"/b", "-o", "oci-archive:"+out+"/c", "--compression", "oci-archive=zstd")
}
