package regclient

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jubako/jubako/pkg/patience"
)

// The bounds of patience: at most attempts requests, and no wait longer than maxWait, also when the registry asks for it.
const (
	attempts  = 5
	firstWait = 500 * time.Millisecond
	maxWait   = 30 * time.Second
	// A host that takes no connection in time is tried this often: each takes half a minute, and is likely to end as the last one.
	dialAttempts = 2
)

// retrier makes a request again when it failed for a passing reason and can be repeated: a body, if any, can be rewound.
// Retry-After (RFC 9110, section 10.2.3) is honoured within maxWait. A GET whose answer is cut is gone on with by a range.
type retrier struct {
	o     Options
	pings *pings
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	req, err := unsent(req)
	if err != nil {
		return nil, err
	}
	if r.o.UserAgent != "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", r.o.UserAgent)
	}
	if req.URL.Scheme == "http" && req.URL.Path == "/v2/" && !r.o.plain(req.URL.Host) {
		// The client library tries private networks without TLS when TLS fails, and would send credentials so.
		return nil, fmt.Errorf("%s is not to be spoken to without TLS", req.URL.Host)
	}
	if isPing(req) {
		return r.pings.roundTrip(req, r.send)
	}
	return r.send(req)
}

// send makes the request, as often as it takes.
func (r *retrier) send(req *http.Request) (*http.Response, error) {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		resp, err := r.o.Base.RoundTrip(req)
		// The error of a context that has ended is its cause, which can look like any fault.
		if req.Context().Err() != nil || !passing(resp, err) || attempt == attempts || attempt >= dialAttempts && dialTimeout(err) || !rewindable(req) {
			if err == nil && req.Method == http.MethodGet && resp.StatusCode == http.StatusOK && resp.ContentLength > 0 {
				resp.Body = &resumer{ReadCloser: resp.Body, r: r, req: req, left: resp.ContentLength, etag: strongETag(resp)}
			}
			return resp, err
		}
		pause := wait
		why := fmt.Sprint(short(err))
		if err == nil {
			why = resp.Status
			if after, ok := patience.RetryAfter(resp); ok {
				pause = max(wait, after)
			}
			if pause > maxWait {
				return resp, nil // not worth the wait: the caller sees the refusal
			}
			drain(resp.Body)
		}
		r.o.Log(fmt.Sprintf("%s %s: %s; trying again in %s", req.Method, req.URL.Host, why, pause))
		if err := r.o.Sleep(req.Context(), pause); err != nil {
			return nil, err
		}
		wait *= 2
		if req, err = rewind(req); err != nil {
			return nil, err
		}
	}
}

// passing says whether another attempt may fare better.
func passing(resp *http.Response, err error) bool {
	if err != nil {
		return errors.Is(err, errSilent) || patience.Passing(err)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// dialTimeout says whether a host has taken no connection in time.
func dialTimeout(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial" && e.Timeout()
}

// errSent is why a body cannot be sent once more.
var errSent = errors.New("the registry wants another token, and the upload has to begin anew")

// sent stands in a request for a body that has gone.
type sent struct{}

func (sent) Read([]byte) (int, error) { return 0, errSent }
func (sent) Close() error             { return nil }

// unsent gives a request whose body is still whole. When a token has expired, the client library sends the very same request
// again with a new one (transport.bearerTransport), whatever has been read of its body by then.
func unsent(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	if req.GetBody != nil {
		_ = req.Body.Close()
		return rewind(req)
	}
	if _, again := req.Body.(sent); again {
		return nil, errSent
	}
	once := *req
	req.Body = sent{}
	return &once, nil
}

func rewindable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func rewind(req *http.Request) (*http.Request, error) {
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	return again, nil
}
