package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience"
)

// HashError says that a file is not the one that was locked.
type HashError struct {
	Name, From string // From is a path, or a URL without credentials
	Want, Got  filehash.Hash
}

func (e *HashError) Error() string {
	return fmt.Sprintf("%s from %s has the hash %s, and the lock has %s", e.Name, e.From, e.Got, e.Want)
}

// SizeError says that a file has another size than the lock says.
type SizeError struct {
	Name, From string
	Want, Got  int64 // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s from %s has %d bytes, and the lock says %d", e.Name, e.From, e.Got, e.Want)
}

// OfflineError says that a file is not in the cache, and that the network must not be used.
type OfflineError struct{ Name string }

func (e *OfflineError) Error() string {
	return e.Name + " is not in the cache, and --offline forbids to fetch it"
}

// StatusError is an answer that is no file.
type StatusError struct {
	Name, From string
	Status     string // "404 Not Found"
	Code       int
	Excerpt    string // of the answer's text, on one line
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("fetching %s from %s: %s", e.Name, e.From, e.Status)
	if e.Excerpt != "" {
		s += ": " + e.Excerpt
	}
	return s
}

// TruncatedError says that a file ended too early, also when it was asked for again.
type TruncatedError struct {
	Name, From string
	Got, Want  int64 // bytes; Want is -1 where the server did not say
	Err        error
}

func (e *TruncatedError) Error() string {
	of := ""
	if e.Want >= 0 {
		of = fmt.Sprintf(" of %d", e.Want)
	}
	return fmt.Sprintf("fetching %s from %s: cut after %d%s bytes: %v", e.Name, e.From, e.Got, of, e.Err)
}

func (e *TruncatedError) Unwrap() error { return e.Err }

// sizeError says that a file is larger than any that is wanted.
type sizeError struct {
	name string
	max  int64
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("%s has more than %d bytes, which is the most that is fetched", e.name, e.max)
}

// linkError is a failure to reach a server, before any answer. Its text has no URL.
type linkError struct{ err error }

func (e *linkError) Error() string { return e.err.Error() }
func (e *linkError) Unwrap() error { return e.err }

// errSilent ends a request whose server sends nothing.
var errSilent = errors.New("the server went silent")

// passing says whether another attempt may fare better.
func passing(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		switch e.Code {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
			520, 521, 522, 523, 524: // a reverse proxy did not get an answer from its origin
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*TruncatedError](err); ok {
		return true
	}
	e, ok := errors.AsType[*linkError](err)
	return ok && (errors.Is(e.err, errSilent) || patience.Passing(e.err))
}

// withoutURL takes the URL out of http.Client's error, since it may hold a signature.
func withoutURL(err error) error {
	for {
		e, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err
		}
		err = e.Err
	}
}

// explain says what was fetched from where, and what can be done.
func (c *Client) explain(err error, name, from string) error {
	if errors.Is(err, context.Canceled) || hint.Of(err) != "" {
		return err
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return hint.Wrap(hint.Network(err), "%s", c.statusRemedy(e, from))
	}
	if _, ok := errors.AsType[*TruncatedError](err); ok {
		return hint.Wrap(hint.Network(err), "the connection breaks each time: try again, or name another place with [tool.jubako] mirrors")
	}
	err = fmt.Errorf("fetching %s from %s: %w", name, redact(from), err)
	if _, ok := errors.AsType[*linkError](err); !ok {
		return err
	}
	remedy := "check the network and the proxy (HTTPS_PROXY); [tool.jubako] mirrors = { … } names another place"
	if strings.Contains(err.Error(), "x509:") {
		remedy = "the server's certificate is not trusted here: name its CA with SSL_CERT_FILE"
	}
	return hint.Wrap(hint.Network(err), "%s", remedy)
}

func (c *Client) statusRemedy(e *StatusError, from string) string {
	switch {
	case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden, e.Code == http.StatusProxyAuthRequired:
		if u, err := url.Parse(from); err == nil && e.Code != http.StatusProxyAuthRequired {
			return "the index wants other credentials than it got: " + c.o.Credentials.remedy(u)
		}
		return "the proxy wants credentials: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
	case e.Code == http.StatusNotFound, e.Code == http.StatusGone:
		return "the file is no longer there, or not for these credentials: lock anew (uv lock), or take it from a folder with --find-links"
	case e.Code == http.StatusTooManyRequests:
		return "the server limits requests: try again later, or name another place with [tool.jubako] mirrors"
	case e.Code >= 500:
		return "the server has a fault of its own: try again later, or name another place with [tool.jubako] mirrors"
	}
	return "check the URL; [tool.jubako] mirrors = { … } names another place"
}

// diskFull adds the remedy where the store has no room left.
func diskFull(err error, dir string) error {
	if noRoom(err) {
		return hint.Wrap(err, "make room in %s (jubako cache prune), or name another folder with --cache-dir", dir)
	}
	return err
}

func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// redact takes credentials and the query, which may hold a signature, out of a URL. A path stays as it is.
func redact(u string) string {
	p, err := url.Parse(u)
	switch {
	case err != nil && strings.Contains(u, "://"):
		return "(an unreadable URL)"
	case err != nil || p.Host == "":
		return u
	}
	p.User, p.RawQuery, p.Fragment = nil, "", ""
	return p.String()
}

// oneLine makes a line of printable characters of what a server says.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	return strings.Join(strings.Fields(s), " ")
}
