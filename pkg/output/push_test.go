package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/regclient"
	"github.com/jubako/jubako/pkg/registry"
)

// registries are those that every test of Push runs against.
var registries = map[string]func(testing.TB) http.Handler{
	"ggcr": func(testing.TB) http.Handler { return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))) },
	"own": func(t testing.TB) http.Handler {
		h, err := registry.New(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return h
	},
}

// onEach runs a test against each registry; fault, which may be nil, sees requests first and says whether it answered.
func onEach(t *testing.T, fault func(http.ResponseWriter, *http.Request) bool, test func(t *testing.T, host string)) {
	for what, serve := range registries {
		t.Run(what, func(t *testing.T) {
			h := serve(t)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if fault == nil || !fault(w, r) {
					h.ServeHTTP(w, r)
				}
			}))
			t.Cleanup(s.Close)
			test(t, strings.TrimPrefix(s.URL, "http://"))
		})
	}
}

// options wait for nothing and note how long they would have.
func options() (PushOptions, *atomic.Int64) {
	var slept atomic.Int64
	sleep := func(ctx context.Context, d time.Duration) error {
		slept.Add(int64(d))
		return ctx.Err()
	}
	return PushOptions{Client: regclient.New(regclient.Options{Sleep: sleep}), Sleep: sleep}, &slept
}

func push(t *testing.T, a Artifact, refs ...name.Reference) (PushResult, error) {
	t.Helper()
	o, _ := options()
	return Push(context.Background(), o, a, refs)
}

func mustPush(t *testing.T, a Artifact, refs ...name.Reference) PushResult {
	t.Helper()
	res, err := push(t, a, refs...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// at gives what a tag leads to; the zero hash where it is absent.
func at(t *testing.T, r name.Reference) v1.Hash {
	t.Helper()
	d, err := remote.Head(r)
	if err != nil {
		te, ok := errors.AsType[*transport.Error](err)
		if !ok || te.StatusCode != http.StatusNotFound {
			t.Fatal(err)
		}
		return v1.Hash{}
	}
	return d.Digest
}

func TestPush(t *testing.T) {
	onEach(t, nil, func(t *testing.T, host string) {
		a := Single(testImage(t, OCI, amd64))
		one, two := ref(t, host+"/team/app:1"), ref(t, host+"/team/app:2")
		var size int64
		for _, b := range a.blobs() {
			size += b.Size
		}
		if diff := cmp.Diff(PushResult{Pushed: 3, Bytes: size}, mustPush(t, a, one)); diff != "" {
			t.Errorf("first (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(PushResult{Present: 3}, mustPush(t, a, one)); diff != "" {
			t.Errorf("again (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(PushResult{Present: 3}, mustPush(t, a, one, two)); diff != "" {
			t.Errorf("another tag (-want +got):\n%s", diff)
		}
		next := Single(testImage(t, OCI, amd64, "base of amd64", "changed"))
		if res := mustPush(t, next, one); res.Pushed != 2 || res.Present != 1 {
			t.Errorf("next version: %+v, want 2 pushed, 1 present", res)
		}
		if at(t, one) != next.Digest || at(t, two) != a.Digest {
			t.Error("a tag leads to the wrong place")
		}
		img, err := remote.Image(one)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img, validate.Fast); err != nil {
			t.Error(err)
		}
	})
}

func TestPushMounts(t *testing.T) {
	var refuse atomic.Bool
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		// Both registries know a blob in every repository; the test wants one that does not.
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, "/team/base/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		if refuse.Load() && r.URL.Query().Get("mount") != "" {
			http.Error(w, "no mounts", http.StatusForbidden)
			return true
		}
		return false
	}
	onEach(t, fault, func(t *testing.T, host string) {
		refuse.Store(false)
		a := Single(testImage(t, OCI, amd64))
		mustPush(t, a, ref(t, host+"/team/base:1"))
		from := ref(t, host+"/team/base").Context()
		for i := range a.Images[0].Layers {
			a.Images[0].Layers[i].From = &from
			a.Images[0].Layers[i].Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("a mounted blob was opened") }
		}
		if strings.HasSuffix(t.Name(), "own") { // ggcr's mounts nothing
			if res := mustPush(t, a, ref(t, host+"/team/app:1")); res.Mounted != 2 || res.Pushed != 1 {
				t.Errorf("got %+v, want 2 mounted, 1 pushed", res)
			}
		}
		refuse.Store(true)
		whole := Single(testImage(t, OCI, amd64))
		for i := range whole.Images[0].Layers {
			whole.Images[0].Layers[i].From = &from
		}
		if res := mustPush(t, whole, ref(t, host+"/other/app:1")); res.Mounted != 0 || res.Pushed != 3 {
			t.Errorf("where mounts are refused: %+v", res)
		}
	})
}

