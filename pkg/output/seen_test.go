package output

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tally counts what is asked of a registry.
type tally struct{ blobs, tags, manifests atomic.Int32 }

func (c *tally) see(_ http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"):
		c.blobs.Add(1)
	case r.Method == http.MethodHead:
		c.tags.Add(1)
	case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
		c.manifests.Add(1)
	}
	return false
}

func (c *tally) take() [3]int32 {
	return [3]int32{c.blobs.Swap(0), c.tags.Swap(0), c.manifests.Swap(0)}
}

func seenOf(at name.Reference, a Artifact) Seen {
	s := Seen{Tag: at.(name.Tag), Digest: a.Digest}
	for _, b := range a.blobs() {
		s.Blobs = append(s.Blobs, b.Digest)
	}
	return s
}

// TestPushSeen shows that what a tag was seen to lead to is not asked for again, and that it is only believed as far as it does no harm.
func TestPushSeen(t *testing.T) {
	var asked tally
	onEach(t, asked.see, func(t *testing.T, host string) {
		tag := ref(t, host+"/team/app:1")
		old, next := Single(testImage(t, OCI, amd64)), Single(testImage(t, OCI, amd64, "base of amd64", "changed"))
		mustPush(t, old, tag)
		pushSeen := func(a Artifact, seen ...Seen) PushResult {
			t.Helper()
			o, _ := options()
			o.Seen = seen
			res, err := Push(context.Background(), o, a, []name.Reference{tag})
			if err != nil {
				t.Fatal(err)
			}
			if at(t, tag) != a.Digest {
				t.Error("the tag leads elsewhere")
			}
			return res
		}
		asked.take()
		if res := pushSeen(next, seenOf(tag, old)); res.Pushed != 2 || res.Present != 1 {
			t.Errorf("got %+v, want 2 pushed, 1 there", res)
		}
		asked.tags.Add(-1) // at's own
		if diff := cmp.Diff([3]int32{2, 0, 1}, asked.take()); diff != "" {
			t.Errorf("asked for blobs, tags, and put manifests (-want +got):\n%s", diff)
		}
		// The tag has moved since it was seen to lead to what is pushed: it has to come back.
		mustPush(t, old, tag)
		pushSeen(next, seenOf(tag, next))
		// Another repository's tag says nothing of this one's blobs.
		asked.take()
		pushSeen(old, seenOf(ref(t, host+"/team/other:1"), old))
		if got := asked.take(); got[0] != 3 {
			t.Errorf("%d blobs were asked for, want 3", got[0])
		}
	})
}

// TestPushSeenIsGone shows that every blob is asked for after all when the registry refuses a manifest because of one that has gone.
func TestPushSeenIsGone(t *testing.T) {
	a := Single(testImage(t, OCI, amd64))
	var have atomic.Int32
	var refused atomic.Bool
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		if isUpload(r) && r.Method == http.MethodPut {
			have.Add(1)
		}
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") || have.Load() == 3 {
			return false
		}
		refused.Store(true)
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`))
		return true
	}
	onEach(t, fault, func(t *testing.T, host string) {
		have.Store(0)
		refused.Store(false)
		tag := ref(t, host+"/team/app:1")
		o, _ := options()
		seen := seenOf(tag, a)
		seen.Digest = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)} // of an image that shared all blobs
		o.Seen = []Seen{seen}
		res, err := Push(context.Background(), o, a, []name.Reference{tag})
		if err != nil || !refused.Load() || res.Pushed != 3 || res.Present != 0 {
			t.Fatalf("got %+v, %v; refused: %v", res, err, refused.Load())
		}
		if at(t, tag) != a.Digest {
			t.Error("the tag is not there")
		}
	})
}
