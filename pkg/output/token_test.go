package output

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/jubako/jubako/pkg/hint"
)

// tokens is a registry's token server, whose tokens can expire.
type tokens struct {
	mu     sync.Mutex
	serial int
	expire func(*http.Request) bool // whether the tokens expire with this request
}

// see answers requests for a token and those with a wrong one.
func (s *tokens) see(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/token" {
		w.Header().Set("Connection", "close")
		_, _ = fmt.Fprintf(w, `{"token": "t%d"}`, s.serial)
		return true
	}
	if s.expire != nil && s.expire(r) {
		s.serial++
		s.expire = nil
	}
	if r.Header.Get("Authorization") == fmt.Sprintf("Bearer t%d", s.serial) {
		return false
	}
	_, _ = io.CopyN(io.Discard, r.Body, 100) // which is then missing
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
	w.Header().Set("Connection", "close") // on one that it has used before, http.Transport rewinds a body itself
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

func (s *tokens) set(expire func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire = expire
}

func (s *tokens) expired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expire == nil
}

// TestPushTokenExpires: a token that expires with any request of a push is fetched anew, and what had begun to go up goes up whole.
func TestPushTokenExpires(t *testing.T) {
	for what, expires := range map[string]func(*http.Request) bool{
		"manifest": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		},
		"upload's begin": func(r *http.Request) bool { return r.Method == http.MethodPost },
		"upload":         func(r *http.Request) bool { return isUpload(r) && r.ContentLength > 256<<10 },
		"chunk":          func(r *http.Request) bool { return r.Method == http.MethodPatch },
	} {
		t.Run(what, func(t *testing.T) {
			s := &tokens{}
			onEach(t, s.see, func(t *testing.T, host string) {
				s.set(expires)
				o, _ := options()
				a, blob := imageOf(t, "base", noise(600<<10))
				refs := []name.Reference{ref(t, host+"/team/app:1"), ref(t, host+"/team/app:2")}
				if what == "chunk" {
					o.Ahead = NewAhead(t.Context(), o, refs)
					g := grow(t, blob, 100<<10)
					up := o.Ahead.Stream(g.open)
					g.finish()
					up.Whole(blob)
					o.Ahead.wait()
				}
				if res, err := Push(t.Context(), o, a, refs); err != nil || res.Pushed != len(a.blobs()) {
					t.Errorf("%+v, %v", res, err)
				}
				if !s.expired() || at(t, refs[0]) != a.Digest || at(t, refs[1]) != a.Digest {
					t.Error("no token has expired, or a tag does not lead there")
				}
			})
		})
	}
}

// TestPushTokenNeverHolds: a registry that takes no token for an upload is not asked for ever.
func TestPushTokenNeverHolds(t *testing.T) {
	s := &tokens{}
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		if isUpload(r) {
			s.set(isUpload)
		}
		return s.see(w, r)
	}
	onEach(t, fault, func(t *testing.T, host string) {
		o, _ := options()
		o.Jobs = 1 // another blob's token would expire with it
		tag := ref(t, host+"/team/app:1")
		_, err := Push(t.Context(), o, Single(testImage(t, OCI, amd64)), []name.Reference{tag})
		if hint.KindOf(err) != hint.KindNetwork || !strings.Contains(hint.Of(err), "takes no token for this upload") {
			t.Errorf("%v (%s)", err, hint.Of(err))
		}
	})
}
