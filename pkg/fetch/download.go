package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// download gets a URL into the store. A cut answer is gone on with where the server allows ranges, and begun anew where
// it does not; so is what an earlier run has left.
func (c *Client) download(ctx context.Context, a Artifact, from string) (Blob, error) {
	s, err := c.newSink(a, from, true)
	if err != nil {
		return Blob{}, err
	}
	d := &download{c: c, s: s}
	if n := s.w.Size(); n > 0 {
		c.o.Log(fmt.Sprintf("%s: going on after the %d bytes of an earlier run", a.Filename, n))
	}
	for again := false; ; again = true {
		d.joined = false
		err := c.patiently(ctx, a.Filename, func() int64 { return s.w.Size() }, func() (time.Duration, error) { return d.try(ctx) })
		if err != nil {
			// On a full disk nothing is kept, neither of this download nor of those that are ended along with it.
			s.giveUp((passing(err) || ctx.Err() != nil) && !noRoom(context.Cause(ctx)))
			return Blob{}, c.explain(err, a.Filename, from)
		}
		b, err := s.commit()
		if _, other := errors.AsType[*HashError](err); other && d.joined && !again {
			// Parts that do not belong together: the file changed in between, or what was kept is damaged. Once: where every answer
			// is cut, another file than the locked one comes in parts each time.
			c.o.Log(fmt.Sprintf("%s: the parts do not make the locked file; fetching it whole", a.Filename))
			if err := s.restart(); err != nil {
				return Blob{}, err
			}
			continue
		}
		s.w.Abort() // which does nothing after a commit
		return b, err
	}
}

// download is one file on its way.
type download struct {
	c      *Client
	s      *sink
	etag   string // strong, of what has come; "" for none
	joined bool   // of what came from several answers
}

// try makes one request, for the rest of the file where a part has come. pause is what the server asks to wait.
func (d *download) try(ctx context.Context) (pause time.Duration, err error) {
	s := d.s
	if s.w.Size() > 0 && len(s.a.Hashes) == 0 && d.etag == "" {
		// Nothing would tell that two parts do not belong together.
		if err := s.restart(); err != nil {
			return 0, err
		}
	}
	at := s.w.Size()
	header := make(http.Header)
	if at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", at))
		if d.etag != "" {
			header.Set("If-Range", d.etag)
		}
	}
	resp, err := d.c.get(ctx, s.from, header)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && at > 0 && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at)):
		d.joined = true
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && at > 0, resp.StatusCode == http.StatusPartialContent:
		if at > 0 { // the server begins anew, and so does the file
			if err := s.restart(); err != nil {
				return 0, err
			}
			d.joined = false
		}
		if resp.StatusCode != http.StatusOK {
			d.etag = ""
			return 0, &TruncatedError{s.a.Filename, redact(s.from), at, -1, errors.New("the server does not go on from there")}
		}
	default:
		excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return asked(resp), &StatusError{s.a.Filename, redact(s.from), resp.Status, resp.StatusCode, oneLine(string(excerpt))}
	}
	d.etag = ""
	if e := resp.Header.Get("Etag"); strings.HasPrefix(e, `"`) {
		d.etag = e
	}
	return 0, d.copy(resp)
}

// copy takes the answer's body, and tells a body that ends too early.
func (d *download) copy(resp *http.Response) error {
	s := d.s
	total := int64(-1)
	if resp.ContentLength >= 0 {
		total = s.w.Size() + resp.ContentLength
	}
	if total > d.c.o.MaxSize {
		return &sizeError{s.a.Filename, d.c.o.MaxSize}
	}
	body := &readErrors{r: resp.Body}
	if _, err := io.CopyBuffer(s, body, make([]byte, 128<<10)); body.err == nil && err != nil {
		return err
	}
	if body.err == nil && total >= 0 && s.w.Size() < total {
		body.err = io.ErrUnexpectedEOF
	}
	if body.err != nil {
		return &TruncatedError{s.a.Filename, redact(s.from), s.w.Size(), total, withoutURL(body.err)}
	}
	return nil
}

// readErrors tells errors of reading from those of writing.
type readErrors struct {
	r   io.Reader
	err error
}

func (e *readErrors) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}
