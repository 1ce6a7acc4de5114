package patience

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Listener gives up on a server that sends nothing for Limit: no answer, or no more of its body. PUT and PATCH, which bring an
// upload or end it, are not watched, since a server may think for minutes about a large one.
type Listener struct {
	Base  http.RoundTripper
	Limit time.Duration
	// Silent is what a request ends with then, with the limit behind it.
	Silent error
}

// RoundTrip implements http.RoundTripper.
func (l *Listener) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPut || req.Method == http.MethodPatch {
		return l.Base.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &heardBody{silent: l.Silent, d: l.Limit, cancel: cancel, cause: func() error { return context.Cause(ctx) }}
	b.timer = time.AfterFunc(l.Limit, func() { cancel(l.Silent) })
	resp, err := l.Base.RoundTrip(req.WithContext(ctx))
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
	silent error
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
	if errors.Is(b.cause(), b.silent) {
		return fmt.Errorf("%w for %s", b.silent, b.d)
	}
	return err
}

func (b *heardBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
