package regclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
)

// pings remembers what registries have answered to GET /v2/, with which the client library begins whatever it does: which
// credentials they want, and whether they have TLS. Neither changes while a build runs.
type pings struct {
	base  http.RoundTripper
	plain func(host string) bool // whether it may be spoken to without TLS

	mu  sync.Mutex
	all map[string]*ping // by scheme and host
}

// ping is a registry's answer; free is held by whoever reads or makes it.
type ping struct {
	free   chan struct{}
	status int // 0 where there is no answer yet
	text   string
	header http.Header
	noTLS  error // the only failure that is as lasting as an answer
}

// isPing says whether a request is one whose answer can be remembered.
func isPing(req *http.Request) bool {
	return req.Method == http.MethodGet && req.URL.Path == "/v2/" && req.URL.RawQuery == "" && req.Header.Get("Authorization") == ""
}

// errNoTLS is what a registry without TLS answers to a client with it.
var errNoTLS = tls.RecordHeaderError{Msg: "it answers without TLS", RecordHeader: [5]byte([]byte("HTTP/"))}

// answersPlain says whether a registry that may be spoken to without TLS answers so, at the first attempt: the client library
// tries TLS first, for which those hardly ever listen.
func (p *pings) answersPlain(req *http.Request) bool {
	plain := req.Clone(req.Context())
	plain.URL.Scheme = "http"
	resp, err := p.roundTrip(plain, p.base.RoundTrip)
	if err != nil {
		return false
	}
	drain(resp.Body)
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized
}

func (p *pings) of(req *http.Request) *ping {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := req.URL.Scheme + "://" + req.URL.Host
	one := p.all[key]
	if one == nil {
		if p.all == nil {
			p.all = make(map[string]*ping)
		}
		one = &ping{free: make(chan struct{}, 1)}
		p.all[key] = one
	}
	return one
}

// roundTrip answers from memory, or else with send, once for all who ask at the same time.
func (p *pings) roundTrip(req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	one := p.of(req)
	select {
	case one.free <- struct{}{}:
		defer func() { <-one.free }()
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
	if one.noTLS == nil && one.status == 0 && req.URL.Scheme == "https" && p.plain(req.URL.Host) && p.answersPlain(req) {
		one.noTLS = errNoTLS
	}
	if one.noTLS != nil {
		return nil, one.noTLS
	}
	if one.status == 0 {
		resp, err := send(req)
		if err != nil {
			if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:]) == "HTTP/" {
				one.noTLS = err // http.Client knows it by its type
			}
			return nil, err
		}
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
			return resp, nil
		}
		drain(resp.Body)
		one.status, one.text, one.header = resp.StatusCode, resp.Status, resp.Header
	}
	return &http.Response{
		StatusCode: one.status, Status: one.text, Header: one.header.Clone(), Body: http.NoBody, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}
