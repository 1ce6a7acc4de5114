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

	"github.com/jubako/jubako/pkg/hint"
)

// The bounds of patience: attempts without progress in a row, and the longest single wait.
const (
	attempts  = 5
	firstWait = 500 * time.Millisecond
	maxWait   = 60 * time.Second
)

// StatusError is an answer that is no file.
type StatusError struct {
	Name, From string
	Status     string
	Code       int
	Excerpt    string
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("fetching %s from %s: %s", e.Name, e.From, e.Status)
	if e.Excerpt != "" {
		s += ": " + e.Excerpt
	}
	return s
}

// download gets a URL into the store. A cut answer is gone on with where the server allows ranges, and begun anew where
// it does not.
func (c *Client) download(ctx context.Context, a Artifact, from string) (Blob, error) {
	s, err := c.newSink(a, from)
	if err != nil {
		return Blob{}, err
	}
	defer func() { s.w.Abort() }()
	wait := firstWait
	etag := ""
	for attempt := 1; ; attempt++ {
		before := s.w.Size()
		pause, err := c.try(ctx, a, from, s, &etag)
		if err == nil {
			return s.commit()
		}
		if s.w.Size() > before {
			attempt, wait = 1, firstWait // it came further: patience starts anew
		}
		if !passing(err) || attempt >= attempts || ctx.Err() != nil || pause > maxWait {
			return Blob{}, explain(err, a, from)
		}
		pause = max(pause, wait)
		c.o.Log(fmt.Sprintf("%s: %v; trying again in %s", a.Filename, err, pause))
		if err := c.o.Sleep(ctx, pause); err != nil {
			return Blob{}, err
		}
		wait *= 2
	}
}

// cut is a connection that ended before the file did, or never came to be: another attempt may fare better.
type cut struct{ err error }

func (e *cut) Error() string { return e.err.Error() }
func (e *cut) Unwrap() error { return e.err }

func passing(err error) bool {
	if se, ok := errors.AsType[*StatusError](err); ok {
		return passingStatus(se.Code)
	}
	_, ok := errors.AsType[*cut](err)
	return ok
}

// try makes one request, for the rest of the file where a part has come. pause is what the server asks to wait.
func (c *Client) try(ctx context.Context, a Artifact, from string, s *sink, etag *string) (pause time.Duration, err error) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	at := s.w.Size()
	if at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", at))
		if *etag != "" {
			header.Set("If-Range", *etag)
		}
	}
	resp, err := c.get(ctx, from, header)
	if err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, &cut{err}
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && at > 0 && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at)):
	case resp.StatusCode == http.StatusOK:
		if at > 0 { // the server begins anew, and so does the file
			if err := s.restart(); err != nil {
				return 0, err
			}
		}
	default:
		excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return retryAfter(resp), &StatusError{a.Filename, redact(from), resp.Status, resp.StatusCode, oneLine(string(excerpt))}
	}
	*etag = ""
	if e := resp.Header.Get("Etag"); strings.HasPrefix(e, `"`) {
		*etag = e
	}
	body := &readErrors{r: resp.Body}
	n, err := io.Copy(s, body)
	if body.err != nil {
		return 0, &cut{fmt.Errorf("cut after %d bytes: %w", s.w.Size(), body.err)}
	}
	if err != nil {
		return 0, err
	}
	if resp.ContentLength >= 0 && n != resp.ContentLength {
		return 0, &cut{fmt.Errorf("%d bytes came of %d", n, resp.ContentLength)}
	}
	return 0, nil
}

// readErrors tells errors of reading from those of writing.
type readErrors struct {
	r   io.Reader
	err error
}

func (e *readErrors) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.err = err
	}
	return n, err
}

// restart gives up what has come.
func (s *sink) restart() error {
	fresh, err := s.c.newSink(s.a, s.from)
	if err != nil {
		return err
	}
	s.w.Abort()
	*s = *fresh
	return nil
}

// retryAfter reads RFC 9110's header; a date is measured against the answer's own.
func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if secs, err := strconv.Atoi(v); err == nil && secs >= 0 {
		return time.Duration(secs) * time.Second
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

// checkRedirect drops credentials when a redirect leads to another origin. http.Client keeps them for subdomains.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if origin(req.URL) != origin(via[0].URL) {
		req.Header.Del("Authorization")
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme == "http" {
		return errors.New("a redirect leads from https to http")
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
// otherwise when the server asks.
func (c *Client) get(ctx context.Context, from string, header http.Header) (*http.Response, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, err
	}
	first, onDemand, err := c.o.Credentials.lookUp(ctx, u)
	if err != nil {
		return nil, err
	}
	u.User = nil
	resp, err := c.request(ctx, u, header, first)
	if err != nil || first != nil || onDemand == nil {
		return resp, err
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		user, err := onDemand()
		if err != nil || user == nil {
			return resp, err
		}
		_ = resp.Body.Close()
		return c.request(ctx, u, header, user)
	}
	return resp, nil
}

func (c *Client) request(ctx context.Context, u *url.URL, header http.Header, user *url.Userinfo) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	if c.o.UserAgent != "" {
		req.Header.Set("User-Agent", c.o.UserAgent)
	}
	if user != nil {
		pass, _ := user.Password()
		req.SetBasicAuth(user.Username(), pass)
	}
	return c.http.Do(req)
}

// explain says what was fetched from where, and what can be done.
func explain(err error, a Artifact, from string) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if se, ok := errors.AsType[*StatusError](err); ok {
		wrapped := hint.Network(err)
		switch se.Code {
		case http.StatusUnauthorized, http.StatusForbidden:
			return hint.Wrap(wrapped, "the index wants credentials: UV_INDEX_<NAME>_USERNAME and _PASSWORD, or .netrc")
		case http.StatusNotFound, http.StatusGone:
			return hint.Wrap(wrapped, "the file is no longer there: lock anew (uv lock), or take it from a folder with --find-links")
		}
		return wrapped
	}
	if _, ok := errors.AsType[*cut](err); ok {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its URL may hold a signature
		}
		return hint.Wrap(hint.Network(fmt.Errorf("fetching %s from %s: %w", a.Filename, redact(from), err)),
			"check the network and the proxy (HTTPS_PROXY); [tool.jubako] mirrors = { … } names another place")
	}
	return fmt.Errorf("fetching %s from %s: %w", a.Filename, redact(from), err)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
