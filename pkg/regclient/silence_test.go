package regclient

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/jubako/jubako/pkg/hint"
)

// TestSilence: a registry that never answers, or falls silent in the middle of a blob, is asked again.
func TestSilence(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			<-r.Context().Done()
		case 2:
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(content[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			if got := r.Header.Get("Range"); got != "bytes=1000-" {
				t.Errorf("Range: %q", got)
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
	}))
	defer s.Close()
	var log []string
	c := New(Options{
		IdleTimeout: 400 * time.Millisecond, Log: func(s string) { log = append(log, s) },
		Sleep: func(context.Context, time.Duration) error { return nil },
	})
	resp, err := (&http.Client{Transport: c.Transport()}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(b, content) || n.Load() != 3 {
		t.Errorf("%d bytes in %d requests, %v", len(b), n.Load(), err)
	}
	if len(log) != 2 || strings.Count(strings.Join(log, ""), "went silent for 400ms") != 2 {
		t.Errorf("log: %q", log)
	}
}

// TestStoreThatIsNotInstalled: a configuration copied from another machine names a store that this one lacks, which is no
// reason not to pull what is public.
func TestStoreThatIsNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	repo, err := name.NewRepository("reg.example/x")
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{ConfigFiles: []string{config(t, `{"credsStore":"desktop.exe"}`)}}).Keychain().Resolve(repo)
	if err != nil || a != authn.Anonymous {
		t.Errorf("a store for all registries: %v, %v", a, err)
	}
	_, err = New(Options{ConfigFiles: []string{config(t, `{"credHelpers":{"reg.example":"cloud"}}`)}}).Keychain().Resolve(repo)
	if err == nil || !strings.Contains(err.Error(), "docker-credential-cloud") || hint.KindOf(Explain(err, "pulling")) != hint.KindUsage {
		t.Errorf("a helper for this registry: %v", err)
	}
}

// TestSilenceBesideReading: whatever brings no upload is asked again where no answer comes; the end of an upload has its time.
func TestSilenceBesideReading(t *testing.T) {
	const limit = 200 * time.Millisecond
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut} {
		var n atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if n.Add(1) > 1 {
				return
			}
			select {
			case <-r.Context().Done():
			case <-time.After(4 * limit):
			}
		}))
		c := New(Options{IdleTimeout: limit, Sleep: func(context.Context, time.Duration) error { return nil }})
		req, err := http.NewRequest(method, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: c.Transport()}).Do(req)
		if again := n.Load() > 1; err != nil || again != (method != http.MethodPut) {
			t.Errorf("%s: %d requests, %v", method, n.Load(), err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		s.Close()
	}
}
