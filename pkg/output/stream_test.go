package output

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
)

// growing writes a blob into a cache, some of it at first.
type growing struct {
	t    *testing.T
	w    *cas.Writer
	rest []byte
}

func grow(t *testing.T, b Blob, first int) *growing {
	t.Helper()
	s := castest.Open(t)
	w, err := s.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	r, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data[:first]); err != nil {
		t.Fatal(err)
	}
	return &growing{t, w, data[first:]}
}

func (g *growing) open() (io.ReadCloser, error) { return g.w.Follow() }

// finish writes the rest.
func (g *growing) finish() {
	g.t.Helper()
	_, err := g.w.Write(g.rest)
	if _, cerr := g.w.Commit(""); errors.Join(err, cerr) != nil {
		g.t.Fatal(err, cerr)
	}
}

// watch notes the requests that bring or ask for blobs, and says when a chunk has begun to arrive.
type watch struct {
	mu    sync.Mutex
	seen  []string
	begun chan struct{}
	fault func(http.ResponseWriter, *http.Request) bool
}

func (w *watch) see(rw http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		return false
	}
	w.mu.Lock()
	w.seen = append(w.seen, r.Method)
	w.mu.Unlock()
	if r.Method == http.MethodPatch {
		r.Body = &firstRead{ReadCloser: r.Body, begun: w.begun}
	}
	return w.fault != nil && w.fault(rw, r)
}

// take gives the methods of the requests since it was last asked.
func (w *watch) take() (methods []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	methods, w.seen = w.seen, nil
	return methods
}

type firstRead struct {
	io.ReadCloser
	begun chan struct{}
	once  sync.Once
}

func (r *firstRead) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.once.Do(func() { r.begun <- struct{}{} })
	}
	return n, err
}

