package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
)

func TestOffline(t *testing.T) {
	f := newFixture(t, Options{Offline: true})
	_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: "https://files.index.example/a.whl", Hashes: one(sum(large))})
	if e, ok := errors.AsType[*OfflineError](err); !ok || e.Name != "a.whl" || hint.KindOf(err) != hint.KindNetwork || hint.Of(err) == "" {
		t.Errorf("got %v (hint %q)", err, hint.Of(err))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.whl"), large, 0o600); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, Options{Offline: true, FindLinks: []string{t.TempDir(), dir}})
	f.mustFetch(t, Artifact{Filename: "a.whl", URL: "https://files.index.example/a.whl", Hashes: one(sum(large))}, large)
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a b.whl")
	if err := os.WriteFile(file, large, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range []Artifact{
		{Filename: "a b.whl", Path: file},
		{Filename: "a b.whl", Path: file, Hashes: one(sum(large))},
		{Filename: "a b.whl", URL: (&url.URL{Scheme: "file", Path: file}).String(), Hashes: one(sum(large))},
	} {
		newFixture(t, Options{}).mustFetch(t, a, large)
	}
	f := newFixture(t, Options{})
	if _, err := f.Fetch(t.Context(), Artifact{Filename: "a b.whl", Path: file, Hashes: one(sum(nil))}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("another hash: %v", err)
	}
	if _, err := f.Fetch(t.Context(), Artifact{Filename: "b.whl", Path: filepath.Join(dir, "b.whl")}); hint.KindOf(err) != hint.KindUsage || hint.Of(err) == "" {
		t.Errorf("no file: %v", err)
	}
	if _, err := f.Fetch(t.Context(), Artifact{Filename: "b.whl", URL: "ftp://files.index.example/b.whl"}); hint.KindOf(err) != hint.KindUsage {
		t.Errorf("another scheme: %v", err)
	}
	if left := f.files(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestFindLinksOfAnotherHash(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.whl"), []byte("built here"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := script(t, whole(large, ""))
	f := newFixture(t, Options{FindLinks: []string{dir}})
	f.mustFetch(t, Artifact{Filename: "a.whl", URL: srv.URL, Hashes: one(sum(large))}, large)
	if len(f.log) != 1 || !strings.Contains(f.log[0], "passed over") {
		t.Errorf("log: %q", f.log)
	}
}

func TestMirror(t *testing.T) {
	c := New(Options{Mirrors: map[string]string{
		"https://files.index.example/":          "https://nexus.corp/files/",
		"https://files.index.example/packages/": "https://nexus.corp/packages",
		"https://plain.example":                 "https://nexus.corp/plain/",
	}})
	for from, want := range map[string]string{
		"https://files.index.example/a/b.whl":        "https://nexus.corp/files/a/b.whl",
		"https://files.index.example/packages/b.whl": "https://nexus.corp/packages/b.whl",
		"https://plain.example/b.whl?x=1":            "https://nexus.corp/plain/b.whl?x=1",
		"https://plain.example.org/b.whl":            "https://plain.example.org/b.whl",
		"https://other.example/b.whl":                "https://other.example/b.whl",
	} {
		if got, ok := c.mirror(from); got != want || ok != (got != from) {
			t.Errorf("%s goes to %s (%t), want %s", from, got, ok, want)
		}
	}
}

func TestIndex(t *testing.T) {
	const name = "my_app-1.0-py3-none-any.whl"
	page := func(contentType, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/simple/my-app/":
				w.Header().Set("Content-Type", contentType)
				fmt.Fprint(w, text)
			case "/files/" + name, "/elsewhere/" + name:
				whole(large, "")(w, r)
			default:
				http.NotFound(w, r)
			}
		}
	}
	html := page("text/html", `<!DOCTYPE html><a href="../../files/`+name+`#sha256=00">`+name+`</a>`)
	a := Artifact{Project: "my-app", Filename: name, URL: "https://files.index.example/" + name, Hashes: one(sum(large))}
	for kind, h := range map[string]http.HandlerFunc{
		"html": html,
		"json": page("application/vnd.pypi.simple.v1+json", `{"meta":{"api-version":"1.3"},"files":[{"filename":"`+name+`","url":"../../files/`+name+`"}]}`),
	} {
		t.Run(kind, func(t *testing.T) {
			srv := script(t, status(503), h)
			newFixture(t, Options{Index: srv.URL + "/simple"}).mustFetch(t, a, large)
		})
	}
	t.Run("another file under that name", func(t *testing.T) {
		srv := script(t, html)
		a := a
		a.Hashes = one(sum([]byte("locked")))
		_, err := newFixture(t, Options{Index: srv.URL + "/simple"}).Fetch(t.Context(), a)
		if _, ok := errors.AsType[*HashError](err); !ok {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no hash", func(t *testing.T) {
		srv := script(t, html)
		a := a
		a.Hashes = nil
		_, err := newFixture(t, Options{Index: srv.URL + "/simple"}).Fetch(t.Context(), a)
		if hint.KindOf(err) != hint.KindUsage || srv.count() > 0 {
			t.Errorf("got %v after %d requests", err, srv.count())
		}
	})
	t.Run("absent, but at the locked URL", func(t *testing.T) {
		srv := script(t, html)
		a := Artifact{Project: "unknown", Filename: name, URL: srv.URL + "/elsewhere/" + name, Hashes: one(sum(large))}
		newFixture(t, Options{Index: srv.URL + "/simple"}).mustFetch(t, a, large)
	})
	t.Run("absent everywhere", func(t *testing.T) {
		srv := script(t, html)
		a := Artifact{Project: "my-app", Filename: "my_app-2.0-py3-none-any.whl", URL: srv.URL + "/gone", Hashes: one(sum(large))}
		_, err := newFixture(t, Options{Index: srv.URL + "/simple"}).Fetch(t.Context(), a)
		if err == nil || !strings.Contains(err.Error(), "/simple/ has no file my_app-2.0-py3-none-any.whl") || !strings.Contains(err.Error(), "404") ||
			hint.KindOf(err) != hint.KindNetwork || hint.Of(err) == "" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a mirror comes first", func(t *testing.T) {
		srv := script(t, html)
		f := newFixture(t, Options{Index: "http://127.0.0.1:1/simple", Mirrors: map[string]string{"https://files.index.example/": srv.URL + "/files/"}})
		f.mustFetch(t, a, large)
	})
	t.Run("the API's next version", func(t *testing.T) {
		srv := script(t, page("application/json", `{"meta":{"api-version":"2.0"}}`))
		_, err := newFixture(t, Options{Index: srv.URL + "/simple"}).Fetch(t.Context(), a)
		if err == nil || !strings.Contains(err.Error(), `"2.0"`) {
			t.Errorf("got %v", err)
		}
	})
}

const simplePage = `<!DOCTYPE html>
<html><head><!-- <a href="commented-1.whl"> --><base href="/deep/"><script>"<a href='scripted-1.whl'>"</script>
<meta name="pypi:repository-version" large="1.0"></head><body>
<a href="one-1.0-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3.8">one-1.0-py3-none-any.whl</a><br/>
<A data-yanked
   HREF = 'https://files.index.example/two-1.0%2Bcpu-py3-none-any.whl?a=1&amp;b=2'>two</A>
<a href=three-1.0.tar.gz>three</a> <a name=x>no link</a> <a href="javascript:alert(1)">no file</a>
<a href="http://files.index.example/unsafe-1.whl">unsafe</a>
a < b <a href="cut-1.whl`

func TestParseSimpleHTML(t *testing.T) {
	base, err := url.Parse("https://index.example/simple/one/")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]IndexFile)
	for name, at := range map[string]string{
		"one-1.0-py3-none-any.whl":     "https://index.example/deep/one-1.0-py3-none-any.whl",
		"two-1.0+cpu-py3-none-any.whl": "https://files.index.example/two-1.0%2Bcpu-py3-none-any.whl?a=1&b=2",
		"three-1.0.tar.gz":             "https://index.example/deep/three-1.0.tar.gz",
		"cut-1.whl":                    "https://index.example/deep/cut-1.whl",
	} {
		want[name] = IndexFile{Filename: name, URL: at, Yanked: strings.HasPrefix(name, "two")}
	}
	one := want["one-1.0-py3-none-any.whl"]
	one.Hashes, one.RequiresPython = []filehash.Hash{sum([]byte("one"))}, ">=3.8"
	want[one.Filename] = one
	if diff := cmp.Diff(want, parseSimpleHTML(base, []byte(strings.Replace(simplePage, "sha256=00", "sha256="+sum([]byte("one")).Hex, 1)))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestFiles lists what an index has, with the hashes that jubako knows, by either form of its pages.
func TestFiles(t *testing.T) {
	sha, md := sum(large), filehash.Hash{Algorithm: "md5", Hex: strings.Repeat("0", 32)}
	page := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/simple/my-app/" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(body))
		}
	}
	for kind, tc := range map[string]struct {
		h    http.HandlerFunc
		want []filehash.Hash
	}{
		"html": {page("text/html", `<a href="/files/a-1.whl#sha256=`+sha.Hex+`">`), []filehash.Hash{sha}},
		"json": {page("application/vnd.pypi.simple.v1+json", `{"files":[{"filename":"a-1.whl","url":"/files/a-1.whl","hashes":{"sha1":"00","md5":"`+md.Hex+`","sha256":"`+sha.Hex+`","x":{}}}]}`), []filehash.Hash{sha, md}},
	} {
		t.Run(kind, func(t *testing.T) {
			srv := script(t, tc.h)
			f := newFixture(t, Options{})
			for range 2 {
				files, err := f.Files(t.Context(), srv.URL+"/simple", "my-app")
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]IndexFile{"a-1.whl": {Filename: "a-1.whl", URL: srv.URL + "/files/a-1.whl", Hashes: tc.want}}
				if d := cmp.Diff(want, files); d != "" {
					t.Error(d)
				}
			}
			if srv.count() != 1 {
				t.Errorf("%d requests", srv.count())
			}
			if files, err := f.Files(t.Context(), srv.URL+"/simple/", "other"); err != nil || len(files) != 0 {
				t.Errorf("%v, %v", files, err)
			}
		})
	}
	_, err := newFixture(t, Options{Offline: true}).Files(t.Context(), "https://index.example/simple", "my-app")
	if _, ok := errors.AsType[*OfflineError](err); !ok {
		t.Errorf("offline: %v", err)
	}
}
