package regclient

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxResumes is how often a cut download is taken up again.
const maxResumes = 5

func strongETag(resp *http.Response) string {
	if e := resp.Header.Get("Etag"); strings.HasPrefix(e, `"`) {
		return e
	}
	return ""
}

// resumer goes on with an answer that was cut. Its reader compares a digest in the end.
type resumer struct {
	io.ReadCloser
	r         *retrier
	req       *http.Request
	etag      string
	got, left int64
	resumes   int
	failed    error // what ended it: whoever reads on, as for the rest of what is damaged, is not to wait once more
}

func (s *resumer) Read(p []byte) (int, error) {
	if s.failed != nil {
		return 0, s.failed
	}
	n, err := s.ReadCloser.Read(p)
	s.got += int64(n)
	s.left -= int64(n)
	if err == nil || s.left <= 0 || s.req.Context().Err() != nil || s.resumes == maxResumes {
		return n, err
	}
	if n > 0 {
		return n, nil // the error comes again with the next call
	}
	s.resumes++
	if rerr := s.resume(err); rerr != nil {
		s.failed = fmt.Errorf("%w, and going on failed: %w", err, rerr)
		return 0, s.failed
	}
	return s.Read(p)
}

func (s *resumer) resume(cause error) error {
	s.r.o.Log(fmt.Sprintf("GET %s: cut after %d bytes (%v); going on from there", s.req.URL.Host, s.got, cause))
	if err := s.r.o.Sleep(s.req.Context(), firstWait); err != nil {
		return err
	}
	req := s.req.Clone(s.req.Context())
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", s.got))
	if s.etag != "" {
		req.Header.Set("If-Range", s.etag)
	}
	resp, err := s.r.RoundTrip(req) // with patience again: what cut the answer may be a restart
	if err == nil && resp.StatusCode >= 400 && resp.StatusCode < 500 {
		resp, err = s.anew(req, resp)
	}
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", s.got)) {
		drain(resp.Body)
		return fmt.Errorf("the server does not go on from byte %d: %s", s.got, resp.Status)
	}
	_ = s.ReadCloser.Close()
	s.ReadCloser = resp.Body
	return nil
}

// anew asks the registry again for a blob's rest where it was refused: the token has expired since, or the signed URL to which the
// registry had led (S3 answers 403 then, and others 400). Bytes that come so are read where the others were, and hashed with them.
func (s *resumer) anew(part *http.Request, refusal *http.Response) (*http.Response, error) {
	first := s.req
	for first.Response != nil {
		first = first.Response.Request
	}
	path, isRegistry := strings.CutPrefix(first.URL.Path, "/v2/")
	repository, _, isBlob := strings.Cut(path, "/blobs/")
	if !isRegistry || !isBlob {
		return refusal, nil
	}
	var options []name.Option
	if first.URL.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(first.URL.Host+"/"+repository, options...)
	if err != nil {
		return refusal, nil
	}
	drain(refusal.Body)
	ctx := s.req.Context()
	auth, err := authn.Resolve(ctx, keychain{s.r.o.ConfigFiles}, repo)
	if err != nil {
		return nil, err
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, s.r, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, first.URL.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"Range", "If-Range"} {
		if v := part.Header.Get(key); v != "" {
			req.Header.Set(key, v)
		}
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err == nil {
		s.req = resp.Request // what comes next is asked for where this has come from
	}
	return resp, err
}
