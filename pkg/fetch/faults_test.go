package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience/patiencetest"
)

// large is a file that is worth keeping when it is cut.
var large = bytes.Repeat([]byte("a wheel is a zip. "), 200_000)

// fixture is a store, and a client whose waits are noted and do not last.
type fixture struct {
	*Client
	store *cas.Store
	mu    sync.Mutex
	waits []time.Duration
	log   []string
}

func newFixture(t *testing.T, o Options) *fixture {
	t.Helper()
	f := &fixture{store: o.Store}
	if f.store == nil {
		f.store = castest.Open(t)
	}
	o.Store = f.store
	o.Sleep = func(ctx context.Context, d time.Duration) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.waits = append(f.waits, d)
		return ctx.Err()
	}
	o.Log = func(s string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.log = append(f.log, s)
	}
	f.Client = New(o)
	return f
}

// files lists what the store holds, apart from its own lock and tag.
func (f *fixture) files(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(f.store.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" && d.Name() != "CACHEDIR.TAG" {
			all = append(all, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// server answers requests one after the other by the steps, the last of which stays, and notes their headers.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []http.Header
}

func script(t *testing.T, steps ...http.HandlerFunc) *server {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		step := steps[min(len(s.requests), len(steps)-1)]
		s.requests = append(s.requests, r.Header.Clone())
		s.mu.Unlock()
		step(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// header gives a header of the n-th request.
func (s *server) header(n int, key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[n].Get(key)
}

// whole serves the large, with ranges and, unless it is empty, an ETag.
func whole(b []byte, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("Etag", etag)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// part serves the first n bytes of what is asked for, and breaks the connection.
func part(b []byte, n int, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		whole(b, etag)(&patiencetest.Cutter{ResponseWriter: w, Left: n}, r)
	}
}

// noRanges hides the request's wish for a part.
func noRanges(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		h(w, r)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte("<p>no\r\nluck\x1b[31m</p>"))
	}
}

func (f *fixture) mustFetch(t *testing.T, a Artifact, want []byte) {
	t.Helper()
	b, err := f.Fetch(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || b.Size != int64(len(want)) || b.SHA256 != sum(want).Hex {
		t.Errorf("%d bytes came (%s, size %d), want %d", len(got), b.SHA256, b.Size, len(want))
	}
}

func TestEveryHash(t *testing.T) {
	text := []byte("hello\n")
	for _, locked := range []string{
		"md5:b1946ac92492d2347c6235b4d2611184",
		"sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
		"sha384:1d0f284efe3edea4b9ca3bd514fa134b17eae361ccc7a1eefeff801b9bd6604e01f21f6bf249ef030599f0c218f2ba8c",
		"sha512:E7C22B994C59D9CF2B48E549B1E24666636045930D3DA7C1ACB299D1C3B7F931F94AAE41EDDA2C2B207A36E10F8BCB8D45223E54878F5B316E7CE3B6BC019629",
		"blake2b:93becc6e9882211c3ec3708c95bcd69baab7bb59c7f4bc84ce637b88a534b783",
	} {
		h, err := filehash.Parse(locked)
		if err != nil {
			t.Fatal(err)
		}
		srv := script(t, whole(text, ""))
		f := newFixture(t, Options{})
		for range 2 {
			f.mustFetch(t, Artifact{Filename: "hello.whl", URL: srv.URL, Hashes: one(h)}, text)
		}
		if srv.count() != 1 {
			t.Errorf("%s: %d requests, want 1", h.Algorithm, srv.count())
		}
	}
}

func TestMismatchLeavesNothing(t *testing.T) {
	srv := script(t, whole([]byte("tampered"), ""))
	f := newFixture(t, Options{})
	from := strings.Replace(srv.URL, "http://", "http://user:secret@", 1) + "/a.whl?sig=secret"
	_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: from, Hashes: one(sum(large))})
	e, ok := errors.AsType[*HashError](err)
	if !ok {
		t.Fatalf("got %v, want a *HashError", err)
	}
	want := &HashError{"a.whl", srv.URL + "/a.whl", sum(large), sum([]byte("tampered"))}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if hint.KindOf(err) != hint.KindCheck || hint.Of(err) == "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("kind %v, hint %q, error %q", hint.KindOf(err), hint.Of(err), err)
	}
	if left := f.files(t); len(left) > 0 || srv.count() != 1 {
		t.Errorf("%d requests, left behind: %q", srv.count(), left)
	}
}

