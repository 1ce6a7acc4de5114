package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/jubako/jubako/pkg/patience"
)

// blobAttempts is how often a blob's upload is begun, since an upload that broke off cannot be gone on with.
const blobAttempts = 4

// pushBlob brings one blob, in as many attempts as passing faults need.
func (p *pusher) pushBlob(ctx context.Context, b Blob) error {
	wait := time.Second
	for attempt := 1; ; attempt++ {
		err := p.tryBlob(ctx, b)
		up, cut := errors.AsType[*uploadError](err)
		if !cut || attempt == blobAttempts || ctx.Err() != nil || !passing(up.error) || up.after > maxRetryAfter {
			return err
		}
		if err := p.o.Sleep(ctx, max(wait, up.after)); err != nil {
			return err
		}
		wait *= 2
	}
}

// uploadError is a failed upload. It alone is tried again here: requests that can be repeated as they are have been
// repeated by the client's transport.
type uploadError struct {
	error
	after time.Duration // what the registry asks to wait
}

func (e *uploadError) Unwrap() error { return e.error }

// maxRetryAfter is the longest wait that a registry is granted.
const maxRetryAfter = 30 * time.Second

// passing says whether another attempt may fare better: a fault of the server's or of the connection, not of the blob.
func passing(err error) bool {
	if te, ok := errors.AsType[*transport.Error](err); ok {
		return te.StatusCode >= 500 || te.StatusCode == http.StatusTooManyRequests || te.StatusCode == http.StatusRequestTimeout
	}
	_, isURL := errors.AsType[*url.Error](err)
	return isURL
}

func (p *pusher) tryBlob(ctx context.Context, b Blob) error {
	start := p.url("/blobs/uploads/")
	var begun *http.Response
	if from := p.mountable(b); from != nil {
		mount := *start
		mount.RawQuery = url.Values{"mount": {b.Digest.String()}, "from": {from.RepositoryStr()}}.Encode()
		resp, err := p.start(ctx, &mount)
		switch {
		case err == nil && resp.StatusCode == http.StatusCreated:
			p.count(func(r *PushResult) { r.Mounted++ })
			return nil
		case err == nil:
			begun = resp // not mounted: the registry waits for the blob
		case resp == nil || resp.StatusCode >= 500:
			return err
		}
		// Some registries refuse a mount that others answer with an upload, where the other repository is not readable.
	}
	if begun != nil || !p.lacks(b) {
		held, err := p.holds(ctx, b)
		if err != nil {
			return err
		}
		if held {
			p.count(func(r *PushResult) { r.Present++ }) // an upload that was begun lapses
			return nil
		}
	}
	if begun == nil {
		var err error
		if begun, err = p.start(ctx, start); err != nil {
			return err
		}
	}
	return p.upload(ctx, b, begun)
}

// lacks says whether the registry need not be asked for a blob: an image in the repository is known, which does not consist of it, and it was
// made here, and not given to the repository as far as is known, so that it is most likely new; and it is small, so that little is lost
// where it is not.
func (p *pusher) lacks(b Blob) bool {
	if !p.learned || b.From != nil || b.Size > wasteful {
		return false
	}
	return p.o.Holds == nil || p.o.Holds(p.repo.RegistryStr(), b.Digest) == nil
}

// holds asks whether the repository holds a blob.
func (p *pusher) holds(ctx context.Context, b Blob) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.url("/blobs/%s", b.Digest).String(), nil)
	if err != nil {
		return false, err
	}
	resp, err := p.do(req, http.StatusOK)
	if resp != nil && resp.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// start begins an upload, or mounts.
func (p *pusher) start(ctx context.Context, at *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), nil)
	if err != nil {
		return nil, err
	}
	return p.do(req, http.StatusCreated, http.StatusAccepted)
}

// upload sends the whole blob to the place that the registry has given (distribution-spec, "Pushing a blob monolithically").
func (p *pusher) upload(ctx context.Context, b Blob, started *http.Response) error {
	at, err := location(started)
	if err != nil {
		return err
	}
	body, err := b.verified(ctx)
	if err != nil {
		return &blobError{err}
	}
	defer body.Close()
	reader := &uploadReader{r: body, report: func(n int64) {
		if p.o.Progress != nil {
			p.o.Progress(b, n)
		}
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, closing(at, b.Digest), reader)
	if err != nil {
		return err
	}
	req.ContentLength = b.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	resp, err := p.do(req, http.StatusCreated)
	if err != nil {
		if e := reader.fault.Load(); e != nil {
			return e // whatever the registry has made of a body that broke off
		}
		failed := &uploadError{error: err}
		if resp != nil {
			failed.after, _ = patience.RetryAfter(resp)
		}
		return fmt.Errorf("blob %s (%s): %w", b.Digest, b.Name, failed)
	}
	if err := sameDigest(resp, b.Digest); err != nil {
		return fmt.Errorf("blob %s (%s): %w", b.Digest, b.Name, err)
	}
	p.count(func(r *PushResult) { r.Pushed++; r.Bytes += b.Size })
	return nil
}

// location is where an upload goes on, which each answer says anew.
func location(resp *http.Response) (*url.URL, error) {
	at, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil {
		return nil, fmt.Errorf("reading the place that the registry gives for an upload: %w", err)
	}
	return at, nil
}

// closing is where an upload becomes the blob with a digest.
func closing(at *url.URL, digest v1.Hash) string {
	q := at.Query()
	q.Set("digest", digest.String())
	last := *at
	last.RawQuery = q.Encode()
	return last.String()
}

// sameDigest refuses a registry that has stored something else than what it was sent.
func sameDigest(resp *http.Response, want v1.Hash) error {
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != want.String() {
		return fmt.Errorf("the registry says that it has stored %s", got)
	}
	return nil
}

// uploadReader reports how much was read through it, and marks what goes wrong in reading.
type uploadReader struct {
	r      io.Reader
	n, at  int64
	report func(int64)
	fault  atomic.Pointer[blobError] // the body may still be read when the answer is there
}

func (r *uploadReader) Read(p []byte) (int, error) {
	const step = 256 << 10
	n, err := r.r.Read(p)
	if r.n += int64(n); r.n-r.at >= step || err != nil {
		r.at = r.n
		r.report(r.n)
	}
	if err != nil && err != io.EOF {
		fault := &blobError{err}
		r.fault.Store(fault)
		return n, fault
	}
	return n, err
}
