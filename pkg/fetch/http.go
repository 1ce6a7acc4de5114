package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/patience"
)

// The bounds of patience: attempts without progress in a row, the bytes that are progress, and the longest single wait.
const (
	attempts  = 5
	progress  = 64 << 10
	firstWait = 500 * time.Millisecond
	maxWait   = 60 * time.Second
)

// patiently tries until it works, gets a refusal that will not pass, or came no further for some attempts in a row: further than
// ever before, since a download that begins anew passes where it has been.
// try says how long the server asks to wait (0 where it does not); size, how far the download is.
func (c *Client) patiently(ctx context.Context, name string, size func() int64, try func() (time.Duration, error)) error {
	wait, furthest := firstWait, size()
	for attempt := 1; ; attempt++ {
		pause, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if size() >= furthest+progress {
			attempt, wait = 1, firstWait
		}
		furthest = max(furthest, size())
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

// asked is how long an answer asks to wait; 0 where it does not.
func asked(resp *http.Response) time.Duration {
	d, _ := patience.RetryAfter(resp)
	return d
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

// request makes one request.
func (c *Client) request(ctx context.Context, u *url.URL, header http.Header, user *url.Userinfo) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
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
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &linkError{withoutURL(err)}
	}
	return resp, nil
}
