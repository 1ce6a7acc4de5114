package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func serve(t testing.TB) (*httptest.Server, string) {
	t.Helper()
	dir := t.TempDir()
	g, err := New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return s, dir
}

func do(t *testing.T, s *httptest.Server, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = s.URL + path
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func digest(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }

// TestWithClient pushes and pulls with go-containerregistry, also after a restart.
func TestWithClient(t *testing.T) {
	s, dir := serve(t)
	img, err := random.Image(100_000, 5)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := random.Index(2000, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(s.URL, "http://") + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref.Context().Tag("many"), idx); err != nil {
		t.Fatal(err)
	}
	s.Close()
	g, err := New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewServer(g)
	defer again.Close()
	ref, err = name.ParseReference(strings.TrimPrefix(again.URL, "http://") + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	back, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
	backIdx, err := remote.Index(ref.Context().Tag("many"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(backIdx); err != nil {
		t.Error(err)
	}
	tags, err := remote.List(ref.Context())
	if err != nil || fmt.Sprint(tags) != "[1 many]" {
		t.Errorf("tags %v, %v", tags, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "uploads/*")); len(left) != 0 {
		t.Errorf("uploads left behind: %v", left)
	}
}

func TestChunkedUpload(t *testing.T) {
	s, _ := serve(t)
	resp, _ := do(t, s, "POST", "/v2/a/b/blobs/uploads/", "")
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
	at := s.URL + resp.Header.Get("Location")
	if resp, _ = do(t, s, "PATCH", at, "hello ", "Content-Range", "0-5"); resp.StatusCode != http.StatusAccepted || resp.Header.Get("Range") != "0-5" {
		t.Fatalf("%s, Range %s", resp.Status, resp.Header.Get("Range"))
	}
	if resp, _ = do(t, s, "PATCH", at, "lost", "Content-Range", "9-12"); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a chunk out of order: %s", resp.Status)
	}
	if resp, _ = do(t, s, "GET", at, ""); resp.StatusCode != http.StatusNoContent || resp.Header.Get("Range") != "0-5" {
		t.Errorf("%s, Range %s", resp.Status, resp.Header.Get("Range"))
	}
	if resp, _ = do(t, s, "PUT", at+"?digest="+digest("hello world"), "world"); resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
	if resp, body := do(t, s, "GET", "/v2/a/b/blobs/"+digest("hello world"), "", "Range", "bytes=6-"); resp.StatusCode != http.StatusPartialContent || body != "world" {
		t.Errorf("%s %q", resp.Status, body)
	}
	if resp, _ = do(t, s, "POST", "/v2/c/blobs/uploads/?from=a/b&mount="+digest("hello world"), ""); resp.StatusCode != http.StatusCreated {
		t.Errorf("mount: %s", resp.Status)
	}
}

func TestRefusals(t *testing.T) {
	s, dir := serve(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	manifest := `{"schemaVersion":2,"config":{"digest":"` + digest("none") + `"}}`
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/v2/x/manifests/none", "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/x/manifests/" + digest(""), "", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/x/manifests/..%2f..%2foutside", "", 404, ""},
		{"GET", "/v2/X/manifests/1", "", 400, "NAME_INVALID"},
		{"GET", "/v2/../x/tags/list", "", 400, ""},
		{"GET", "/v2/_tags/tags/list", "", 400, "NAME_INVALID"},
		{"GET", "/v2/" + strings.Repeat("a", 300) + "/tags/list", "", 400, "NAME_INVALID"},
		{"GET", "/v2/x/tags/list", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/x/blobs/sha256:zz", "", 400, "DIGEST_INVALID"},
		{"GET", "/v2/x/blobs/" + digest("no"), "", 404, "BLOB_UNKNOWN"},
		{"PUT", "/v2/x/manifests/1", manifest, 404, "MANIFEST_BLOB_UNKNOWN"},
		{"PUT", "/v2/x/manifests/1", "no json", 400, "MANIFEST_INVALID"},
		{"PUT", "/v2/x/manifests/" + digest("other"), `{"schemaVersion":2}`, 400, "DIGEST_INVALID"},
		{"PUT", "/v2/x/manifests/1", strings.Repeat(" ", maxManifest+1), 413, "SIZE_INVALID"},
		{"PATCH", "/v2/x/blobs/uploads/0123", "x", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"POST", "/v2/x/blobs/uploads/?digest=" + digest("right"), "wrong", 400, "DIGEST_INVALID"},
		{"DELETE", "/v2/x/tags/list", "", 405, "UNSUPPORTED"},
		{"GET", "/v2/x/referrers/tag", "", 400, "DIGEST_INVALID"},
		{"GET", "/", "", 404, "UNSUPPORTED"},
	} {
		resp, body := do(t, s, tc.method, tc.path, tc.body)
		if resp.StatusCode != tc.status && tc.code != "" || tc.code != "" && !strings.Contains(body, tc.code) || resp.StatusCode < 300 {
			t.Errorf("%s %.80s: %s %.200s; want %d %s", tc.method, tc.path, resp.Status, body, tc.status, tc.code)
		}
	}
	if blobs, _ := filepath.Glob(filepath.Join(dir, "blobs/*/*/*")); len(blobs) != 0 {
		t.Errorf("refused requests left %v", blobs)
	}
}

func TestCutUploadIsTakenBack(t *testing.T) {
	s, dir := serve(t)
	resp, _ := do(t, s, "POST", "/v2/x/blobs/uploads/", "")
	at := s.URL + resp.Header.Get("Location")
	req, err := http.NewRequest("PATCH", at, io.MultiReader(strings.NewReader("half"), failing{}))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 100
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
	resp, _ = do(t, s, "PUT", at+"?digest="+digest("whole"), "whole")
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("after a cut chunk the upload is not where it was: %s", resp.Status)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "uploads/*")); len(left) != 0 {
		t.Errorf("uploads left behind: %v", left)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestReferrersPagesAndDelete(t *testing.T) {
	s, _ := serve(t)
	put := func(ref, body string) string {
		t.Helper()
		resp, answer := do(t, s, "PUT", "/v2/x/manifests/"+ref, body)
		if resp.StatusCode != http.StatusCreated {
			t.Fatal(resp.Status, answer)
		}
		return resp.Header.Get("Docker-Content-Digest")
	}
	subject := put("v1", `{"schemaVersion":2}`)
	put("v2", `{"schemaVersion":2}`)
	put("v3", `{"schemaVersion":2}`)
	sbom := put(digest(refBody(subject, "a/sbom")), refBody(subject, "a/sbom"))
	put(digest(refBody(subject, "a/sig")), refBody(subject, "a/sig"))

	var list struct{ Manifests []descriptor }
	for query, want := range map[string]int{"": 2, "?artifactType=a/sbom": 1, "?artifactType=a/none": 0} {
		_, body := do(t, s, "GET", "/v2/x/referrers/"+subject+query, "")
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Manifests) != want {
			t.Errorf("referrers%s: %s", query, body)
		}
	}
	resp, body := do(t, s, "GET", "/v2/x/tags/list?n=2", "")
	if body != `{"name":"x","tags":["v1","v2"]}` || !strings.Contains(resp.Header.Get("Link"), "last=v2") {
		t.Errorf("%s, Link %s", body, resp.Header.Get("Link"))
	}
	if _, body = do(t, s, "GET", "/v2/x/tags/list?n=2&last=v2", ""); body != `{"name":"x","tags":["v3"]}` {
		t.Error(body)
	}
	if _, body = do(t, s, "GET", "/v2/_catalog", ""); body != `{"repositories":["x"]}` {
		t.Error(body)
	}
	do(t, s, "DELETE", "/v2/x/manifests/v1", "")
	do(t, s, "DELETE", "/v2/x/manifests/"+sbom, "")
	if _, body = do(t, s, "GET", "/v2/x/tags/list", ""); body != `{"name":"x","tags":["v2","v3"]}` {
		t.Error(body)
	}
	if _, body = do(t, s, "GET", "/v2/x/referrers/"+subject, ""); strings.Contains(body, sbom) {
		t.Error(body)
	}
	do(t, s, "DELETE", "/v2/x/manifests/"+subject, "")
	if resp, _ = do(t, s, "GET", "/v2/x/manifests/v2", ""); resp.StatusCode != 404 {
		t.Errorf("a tag of a deleted manifest: %s", resp.Status)
	}
}

func refBody(subject, artifactType string) string {
	return `{"schemaVersion":2,"artifactType":"` + artifactType + `","subject":{"digest":"` + subject + `"}}`
}

// FuzzRoute: whatever the path, no route leads out of a repository's folder.
func FuzzRoute(f *testing.F) {
	for _, s := range []string{"/v2/a/b/manifests/latest", "/v2/a/blobs/uploads/00", "/v2/../../etc/manifests/x", "/v2/a/blobs/uploads/", "/v2/a//b/tags/list", "/v2/a/referrers/sha256:0"} {
		f.Add(s)
	}
	g := &Registry{dir: "/registry"}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := parseRoute(path)
		if err != nil {
			return
		}
		if p := g.repo(r.name, "_tags"); !strings.HasPrefix(p, "/registry/repositories/") || strings.Contains(r.name, "..") {
			t.Errorf("%q leads to %q", path, p)
		}
	})
}

// FuzzManifest: no manifest brings the server down.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:00"},"layers":[{}],"subject":{"digest":"x"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		g, err := New(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("PUT", "/v2/x/manifests/1", bytes.NewReader(body)))
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