// countHeads counts the blobs that registries are asked for.
func countHeads(heads *atomic.Int32) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
			heads.Add(1)
		}
		return false
	}
}

// TestPushSecondRepository: what one repository has got, another of the same registry mounts; and what a tag's image is made of
// is not asked for blob by blob.
func TestPushSecondRepository(t *testing.T) {
	var heads atomic.Int32
	onEach(t, countHeads(&heads), func(t *testing.T, host string) {
		a := Single(testImage(t, OCI, amd64))
		one, two := ref(t, host+"/team/app:1"), ref(t, host+"/team/job:1")
		res := mustPush(t, a, one, two)
		if strings.HasSuffix(t.Name(), "own") && (res.Pushed != 3 || res.Mounted != 3) { // ggcr's knows a blob in every repository
			t.Errorf("got %+v, want 3 pushed and 3 mounted", res)
		}
		heads.Store(0)
		next := Single(testImage(t, OCI, amd64, "base of amd64", "changed"))
		o, _ := options()
		o.Earlier = map[string]Earlier{two.Name(): {Digest: a.Digest, Blobs: []v1.Hash{next.Images[0].Layers[0].Digest}}}
		if _, err := Push(context.Background(), o, next, []name.Reference{one, two}); err != nil {
			t.Fatal(err)
		}
		want := int32(2) // the new layer and config where they might have been mounted; the first repository most likely lacks them
		if strings.HasSuffix(t.Name(), "own") {
			want = 0 // the second one mounts them
		}
		if n := heads.Load(); n != want {
			t.Errorf("%d blobs were asked for, want %d", n, want)
		}
		if at(t, one) != next.Digest || at(t, two) != next.Digest {
			t.Error("a tag leads to the wrong place")
		}
		o.Earlier = map[string]Earlier{one.Name(): {Digest: a.Digest}}
		if res, err := Push(context.Background(), o, a, []name.Reference{one}); err != nil || res.Present != 3 {
			t.Errorf("the tag was seen at the image, and %+v, %v", res, err)
		}
	})
}

// TestPushLostBlob: where the registry has lost a blob of the earlier image, it goes up again.
func TestPushLostBlob(t *testing.T) {
	h := httptest.NewServer(registries["own"](t))
	defer h.Close()
	host := strings.TrimPrefix(h.URL, "http://")
	a := Single(testImage(t, OCI, amd64))
	tag := ref(t, host+"/team/app:1")
	mustPush(t, a, tag)
	lost := a.Images[0].Layers[0].Digest
	req, err := http.NewRequest(http.MethodDelete, h.URL+"/v2/team/app/blobs/"+lost.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%v %v", resp, err)
	}
	next := Single(testImage(t, OCI, amd64, "base of amd64", "changed"))
	if next.Images[0].Layers[0].Digest != lost {
		t.Fatal("the images share no layer")
	}
	if res := mustPush(t, next, tag); res.Pushed != 3 || res.Present != 0 {
		t.Errorf("%+v, want all three pushed", res)
	}
	if resp, err := http.Head(h.URL + "/v2/team/app/blobs/" + lost.String()); err != nil || resp.StatusCode != http.StatusOK || at(t, tag) != next.Digest {
		t.Errorf("the image is not whole: %v %v", resp, err)
	}
}

