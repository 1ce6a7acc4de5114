package regclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errSilent ends a request whose registry sends nothing. It reads as a timeout, and is handled as one.
var errSilent = errors.New("timeout: the registry went silent")

// listener gives up on a registry that sends nothing for d: no answer to a GET or HEAD, or no more of its body. What
// carries a body is not watched, since a registry may think for minutes about a large upload.
type listener struct {
	base http.RoundTripper
	d    time.Duration
}

func (l *listener) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return l.base.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &heardBody{d: l.d, cancel: cancel, cause: func() error { return context.Cause(ctx) }}
	b.timer = time.AfterFunc(l.d, func() { cancel(errSilent) })
	resp, err := l.base.RoundTrip(req.WithContext(ctx))
	b.timer.Stop()
	if err != nil {
		err = b.explain(err)
		cancel(nil)
		return nil, err
	}
	resp.Request = req // whose context lives on
	b.ReadCloser = resp.Body
	resp.Body = b
	return resp, nil
}

// heardBody cancels its request when a read takes too long.
type heardBody struct {
	io.ReadCloser
	d      time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	cause  func() error
}

func (b *heardBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.d)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	return n, err
}

// explain puts the silence in place of the cancelling that it led to.
func (b *heardBody) explain(err error) error {
	if errors.Is(b.cause(), errSilent) {
		return fmt.Errorf("%w for %s", errSilent, b.d)
	}
	return err
}

func (b *heardBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
