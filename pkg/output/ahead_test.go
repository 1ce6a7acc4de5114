package output

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/regclient"
)

// TestAhead: what has gone up before goes up once, and is counted as what it was.
func TestAhead(t *testing.T) {
	var uploads atomic.Int32
	count := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
			uploads.Add(1)
		}
		return false
	}
	onEach(t, count, func(t *testing.T, host string) {
		uploads.Store(0)
		o, _ := options()
		a := Single(testImage(t, OCI, amd64))
		refs := []name.Reference{ref(t, host+"/team/app:1"), ref(t, host+"/team/app:latest"), ref(t, host+"/team/other:1")}
		o.Ahead = NewAhead(t.Context(), o, refs)
		blobs := a.blobs()
		o.Ahead.Push(blobs[0], blobs[0]) // as of two platforms
		o.Ahead.Push(blobs[0])
		o.Ahead.wait()
		if uploads.Load() != 1 {
			t.Errorf("%d uploads before the push", uploads.Load())
		}
		if at(t, refs[0]) != (v1.Hash{}) {
			t.Error("a tag has moved")
		}
		res, err := Push(t.Context(), o, a, refs)
		if err != nil {
			t.Fatal(err)
		}
		var size int64
		for _, b := range blobs {
			size += b.Size
		}
		there := res.Mounted + res.Present // in the other repository: not every registry mounts
		res.Mounted, res.Present = 0, 0
		if d := cmp.Diff(PushResult{Pushed: 3, Bytes: size}, res); d != "" || uploads.Load() != 3 || there != 3 {
			t.Errorf("%d uploads, %d there, %s", uploads.Load(), there, d)
		}
		for _, r := range refs {
			if at(t, r) != a.Digest {
				t.Errorf("%s does not lead there", r)
			}
		}
		// What went up for an image that turns out to be there is counted once.
		o.Ahead = NewAhead(t.Context(), o, refs[:1])
		o.Ahead.Push(blobs[0])
		o.Ahead.wait()
		if res, err := Push(t.Context(), o, a, refs[:1]); err != nil || res != (PushResult{Present: len(blobs)}) {
			t.Errorf("%+v, %v", res, err)
		}
		// What a registry holds already is there, and not pushed.
		again := NewAhead(t.Context(), o, refs[:1])
		again.Push(blobs[0])
		again.wait()
		next := Single(testImage(t, OCI, amd64, "base of amd64", "changed"))
		o.Ahead = again
		if res, err = Push(t.Context(), o, next, refs[:1]); err != nil || res.Pushed != 2 || res.Present != 1 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestAheadOfNothing: what fails ahead is no error, and is done by Push.
func TestAheadOfNothing(t *testing.T) {
	var down atomic.Bool
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		if down.Load() && strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	onEach(t, fault, func(t *testing.T, host string) {
		o, _ := options()
		a := Single(testImage(t, OCI, amd64))
		refs := []name.Reference{ref(t, host+"/team/app:1")}
		down.Store(true)
		o.Ahead = NewAhead(t.Context(), o, refs)
		for _, b := range a.blobs() {
			o.Ahead.Push(b)
		}
		o.Ahead.wait()
		down.Store(false)
		if res, err := Push(t.Context(), o, a, refs); err != nil || res.Pushed != 3 || at(t, refs[0]) != a.Digest {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestAheadOfLoss: a registry that has lost by then what went up before gets it again.
func TestAheadOfLoss(t *testing.T) {
	var lost atomic.Pointer[v1.Hash]
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		d := lost.Load()
		if d == nil || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		lost.Store(nil)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}`)
		return true
	}
	onEach(t, fault, func(t *testing.T, host string) {
		o, _ := options()
		a := Single(testImage(t, OCI, amd64))
		refs := []name.Reference{ref(t, host+"/team/app:1")}
		o.Ahead = NewAhead(t.Context(), o, refs)
		blob := a.blobs()[0]
		o.Ahead.Push(blob)
		o.Ahead.wait()
		lost.Store(&blob.Digest)
		if res, err := Push(t.Context(), o, a, refs); err != nil || res.Present < 0 || at(t, refs[0]) != a.Digest {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestAheadOfSilence: a registry that has not answered yet when the push begins is asked by the push itself.
func TestAheadOfSilence(t *testing.T) {
	var asked atomic.Int32
	silent := make(chan struct{})
	first := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/" || asked.Add(1) > 1 {
			return false
		}
		close(silent)
		<-r.Context().Done()
		return true
	}
	h := registries["own"](t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !first(w, r) {
			h.ServeHTTP(w, r)
		}
	}))
	defer s.Close()
	o, _ := options()
	a := Single(testImage(t, OCI, amd64))
	refs := []name.Reference{ref(t, strings.TrimPrefix(s.URL, "http://")+"/team/app:1")}
	o.Ahead = NewAhead(t.Context(), o, refs)
	o.Ahead.Push(a.blobs()[0])
	<-silent
	if res, err := Push(t.Context(), o, a, refs); err != nil || res.Pushed != 3 || at(t, refs[0]) != a.Digest {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestAheadStops: nothing is under way once it was stopped.
func TestAheadStops(t *testing.T) {
	begun, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	slow := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodHead {
			return false
		}
		begun <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
		return true
	}
	onEach(t, slow, func(t *testing.T, host string) {
		o, _ := options()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := NewAhead(ctx, o, []name.Reference{ref(t, host+"/team/app:1")})
		for _, b := range Single(testImage(t, OCI, amd64)).blobs() {
			a.Push(b)
		}
		<-begun
		a.Stop()
		<-ended
		if len(a.pushers[0].ahead) > 0 {
			t.Error("something has gone up")
		}
	})
	var none *Ahead
	none.Stop()
}

// TestAheadOfMute: a registry that never answers the beginning of an upload is asked again, and Push does not wait for ever.
func TestAheadOfMute(t *testing.T) {
	var asked atomic.Int32
	mute := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || asked.Add(1) > 1 {
			return false
		}
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Second):
		}
		return true
	}
	onEach(t, mute, func(t *testing.T, host string) {
		asked.Store(0)
		o, _ := options()
		o.Client = regclient.New(regclient.Options{Sleep: o.Sleep, IdleTimeout: time.Second})
		a := Single(testImage(t, OCI, amd64))
		refs := []name.Reference{ref(t, host+"/team/app:1")}
		o.Ahead = NewAhead(t.Context(), o, refs)
		o.Ahead.Push(a.blobs()[0])
		start := time.Now()
		o.Ahead.wait()
		if res, err := Push(t.Context(), o, a, refs); err != nil || res.Pushed != 3 || time.Since(start) > 15*time.Second {
			t.Errorf("%+v, %v after %s", res, err, time.Since(start))
		}
	})
}

// TestAheadMounts: what another repository of the registry is known to hold is asked for there ahead as well, if the token is for that; and
// where the registry does not mount it, it goes up at once.
func TestAheadMounts(t *testing.T) {
	var mu sync.Mutex
	var asked, sent []string // mounts and uploads, by the digest
	watch := func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		if strings.Contains(r.URL.Path, "/team/second/blobs/uploads/") {
			if from := q.Get("from"); from == "team/first" {
				asked = append(asked, q.Get("mount"))
			}
			if r.Method == http.MethodPut {
				sent = append(sent, q.Get("digest"))
			}
		}
		return false
	}
	counts := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return len(asked), len(sent)
	}
	onEach(t, watch, func(t *testing.T, host string) {
		asked, sent = nil, nil
		a := Single(testImage(t, OCI, amd64))
		first, second := ref(t, host+"/team/first:1"), ref(t, host+"/team/second:1")
		if _, err := push(t, a, first); err != nil {
			t.Fatal(err)
		}
		o, _ := options()
		repo := first.Context()
		o.Holds = func(string, v1.Hash) *name.Repository { return &repo }
		o.Ahead = NewAhead(t.Context(), o, []name.Reference{second})
		blobs := a.blobs()
		o.Ahead.Push(blobs[:2]...)
		o.Ahead.wait()
		mounts, uploads := counts()
		if mounts != 2 || uploads != 0 && uploads != 2 { // not every registry mounts
			t.Errorf("%d mounts were asked for, and %d uploads sent", mounts, uploads)
		}
		res, err := Push(t.Context(), o, a, []name.Reference{second})
		if err != nil || res.Pushed+res.Mounted+res.Present != len(blobs) || at(t, second) != a.Digest {
			t.Errorf("%+v, %v", res, err)
		}
		mu.Lock()
		slices.Sort(asked)
		slices.Sort(sent)
		if n := len(slices.Compact(slices.Clone(asked))); n != len(asked) || n != len(blobs) {
			t.Errorf("asked for %v", asked)
		}
		if n := len(slices.Compact(slices.Clone(sent))); n != len(sent) || n != res.Pushed {
			t.Errorf("sent %v", sent)
		}
		asked = nil
		mu.Unlock()
		// A token that is not for the other repository does not mount from it.
		third := ref(t, host+"/team/second:2")
		o.Ahead = NewAhead(t.Context(), o, []name.Reference{third})
		o.Ahead.connect(nil)
		o.Ahead.Push(blobs...)
		o.Ahead.wait()
		if mounts, _ := counts(); mounts != 0 {
			t.Errorf("%d mounts were asked for with no token for them", mounts)
		}
	})
}
