// Package fetch downloads the files that a lock names: verified before anyone sees them, bounded, gone on with after a cut,
// with the right credentials for each index, and not at all when offline.
//
// It may import pkg/cas, pkg/filehash, pkg/hint, pkg/patience and nothing else of jubako.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience"
)

// maxFile bounds a file in bytes where Options does not.
const maxFile = 8 << 30

// Options says how a Client works. Store is needed.
type Options struct {
	Store *cas.Store
	// Transport makes the requests; http.DefaultTransport where it is nil.
	Transport http.RoundTripper
	// Credentials chooses who asks; none where it is nil.
	Credentials *Credentials
	Offline     bool
	// Mirrors replace the start of a URL: "https://files.index.example/" → "https://nexus.corp/files/".
	Mirrors map[string]string
	// Index is a simple index (PEP 503, PEP 691) in which files are looked up by their name before the lock's URLs are asked.
	Index string
	// FindLinks are folders whose files are taken where their hash is the lock's.
	FindLinks []string
	UserAgent string
	// Jobs is how many downloads run at once; 8 where it is 0.
	Jobs int
	// MaxSize is how many bytes a file has at most; 8 GiB where it is 0. A lock's own sizes are not held against a file.
	MaxSize int64
	// IdleTimeout is how long a server may send nothing before the request is made again; a minute where it is 0.
	IdleTimeout time.Duration
	// Progress is told of bytes that have come; it may be nil. It is called from several goroutines.
	Progress func(name string, n int64)
	// Log is told why something is tried again; it may be nil.
	Log func(string)
	// Sleep waits between attempts; it is for tests. A timer where it is nil.
	Sleep func(context.Context, time.Duration) error
}

// Client downloads into a store. It is safe for concurrent use.
type Client struct {
	o     Options
	http  *http.Client
	limit *semaphore.Weighted
	once  singleflight.Group
	index *simpleIndex

	mu      sync.Mutex
	indexes map[string]*simpleIndex // by root
}

// New makes a client.
func New(o Options) *Client {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Jobs <= 0 {
		o.Jobs = 8
	}
	if o.MaxSize <= 0 {
		o.MaxSize = maxFile
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Minute
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = func(string, int64) {}
	}
	if o.Sleep == nil {
		o.Sleep = patience.Sleep
	}
	c := &Client{o: o, limit: semaphore.NewWeighted(int64(o.Jobs))}
	c.http = &http.Client{Transport: &patience.Listener{Base: o.Transport, Limit: o.IdleTimeout, Silent: errSilent}, CheckRedirect: checkRedirect}
	if o.Index != "" {
		c.index = c.simple(o.Index)
	}
	return c
}

// Artifact is a file that a lock names.
type Artifact struct {
	Project  string // normalised name of the project, for an index; "" for what no index has
	Filename string
	URL      string // empty for a local file
	Path     string // of a local file; empty for a URL
	// Hashes are what the lock has of the file, the best first (filehash.Sort); none where it has none. All have to hold, or
	// one of them where AnyHash is set.
	Hashes  []filehash.Hash
	AnyHash bool
	// Size in bytes is held against the file where Sized is set.
	Size  int64
	Sized bool
}

// Blob is a file in the store.
type Blob struct {
	SHA256 string // hex
	Size   int64
	Path   string
}

// aliases is the namespace of the store where a hash that is no SHA-256 leads to the blob.
const aliases = "hash"

// Known finds an artifact's blob in the store, without the network.
func (c *Client) Known(a Artifact) (Blob, bool) {
	for i, h := range a.Hashes {
		if i > 0 && !a.AnyHash {
			break // the store has nothing under one hash that another would contradict, unless the lock is wrong
		}
		if b, ok := c.known(h); ok && (!a.Sized || a.Size == b.Size) {
			return b, true
		}
	}
	return Blob{}, false
}

func (c *Client) known(h filehash.Hash) (Blob, bool) {
	digest := h.Hex
	if h.Algorithm != "sha256" {
		b, err := c.o.Store.Record(aliases, h.String())
		if err != nil {
			return Blob{}, false
		}
		digest = string(b)
	}
	if !c.o.Store.Has(digest, -1) {
		return Blob{}, false
	}
	fi, err := os.Stat(c.o.Store.BlobPath(digest))
	if err != nil {
		return Blob{}, false
	}
	return Blob{digest, fi.Size(), c.o.Store.BlobPath(digest)}, true
}

// Fetch brings an artifact into the store, unless it is there; one that several ask for at once is fetched once. Nothing
// enters the store before its hash holds; a file without one is taken as it comes. What was there before is not read: open
// it with the store's Verified.
//
// The errors that a caller may want to tell apart are *OfflineError, *HashError, *StatusError and *TruncatedError.
func (c *Client) Fetch(ctx context.Context, a Artifact) (Blob, error) {
	for {
		if b, ok := c.Known(a); ok {
			return b, nil
		}
		v, err, _ := c.once.Do(a.key(), func() (any, error) {
			if err := c.limit.Acquire(ctx, 1); err != nil {
				return Blob{}, &stoppedError{err}
			}
			defer c.limit.Release(1)
			b, err := c.fetch(ctx, a)
			if err != nil && ctx.Err() != nil {
				err = &stoppedError{err}
			}
			return b, err
		})
		if err == nil {
			return v.(Blob), nil
		}
		if _, stopped := errors.AsType[*stoppedError](err); stopped && ctx.Err() == nil {
			continue // whoever fetched it for both was told to stop: it is this one's turn
		}
		return Blob{}, err
	}
}

