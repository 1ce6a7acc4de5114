//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// mostPulled is what a machine with an empty disk may pull, in bytes, where no command has to run.
const mostPulled = 40_000

// counted counts the bytes of answers' bodies.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// TestFreshMachine: with a real base in a real registry, which has no referrers API, a machine with an empty disk pulls manifests,
// configs and the summary of the base. What skopeo copies leaves the summary behind, and is built on all the same.
func TestFreshMachine(t *testing.T) {
	registry := must(t, "E2E_REGISTRY")
	var pulled atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: registry})
		r.Out.Host = r.In.Host
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { proxy.ServeHTTP(counted{w, &pulled}, r) }))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")

	jubako(t, "push", base(t), registry+"/fresh/python:3").run(t)
	dir := project(t)
	build := func(cache, tag string) cmd {
		c := jubako(t, "build", "--base", host+"/fresh/python:3", "--set", "staticfiles=false", "-t", host+"/"+tag, "--push", "-v", dir)
		if cache != "" {
			c = c.with("JUBAKO_CACHE_DIR=" + cache)
		}
		return c
	}
	digest := func(c cmd) string {
		t.Helper()
		return strings.SplitN(c.run(t), "@", 2)[1]
	}
	digest(build("", "fresh/bento:1"))
	view := filepath.Join(dir, "menu", "views.py")
	edit(t, view, "import", "# changed\nimport")
	want := digest(build("", "fresh/other:1"))
	pulled.Store(0)
	if got := digest(build(t.TempDir(), "fresh/bento:1")); got != want {
		t.Errorf("the image is %s, and %s where everything is at hand", got, want)
	}
	if n := pulled.Load(); n > mostPulled {
		t.Errorf("%d bytes were pulled, at most %d may be", n, mostPulled)
	} else {
		t.Logf("%d bytes were pulled", n)
	}

	command("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+registry+"/fresh/bento:1", "docker://"+registry+"/fresh/copy:1").run(t)
	if got := digest(build(t.TempDir(), "fresh/copy:1")); got != want {
		t.Errorf("built on a copy it is %s, not %s", got, want)
	}
	for _, ref := range []string{"fresh/bento:1", "fresh/copy:1"} {
		docker("pull", "-q", registry+"/"+ref).run(t)
		docker("rmi", "-f", registry+"/"+ref).run(t)
	}
}
