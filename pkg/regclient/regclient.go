// Package regclient holds what pulling and pushing share when they speak to a container registry: which credentials go
// where, which hosts have no TLS, how often to try again, and how to tell a person what went wrong.
//
// It imports pkg/hint and pkg/patience and nothing else of jubako, and leaves the protocol itself to pkg/base and pkg/output.
package regclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience"
)

// Options says what a Client may know. The zero value reaches public registries without credentials.
type Options struct {
	// ConfigFiles hold credentials, in the order in which they are asked: Docker's config.json, podman's auth.json.
	ConfigFiles []string
	// PlainHTTP names registries ("host" or "host:port") without TLS. Loopback addresses need no mention.
	PlainHTTP []string
	// Mirrors are asked in place of a registry: "index.example" → "mirror.corp:5000/hub".
	Mirrors   map[string]string
	UserAgent string
	// Base makes the requests; http.DefaultTransport where it is nil.
	Base http.RoundTripper
	// IdleTimeout is how long a registry may send nothing before a request that is no upload is made again; a minute where it is 0.
	IdleTimeout time.Duration
	// Sleep waits between attempts; it is for tests. A timer where it is nil.
	Sleep func(context.Context, time.Duration) error
	// Log is told why a request is made again; it may be nil.
	Log func(string)
}

// Client is safe for concurrent use.
type Client struct {
	o     Options
	pings *pings
}

// New makes a client.
func New(o Options) *Client {
	if o.Base == nil {
		o.Base = http.DefaultTransport
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Minute
	}
	o.Base = &patience.Listener{Base: o.Base, Limit: o.IdleTimeout, Silent: errSilent}
	if o.Sleep == nil {
		o.Sleep = patience.Sleep
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	return &Client{o, &pings{base: o.Base, plain: o.plain}}
}

// Reference reads a reference as Docker does: short names are the default registry's, a missing tag is "latest".
func (c *Client) Reference(s string) (name.Reference, error) {
	ref, err := name.ParseReference(s)
	if err != nil {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("reading the reference %q: %w", s, err)), "write registry.example.com/team/app:tag, all in lower case")
	}
	if c.o.plain(ref.Context().RegistryStr()) {
		return name.ParseReference(s, name.Insecure)
	}
	return ref, nil
}

// Mirror gives the reference under which a mirror is asked for ref, and false where there is none.
func (c *Client) Mirror(ref name.Reference) (name.Reference, bool) {
	to := ""
	for _, registry := range aliases(ref.Context().RegistryStr()) {
		if to = c.o.Mirrors[registry]; to != "" {
			break
		}
	}
	if to == "" {
		return nil, false
	}
	sep := ":"
	if _, digest := ref.(name.Digest); digest {
		sep = "@"
	}
	m, err := c.Reference(strings.TrimSuffix(to, "/") + "/" + ref.Context().RepositoryStr() + sep + ref.Identifier())
	return m, err == nil
}

// plain says whether the registry is spoken to without TLS.
func (o Options) plain(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	return slices.Contains(o.PlainHTTP, registry) || slices.Contains(o.PlainHTTP, host)
}

// Transport makes requests with patience: see retry.go.
func (c *Client) Transport() http.RoundTripper { return &retrier{o: c.o, pings: c.pings} }

// Explain turns a failure in speaking to a registry into an error that says what was asked, what the registry or the
// network answered, and what can be done. doing is a gerund: "pulling python:3.12-slim".
func Explain(err error, doing string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if hint.KindOf(err) == hint.KindUsage { // the credentials cannot be read: nobody was asked
		return fmt.Errorf("%s: %w", doing, err)
	}
	wrapped := hint.Network(fmt.Errorf("%s: %w", doing, short(err)))
	if h := remedy(err); h != "" {
		return hint.Wrap(wrapped, "%s", h)
	}
	return wrapped
}

// NotFound says whether a registry has answered that there is no such thing, at least for whoever asks.
func NotFound(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	return ok && te.StatusCode == http.StatusNotFound
}

// short leaves the URLs out of what http.Client says, since queries can hold credentials.
func short(err error) error {
	if err == nil {
		return nil
	}
	s := &shortened{err: err, text: err.Error()}
	for e := err; ; {
		u, ok := errors.AsType[*url.Error](e)
		if !ok {
			return s
		}
		host := "a registry"
		if p, perr := url.Parse(u.URL); perr == nil && p.Host != "" {
			host = p.Host
		}
		s.text = strings.ReplaceAll(s.text, fmt.Sprintf("%s %q", u.Op, u.URL), strings.ToUpper(u.Op)+" "+host)
		e = u.Err
	}
}

// shortened is an error under another text.
type shortened struct {
	err  error
	text string
}

func (s *shortened) Error() string { return s.text }
func (s *shortened) Unwrap() error { return s.err }

// remedy says what the person can do about an error, "" where nothing certain can be said.
func remedy(err error) string {
	if te, ok := errors.AsType[*transport.Error](err); ok {
		switch te.StatusCode {
		case http.StatusUnauthorized:
			return "the registry wants credentials: jubako login REGISTRY -u USER --password-stdin"
		case http.StatusForbidden:
			return "these credentials do not allow it: check the repository's name and the account's rights"
		case http.StatusNotFound:
			return "check the repository's name and the tag; some registries answer so for want of credentials too"
		case http.StatusTooManyRequests:
			return "the registry limits requests: log in for a higher limit, or name a mirror"
		}
		if te.StatusCode >= 500 {
			return "the registry has a fault of its own: try again later"
		}
		return ""
	}
	text := err.Error()
	switch {
	case errors.Is(err, errSent):
		return "the registry takes no token for this upload: check the account's rights"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"), strings.Contains(text, "without TLS"):
		return "the registry has no TLS: --plain-http HOST allows that"
	case strings.Contains(text, "x509:"):
		return "the registry's certificate is not trusted here: name its CA with SSL_CERT_FILE"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check the host and the port"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host's name is not known here: check it, or the proxy (HTTPS_PROXY)"
	}
	return ""
}

// errSilent ends a request to a registry that sends nothing.
var errSilent = errors.New("timeout: the registry went silent")

// drain reads what is left of a small answer, so that its connection can be used again.
func drain(r io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<10))
	_ = r.Close()
}
