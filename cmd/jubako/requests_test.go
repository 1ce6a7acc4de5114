package main

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recorder notes what a registry is asked.
type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) note(_ http.ResponseWriter, req *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, req.Method+" "+req.URL.Path)
	return false
}

// take gives what was asked since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// digests are left out of what is compared, but for their kind.
var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}|uploads/[0-9a-f]{32}`)

// want compares what was asked since the last time with what may be asked at most, in any order.
func (r *recorder) want(t *testing.T, when string, want ...string) {
	t.Helper()
	got := r.take()
	for i := range got {
		got[i] = digests.ReplaceAllString(got[i], "…")
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", when, d)
	}
}

// TestRequests holds the number of requests, which over a long line is most of what an unchanged build costs: two for a tag.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	var r recorder
	w.refuse = r.note
	tag := w.host() + "/team/site"
	w.build("-t", tag+":1", "-t", tag+":2", "--push")
	r.take()
	w.build("-t", tag+":1", "--push")
	r.want(t, "nothing has changed", "GET /v2/", "HEAD /v2/team/site/manifests/1")
	w.build("-t", tag+":1", "-t", tag+":2", "--push")
	r.want(t, "nothing has changed, two tags", "GET /v2/", "HEAD /v2/team/site/manifests/1", "HEAD /v2/team/site/manifests/2")

	_, log := w.build("-t", tag+":1", "-t", w.host()+"/other/site:1", "--push")
	for _, req := range r.take() {
		if strings.HasPrefix(req, "PUT /v2/other/site/blobs/") || strings.HasPrefix(req, "GET /v2/other") {
			t.Errorf("a blob that the registry has was not mounted: %s", req)
		}
	}
	if !strings.Contains(log, "0 blobs, 0.0 kB; 6 blobs mounted; 6 blobs there already") {
		t.Errorf("a second repository of the registry:\n%s", log)
	}

	w.write("mysite/views.py", "x = 1\n")
	w.build("-t", tag+":1", "--push")
	upload := []string{"POST /v2/team/site/blobs/uploads/", "PUT /v2/team/site/blobs/…"}
	r.want(t, "one line has changed", slices.Concat([]string{"GET /v2/", "HEAD /v2/team/site/manifests/1"},
		upload, upload, []string{"PUT /v2/team/site/manifests/1", "PUT /v2/team/site/manifests/…"})...) // the app layer and the config; and what is attached

	if code, _, log := w.jubako("push", w.base, w.host()+"/base/python:3"); code != 0 {
		t.Fatal(log)
	}
	w.base = w.host() + "/base/python:3"
	w.build("-t", tag+":1", "--push")
	r.take()
	w.build("-t", tag+":1", "--push")
	if got := len(r.take()); got != 3 {
		t.Errorf("with a base that is not pinned, %d requests; one more, for its tag, is enough", got)
	}

	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	w.build("-t", tag+":1", "--push")
	r.want(t, "nothing has changed, and the disk is empty", "GET /v2/",
		"GET /v2/base/python/manifests/3", "GET /v2/base/python/blobs/…", "GET /v2/team/site/manifests/1", "GET /v2/team/site/blobs/…",
		"GET /v2/team/site/referrers/…", "GET /v2/team/site/manifests/…") // for the facts
	w.build("-t", tag+":1", "--push")
	r.want(t, "and then nothing has changed", "GET /v2/", "GET /v2/base/python/manifests/3", "HEAD /v2/team/site/manifests/1")

	// Where a tag leads is asked once, also where it leads nowhere.
	here := os.Getenv("JUBAKO_CACHE_DIR")
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	w.build("-t", tag+":new", "--push")
	asked := slices.DeleteFunc(r.take(), func(req string) bool { return !strings.HasSuffix(req, "/v2/team/site/manifests/new") })
	if d := cmp.Diff([]string{"GET /v2/team/site/manifests/new", "PUT /v2/team/site/manifests/new"}, asked); d != "" {
		t.Errorf("a tag that nobody has pushed to (-want +got):\n%s", d)
	}
	t.Setenv("JUBAKO_CACHE_DIR", here)

	// Somebody else moves the tag to another image, which this machine does not hold.
	w.write("mysite/views.py", "x = 2\n")
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	w.build("-t", tag+":1", "--push")
	t.Setenv("JUBAKO_CACHE_DIR", here)
	r.take()
	w.build("-t", tag+":1", "--push")
	r.want(t, "another machine has pushed the same", "GET /v2/", "GET /v2/base/python/manifests/3", "HEAD /v2/team/site/manifests/1",
		"GET /v2/team/site/manifests/…", "GET /v2/team/site/blobs/…")
}

// TestPushWaitsForNobody: where everything is at hand, a push does not wait for what an earlier image might hold.
func TestPushWaitsForNobody(t *testing.T) {
	w := newWorld(t)
	w.build()
	tagged := make(chan struct{})
	w.refuse = func(_ http.ResponseWriter, req *http.Request) bool {
		switch req.Method + " " + req.URL.Path {
		case "PUT /v2/team/site/manifests/1":
			close(tagged)
		case "GET /v2/team/other/manifests/1":
			select {
			case <-tagged:
			case <-time.After(20 * time.Second):
				t.Error("the push waited for --cache-from")
			}
		}
		return false
	}
	w.build("-t", w.host()+"/team/site:1", "--cache-from", w.host()+"/team/other:1", "--push")
}
