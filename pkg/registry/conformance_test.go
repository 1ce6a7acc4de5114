package registry

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// The tests of this file go through the OCI Distribution Specification 1.1 by its headings.

// push uploads a blob at once and gives its digest.
func push(t *testing.T, s *httptest.Server, repo, content string) string {
	t.Helper()
	d := digest(content)
	resp, body := do(t, s, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, content)
	if resp.StatusCode != http.StatusCreated || resp.Header.Get("Docker-Content-Digest") != d || resp.Header.Get("Location") != "/v2/"+repo+"/blobs/"+d {
		t.Fatalf("%s %s %v", resp.Status, body, resp.Header)
	}
	return d
}

// begin starts an upload and gives its URL.
func begin(t *testing.T, s *httptest.Server, repo string) string {
	t.Helper()
	resp, body := do(t, s, "POST", "/v2/"+repo+"/blobs/uploads/", "")
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status, body)
	}
	return s.URL + resp.Header.Get("Location")
}

func files(t *testing.T, pattern ...string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPullingBlobs: "Pulling blobs", "Checking if content exists in the registry".
func TestPullingBlobs(t *testing.T) {
	s, _ := serve(t)
	d := push(t, s, "a", "0123456789")
	for _, tc := range []struct {
		method, rng string
		status      int
		body, crng  string
	}{
		{"GET", "", 200, "0123456789", ""},
		{"HEAD", "", 200, "", ""},
		{"GET", "bytes=3-5", 206, "345", "bytes 3-5/10"},
		{"GET", "bytes=7-", 206, "789", "bytes 7-9/10"},
		{"GET", "bytes=-2", 206, "89", "bytes 8-9/10"},
		{"GET", "bytes=7-99", 206, "789", "bytes 7-9/10"},
		{"GET", "bytes=10-", 416, "", "bytes */10"},
	} {
		var header []string
		if tc.rng != "" {
			header = []string{"Range", tc.rng}
		}
		resp, body := do(t, s, tc.method, "/v2/a/blobs/"+d, "", header...)
		if resp.StatusCode != tc.status || tc.status < 400 && body != tc.body || resp.Header.Get("Content-Range") != tc.crng {
			t.Errorf("%s %s: %s %q %q", tc.method, tc.rng, resp.Status, body, resp.Header.Get("Content-Range"))
		}
		if tc.status == 200 && (resp.ContentLength != 10 || resp.Header.Get("Docker-Content-Digest") != d) {
			t.Errorf("%s: %v", tc.method, resp.Header)
		}
	}
	if resp, body := do(t, s, "HEAD", "/v2/a/blobs/"+digest("no"), ""); resp.StatusCode != 404 || body != "" {
		t.Errorf("HEAD of nothing: %s %q", resp.Status, body)
	}
}

// TestPullingManifests: "Pulling manifests": the bytes and the media type come back as they went.
func TestPullingManifests(t *testing.T) {
	s, _ := serve(t)
	const list = "application/vnd.docker.distribution.manifest.list.v2+json"
	content := "{ \"schemaVersion\": 2,\n  \"manifests\": [],\n \"unknown\": \"<kept>\" }\n"
	resp, body := do(t, s, "PUT", "/v2/a/b/manifests/1.0", content, "Content-Type", list)
	if resp.StatusCode != 201 || resp.Header.Get("Location") != "/v2/a/b/manifests/"+digest(content) {
		t.Fatal(resp.Status, body, resp.Header)
	}
	for _, ref := range []string{"1.0", digest(content)} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, body := do(t, s, method, "/v2/a/b/manifests/"+ref, "")
			if resp.StatusCode != 200 || method == "GET" && body != content || resp.Header.Get("Content-Type") != list ||
				resp.Header.Get("Docker-Content-Digest") != digest(content) || resp.ContentLength != int64(len(content)) {
				t.Errorf("%s %s: %s %q %v", method, ref, resp.Status, body, resp.Header)
			}
		}
	}
	sum := fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(content)))
	if resp, body = do(t, s, "PUT", "/v2/a/b/manifests/"+sum, content, "Content-Type", list); resp.StatusCode != 201 {
		t.Errorf("by SHA-512: %s %s", resp.Status, body)
	}
	if resp, body = do(t, s, "GET", "/v2/a/b/manifests/"+sum, ""); body != content {
		t.Errorf("by SHA-512: %s %s", resp.Status, body)
	}
}