func TestGoingOn(t *testing.T) {
	const half = 1_800_000
	other := bytes.Repeat([]byte("another wheel now "), len(large)/18)
	tests := []struct {
		name   string
		steps  []http.HandlerFunc
		noHash bool
		ranges []string
	}{
		{"by a range", []http.HandlerFunc{part(large, half, `"1"`), whole(large, `"1"`)}, false, []string{"", "bytes=1800000-"}},
		{"by a range, without an ETag", []http.HandlerFunc{part(large, half, ""), whole(large, "")}, false, []string{"", "bytes=1800000-"}},
		{"cut again and again", []http.HandlerFunc{part(large, 500_000, `"1"`)}, false,
			[]string{"", "bytes=500000-", "bytes=1000000-", "bytes=1500000-", "bytes=2000000-", "bytes=2500000-", "bytes=3000000-", "bytes=3500000-"}},
		{"the server has no ranges", []http.HandlerFunc{noRanges(part(large, half, "")), noRanges(whole(large, ""))}, false, []string{"", "bytes=1800000-"}},
		{"the file changed", []http.HandlerFunc{part(other, half, `"0"`), whole(large, `"1"`)}, false, []string{"", "bytes=1800000-"}},
		{"the file changed and nothing told", []http.HandlerFunc{part(other, half, ""), whole(large, "")}, false, []string{"", "bytes=1800000-", ""}},
		{"the file is shorter now", []http.HandlerFunc{part(append(other, large...), len(large)+5, ""), whole(large, "")}, false, []string{"", "bytes=3600005-", ""}},
		{"no hash, an ETag", []http.HandlerFunc{part(large, half, `"1"`), whole(large, `"1"`)}, true, []string{"", "bytes=1800000-"}},
		{"no hash, no ETag", []http.HandlerFunc{part(other, half, ""), whole(large, "")}, true, []string{"", ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := script(t, test.steps...)
			f := newFixture(t, Options{})
			a := Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))}
			if test.noHash {
				a.Hashes = nil
			}
			f.mustFetch(t, a, large)
			var ranges []string
			for i := range srv.requests {
				ranges = append(ranges, srv.header(i, "Range"))
			}
			if diff := cmp.Diff(test.ranges, ranges); diff != "" {
				t.Errorf("the parts that were asked for (-want +got)\n%s", diff)
			}
			if left := f.files(t); len(left) != 1 {
				t.Errorf("the store holds %q, want the file alone", left)
			}
		})
	}
}

func TestCutForGood(t *testing.T) {
	const half = 1_800_000
	breaks := func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
	srv := script(t, part(large, half, ""), breaks)
	f := newFixture(t, Options{})
	a := Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))}
	_, err := f.Fetch(t.Context(), a)
	if err == nil || hint.KindOf(err) != hint.KindNetwork || hint.Of(err) == "" {
		t.Fatalf("got %v (hint %q)", err, hint.Of(err))
	}
	if srv.count() != 1+attempts-1 {
		t.Errorf("%d requests", srv.count())
	}

	again := script(t, whole(large, ""))
	a.URL = again.URL
	next := newFixture(t, Options{Store: f.store})
	next.mustFetch(t, a, large)
	if got := again.header(0, "Range"); got != "bytes=1800000-" {
		t.Errorf("the next run asks for %q, want the rest", got)
	}

	t.Run("what was kept is damaged", func(t *testing.T) {
		f := newFixture(t, Options{})
		w, err := f.store.Resume(a.Hashes[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("damaged")); err != nil {
			t.Fatal(err)
		}
		if err := w.Keep(a.Hashes[0].String()); err != nil {
			t.Fatal(err)
		}
		f.mustFetch(t, a, large)
	})
	t.Run("no progress", func(t *testing.T) {
		srv := script(t, noRanges(part(large, 10, "")))
		f := newFixture(t, Options{})
		_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: srv.URL, Hashes: one(sum(large))})
		e, ok := errors.AsType[*TruncatedError](err)
		if !ok || e.Got != 10 || e.Want != int64(len(large)) {
			t.Errorf("got %#v, %v", e, err)
		}
		if left := f.files(t); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// TestEndedAlong: what has come of a download that is ended from outside is kept for the next run, unless the disk is full.
func TestEndedAlong(t *testing.T) {
	for cause, kept := range map[error]int{errors.New("interrupted"): 1, fmt.Errorf("another: %w", syscall.ENOSPC): 0} {
		ctx, end := context.WithCancelCause(t.Context())
		srv := script(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(large)))
			_, _ = w.Write(large[:3_000_000])
			w.(http.Flusher).Flush()
			time.Sleep(400 * time.Millisecond) // for what was sent to come
			end(cause)
			<-r.Context().Done()
		})
		f := newFixture(t, Options{})
		if _, err := f.Fetch(ctx, Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))}); err == nil {
			t.Errorf("%v: it was fetched", cause)
		}
		if left := f.files(t); len(left) != kept {
			t.Errorf("%v: left behind: %q, want %d", cause, left, kept)
		}
	}
}

