package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The bounds of patience: attempts without progress in a row, the bytes that are progress, and the longest single wait.
const (
	attempts  = 5
	progress  = 64 << 10
	firstWait = 500 * time.Millisecond
	maxWait   = 60 * time.Second
)

// patiently tries until it works, gets a refusal that will not pass, or came no further for some attempts in a row.
// try says how long the server asks to wait (0 where it does not); size, how far the download is.
func (c *Client) patiently(ctx context.Context, name string, size func() int64, try func() (time.Duration, error)) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		before := size()
		pause, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if size() >= before+progress {
			attempt, wait = 1, firstWait
		}
		if !passing(err) || attempt >= attempts || pause > maxWait {
			return err
		}
		pause = max(pause, wait)
		c.o.Log(fmt.Sprintf("%s: %v; trying again in %s", name, err, pause))
		if err := c.o.Sleep(ctx, pause); err != nil {
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// retryAfter reads the header of RFC 9110 §10.2.3; a date is measured against the answer's own, so that no clock of this
// machine matters.
func retryAfter(resp *http.Response) time.Duration {
	v := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if secs, err := strconv.ParseInt(v, 10, 64); err == nil {
		const day = 24 * 60 * 60 // beyond any patience, and far from what a Duration cannot hold
		return time.Duration(min(max(secs, 0), day)) * time.Second
	}
	at, err1 := http.ParseTime(v)
	now, err2 := http.ParseTime(resp.Header.Get("Date"))
	if err1 != nil || err2 != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// maxRedirects is how many redirects are followed.
const maxRedirects = 10

// checkRedirect drops credentials when a redirect leads to another origin: http.Client keeps them for subdomains and other
// ports. It follows none from https to http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if origin(req.URL) != origin(via[0].URL) {
		req.Header.Del("Authorization")
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect leads away from https")
	}
	return nil
}

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// get makes a GET request with the credentials that are for its place: at once where they are for this index, and
// otherwise when the server asks, which some do by denying that the file is there.
func (c *Client) get(ctx context.Context, from string, header http.Header) (*http.Response, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	creds := c.o.Credentials
	first, onDemand, err := creds.lookUp(ctx, u)
	if err != nil {
		return nil, err
	}
	u.User = nil
	resp, err := c.request(ctx, u, header, first)
	if err != nil || onDemand == nil {
		return resp, err
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return resp, nil
	}
	user, err := onDemand()
	if user == nil {
		if err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		return resp, nil
	}
	_ = resp.Body.Close()
	resp, err = c.request(ctx, u, header, user)
	if err == nil && resp.StatusCode < 300 {
		creds.accept(u, user)
	}
	return resp, err
}

// request makes one request. It ends when nothing comes for IdleTimeout.
func (c *Client) request(ctx context.Context, u *url.URL, header http.Header, user *url.Userinfo) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, withoutURL(err)
	}
	req.Header = header.Clone()
	req.Header.Set("Accept-Encoding", "identity") // the hash is of the file as it is stored
	if c.o.UserAgent != "" {
		req.Header.Set("User-Agent", c.o.UserAgent)
	}
	if user != nil {
		pass, _ := user.Password()
		req.SetBasicAuth(user.Username(), pass)
	}
	b := &watchedBody{ctx: ctx, cancel: cancel, d: c.o.IdleTimeout, timer: time.AfterFunc(c.o.IdleTimeout, func() { cancel(errSilent) })}
	resp, err := c.http.Do(req)
	b.timer.Stop()
	if err != nil {
		err = b.explain(err)
		cancel(nil)
		return nil, &linkError{withoutURL(err)}
	}
	b.ReadCloser = resp.Body
	resp.Body = b
	return resp, nil
}

// watchedBody cancels its request when a read takes too long.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context // the request's own; not kept beyond it
	cancel context.CancelCauseFunc
	timer  *time.Timer
	d      time.Duration
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.d)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	return n, err
}

// explain puts the silence in place of the cancelling that it led to.
func (b *watchedBody) explain(err error) error {
	if errors.Is(context.Cause(b.ctx), errSilent) {
		return fmt.Errorf("%w for %s", errSilent, b.d)
	}
	return err
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
