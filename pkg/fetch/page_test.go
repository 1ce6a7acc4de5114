package fetch

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
)

// TestPage asks for a page again only as far as it has changed.
func TestPage(t *testing.T) {
	for name, tc := range map[string]struct{ header, value, ask string }{
		"by tag":  {"Etag", `"1"`, "If-None-Match"},
		"by date": {"Last-Modified", "Sat, 21 Nov 2026 09:15:44 GMT", "If-Modified-Since"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent, asked atomic.Int32
			text := atomic.Pointer[string]{}
			one, two := "one", "two"
			text.Store(&one)
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				value := tc.value + *text.Load()
				if tc.header == "Etag" {
					value = `"` + *text.Load() + `"`
				}
				if r.Header.Get(tc.ask) == value {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				sent.Add(1)
				w.Header().Set(tc.header, value)
				_, _ = w.Write([]byte(*text.Load()))
			})
			c := client(t, Options{})
			get := func(want string) {
				t.Helper()
				b, err := c.Page(context.Background(), "a page", s.URL+"/page", 10)
				if err != nil || string(b) != want {
					t.Errorf("%q, %v; want %q", b, err, want)
				}
			}
			get("one")
			get("one")
			text.Store(&two)
			get("two")
			get("two")
			if asked.Load() != 4 || sent.Load() != 2 {
				t.Errorf("asked %d times, sent %d times", asked.Load(), sent.Load())
			}
			c.o.Offline = true
			get("two")
			if asked.Load() != 4 {
				t.Error("asked offline")
			}
		})
	}
}

// TestPageRefused looks at what is no page.
func TestPageRefused(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			_, _ = w.Write(make([]byte, 11))
		case "/cut":
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("12345"))
		default:
			http.NotFound(w, r)
		}
	})
	c := client(t, Options{})
	for _, tc := range []struct {
		url, want string
		kind      hint.Kind
		absent    bool
	}{
		{s.URL + "/none", "404", hint.KindNetwork, true}, {s.URL + "/long", "more than 10 bytes", hint.KindBuild, false}, {s.URL + "/cut", "cut after 5 of 9 bytes", hint.KindNetwork, false},
		{"ftp://x.example/", "scheme", hint.KindUsage, false}, {"file:///nowhere/x", "no such file", hint.KindBuild, true}, {"http://%zz", "cannot be read", hint.KindUsage, false},
	} {
		_, err := c.Page(context.Background(), "a page", tc.url, 10)
		if err == nil || !strings.Contains(err.Error(), tc.want) || hint.KindOf(err) != tc.kind || Absent(err) != tc.absent {
			t.Errorf("%s: %v (kind %d)", tc.url, err, hint.KindOf(err))
		}
	}
	c.o.Offline = true
	if _, err := c.Page(context.Background(), "a page", s.URL+"/none", 10); hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("offline: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Page(context.Background(), "a page", "file://"+file, 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := c.Page(context.Background(), "a page", "file://"+file, 4); err == nil {
		t.Error("a file that is too long")
	}
}

// TestDamagedPage fetches a page anew where the store's copy is damaged.
func TestDamagedPage(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte("page"))
	})
	c := client(t, Options{})
	for range 2 {
		b, err := c.Page(context.Background(), "a page", s.URL, 10)
		if err != nil || string(b) != "page" {
			t.Fatalf("%q, %v", b, err)
		}
		k, _ := c.keptPage(s.URL)
		if err := os.WriteFile(c.o.Store.BlobPath(k.SHA256), []byte("gape"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.o.Store.Verified(strings.Repeat("a", 64)); err == nil || !strings.Contains(err.Error(), cas.ErrNotFound.Error()) {
		t.Error(err)
	}
}
