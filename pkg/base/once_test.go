package base

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/regclient"
)

// TestHashedOnce: what reads a layer compares its digest, wherever it comes from, so that whoever passes it on need not.
func TestHashedOnce(t *testing.T) {
	repo, _, stop := serve(t, image(t, "amd64"), nil)
	defer stop()
	for name, store := range map[string]*cas.Store{"registry": nil, "registry, on its way into the store": castest.Open(t)} {
		opened, err := Open(context.Background(), Source{Kind: Registry, Ref: repo + ":1"}, Options{Client: regclient.New(regclient.Options{Sleep: noWait}), Store: store})
		if err != nil {
			t.Fatal(err)
		}
		img, err := opened.Image(context.Background(), amd64)
		if err != nil {
			t.Fatal(err)
		}
		list, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time out of the store
			r, err := list[0].Compressed()
			if err != nil {
				t.Fatal(err)
			}
			d := m.Layers[0]
			if cas.Verify(r, "x", d.Digest.Hex, d.Size) != r {
				t.Errorf("%s: the layer would be hashed again", name)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != d.Size {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestRemoteBlobOfAnotherSize: the digest holds, and the descriptor's size does not.
func TestRemoteBlobOfAnotherSize(t *testing.T) {
	for size, want := range map[int64]string{3: "longer than the 3", 5: "ends after 4 bytes of 5", 4: ""} {
		b := &remoteBlob{r: io.NopCloser(strings.NewReader("blob")), size: size, doing: "pulling"}
		if _, err := io.ReadAll(b); want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}