// stoppedError is the end of a download whose caller gave it up.
type stoppedError struct{ error }

func (e *stoppedError) Unwrap() error { return e.error }

func (c *Client) fetch(ctx context.Context, a Artifact) (Blob, error) {
	if b, ok, err := c.fromLinks(a); ok || err != nil {
		return b, err
	}
	if a.Path != "" {
		return c.local(a, a.Path)
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return Blob{}, hint.Usage(fmt.Errorf("the URL of %s in the lock cannot be read", a.Filename)) // it may hold a password
	}
	if u.Scheme == "file" {
		return c.local(a, filepath.FromSlash(u.Path))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return Blob{}, hint.Usage(fmt.Errorf("%s is at a URL of the scheme %q, and jubako fetches http, https and file", a.Filename, u.Scheme))
	}
	if c.o.Offline {
		return Blob{}, hint.Wrap(hint.Network(&OfflineError{a.Filename}),
			"build once with a network, or put the file into a folder and name it with --find-links")
	}
	if m, ok := c.mirror(a.URL); ok {
		return c.download(ctx, a, m)
	}
	if c.index == nil || a.Project == "" { // what is of no project is in no index
		return c.download(ctx, a, a.URL)
	}
	if len(a.Hashes) == 0 {
		return Blob{}, hint.Wrap(hint.Usage(fmt.Errorf("the lock has no hash for %s, so that nothing would show that the file in the index %s is the locked one",
			a.Filename, redact(c.o.Index))), "lock anew from an index that gives hashes, or name a mirror of the locked URL with [tool.jubako] mirrors")
	}
	found, err := c.index.find(ctx, a)
	if _, absent := errors.AsType[*absentError](err); absent {
		// A file that was locked by its URL, or on an index of its own, may be had there and nowhere else.
		c.o.Log(fmt.Sprintf("%v; trying %s", err, redact(a.URL)))
		b, uerr := c.download(ctx, a, a.URL)
		if uerr != nil && ctx.Err() == nil {
			return Blob{}, hint.Wrap(hint.Network(fmt.Errorf("%w; %w", err, uerr)), "bring the file into that index, or take it from a folder with --find-links")
		}
		return b, uerr
	}
	if err != nil {
		return Blob{}, err
	}
	return c.download(ctx, a, found)
}

// mirror replaces the start of a URL by what the configuration says for it, the longest where several fit. A start ends
// with a whole segment of the URL, so that files.index.example is not the start of files.index.example.org.
func (c *Client) mirror(u string) (string, bool) {
	best, found := "", false
	for start := range c.o.Mirrors {
		rest, ok := strings.CutPrefix(u, start)
		whole := rest == "" || strings.HasSuffix(start, "/") || strings.ContainsRune("/?#", rune(rest[0]))
		if ok && whole && len(start) >= len(best) {
			best, found = start, true
		}
	}
	if !found {
		return u, false
	}
	to, rest := c.o.Mirrors[best], u[len(best):]
	if rest != "" && !strings.HasSuffix(to, "/") && rest[0] != '/' {
		to += "/"
	} else if strings.HasPrefix(rest, "/") {
		to = strings.TrimSuffix(to, "/")
	}
	return to + rest, true
}

// fromLinks takes the file from a --find-links folder, where its hash is the lock's or the lock has none.
func (c *Client) fromLinks(a Artifact) (Blob, bool, error) {
	for _, dir := range c.o.FindLinks {
		file := filepath.Join(dir, filepath.Base(a.Filename))
		if _, err := os.Stat(file); err != nil {
			continue
		}
		b, err := c.local(a, file)
		if _, other := errors.AsType[*HashError](err); other {
			// Built elsewhere under the same name: not what the lock has.
			c.o.Log(fmt.Sprintf("%s: passed over, since its hash is not the lock's", file))
			continue
		}
		return b, err == nil, err
	}
	return Blob{}, false, nil
}

func (c *Client) local(a Artifact, file string) (Blob, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Blob{}, hint.Wrap(hint.Usage(fmt.Errorf("%s is locked at %s, and is not there", a.Filename, file)), "put the file there, or lock it from an index")
	}
	if err != nil {
		return Blob{}, fmt.Errorf("reading %s: %w", a.Filename, err)
	}
	defer f.Close()
	s, err := c.newSink(a, file, false)
	if err != nil {
		return Blob{}, err
	}
	defer s.w.Abort()
	if _, err := io.Copy(s, f); err != nil {
		return Blob{}, fmt.Errorf("reading %s: %w", file, err)
	}
	return s.commit()
}

// lazyOnce keeps answers that are expensive to get, by key. Different keys do not wait for one another.
type lazyOnce[T any] struct {
	mu    sync.Mutex
	known map[string]*lazy[T]
}

type lazy[T any] struct {
	mu     sync.Mutex
	filled bool
	value  T
}

// get gives the answer for a key, by fill where there is none yet. An error is not kept.
func (l *lazyOnce[T]) get(key string, fill func() (T, error)) (T, error) {
	l.mu.Lock()
	v := l.known[key]
	if v == nil {
		if l.known == nil {
			l.known = make(map[string]*lazy[T])
		}
		v = new(lazy[T])
		l.known[key] = v
	}
	l.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.filled {
		return v.value, nil
	}
	got, err := fill()
	if err == nil {
		v.value, v.filled = got, true
	}
	return got, err
}