func TestPatience(t *testing.T) {
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name  string
		steps []http.HandlerFunc
		waits []time.Duration
		code  int // of the error; 0 where it works in the end
	}{
		{"faults that pass", []http.HandlerFunc{status(500), status(502), status(503), whole(large, "")}, []time.Duration{firstWait, 2 * firstWait, 4 * firstWait}, 0},
		{"a fault that stays", []http.HandlerFunc{status(500)}, []time.Duration{firstWait, 2 * firstWait, 4 * firstWait, 8 * firstWait}, 500},
		{"a time to wait", []http.HandlerFunc{status(429, "Retry-After", "7"), whole(large, "")}, []time.Duration{7 * time.Second}, 0},
		{"a date to wait for", []http.HandlerFunc{status(503, "Date", date.Format(http.TimeFormat), "Retry-After", date.Add(9*time.Second).Format(http.TimeFormat)), whole(large, "")},
			[]time.Duration{9 * time.Second}, 0},
		{"too long a wait", []http.HandlerFunc{status(429, "Retry-After", "99999999999999")}, nil, 429},
		{"not there", []http.HandlerFunc{status(404)}, nil, 404},
		{"not allowed", []http.HandlerFunc{status(403)}, nil, 403},
		{"not even HTTP's", []http.HandlerFunc{status(418)}, nil, 418},
		{"a connection that breaks", []http.HandlerFunc{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, whole(large, "")}, []time.Duration{firstWait}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := script(t, test.steps...)
			f := newFixture(t, Options{})
			_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))})
			if diff := cmp.Diff(test.waits, f.waits); diff != "" {
				t.Errorf("waits (-want +got)\n%s", diff)
			}
			e, _ := errors.AsType[*StatusError](err)
			switch {
			case test.code == 0 && err != nil:
				t.Error(err)
			case test.code == 0:
			case e == nil || e.Code != test.code || e.Excerpt != "<p>no luck [31m</p>":
				t.Errorf("got %#v, %v", e, err)
			case hint.KindOf(err) != hint.KindNetwork || hint.Of(err) == "":
				t.Errorf("kind %v, hint %q", hint.KindOf(err), hint.Of(err))
			}
		})
	}
}

func TestSilentServer(t *testing.T) {
	srv := script(t,
		func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		func(w http.ResponseWriter, r *http.Request) { // silent midway
			w.Header().Set("Content-Length", "3600000")
			_, _ = w.Write(large[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		whole(large, ""))
	f := newFixture(t, Options{IdleTimeout: 400 * time.Millisecond})
	f.mustFetch(t, Artifact{Filename: "a.whl", URL: srv.URL, Hashes: one(sum(large))}, large)
	if got := srv.header(2, "Range"); got != "bytes=100-" {
		t.Errorf("Range: %q", got)
	}
	if !strings.Contains(strings.Join(f.log, "\n"), "went silent for 400ms") {
		t.Errorf("log: %q", f.log)
	}
}

func TestNobodyListens(t *testing.T) {
	srv := script(t, whole(large, ""))
	srv.Close()
	f := newFixture(t, Options{})
	_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl?token=secret", Hashes: one(sum(large))})
	if err == nil || hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if len(f.waits) > 0 {
		t.Errorf("waited %v for a port where nobody listens", f.waits)
	}
}

func TestTooLarge(t *testing.T) {
	chunked := func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(large)
	}
	for _, h := range []http.HandlerFunc{whole(large, ""), chunked} {
		srv := script(t, h)
		f := newFixture(t, Options{MaxSize: 1000})
		_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: srv.URL, Hashes: one(sum(large))})
		if err == nil || !strings.Contains(err.Error(), "more than 1000 bytes") || len(f.waits) > 0 {
			t.Errorf("got %v after waiting %v", err, f.waits)
		}
		if left := f.files(t); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

func TestTogether(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	srv := script(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(30 * time.Millisecond)
		_, _ = w.Write([]byte(r.URL.Path))
		mu.Lock()
		running--
		mu.Unlock()
	})
	f := newFixture(t, Options{Jobs: 2})
	var wg sync.WaitGroup
	for _, name := range []string{"/1", "/2", "/3", "/4"} {
		for range 5 {
			wg.Go(func() {
				if _, err := f.Fetch(t.Context(), Artifact{Filename: name, URL: srv.URL + name, Hashes: one(sum([]byte(name)))}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if srv.count() != 4 || most > 2 {
		t.Errorf("%d requests, %d at once; want 4, at most 2 at once", srv.count(), most)
	}
}

func TestOneOfTwoGivesUp(t *testing.T) {
	arrived := make(chan struct{})
	srv := script(t,
		func(w http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() },
		whole(large, ""))
	f := newFixture(t, Options{})
	a := Artifact{Filename: "a.whl", URL: srv.URL, Hashes: one(sum(large))}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := f.Fetch(ctx, a); !errors.Is(err, context.Canceled) {
			t.Errorf("the one that gave up: %v", err)
		}
	})
	<-arrived
	wg.Go(func() {
		if _, err := f.Fetch(t.Context(), a); err != nil {
			t.Errorf("the other: %v", err)
		}
	})
	time.Sleep(20 * time.Millisecond) // for the second to wait on the first; the test holds without as well
	cancel()
	wg.Wait()
}
