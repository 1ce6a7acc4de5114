package regclient

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestFirstAnswerIsKept shows that a registry is asked once how it wants to be spoken to, however many pullers and pushers a client
// has, and that neither a failure nor an answer to credentials is kept.
func TestFirstAnswerIsKept(t *testing.T) {
	for what, c := range map[string]struct {
		status, asked int
		path, auth    string
	}{
		"open":             {status: 200, asked: 1, path: "/v2/"},
		"wants a login":    {status: 401, asked: 1, path: "/v2/"},
		"refuses":          {status: 403, asked: 3, path: "/v2/"},
		"with credentials": {status: 200, asked: 3, path: "/v2/", auth: "Bearer x"},
		"something else":   {status: 200, asked: 3, path: "/v2/team/app/tags/list"},
	} {
		t.Run(what, func(t *testing.T) {
			var asked atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.Header().Set("WWW-Authenticate", `Bearer realm="here"`)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, "{}")
			}))
			defer s.Close()
			client := New(Options{})
			for range 3 {
				req, err := http.NewRequest(http.MethodGet, s.URL+c.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.auth != "" {
					req.Header.Set("Authorization", c.auth)
				}
				resp, err := client.Transport().RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != "{}" || resp.StatusCode != c.status || resp.Header.Get("WWW-Authenticate") == "" || resp.Request != req {
					t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
				resp.Header.Set("WWW-Authenticate", "") // a caller's own copy
			}
			if int(asked.Load()) != c.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
			}
		})
	}
}