// noise does not compress, so that its blob is as large.
func noise(size int) string {
	b := make([]byte, size)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

// imageOf is an image whose upper layer is as large as the text.
func imageOf(t *testing.T, base, text string) (Artifact, Blob) {
	t.Helper()
	img := testImage(t, OCI, amd64, base, text)
	return Single(img), img.Layers[1]
}

// TestStream: a blob is at the registry when it has hardly become whole, goes up once, and is counted as what it was.
func TestStream(t *testing.T) {
	seen := &watch{begun: make(chan struct{}, 8)}
	onEach(t, seen.see, func(t *testing.T, host string) {
		seen.take()
		o, _ := options()
		a, blob := imageOf(t, "base", noise(300<<10))
		var told atomic.Int64
		o.Progress = func(b Blob, n int64) {
			if b.Digest == blob.Digest {
				told.Store(n)
			}
		}
		refs := []name.Reference{ref(t, host+"/team/app:1"), ref(t, host+"/team/app:latest")}
		o.Ahead = NewAhead(t.Context(), o, refs)
		g := grow(t, blob, 100<<10)
		s := o.Ahead.Stream(g.open)
		<-seen.begun // before it is whole
		g.finish()
		s.Whole(blob)
		s.Drop() // which does nothing any more
		o.Ahead.wait()
		if got := seen.take(); !slices.Equal(got, []string{"POST", "PATCH", "PUT"}) {
			t.Errorf("%q", got)
		}
		res, err := Push(t.Context(), o, a, refs)
		if err != nil {
			t.Fatal(err)
		}
		var size int64
		for _, b := range a.blobs() {
			size += b.Size
		}
		if (res != PushResult{Pushed: len(a.blobs()), Bytes: size}) || at(t, refs[0]) != a.Digest || slices.Contains(seen.take(), "PATCH") {
			t.Errorf("%+v", res)
		}
		if told.Load() != blob.Size {
			t.Errorf("%d bytes of %d were told", told.Load(), blob.Size)
		}
	})
}

// TestStreamNeedless: what the registry turns out to hold does not go up to its end, and what it has got of it is given up.
func TestStreamNeedless(t *testing.T) {
	seen := &watch{begun: make(chan struct{}, 8)}
	onEach(t, seen.see, func(t *testing.T, host string) {
		seen.take()
		o, _ := options()
		a, blob := imageOf(t, "base", noise(2<<20))
		refs := []name.Reference{ref(t, host+"/team/app:1")}
		mustPush(t, a, refs...)
		seen.take()
		o.Ahead = NewAhead(t.Context(), o, refs)
		g := grow(t, blob, 100<<10)
		s := o.Ahead.Stream(g.open)
		<-seen.begun
		s.Whole(blob) // as it is known now; what is left of it is never read
		o.Ahead.wait()
		got := seen.take()
		slices.Sort(got)
		if !slices.Equal(got, []string{"DELETE", "HEAD", "PATCH", "POST"}) {
			t.Errorf("%q", got)
		}
		next, _ := imageOf(t, "another base", noise(2<<20))
		if res, err := Push(t.Context(), o, next, refs); err != nil || res.Pushed != 2 || res.Present != 1 || at(t, refs[0]) != next.Digest {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestStreamDropped: of a blob that nobody wants nothing is left.
func TestStreamDropped(t *testing.T) {
	seen := &watch{begun: make(chan struct{}, 8)}
	onEach(t, seen.see, func(t *testing.T, host string) {
		seen.take()
		o, _ := options()
		_, blob := imageOf(t, "base", noise(300<<10))
		a := NewAhead(t.Context(), o, []name.Reference{ref(t, host+"/team/app:1")})
		g := grow(t, blob, 100<<10)
		s := a.Stream(g.open)
		<-seen.begun
		g.w.Abort()
		s.Drop()
		a.wait()
		if p := a.pushers[0]; len(p.ahead) > 0 || p.res != (PushResult{}) || slices.Contains(seen.take(), "PUT") {
			t.Errorf("%v %+v", p.ahead, p.res)
		}
		var none *Stream
		none.Whole(blob)
		none.Drop()
	})
}

// TestStreamRefused: where a registry takes no blob of which the size is not known, or fails in the middle, it goes up as a whole.
func TestStreamRefused(t *testing.T) {
	seen := &watch{begun: make(chan struct{}, 8), fault: func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return true
	}}
	onEach(t, seen.see, func(t *testing.T, host string) {
		seen.take()
		o, _ := options()
		img, blob := imageOf(t, "base", noise(300<<10))
		refs := []name.Reference{ref(t, host+"/team/app:1")}
		o.Ahead = NewAhead(t.Context(), o, refs)
		for range 2 { // the second is not tried
			g := grow(t, blob, 100<<10)
			s := o.Ahead.Stream(g.open)
			g.finish()
			s.Whole(blob)
			o.Ahead.wait()
		}
		if got := strings.Join(seen.take(), " "); got != "POST PATCH HEAD POST PUT" {
			t.Error(got)
		}
		if res, err := Push(t.Context(), o, img, refs); err != nil || res.Pushed != 3 || at(t, refs[0]) != img.Digest {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestStreamGivenUp: when the build is interrupted, or the layer itself fails, the registry need not keep the upload.
func TestStreamGivenUp(t *testing.T) {
	for what, end := range map[string]func(g *growing, s *Stream, interrupt context.CancelFunc){
		"interrupted":      func(_ *growing, _ *Stream, interrupt context.CancelFunc) { interrupt() },
		"the layer failed": func(g *growing, s *Stream, _ context.CancelFunc) { g.w.Abort(); s.Drop() },
		"another failed":   func(_ *growing, s *Stream, _ context.CancelFunc) { s.a.stop() },
	} {
		t.Run(what, func(t *testing.T) {
			seen := &watch{begun: make(chan struct{}, 8)}
			onEach(t, seen.see, func(t *testing.T, host string) {
				seen.take()
				o, _ := options()
				_, blob := imageOf(t, "base", noise(300<<10))
				ctx, interrupt := context.WithCancel(t.Context())
				defer interrupt()
				a := NewAhead(ctx, o, []name.Reference{ref(t, host+"/team/app:1")})
				g := grow(t, blob, 100<<10)
				s := a.Stream(g.open)
				<-seen.begun
				end(g, s, interrupt)
				a.Stop()
				if got := seen.take(); !slices.Contains(got, http.MethodDelete) {
					t.Errorf("%q", got)
				}
			})
		})
	}
}