// TestChunks: "Pushing a blob in chunks".
func TestChunks(t *testing.T) {
	s, dir := serve(t)
	at := begin(t, s, "a")
	for _, tc := range []struct {
		rng, body string
		status    int
		code      string
	}{
		{"0-4", "01234", 202, ""},
		{"5-6", "56", 202, ""},
		{"5-6", "56", 416, "BLOB_UPLOAD_INVALID"}, // sent twice
		{"9-9", "9", 416, "BLOB_UPLOAD_INVALID"},  // out of order
		{"7-9", "78", 400, "SIZE_INVALID"},        // not as long as announced
		{"9-7", "789", 400, "BLOB_UPLOAD_INVALID"},
		{"7", "7", 400, "BLOB_UPLOAD_INVALID"},
		{"-7-9", "789", 400, "BLOB_UPLOAD_INVALID"},
		{"7-9999999999999999999999", "789", 400, "BLOB_UPLOAD_INVALID"},
		{"bytes 7-8/*", "78", 202, ""},
	} {
		resp, body := do(t, s, "PATCH", at, tc.body, "Content-Range", tc.rng)
		if resp.StatusCode != tc.status || !strings.Contains(body, tc.code) {
			t.Errorf("%s: %s %s; want %d %s", tc.rng, resp.Status, body, tc.status, tc.code)
		}
		if want := s.URL + resp.Header.Get("Location"); tc.status == 416 && (resp.Header.Get("Range") != "0-6" || want != at) {
			t.Errorf("%s: where to go on is not said: %v", tc.rng, resp.Header)
		}
	}
	resp, body := do(t, s, "PUT", at+"?digest="+digest("0123456789"), "9", "Content-Range", "9-9")
	if resp.StatusCode != 201 {
		t.Fatal(resp.Status, body)
	}
	if _, body := do(t, s, "GET", "/v2/a/blobs/"+digest("0123456789"), ""); body != "0123456789" {
		t.Error(body)
	}
	if resp, _ = do(t, s, "GET", at, ""); resp.StatusCode != 404 {
		t.Errorf("a finished upload: %s", resp.Status)
	}
	at = begin(t, s, "a")
	do(t, s, "PATCH", at, "to be given up")
	if resp, _ = do(t, s, "DELETE", at, ""); resp.StatusCode != 204 {
		t.Errorf("cancelling: %s", resp.Status)
	}
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		if resp, _ = do(t, s, method, at+"?digest="+digest("x"), ""); resp.StatusCode != 404 {
			t.Errorf("%s of a cancelled upload: %s", method, resp.Status)
		}
	}
	if left := files(t, dir, "uploads", "*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestMount: "Mounting a blob from another repository".
func TestMount(t *testing.T) {
	s, _ := serve(t)
	d := push(t, s, "from/here", "content")
	for _, tc := range []struct {
		to, query string
		status    int
	}{
		{"a", "?from=from/here&mount=" + d, 201},
		{"a", "?from=from/here&mount=" + d, 201}, // once more
		{"b", "?mount=" + d, 201},                // the registry may look for it
		{"c", "?from=elsewhere&mount=" + d, 202},
		{"c", "?from=../from/here&mount=" + d, 202},
		{"c", "?from=from/here&mount=" + digest("other"), 202},
		{"c", "?from=from/here&mount=sha256:zz", 202},
	} {
		resp, body := do(t, s, "POST", "/v2/"+tc.to+"/blobs/uploads/"+tc.query, "")
		if resp.StatusCode != tc.status {
			t.Errorf("%s: %s %s, want %d", tc.query, resp.Status, body, tc.status)
		}
		if tc.status == 202 {
			if resp, _ := do(t, s, "DELETE", s.URL+resp.Header.Get("Location"), ""); resp.StatusCode != 204 {
				t.Errorf("%s: no upload: %s", tc.query, resp.Status)
			}
		}
		want := map[int]int{201: 200, 202: 404}[tc.status]
		if resp, _ := do(t, s, "HEAD", "/v2/"+tc.to+"/blobs/"+d, ""); resp.StatusCode != want {
			t.Errorf("%s: then HEAD says %s", tc.query, resp.Status)
		}
	}
}

// TestDeletingBlobs: "Deleting Blobs": in one repository, and from the disk with the last.
func TestDeletingBlobs(t *testing.T) {
	s, dir := serve(t)
	d := push(t, s, "a", "shared")
	push(t, s, "b", "shared")
	if n := len(files(t, dir, "blobs/sha256/*/*")); n != 1 {
		t.Errorf("the blob is there %d times", n)
	}
	if resp, _ := do(t, s, "DELETE", "/v2/a/blobs/"+d, ""); resp.StatusCode != 202 {
		t.Error(resp.Status)
	}
	for repo, want := range map[string]int{"a": 404, "b": 200} {
		if resp, _ := do(t, s, "GET", "/v2/"+repo+"/blobs/"+d, ""); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", repo, resp.Status, want)
		}
	}
	if resp, _ := do(t, s, "DELETE", "/v2/a/blobs/"+d, ""); resp.StatusCode != 404 {
		t.Errorf("once more: %s", resp.Status)
	}
	do(t, s, "DELETE", "/v2/b/blobs/"+d, "")
	if left := files(t, dir, "blobs/sha256/*/*"); len(left) != 0 {
		t.Errorf("nobody has %v", left)
	}
	push(t, s, "b", "shared")
}

