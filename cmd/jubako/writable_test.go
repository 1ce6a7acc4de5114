package main

import (
	"archive/tar"
	"fmt"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// TestWritableStays: the static files may lie in a folder that the service writes to, which their layer does not take away from it.
func TestWritableStays(t *testing.T) {
	w := newWorld(t)
	w.edit("pyproject.toml", `output = "staticfiles"`, `output = "var/static"`)
	w.edit("pyproject.toml", "write /app/staticfiles/", "write /app/var/static/")
	for writable, of := range map[string]map[string]string{
		`["var"]`:        {"app": "0:0 755", "app/var": "999:999 755", "app/var/static": "0:0 755"},
		`["var/static"]`: {"app": "0:0 755", "app/var": "0:0 755", "app/var/static": "999:999 755"},
	} {
		out := t.TempDir()
		w.build("-o", "oci:"+out, "--set", `owner="root"`, "--set", "writable="+writable)
		got := owners(t, out)
		for dir, want := range of {
			if got[dir] != want {
				t.Errorf("writable = %s: %s is %s, and not %s", writable, dir, got[dir], want)
			}
		}
	}
}

// owners gives the owner and mode of every folder of a layout's layers, by path; of what is in several layers the last one's.
func owners(t *testing.T, dir string) map[string]string {
	t.Helper()
	p := must(layout.ImageIndexFromPath(dir))
	img := must(p.Image(must(p.IndexManifest()).Manifests[0].Digest))
	all := make(map[string]string)
	for _, l := range must(img.Layers()) {
		r := must(l.Uncompressed())
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err != nil {
				break
			}
			if h.Typeflag == tar.TypeDir {
				all[h.Name[:len(h.Name)-1]] = fmt.Sprintf("%d:%d %o", h.Uid, h.Gid, h.Mode)
			}
		}
		_ = r.Close()
	}
	return all
}
