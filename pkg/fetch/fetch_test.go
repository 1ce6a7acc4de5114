package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
)

var content = bytes.Repeat([]byte("wheel "), 20_000)

func one(h filehash.Hash) []filehash.Hash { return []filehash.Hash{h} }

func sum(b []byte) filehash.Hash {
	return filehash.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}

func client(t *testing.T, o Options) *Client {
	t.Helper()
	s := castest.Open(t)
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(s.Dir(), "tmp/*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	o.Store = s
	if o.Sleep == nil {
		o.Sleep = func(context.Context, time.Duration) error { return nil }
	}
	return New(o)
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func artifact(base string) Artifact {
	return Artifact{Project: "a", Filename: "a-1-py3-none-any.whl", URL: base + "/files/a-1-py3-none-any.whl", Hashes: one(sum(content))}
}

func TestFetchOnce(t *testing.T) {
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding: %s", r.Header.Get("Accept-Encoding"))
		}
		_, _ = w.Write(content)
	})
	c := client(t, Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if b, err := c.Fetch(context.Background(), artifact(s.URL)); err != nil || b.SHA256 != sum(content).Hex || b.Size != int64(len(content)) {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
	wg.Wait()
	if n.Load() != 1 {
		t.Errorf("%d requests", n.Load())
	}
}

func TestOtherHashes(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	c := client(t, Options{})
	a := artifact(s.URL)
	a.Hashes = one(filehash.Hash{Algorithm: "sha512", Hex: fmt.Sprintf("%x", sha512.Sum512(content))})
	if _, err := c.Fetch(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	if b, ok := c.Known(a); !ok || b.SHA256 != sum(content).Hex {
		t.Errorf("it is not known by its sha512: %+v", b)
	}
	a.Hashes = nil
	if _, err := c.Fetch(context.Background(), a); err != nil {
		t.Errorf("without a hash: %v", err)
	}
	for _, bad := range []string{"", "sha256", "sha256:00", "crc:00", "md5:zz"} {
		if h, err := filehash.Parse(bad); err == nil {
			t.Errorf("%q was taken as %s", bad, h)
		}
	}
}

// TestSeveralHashes: all that a lock has of a file hold, or any of them where it has them for several files; and its size,
// where the lock vouches for it.
func TestSeveralHashes(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	good := filehash.Hash{Algorithm: "sha512", Hex: fmt.Sprintf("%x", sha512.Sum512(content))}
	bad := filehash.Hash{Algorithm: "md5", Hex: strings.Repeat("0", 32)}
	for name, tc := range map[string]struct {
		hashes []filehash.Hash
		any    bool
		size   int64
		want   string
	}{
		"all hold":           {[]filehash.Hash{sum(content), good}, false, int64(len(content)), ""},
		"one does not":       {[]filehash.Hash{sum(content), good, bad}, false, 0, "md5:0000"},
		"the first does not": {[]filehash.Hash{sum(nil), good}, false, 0, "sha256:e3b0"},
		"one of them":        {[]filehash.Hash{sum(nil), bad, good}, true, 0, ""},
		"none of them":       {[]filehash.Hash{sum(nil), bad}, true, 0, "sha256:e3b0"},
		"another size":       {[]filehash.Hash{sum(content)}, false, 7, "and the lock says 7"},
	} {
		a := artifact(s.URL)
		a.Hashes, a.AnyHash, a.Size, a.Sized = tc.hashes, tc.any, tc.size, tc.size > 0
		c := client(t, Options{})
		b, err := c.Fetch(context.Background(), a)
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) || hint.KindOf(err) != hint.KindCheck {
				t.Errorf("%s: %v", name, err)
			}
			if c.o.Store.Has(sum(content).Hex, -1) {
				t.Errorf("%s: it is in the store", name)
			}
			continue
		}
		if err != nil || b.SHA256 != sum(content).Hex {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		if _, ok := c.Known(a); !ok {
			t.Errorf("%s: it is not known", name)
		}
	}
}

// TestHashMismatch is case 31 of the specification.
func TestHashMismatch(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("other")) })
	c := client(t, Options{})
	a := artifact(strings.Replace(s.URL, "http://", "http://user:hunter2@", 1))
	_, err := c.Fetch(context.Background(), a)
	he, ok := errors.AsType[*HashError](err)
	if !ok || he.Got == he.Want || hint.KindOf(err) != hint.KindCheck || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if _, ok := c.Known(a); ok {
		t.Error("the wrong file was kept")
	}
}

