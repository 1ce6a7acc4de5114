package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// raised gives the base with more layers upon it.
func raised(t *testing.T, base string, more int) string {
	t.Helper()
	index := must(must(layout.FromPath(strings.TrimPrefix(base, "oci:"))).ImageIndex())
	img := must(index.Image(must(index.IndexManifest()).Manifests[0].Digest))
	var layers []v1.Layer
	for range more {
		layers = append(layers, static.NewLayer(make([]byte, 1024), types.OCIUncompressedLayer)) // an empty tar
	}
	img = must(mutate.AppendLayers(img, layers...))
	dir := t.TempDir()
	if err := must(layout.Write(dir, empty.Index)).AppendImage(img); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir
}

// TestLayersWithinTheBases: an environment has as many layers as its base leaves room for, and where that is none it is said.
func TestLayersWithinTheBases(t *testing.T) {
	w := newWorld(t)
	var all []wheeltest.Wheel
	for i := range 12 {
		noise := make([]byte, 300<<10)
		r := rand.New(rand.NewPCG(uint64(i), 1))
		for j := range noise {
			noise[j] = byte(r.Uint32())
		}
		name := fmt.Sprintf("pkg%d", i)
		all = append(all, wheeltest.Wheel{Name: name, Version: "1.0", Files: []wheeltest.File{{Name: name + "/data.bin", Data: string(noise)}}})
	}
	all = append(all, wheeltest.Wheel{Name: "django", Version: "5.2"}, wheeltest.Wheel{Name: "uvicorn", Version: "0.30"})
	w.lock(all...)
	plain := w.base
	for _, tt := range []struct {
		more   int
		venv   string
		warned bool
	}{
		{0, "14 packages in ", false},
		{100, "14 packages", false},
		{126, "14 packages", true},
	} {
		w.base = raised(t, plain, tt.more)
		_, log := w.build("-v", "--set", "staticfiles=false", "-o", "oci:"+t.TempDir())
		if !strings.Contains(log, tt.venv) || tt.more > 0 && strings.Contains(log, "14 packages in") {
			t.Errorf("over %d layers more the environment is divided otherwise:\n%s", tt.more, log)
		}
		if warned := strings.Contains(log, "Docker's overlay driver takes 127"); warned != tt.warned {
			t.Errorf("over %d layers more: warned: %t\n%s", tt.more, warned, log)
		}
	}
}
