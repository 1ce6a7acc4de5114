package output

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/jubako/jubako/pkg/attach"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/regclient"
)

// asked notes what registries are asked, digests left out.
type asked struct {
	mu  sync.Mutex
	all []string
}

func (a *asked) note(_ http.ResponseWriter, r *http.Request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	kind := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/app/"), "/")[0]
	switch {
	case strings.HasPrefix(last, "sha256:"):
		last = "DIGEST"
	case strings.HasPrefix(last, "sha256-"):
		last = "LIST"
	case strings.Contains(r.URL.Path, "/uploads/"):
		last = "UPLOAD"
	}
	a.all = append(a.all, r.Method+" "+kind+" "+last)
	return false
}

func (a *asked) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.all
	a.all = nil
	slices.Sort(all)
	return all
}

// readAttached reads what is attached to the image that a tag leads to.
func readAttached(t *testing.T, tag string, names ...string) map[string]string {
	t.Helper()
	opened, err := base.Open(context.Background(), base.Source{Kind: base.Registry, Ref: tag}, base.Options{Client: regclient.New(regclient.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	list, err := opened.Attachments(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, n := range names {
		b, err := list.Read(context.Background(), n)
		if err != nil {
			t.Error(err)
		}
		if b != nil {
			all[n] = string(b)
		}
	}
	return all
}

func TestAttachments(t *testing.T) {
	var requests asked
	large := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for what, a := range map[string]func() Artifact{
		"oci":    func() Artifact { return Single(testImage(t, OCI, amd64)) },
		"docker": func() Artifact { return Single(testImage(t, Docker, amd64)) },
		"index":  func() Artifact { return several(t) },
	} {
		t.Run(what, func(t *testing.T) {
			onEach(t, requests.note, func(t *testing.T, host string) {
				a, tag := a(), ref(t, host+"/app:1")
				o, _ := options()
				var known []v1.Hash
				with := AttachOptions{
					Attachments:     []attach.Attachment{{Name: "facts", Data: []byte("small")}, {Name: "record", Data: large}},
					AttachedEarlier: func(name.Repository) []v1.Hash { return known },
					Attached: func(name.Repository) {
						known = []v1.Hash{digestOf([]byte(attach.Empty)), digestOf([]byte("small")), digestOf(large)}
					},
					Note: func(s string) { t.Error(s) },
				}
				o.Attach = func() AttachOptions { return with }
				res, err := Push(context.Background(), o, a, []name.Reference{tag})
				if err != nil || len(known) != 3 || res.Pushed != len(a.blobs()) {
					t.Fatalf("%+v, %v, %v", res, known, err)
				}
				if d := cmp.Diff(map[string]string{"facts": "small", "record": string(large)}, readAttached(t, host+"/app:1", "facts", "record", "other")); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}

				requests.take()
				if _, err := Push(context.Background(), o, a, []name.Reference{tag}); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff([]string{"HEAD manifests 1"}, requests.take()); d != "" {
					t.Errorf("nothing has changed (-want +got):\n%s", d)
				}

				next := Single(testImage(t, OCI, amd64, "base of amd64", "changed"))
				if _, err := Push(context.Background(), o, next, []name.Reference{tag}); err != nil {
					t.Fatal(err)
				}
				want := []string{"GET manifests LIST", "PUT manifests DIGEST", "PUT manifests LIST"}
				if strings.HasSuffix(t.Name(), "own") {
					want = []string{"PUT manifests DIGEST"}
				}
				got := slices.DeleteFunc(requests.take(), func(s string) bool { return s != "PUT manifests DIGEST" && !strings.HasSuffix(s, "LIST") })
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("what attaching costs (-want +got):\n%s", d)
				}
				if got := readAttached(t, host+"/app:1", "facts"); got["facts"] != "small" {
					t.Errorf("the next image has %v", got)
				}
			})
		})
	}
}

// TestAttachmentsLost: blobs that were there once are asked for, where the registry misses one.
func TestAttachmentsLost(t *testing.T) {
	onEach(t, nil, func(t *testing.T, host string) {
		o, _ := options()
		o.Attach = func() AttachOptions {
			return AttachOptions{Attachments: []attach.Attachment{{Name: "facts", Data: []byte("small")}}, Note: func(s string) { t.Error(s) },
				AttachedEarlier: func(name.Repository) []v1.Hash {
					return []v1.Hash{digestOf([]byte(attach.Empty)), digestOf([]byte("small"))}
				}}
		}
		if _, err := Push(context.Background(), o, Single(testImage(t, OCI, amd64)), []name.Reference{ref(t, host+"/app:1")}); err != nil {
			t.Fatal(err)
		}
		if got := readAttached(t, host+"/app:1", "facts"); got["facts"] != "small" {
			t.Errorf("%v", got)
		}
	})
}

// TestAttachmentsRefused: a registry that takes no artifacts, or has no room for their list, has the image all the same.
func TestAttachmentsRefused(t *testing.T) {
	for what, refused := range map[string]func(*http.Request) bool{
		"the artifact": isArtifact,
		"its blobs": func(r *http.Request) bool {
			return r.Method == http.MethodHead && strings.Contains(r.URL.Path, digestOf([]byte("small")).Hex)
		},
		"the list": func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/sha256-") },
	} {
		t.Run(what, func(t *testing.T) {
			fault := func(w http.ResponseWriter, r *http.Request) bool {
				if refused(r) {
					http.Error(w, "no", http.StatusForbidden)
					return true
				}
				return false
			}
			onEach(t, fault, func(t *testing.T, host string) {
				o, _ := options()
				var notes []string
				o.Attach = func() AttachOptions {
					return AttachOptions{Attachments: []attach.Attachment{{Name: "facts", Data: []byte("small")}}, Note: func(s string) { notes = append(notes, s) }}
				}
				a, tag := Single(testImage(t, OCI, amd64)), ref(t, host+"/app:1")
				if _, err := Push(context.Background(), o, a, []name.Reference{tag}); err != nil || at(t, tag) != a.Digest {
					t.Fatalf("the image is not there: %v", err)
				}
				if len(notes) == 0 != (what == "the list" && strings.HasSuffix(t.Name(), "own")) {
					t.Errorf("notes: %q", notes)
				}
			})
		})
	}
}

// isArtifact says whether a request puts the attachments' manifest.
func isArtifact(r *http.Request) bool {
	if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
		return false
	}
	b, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	return err == nil && bytes.Contains(b, []byte(`"artifactType":"`+attach.ArtifactType+`","config"`))
}

// TestAttachmentsWaitForImage: a registry that takes no artifact before what it is attached to is given it after.
func TestAttachmentsWaitForImage(t *testing.T) {
	var tagged atomic.Bool
	var early atomic.Int32
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1") {
			for deadline := time.Now().Add(10 * time.Second); early.Load() == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // the artifact comes beside the blobs
			}
			tagged.Store(true)
		}
		if tagged.Load() || !isArtifact(r) {
			return false
		}
		early.Add(1)
		http.Error(w, "no subject", http.StatusBadRequest)
		return true
	}
	onEach(t, fault, func(t *testing.T, host string) {
		tagged.Store(false)
		early.Store(0)
		o, _ := options()
		o.Attach = func() AttachOptions {
			return AttachOptions{Attachments: []attach.Attachment{{Name: "facts", Data: []byte("small")}}, Note: func(s string) { t.Error(s) }}
		}
		if _, err := Push(context.Background(), o, Single(testImage(t, OCI, amd64)), []name.Reference{ref(t, host+"/app:1")}); err != nil {
			t.Fatal(err)
		}
		if got := readAttached(t, host+"/app:1", "facts"); got["facts"] != "small" || early.Load() == 0 {
			t.Errorf("%v, refused %d times", got, early.Load())
		}
	})
}

// TestAttachmentsOfFailedPush: where the tag does not move, no other tag appears.
func TestAttachmentsOfFailedPush(t *testing.T) {
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1") {
			http.Error(w, "no", http.StatusForbidden)
			return true
		}
		return false
	}
	onEach(t, fault, func(t *testing.T, host string) {
		o, _ := options()
		o.Attach = func() AttachOptions {
			return AttachOptions{Attachments: []attach.Attachment{{Name: "facts", Data: []byte("small")}}, Attached: func(name.Repository) { t.Error("attached") }}
		}
		if _, err := Push(context.Background(), o, Single(testImage(t, OCI, amd64)), []name.Reference{ref(t, host+"/app:1")}); err == nil {
			t.Fatal("a refused tag is no error")
		}
		if tags, err := remote.List(ref(t, host+"/app:1").Context()); err != nil && !regclient.NotFound(err) || len(tags) != 0 {
			t.Errorf("tags %v, %v", tags, err)
		}
	})
}
