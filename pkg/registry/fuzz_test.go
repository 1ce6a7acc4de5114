package registry

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"testing"
)

// FuzzRange: a range that is read is written the same way, but for leading zeros.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"0-5", "bytes 7-9/10", "9-7", "-1-2", "0-18446744073709551616", "1-", "+1-2", " 1-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, ok := parseRange(s)
		if !ok {
			return
		}
		if first < 0 || last < first || last-first+1 <= 0 {
			t.Errorf("%q is read as %d-%d", s, first, last)
		}
		if f, l, ok := parseRange(fmt.Sprintf("%d-%d", first, last)); !ok || f != first || l != last {
			t.Errorf("%q is read as %d-%d, and that as %d-%d", s, first, last, f, l)
		}
	})
}

// FuzzRequest: whatever is asked, nothing is written outside of the registry's own folders, and nothing breaks it.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v2/a/manifests/latest", "", []byte(nil))
	f.Add("POST", "/v2/a/blobs/uploads/", "mount=sha256:00&from=../../x", []byte(nil))
	f.Add("PUT", "/v2/a/manifests/..", "", []byte(`{"schemaVersion":2}`))
	f.Add("PUT", "/v2/a/blobs/uploads/..%2f", "digest=sha256:00", []byte("x"))
	f.Add("GET", "/v2/_catalog", "n=-1&last=%00", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		outer := t.TempDir()
		g, err := New(filepath.Join(outer, "registry"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest("GET", "/", bytes.NewReader(body))
		req.Method, req.URL.Path, req.URL.RawQuery = method, path, query
		w := httptest.NewRecorder()
		g.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if all := files(t, outer, "*"); len(all) != 1 {
			t.Errorf("beside the registry: %v", all)
		}
	})
}
