package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jubako/jubako/pkg/hint"
)

// pages is the namespace of the store where a URL leads to what was there last.
const pages = "page"

// kept is what the store remembers of a page.
type kept struct {
	SHA256       string `json:"sha256"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
}

// Page gets a small file that changes now and then, and whose content nothing pins. What was there last is kept: the server
// is asked whether it is still the same (RFC 9110 §13), and offline it serves as it is. limit bounds the file in bytes.
//
// That there is no such file is a *StatusError with the code 404, or, of a file URL, fs.ErrNotExist.
func (c *Client) Page(ctx context.Context, name, from string, limit int64) ([]byte, error) {
	from, _ = c.mirror(from)
	u, err := url.Parse(from)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("the URL of %s cannot be read", name))
	}
	if u.Scheme == "file" {
		return c.localPage(name, filepath.FromSlash(u.Path), limit)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, hint.Usage(fmt.Errorf("%s is at a URL of the scheme %q, and jubako fetches http, https and file", name, u.Scheme))
	}
	old, text := c.keptPage(from)
	if c.o.Offline {
		if text == nil {
			return nil, hint.Wrap(hint.Network(&OfflineError{name}), "build once with a network")
		}
		return text, nil
	}
	header := make(http.Header)
	if old.ETag != "" {
		header.Set("If-None-Match", old.ETag)
	}
	if old.LastModified != "" {
		header.Set("If-Modified-Since", old.LastModified)
	}
	err = c.patiently(ctx, name, func() int64 { return 0 }, func() (time.Duration, error) {
		resp, err := c.get(ctx, from, header)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusNotModified && text != nil:
			return 0, nil
		case resp.StatusCode != http.StatusOK:
			excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
			return asked(resp), &StatusError{name, redact(from), resp.Status, resp.StatusCode, oneLine(string(excerpt))}
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return 0, &TruncatedError{name, redact(from), int64(len(b)), resp.ContentLength, withoutURL(err)}
		}
		if int64(len(b)) > limit {
			return 0, &sizeError{name, limit}
		}
		text, old = b, kept{ETag: resp.Header.Get("Etag"), LastModified: resp.Header.Get("Last-Modified")}
		return 0, nil
	})
	if err != nil {
		return nil, c.explain(err, name, from)
	}
	if old.SHA256 == "" {
		return text, c.keepPage(from, old, text)
	}
	return text, nil
}

// keptPage is what the store has of a page; nil where it has nothing.
func (c *Client) keptPage(from string) (kept, []byte) {
	var k kept
	b, err := c.o.Store.Record(pages, from)
	if err != nil || json.Unmarshal(b, &k) != nil {
		return kept{}, nil
	}
	f, err := c.o.Store.Verified(k.SHA256)
	if err != nil {
		return kept{}, nil
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil || text == nil {
		return kept{}, nil
	}
	return k, text
}

func (c *Client) keepPage(from string, k kept, text []byte) error {
	w, err := c.o.Store.NewWriter()
	if err != nil {
		return diskFull(err, c.o.Store.Dir())
	}
	defer w.Abort()
	if _, err := w.Write(text); err != nil {
		return diskFull(err, c.o.Store.Dir())
	}
	if k.SHA256, err = w.Commit(""); err != nil {
		return diskFull(err, c.o.Store.Dir())
	}
	record, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return c.o.Store.PutRecord(pages, from, record)
}

func (c *Client) localPage(name, file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, &sizeError{name, limit}
	}
	return b, nil
}

// Absent says whether an error of Page or Fetch means that the server has no such file.
func Absent(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.Code == http.StatusNotFound || e.Code == http.StatusGone
	}
	return errors.Is(err, os.ErrNotExist)
}