func TestPushIndexAndSeveralRegistries(t *testing.T) {
	onEach(t, nil, func(t *testing.T, host string) {
		other := httptest.NewServer(registries["ggcr"](t))
		defer other.Close()
		a := several(t)
		refs := []name.Reference{ref(t, host+"/team/app:1"), ref(t, strings.TrimPrefix(other.URL, "http://")+"/mirror/app:1"), ref(t, host+"/team/app:latest")}
		if res := mustPush(t, a, refs...); res.Pushed != 12 {
			t.Errorf("got %+v, want 12 pushed", res)
		}
		for _, r := range refs {
			idx, err := remote.Index(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(idx, validate.Fast); err != nil {
				t.Error(err)
			}
		}
		if res := mustPush(t, a, refs...); res.Pushed != 0 || res.Present != 12 {
			t.Errorf("again: %+v", res)
		}
	})
}

// isUpload tells the request that carries a blob.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/")
}

func TestPushFaults(t *testing.T) {
	answer := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !isUpload(r) {
				return false
			}
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(code)
			return true
		}
	}
	hangUp := func(w http.ResponseWriter, r *http.Request) bool {
		if isUpload(r) {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	tests := []struct {
		name   string
		fault  func(http.ResponseWriter, *http.Request) bool
		hint   string
		within time.Duration // of waiting
	}{
		{"500 for ever", answer(500), "fault of its own", time.Minute},
		{"401", answer(401), "login", 0},
		{"403", answer(403), "do not allow", 0},
		{"429", answer(429, "Retry-After", "20"), "limits requests", 4 * time.Minute},
		{"429 for long", answer(429, "Retry-After", "3600"), "limits requests", 0},
		{"hangs up", hangUp, "", time.Minute},
		{"wrong digest", answer(201, "Docker-Content-Digest", digestOf(nil).String()), "", 0},
		{"everything 503", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }, "fault of its own", time.Minute},
		{"manifest refused", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
			return false
		}, "", 0},
		{"wrong digest of the manifest", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Docker-Content-Digest", digestOf(nil).String())
				w.WriteHeader(http.StatusCreated)
				return true
			}
			return false
		}, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var on atomic.Bool
			fault := func(w http.ResponseWriter, r *http.Request) bool { return on.Load() && tt.fault(w, r) }
			onEach(t, fault, func(t *testing.T, host string) {
				on.Store(false)
				old := Single(testImage(t, OCI, amd64, "old"))
				tag, fresh, elsewhere := ref(t, host+"/team/app:1"), ref(t, host+"/team/app:2"), ref(t, host+"/second/app:1")
				mustPush(t, old, tag)
				on.Store(true)
				o, slept := options()
				_, err := Push(context.Background(), o, Single(testImage(t, OCI, amd64)), []name.Reference{tag, fresh, elsewhere})
				on.Store(false)
				if err == nil || hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "pushing to "+host) {
					t.Errorf("error %v of kind %d", err, hint.KindOf(err))
				}
				if !strings.Contains(hint.Of(err), tt.hint) {
					t.Errorf("hint %q, want %q in it", hint.Of(err), tt.hint)
				}
				if got := time.Duration(slept.Load()); got > 4*tt.within {
					t.Errorf("waited %s in all", got)
				}
				if at(t, tag) != old.Digest || at(t, fresh) != (v1.Hash{}) || at(t, elsewhere) != (v1.Hash{}) {
					t.Error("a tag has moved")
				}
			})
		})
	}
}

// TestPushSecondTagFails: the error says which tag has moved before.
func TestPushSecondTagFails(t *testing.T) {
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/two") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	onEach(t, fault, func(t *testing.T, host string) {
		_, err := push(t, several(t), ref(t, host+"/team/app:one"), ref(t, host+"/team/app:two"))
		if err == nil || !strings.Contains(err.Error(), ":two (moved already: ") || !strings.Contains(err.Error(), ":one)") {
			t.Errorf("got %v", err)
		}
	})
}