// TestManifestsThatAreRefused: "Pushing Manifests".
func TestManifestsThatAreRefused(t *testing.T) {
	s, _ := serve(t)
	mine, others := push(t, s, "x", "mine"), push(t, s, "other", "not mine")
	const image = "application/vnd.oci.image.manifest.v1+json"
	for _, tc := range []struct{ name, mediaType, body, code string }{
		{"blob of another repository", image, `{"schemaVersion":2,"config":{"digest":"` + others + `"}}`, "MANIFEST_BLOB_UNKNOWN"},
		{"no digest", image, `{"schemaVersion":2,"config":{"digest":"` + mine + `"},"layers":[{"digest":"../x"}]}`, "MANIFEST_INVALID"},
		{"no such child", "", `{"schemaVersion":2,"manifests":[{"digest":"` + mine + `"}]}`, "MANIFEST_BLOB_UNKNOWN"},
		{"two types", "application/vnd.oci.image.index.v1+json", `{"schemaVersion":2,"mediaType":"` + image + `"}`, "MANIFEST_INVALID"},
		{"two shapes", image, `{"schemaVersion":2,"manifests":[],"layers":[]}`, "MANIFEST_INVALID"},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1}`, "MANIFEST_INVALID"},
		{"a page", "text/html", `{"schemaVersion":2}`, "MANIFEST_INVALID"},
		{"a script", "application/javascript", `{"schemaVersion":2}`, "MANIFEST_INVALID"},
		{"bad subject", image, `{"schemaVersion":2,"subject":{"digest":"x"}}`, "MANIFEST_INVALID"},
		{"a list", image, `[]`, "MANIFEST_INVALID"},
		{"nothing", image, ``, "MANIFEST_INVALID"},
	} {
		resp, body := do(t, s, "PUT", "/v2/x/manifests/latest", tc.body, "Content-Type", tc.mediaType)
		if resp.StatusCode < 400 || resp.StatusCode >= 500 || !strings.Contains(body, tc.code) {
			t.Errorf("%s: %s %s", tc.name, resp.Status, body)
		}
	}
	if resp, _ := do(t, s, "GET", "/v2/x/manifests/latest", ""); resp.StatusCode != 404 {
		t.Errorf("a refused manifest moved the tag: %s", resp.Status)
	}
	if resp, body := do(t, s, "PUT", "/v2/x/manifests/latest", `{"schemaVersion":2}`, "Content-Type", image+"; charset=utf-8"); resp.StatusCode != 201 {
		t.Errorf("a parameter: %s %s", resp.Status, body)
	}
	foreign := `{"schemaVersion":2,"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"` + digest("far") + `"}]}`
	if resp, body := do(t, s, "PUT", "/v2/x/manifests/windows", foreign); resp.StatusCode != 201 {
		t.Errorf("a foreign layer: %s %s", resp.Status, body)
	}
}

// TestReferrers: "Pushing Manifests with Subject", "Listing Referrers".
func TestReferrers(t *testing.T) {
	s, _ := serve(t)
	subject := digest("comes later")
	config := push(t, s, "x", "{}")
	body := `{"schemaVersion":2,"config":{"mediaType":"application/x-signature","digest":"` + config + `"},"subject":{"digest":"` + subject + `"},"annotations":{"a":"b"}}`
	resp, answer := do(t, s, "PUT", "/v2/x/manifests/"+digest(body), body)
	if resp.StatusCode != 201 || resp.Header.Get("OCI-Subject") != subject {
		t.Fatal(resp.Status, answer, resp.Header)
	}
	resp, answer = do(t, s, "GET", "/v2/x/referrers/"+subject+"?artifactType=application/x-signature", "")
	var index struct {
		SchemaVersion int
		MediaType     string
		Manifests     []descriptor
	}
	if err := json.Unmarshal([]byte(answer), &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("%s %v", answer, err)
	}
	got := index.Manifests[0]
	if got.Digest != digest(body) || got.Size != int64(len(body)) || got.ArtifactType != "application/x-signature" || got.Annotations["a"] != "b" {
		t.Errorf("%+v", got)
	}
	if ct := resp.Header.Get("Content-Type"); ct != index.MediaType || index.SchemaVersion != 2 || resp.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("%v %s", resp.Header, answer)
	}
	if resp, answer = do(t, s, "GET", "/v2/never/seen/referrers/"+subject, ""); resp.StatusCode != 200 || !strings.Contains(answer, `"manifests":[]`) {
		t.Errorf("no referrers: %s %s", resp.Status, answer)
	}
}

