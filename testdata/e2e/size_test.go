//go:build e2e

package e2e

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// TestSize: layers of many members, most of them the wheels' own streams, are at most a tenth larger than each would be as one
// stream of klauspost's level 6.
func TestSize(t *testing.T) {
	img, layout := pushed(t), t.TempDir()+"/layout"
	jubako(t, "build", "--base", base(t), "-t", img.tag, "-o", "oci:"+layout, img.dir).run(t)
	var ours, whole int64
	for _, l := range manifest(t, img).Layers {
		if l.Annotations == nil {
			continue // the base's
		}
		ours += l.Size
		whole += compressed(t, layout+"/blobs/sha256/"+strings.TrimPrefix(l.Digest, "sha256:"))
	}
	t.Logf("%d bytes, and %d at level 6: %.3f times", ours, whole, float64(ours)/float64(whole))
	if whole == 0 || float64(ours) > 1.1*float64(whole) {
		t.Errorf("%d bytes, where one stream a layer takes %d", ours, whole)
	}
}

// compressed is how many bytes a layer takes as one stream of level 6.
func compressed(t *testing.T, blob string) int64 {
	t.Helper()
	f, err := os.Open(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var n counter
	w, err := gzip.NewWriterLevel(&n, 6)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