// TestPushSecondRegistryFails shows that no tag moves anywhere when one of the places has a fault.
func TestPushSecondRegistryFails(t *testing.T) {
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer bad.Close()
	onEach(t, nil, func(t *testing.T, host string) {
		good := ref(t, host+"/team/app:1")
		if _, err := push(t, several(t), good, ref(t, strings.TrimPrefix(bad.URL, "http://")+"/app:1")); err == nil {
			t.Error("no error")
		}
		if at(t, good) != (v1.Hash{}) {
			t.Error("the tag has moved")
		}
	})
}

func TestPushPassingFaults(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter){
		"500":      func(w http.ResponseWriter) { w.WriteHeader(500) },
		"429":      func(w http.ResponseWriter) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) },
		"hangs up": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(what, func(t *testing.T) {
			var once atomic.Int32
			fault := func(w http.ResponseWriter, r *http.Request) bool {
				if !isUpload(r) || once.Add(1) > 1 {
					return false
				}
				_, _ = io.CopyN(io.Discard, r.Body, 5)
				answer(w)
				return true
			}
			onEach(t, fault, func(t *testing.T, host string) {
				once.Store(0)
				a := Single(testImage(t, OCI, amd64))
				o, slept := options()
				var progress atomic.Int64
				o.Progress = func(_ Blob, n int64) { progress.Add(n) }
				res, err := Push(context.Background(), o, a, []name.Reference{ref(t, host+"/team/app:1")})
				if err != nil || res.Pushed != 3 {
					t.Fatalf("got %+v, %v", res, err)
				}
				if what == "429" && time.Duration(slept.Load()) != 7*time.Second {
					t.Errorf("waited %s, and 7s were asked for", time.Duration(slept.Load()))
				}
				if at(t, ref(t, host+"/team/app:1")) != a.Digest || progress.Load() < res.Bytes {
					t.Error("the tag is not there, or the progress was not told")
				}
			})
		})
	}
}

func TestPushDamagedBlob(t *testing.T) {
	for what, b := range damaged(t) {
		t.Run(what, func(t *testing.T) {
			onEach(t, nil, func(t *testing.T, host string) {
				tag := ref(t, host+"/team/app:1")
				o, slept := options()
				_, err := Push(context.Background(), o, damagedArtifact(t, b), []name.Reference{tag})
				if err == nil || hint.KindOf(err) == hint.KindNetwork {
					t.Errorf("error %v of kind %d", err, hint.KindOf(err))
				}
				if what == "flipped" {
					if _, ok := errors.AsType[*cas.DigestError](err); !ok {
						t.Errorf("error %v is no DigestError", err)
					}
				}
				if slept.Load() != 0 {
					t.Error("it was tried again, which cannot help")
				}
				if at(t, tag) != (v1.Hash{}) {
					t.Error("the tag is there")
				}
			})
		})
	}
}

// TestPushInParallel holds Jobs: that many uploads are under way at once, and no more.
func TestPushInParallel(t *testing.T) {
	var now, most atomic.Int32
	fault := func(_ http.ResponseWriter, r *http.Request) bool {
		if isUpload(r) {
			n := now.Add(1)
			defer now.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	}
	onEach(t, fault, func(t *testing.T, host string) {
		most.Store(0)
		var texts []string
		for i := range 12 {
			texts = append(texts, fmt.Sprint("layer ", i))
		}
		o, _ := options()
		o.Jobs = 3
		if _, err := Push(context.Background(), o, Single(testImage(t, OCI, amd64, texts...)), []name.Reference{ref(t, host+"/a:1")}); err != nil {
			t.Fatal(err)
		}
		if most.Load() > 3 || most.Load() < 2 {
			t.Errorf("%d uploads at once, want 3", most.Load())
		}
	})
}

func TestPushCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	fault := func(_ http.ResponseWriter, r *http.Request) bool {
		if isUpload(r) {
			cancel()
		}
		return false
	}
	onEach(t, fault, func(t *testing.T, host string) {
		o, _ := options()
		if _, err := Push(ctx, o, Single(testImage(t, OCI, amd64)), []name.Reference{ref(t, host+"/a:1")}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
		if at(t, ref(t, host+"/a:1")) != (v1.Hash{}) {
			t.Error("the tag is there")
		}
	})
}
