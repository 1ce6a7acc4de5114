package regclient

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// maxFirst bounds what is kept of a registry's first answer; distribution's own has two bytes.
const maxFirst = 64 << 10

// firstAnswers keeps what registries have answered to GET /v2/ without credentials, for one client. A failure is not kept.
type firstAnswers struct {
	mu   sync.Mutex
	kept map[string]firstAnswer // by scheme and host
}

type firstAnswer struct {
	resp http.Response // without its body
	body []byte
}

func isFirst(req *http.Request) bool {
	return req.Method == http.MethodGet && req.URL.Path == "/v2/" && req.URL.RawQuery == "" && req.Header.Get("Authorization") == ""
}

func (f *firstAnswers) answer(req *http.Request, ask func() (*http.Response, error)) (*http.Response, error) {
	at := req.URL.Scheme + "://" + req.URL.Host
	f.mu.Lock()
	kept, ok := f.kept[at]
	f.mu.Unlock()
	if ok {
		return kept.to(req), nil
	}
	resp, err := ask()
	if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFirst+1))
	if err != nil || len(body) > maxFirst {
		resp.Body = &prefixed{Reader: io.MultiReader(bytes.NewReader(body), resp.Body), Closer: resp.Body}
		return resp, nil // whoever reads it meets the error, or the length
	}
	if err := resp.Body.Close(); err != nil {
		return nil, err
	}
	kept = firstAnswer{*resp, body}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept == nil {
		f.kept = make(map[string]firstAnswer)
	}
	f.kept[at] = kept
	return kept.to(req), nil
}

// to gives the answer as one to another request for the same thing.
func (a firstAnswer) to(req *http.Request) *http.Response {
	resp := a.resp
	resp.Request, resp.Header = req, a.resp.Header.Clone()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(a.body)), int64(len(a.body))
	return &resp
}

// prefixed is a body of which the beginning has been read already.
type prefixed struct {
	io.Reader
	io.Closer
}
