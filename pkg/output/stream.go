package output

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is a blob that goes up while it is still being written, to every registry that will have it. Its digest is known once it is
// whole, and only then can a registry be asked whether it holds it: what has gone up by then is wasted where it does, but no time is.
// As with all that goes up ahead, nothing depends on it. The nil Stream is of no use, and its methods do nothing.
type Stream struct {
	a     *Ahead
	once  sync.Once
	whole chan struct{} // closed when b is set, or it is clear that there will be none
	b     *Blob
}

// Stream begins to bring a blob. open gives a reader of it for each registry: its Read waits for what is not written yet, and Close,
// which may come from another goroutine, ends that. Whole or Drop has to follow.
func (a *Ahead) Stream(open func() (io.ReadCloser, error)) *Stream {
	s := &Stream{a: a, whole: make(chan struct{})}
	for _, p := range a.pushers {
		r, err := open()
		a.uploads.Go(func() {
			up := &streamed{s: s, p: p}
			if err == nil {
				up.run(r)
			}
			select {
			case <-s.whole:
			case <-a.ctx.Done():
				return
			}
			if s.b != nil && !up.done && !up.needless {
				a.push(p, *s.b, nil)
			}
		})
	}
	return s
}

// Whole says what the blob has become. One that goes up already is not wanted again.
func (s *Stream) Whole(b Blob) {
	if s != nil && s.a.claim(b) {
		s.end(&b)
	} else {
		s.Drop()
	}
}

// Drop says that the blob is not wanted, or never became whole. It does nothing after Whole.
func (s *Stream) Drop() { s.end(nil) }

func (s *Stream) end(b *Blob) {
	if s != nil {
		s.once.Do(func() {
			s.b = b
			close(s.whole)
		})
	}
}

// wasteful is how much of a whole blob may be left to send without asking first whether the registry holds it.
const wasteful = 1 << 20

// streamed is a Stream on its way to one registry.
type streamed struct {
	s    *Stream
	p    *pusher
	sent atomic.Int64
	// tell is set once it is known what goes up, and that it has to.
	tell atomic.Pointer[Blob]
	// needless: the rest need not be sent. done: all of it was.
	needless, done bool
	at             *url.URL // where the upload goes on; nil before it was begun, and once the registry has refused it
}

// run sends the blob, until it has arrived or something is in the way.
func (u *streamed) run(r io.ReadCloser) {
	a := u.s.a
	if u.p.wantsSize.Load() || !a.turns.TryAcquire(1) {
		_ = r.Close()
		return // it goes up when it is whole
	}
	defer a.turns.Release(1)
	ctx, cancel := context.WithCancel(a.ctx)
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() { // wakes a Read that waits
		defer close(closed)
		_ = r.Close()
	})
	a.connect(nil)
	held, asked := false, make(chan struct{})
	go func() {
		defer close(asked)
		if held = u.spare(ctx); u.needless {
			cancel()
		}
	}()
	u.done = u.p.client != nil && u.send(ctx, r) == nil
	cancel()
	<-asked
	<-closed
	switch {
	case u.done:
		if u.p.o.Progress != nil {
			u.p.o.Progress(*u.s.b, u.s.b.Size)
		}
		u.p.count(func(r *PushResult) { r.Pushed++; r.Bytes += u.s.b.Size })
		u.p.arrived(*u.s.b)
	case held:
		u.p.count(func(r *PushResult) { r.Present++ })
		u.p.arrived(*u.s.b)
	}
	if !u.done && u.at != nil {
		u.giveUp(a.ctx)
	}
}

// giveUpTimeout is how long an upload that is not wanted any more may hold up the end of a build.
const giveUpTimeout = 2 * time.Second

// giveUp tells the registry that what has come need not be kept (distribution-spec, "Cancel a blob upload", which not all of them know),
// also where the build has ended.
func (u *streamed) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTimeout)
	defer cancel()
	if req, err := http.NewRequestWithContext(ctx, http.MethodDelete, u.at.String(), nil); err == nil {
		_, _ = u.p.do(req, http.StatusNoContent)
	}
}

// spare waits until the blob is whole, and finds whether the rest of it is needless: because the registry holds it, because Push can
// have it mounted, or because nobody wants it.
func (u *streamed) spare(ctx context.Context) (held bool) {
	select {
	case <-ctx.Done():
		return false
	case <-u.s.whole:
	}
	b := u.s.b
	if b == nil || u.p.mountable(*b) != nil {
		u.needless = true
		return false
	}
	if b.Size-u.sent.Load() > wasteful && u.p.client != nil {
		if held, _ = u.p.holds(ctx, *b); held {
			u.needless = true
			return true
		}
	}
	u.tell.Store(b)
	return false
}

// send brings the blob in one chunk that is as long as it becomes (distribution-spec, "Pushing a blob in chunks"), as Docker does.
func (u *streamed) send(ctx context.Context, r io.Reader) error {
	p := u.p
	started, err := p.start(ctx, p.url("/blobs/uploads/"))
	if err != nil {
		return err
	}
	if u.at, err = location(started); err != nil {
		return err
	}
	body := &uploadReader{r: r, report: func(n int64) {
		u.sent.Store(n)
		if b := u.tell.Load(); b != nil && p.o.Progress != nil {
			p.o.Progress(*b, n)
		}
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.at.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	chunk, err := p.do(req, http.StatusAccepted)
	if err != nil {
		if chunk != nil {
			p.wantsSize.Store(true)
			u.at = nil // what a registry refuses it has nothing of
		}
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-u.s.whole:
	}
	b := u.s.b
	if b == nil {
		return errors.New("the blob was given up")
	}
	if u.at, err = location(chunk); err != nil {
		return err
	}
	if req, err = http.NewRequestWithContext(ctx, http.MethodPut, closing(u.at, b.Digest), nil); err != nil {
		return err
	}
	resp, err := p.do(req, http.StatusCreated)
	if err != nil {
		return err
	}
	return sameDigest(resp, b.Digest)
}