// TestManyAtOnce: two processes serve one folder, and many clients push the same blobs and tags through both.
func TestManyAtOnce(t *testing.T) {
	s, dir := serve(t)
	g, err := New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(g)
	defer other.Close()
	content := strings.Repeat("layer", 50_000)
	manifest := `{"schemaVersion":2,"config":{"digest":"` + digest(content) + `"}}`
	var wg sync.WaitGroup
	for i := range 8 {
		at := []*httptest.Server{s, other}[i%2]
		wg.Go(func() {
			repo := fmt.Sprintf("team/app%d", i%3)
			for _, req := range [][3]string{
				{"POST", "/v2/" + repo + "/blobs/uploads/?digest=" + digest(content), content},
				{"PUT", "/v2/" + repo + "/manifests/latest", manifest},
			} {
				r, err := http.NewRequest(req[0], at.URL+req[1], strings.NewReader(req[2]))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != 201 {
					t.Errorf("%s %.50s: %s", req[0], req[1], resp.Status)
				}
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		if _, body := do(t, s, "GET", fmt.Sprintf("/v2/team/app%d/manifests/latest", i), ""); body != manifest {
			t.Errorf("app%d: %s", i, body)
		}
		if _, body := do(t, other, "GET", fmt.Sprintf("/v2/team/app%d/blobs/%s", i, digest(content)), ""); body != content {
			t.Errorf("app%d: the blob has %d bytes", i, len(body))
		}
	}
	if left := files(t, dir, "uploads/*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestTwoWritersOfOneUpload: what two requests send to one upload never mixes.
func TestTwoWritersOfOneUpload(t *testing.T) {
	s, _ := serve(t)
	at := begin(t, s, "a")
	r, w := io.Pipe()
	first := make(chan int, 1)
	go func() {
		req, _ := http.NewRequest("PATCH", at, r)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			first <- 0
			return
		}
		resp.Body.Close()
		first <- resp.StatusCode
	}()
	if _, err := io.WriteString(w, "first "); err != nil {
		t.Fatal(err)
	}
	for { // until the first has the upload
		if resp, _ := do(t, s, "GET", at, ""); resp.Header.Get("Range") == "0-5" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	second := make(chan string, 1)
	go func() {
		req, _ := http.NewRequest("PUT", at+"?digest="+digest("first and second"), strings.NewReader("second"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			second <- err.Error()
			return
		}
		resp.Body.Close()
		second <- resp.Status
	}()
	select {
	case got := <-second:
		t.Fatalf("the second did not wait: %s", got)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := io.WriteString(w, "and "); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got := <-first; got != 202 {
		t.Errorf("the first: %d", got)
	}
	if got := <-second; got != "201 Created" {
		t.Errorf("the second: %s", got)
	}
}

// TestFullDisk: a blob that the disk cannot take is refused, said so, and leaves nothing.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	s, dir := serve(t)
	at := begin(t, s, "a")
	upload := files(t, dir, "uploads/*")[0]
	if err := os.Remove(upload); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", upload); err != nil {
		t.Fatal(err)
	}
	resp, body := do(t, s, "PUT", at+"?digest="+digest("content"), "content")
	if resp.StatusCode != http.StatusInsufficientStorage || !strings.Contains(body, "disk is full") || strings.Contains(body, dir) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ = do(t, s, "HEAD", "/v2/a/blobs/"+digest("content"), ""); resp.StatusCode != 404 {
		t.Errorf("the blob: %s", resp.Status)
	}
}

// TestWithoutHardLinks: where the file system has no links, repositories have copies.
func TestWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	g, err := New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.copyFile(from, to); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "content" {
		t.Errorf("%q %v", b, err)
	}
	if left := files(t, dir, "uploads/.*file*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRemoveStale(t *testing.T) {
	s, dir := serve(t)
	old, fresh, busy := begin(t, s, "a"), begin(t, s, "a"), begin(t, s, "a")
	file := func(at string) string { return filepath.Join(dir, "uploads", filepath.Base(at)) }
	long := time.Now().Add(-48 * time.Hour)
	for _, at := range []string{old, busy} {
		if err := os.Chtimes(file(at), long, long); err != nil {
			t.Fatal(err)
		}
	}
	lock := flock.New(file(busy))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	g, err := New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.RemoveStale(time.Now().Add(-24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]int{old: 404, fresh: 204, busy: 204} {
		if resp, _ := do(t, s, "GET", at, ""); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", at, resp.Status, want)
		}
	}
}
