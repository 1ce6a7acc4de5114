package output

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestLook: what was looked at before is not asked again, with the token of then; what could not be found out is asked by Push.
func TestLook(t *testing.T) {
	var requests, tokens atomic.Int32
	var down atomic.Bool
	guard := func(w http.ResponseWriter, r *http.Request) bool {
		requests.Add(1)
		switch {
		case down.Load():
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/token":
			tokens.Add(1)
			fmt.Fprint(w, `{"token":"x"}`)
		case r.Header.Get("Authorization") != "Bearer x":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return false
		}
		return true
	}
	onEach(t, guard, func(t *testing.T, host string) {
		a, b := Single(testImage(t, OCI, amd64)), Single(testImage(t, Docker, amd64))
		one, two := ref(t, host+"/team/app:1"), ref(t, host+"/team/app:2")
		mustPush(t, a, one)

		ctx := context.Background()
		o, _ := options()
		if _, ok := o.Looked.Leads(one); ok {
			t.Error("nobody has looked")
		}
		o.Looked = Look(ctx, o, []name.Reference{one, two})
		first, _ := o.Looked.Leads(one)
		second, ok := o.Looked.Leads(two)
		if first != a.Digest || second != (v1.Hash{}) || !ok {
			t.Errorf("%s, %s, %v", first, second, ok)
		}
		requests.Store(0)
		tokens.Store(0)
		res, err := Push(ctx, o, a, []name.Reference{one})
		if diff := cmp.Diff(PushResult{Present: 3}, res); diff != "" || err != nil || requests.Load() != 0 {
			t.Errorf("%v, %d requests (-want +got):\n%s", err, requests.Load(), diff)
		}
		if _, err := Push(ctx, o, b, []name.Reference{one, two}); err != nil || tokens.Load() != 0 {
			t.Errorf("%v, %d tokens", err, tokens.Load())
		}
		if at := Look(ctx, o, []name.Reference{one}); at.digests[one.Name()] != b.Digest {
			t.Errorf("%v, want %s", at.digests, b.Digest)
		}

		down.Store(true)
		defer down.Store(false)
		o, _ = options()
		o.Looked = Look(ctx, o, []name.Reference{one})
		if _, ok := o.Looked.Leads(one); ok {
			t.Error("the registry refuses, and has answered")
		}
		if _, err := Push(ctx, o, a, []name.Reference{one}); err == nil {
			t.Error("the registry refuses, and Push says nothing of it")
		}
	})
}

// TestPushLacking: what an earlier image in the repository does not consist of is taken to be new, unless it is large.
func TestPushLacking(t *testing.T) {
	var heads atomic.Int32
	onEach(t, countHeads(&heads), func(t *testing.T, host string) {
		heads.Store(0)
		tag := ref(t, host+"/team/app:1")
		noise := make([]byte, wasteful+1) // does not get smaller
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		large := string(noise)
		mustPush(t, Single(testImage(t, OCI, amd64, "base", large)), tag)
		if n := heads.Load(); n != 3 {
			t.Errorf("of a repository of which nothing is known %d blobs were asked for, want 3", n)
		}
		for _, c := range []struct {
			text  string
			heads int32
			want  PushResult
		}{
			{"small", 0, PushResult{Pushed: 2, Present: 1}},
			{large, 1, PushResult{Pushed: 1, Present: 2}}, // the config is there, and sent again
		} {
			heads.Store(0)
			a := Single(testImage(t, OCI, amd64, "base", c.text))
			res := mustPush(t, a, tag)
			if res.Bytes = 0; res != c.want || heads.Load() != c.heads {
				t.Errorf("%.5q: %+v, and %d blobs were asked for; want %+v, and %d", c.text, res, heads.Load(), c.want, c.heads)
			}
			if at(t, tag) != a.Digest {
				t.Errorf("%.5q: the tag leads elsewhere", c.text)
			}
		}

		// What the repository is known to have been given is asked for; and so is everything where nothing was learned.
		a := Single(testImage(t, OCI, amd64, "base", "small"))
		repo := tag.Context()
		for _, from := range []func(*PushOptions){
			func(*PushOptions) {
				for i := range a.Images[0].Layers {
					a.Images[0].Layers[i].From = &repo
				}
			},
			func(o *PushOptions) { o.Holds = func(string, v1.Hash) *name.Repository { return &repo } },
			func(o *PushOptions) {
				o.Earlier = map[string]Earlier{tag.Name(): {}}
				o.Ahead = NewAhead(context.Background(), *o, []name.Reference{tag})
				o.Ahead.Push(a.Images[0].Layers[0])
				o.Ahead.wait()
			},
		} {
			mustPush(t, Single(testImage(t, OCI, amd64, "base", "other")), tag)
			o, _ := options()
			from(&o)
			heads.Store(0)
			res, err := Push(context.Background(), o, a, []name.Reference{tag})
			if err != nil || heads.Load() == 0 || res.Pushed > 1 {
				t.Errorf("%+v, %v, and %d blobs were asked for", res, err, heads.Load())
			}
			for i := range a.Images[0].Layers {
				a.Images[0].Layers[i].From = nil
			}
		}
	})
}