// TestCut: a cut answer is gone on with by a range, or begun anew where the server has none.
func TestCut(t *testing.T) {
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch n := asked.Add(1); {
				case n == 1:
					w.Header().Set("Content-Length", fmt.Sprint(len(content)))
					w.Header().Set("Etag", `"x"`)
					_, _ = w.Write(content[:50_000])
					panic(http.ErrAbortHandler)
				case n == 2:
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(503)
				case ranges:
					if r.Header.Get("If-Range") != `"x"` {
						t.Errorf("If-Range: %s", r.Header.Get("If-Range"))
					}
					w.Header().Set("Etag", `"x"`)
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
				default:
					_, _ = w.Write(content)
				}
			})
			if _, err := client(t, Options{}).Fetch(context.Background(), artifact(s.URL)); err != nil || asked.Load() != 3 {
				t.Errorf("%v after %d requests", err, asked.Load())
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for status, want := range map[int]string{401: "UV_INDEX_", 403: "UV_INDEX_", 404: "lock anew", 500: ""} {
		n := 0
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			n++
			w.WriteHeader(status)
			_, _ = w.Write([]byte("why\nnot"))
		})
		_, err := client(t, Options{}).Fetch(context.Background(), artifact(s.URL))
		if hint.KindOf(err) != hint.KindNetwork || !strings.Contains(hint.Of(err), want) || !strings.Contains(err.Error(), "why not") {
			t.Errorf("%d: %v (%s)", status, err, hint.Of(err))
		}
		if want := map[bool]int{true: attempts, false: 1}[status == 500]; n != want {
			t.Errorf("%d: %d requests, want %d", status, n, want)
		}
	}
	_, err := client(t, Options{Offline: true}).Fetch(context.Background(), artifact("http://127.0.0.1:1"))
	if err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("offline: %v", err)
	}
	if _, err = client(t, Options{}).Fetch(context.Background(), Artifact{Filename: "x", URL: "ftp://x/y"}); hint.KindOf(err) != hint.KindUsage {
		t.Errorf("ftp: %v", err)
	}
}

func TestOtherPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a-1-py3-none-any.whl")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mirror/files/a-1-py3-none-any.whl", "/packages/a-1-py3-none-any.whl":
			_, _ = w.Write(content)
		case "/html/a/":
			fmt.Fprint(w, `<a href="../../packages/a-1-py3-none-any.whl#sha256=00">a</a>`)
		case "/json/a/":
			w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
			fmt.Fprint(w, `{"files":[{"filename":"a-1-py3-none-any.whl","url":"/packages/a-1-py3-none-any.whl"}]}`)
		default:
			http.NotFound(w, r)
		}
	})
	gone := artifact("https://files.index.example")
	local := gone
	local.URL, local.Path = "", file
	byURL := gone
	byURL.URL = "file://" + file
	for name, tc := range map[string]struct {
		o Options
		a Artifact
	}{
		"a mirror":     {Options{Mirrors: map[string]string{"https://files.index.example/": s.URL + "/mirror/", "https://files": "http://127.0.0.1:1"}}, gone},
		"an index":     {Options{Index: s.URL + "/html"}, gone},
		"a JSON index": {Options{Index: s.URL + "/json/"}, gone},
		"find-links":   {Options{FindLinks: []string{t.TempDir(), dir}, Offline: true}, gone},
		"a path":       {Options{Offline: true}, local},
		"a file URL":   {Options{Offline: true}, byURL},
	} {
		if _, err := client(t, tc.o).Fetch(context.Background(), tc.a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := client(t, Options{Index: s.URL + "/html"}).Fetch(context.Background(), Artifact{Project: "a", Filename: "a-2-py3-none-any.whl", URL: gone.URL}); err == nil {
		t.Error("a file that the index lacks was found")
	}
}

// TestCredentials is case 48 of the specification: an index's go at once to its own paths, elsewhere on its host when asked, and to no other host.
func TestCredentials(t *testing.T) {
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine net.example login n password p # x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"UV_INDEX_MY_IDX_USERNAME": "e", "UV_INDEX_MY_IDX_PASSWORD": "p"}
	c := &Credentials{Netrc: netrc, Getenv: func(k string) string { return env[k] }, Indexes: []Index{
		{Name: "my-idx", URL: "https://url:pw@idx.example/team/simple"}, {Name: "other", URL: "https://o:pw@never.example/simple", Policy: Never}, {URL: "https://b:pw@always.example/x/simple", Policy: Always},
	}}
	for at, want := range map[string]string{
		"https://idx.example/team/a.whl":      "e at once",
		"https://idx.example/teammate/a.whl":  "e when asked",
		"https://idx.example:8443/team/a.whl": "nobody",
		"http://idx.example/team/a.whl":       "nobody",
		"https://x:y@idx.example/team/a.whl":  "x at once",
		"https://never.example/a.whl":         "nobody",
		"https://always.example/elsewhere":    "b at once",
		"https://net.example/a.whl":           "n when asked",
		"https://files.index.example/a.whl":   "nobody",
	} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		first, later, err := c.lookUp(context.Background(), u)
		if err != nil {
			t.Fatal(err)
		}
		got := "nobody"
		if first != nil {
			got = first.Username() + " at once"
		} else if later != nil {
			user, err := later()
			if err != nil {
				t.Fatal(err)
			}
			if user != nil {
				got = user.Username() + " when asked"
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}

func TestRedirectDropsCredentials(t *testing.T) {
	var seen []string
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = w.Write(content)
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			t.Error("the index's own credentials were not sent")
		}
		http.Redirect(w, r, other.URL+"/x", http.StatusFound)
	})
	c := client(t, Options{Credentials: &Credentials{Indexes: []Index{{URL: strings.Replace(s.URL, "http://", "http://u:p@", 1)}}}})
	if _, err := c.Fetch(context.Background(), artifact(s.URL)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{""}, seen); d != "" {
		t.Errorf("the other origin saw %v", seen)
	}
}

func TestNetrc(t *testing.T) {
	got, err := parseNetrc([]byte("# c\nmachine a login b password c\nmachine d\n login e\n password f\nmacdef x\nrm -rf\n\ndefault login z password y\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]machine{{"a", "b", "c"}, {"d", "e", "f"}, {"", "z", "y"}}, got, cmp.AllowUnexported(machine{})); d != "" {
		t.Error(d)
	}
	got, err = parseNetrc([]byte("machine a\n\tlogin \"b c\\\"\" # d\n\tpassword #e # f\nmachine g login h password \"\""))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]machine{{"a", `b c"`, "#e"}, {"g", "h", ""}}, got, cmp.AllowUnexported(machine{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"login x", "\"machine\" \"a", "machine", "machine a what b", "machine a login"} {
		if _, err := parseNetrc([]byte(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzNetrc(f *testing.F) {
	f.Add([]byte("machine a login b password c\ndefault login x\n"))
	f.Add([]byte("machine a # no\nlogin \"b \\\"c\" password \"\"\nmacdef m\n\tx\n\n#end"))
	f.Add([]byte("login \"x"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseNetrc(b) })
}

// FuzzSimple: whatever an index answers, the links that are found are absolute.
func FuzzSimple(f *testing.F) {
	f.Add([]byte(`<a href="../x.whl#sha256=0">x</a><A HREF='y'>`))
	f.Add([]byte(`{"files":[{"filename":"x","url":"y"}]}`))
	f.Add([]byte(simplePage))
	f.Add([]byte(`{"meta":{"api-version":"1.0"},"name":"one","files":[{"filename":"one-1.0.tar.gz","url":"https://files.index.example/one-1.0.tar.gz","hashes":{"sha256":"00"}}]}`))
	f.Add([]byte(`<a href`))
	f.Add([]byte(`<base href="//x"><a href=y//><a =>`))
	base, err := url.Parse("https://index.example/simple/a/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		files, _ := parseSimpleJSON(base, b)
		for _, m := range []map[string]IndexFile{files, parseSimpleHTML(base, b)} {
			for _, f := range m {
				if p, err := url.Parse(f.URL); err != nil || p.Scheme != "https" {
					t.Errorf("%+v", f)
				}
			}
		}
	})
}
