// Package fetch downloads the files that a lock names: verified before anyone sees them, bounded, gone on with after a cut,
// with the right credentials for each index, and not at all when offline.
//
// It may import pkg/cas, pkg/hint and nothing else of jubako.
package fetch

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
)

// maxFile bounds a download in bytes where the lock gives no size.
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
	// Index is a simple index (PEP 503, PEP 691) in which files are looked up by their name, in place of the lock's URLs.
	Index string
	// FindLinks are folders whose files are taken where their hash is the lock's.
	FindLinks []string
	UserAgent string
	// Jobs is how many downloads run at once; 8 where it is 0.
	Jobs int
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
}

// New makes a client.
func New(o Options) *Client {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Jobs <= 0 {
		o.Jobs = 8
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = func(string, int64) {}
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	c := &Client{o: o, limit: semaphore.NewWeighted(int64(o.Jobs))}
	c.http = &http.Client{Transport: o.Transport, CheckRedirect: checkRedirect}
	if o.Index != "" {
		c.index = &simpleIndex{c: c, root: strings.TrimSuffix(o.Index, "/") + "/"}
	}
	return c
}

// Artifact is a file that a lock names.
type Artifact struct {
	Project  string // normalised name of the project, for an index
	Filename string
	URL      string // empty for a local file
	Path     string // of a local file; empty for a URL
	Hash     Hash   // zero where the lock has none
}

// Hash is a digest as locks write it: "sha256:…".
type Hash struct{ Algorithm, Hex string }

// ParseHash reads alg:hex, in either case.
func ParseHash(s string) (Hash, error) {
	alg, digits, ok := strings.Cut(s, ":")
	h := Hash{alg, strings.ToLower(digits)}
	n := newHash(alg)
	if !ok || n == nil {
		return Hash{}, fmt.Errorf("%q is no hash that jubako knows", s)
	}
	if b, err := hex.DecodeString(h.Hex); err != nil || len(b) != n.Size() {
		return Hash{}, fmt.Errorf("%q is no %s hash", s, alg)
	}
	return h, nil
}

func (h Hash) String() string { return h.Algorithm + ":" + h.Hex }

func newHash(alg string) hash.Hash {
	switch alg {
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	case "md5":
		return md5.New()
	case "blake2b":
		h, _ := blake2b.New256(nil) // only a key could be wrong
		return h
	}
	return nil
}

// HashError says that a file is not the one that was locked.
type HashError struct {
	Name, From string
	Want, Got  Hash
}

func (e *HashError) Error() string {
	return fmt.Sprintf("%s from %s has the hash %s, and the lock has %s", e.Name, e.From, e.Got, e.Want)
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
	digest := a.Hash.Hex
	if a.Hash.Algorithm != "sha256" {
		if a.Hash.Algorithm == "" {
			return Blob{}, false
		}
		b, err := c.o.Store.Record(aliases, a.Hash.String())
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

// Fetch brings an artifact into the store, unless it is there. Nothing enters the store before its hash holds; a file
// without one is taken as it comes.
func (c *Client) Fetch(ctx context.Context, a Artifact) (Blob, error) {
	if b, ok := c.Known(a); ok {
		return b, nil
	}
	v, err, _ := c.once.Do(a.Filename+" "+a.Hash.String()+" "+a.URL+a.Path, func() (any, error) {
		if err := c.limit.Acquire(ctx, 1); err != nil {
			return Blob{}, err
		}
		defer c.limit.Release(1)
		return c.fetch(ctx, a)
	})
	if err != nil {
		return Blob{}, err
	}
	return v.(Blob), nil
}

func (c *Client) fetch(ctx context.Context, a Artifact) (Blob, error) {
	if b, ok, err := c.fromLinks(a); ok || err != nil {
		return b, err
	}
	if a.Path != "" {
		return c.local(a, a.Path)
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return Blob{}, hint.Usage(fmt.Errorf("reading the URL of %s: %w", a.Filename, err))
	}
	if u.Scheme == "file" {
		return c.local(a, u.Path)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return Blob{}, hint.Usage(fmt.Errorf("%s is at a URL of the scheme %q, and jubako fetches http, https and file", a.Filename, u.Scheme))
	}
	if c.o.Offline {
		return Blob{}, hint.Wrap(hint.Network(fmt.Errorf("%s is not in the cache, and --offline forbids to fetch it", a.Filename)),
			"build once with a network, or put the file into a folder and name it with --find-links")
	}
	if c.index != nil {
		found, err := c.index.find(ctx, a)
		if err != nil {
			return Blob{}, err
		}
		return c.download(ctx, a, found)
	}
	return c.download(ctx, a, c.mirror(a.URL))
}

// mirror replaces the start of a URL by the longest prefix that the configuration maps.
func (c *Client) mirror(u string) string {
	best := ""
	for prefix := range c.o.Mirrors {
		if strings.HasPrefix(u, prefix) && len(prefix) > len(best) {
			best = prefix
		}
	}
	if best == "" {
		return u
	}
	return c.o.Mirrors[best] + u[len(best):]
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
			continue // built elsewhere under the same name: not what the lock has
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
	s, err := c.newSink(a, file)
	if err != nil {
		return Blob{}, err
	}
	defer s.w.Abort()
	if _, err := io.Copy(s, f); err != nil {
		return Blob{}, err
	}
	return s.commit()
}

// sink writes a download into the store and hashes it on the way.
type sink struct {
	c    *Client
	a    Artifact
	from string
	w    *cas.Writer
	h    hash.Hash // of an algorithm other than SHA-256; else nil
}

func (c *Client) newSink(a Artifact, from string) (*sink, error) {
	w, err := c.o.Store.NewWriter()
	if err != nil {
		return nil, err
	}
	s := &sink{c: c, a: a, from: from, w: w}
	if a.Hash.Algorithm != "" && a.Hash.Algorithm != "sha256" {
		s.h = newHash(a.Hash.Algorithm)
	}
	return s, nil
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if s.h != nil {
		s.h.Write(p[:n])
	}
	if s.w.Size() > maxFile {
		return n, fmt.Errorf("%s has more than %d bytes", s.a.Filename, int64(maxFile))
	}
	s.c.o.Progress(s.a.Filename, int64(n))
	return n, err
}

func (s *sink) commit() (Blob, error) {
	got := Hash{"sha256", s.w.Digest()}
	if s.h != nil {
		got = Hash{s.a.Hash.Algorithm, hex.EncodeToString(s.h.Sum(nil))}
	}
	if s.a.Hash.Algorithm != "" && got != s.a.Hash {
		return Blob{}, hint.Wrap(hint.Check(&HashError{s.a.Filename, redact(s.from), s.a.Hash, got}),
			"the file was changed after it was locked, or on its way: if the change is meant, lock anew (uv lock)")
	}
	size := s.w.Size()
	digest, err := s.w.Commit("")
	if err != nil {
		return Blob{}, err
	}
	if s.h != nil {
		if err := s.c.o.Store.PutRecord(aliases, got.String(), []byte(digest)); err != nil {
			return Blob{}, err
		}
	}
	return Blob{digest, size, s.c.o.Store.BlobPath(digest)}, nil
}

// redact takes credentials and the query, which may hold a signature, out of a URL.
func redact(u string) string {
	p, err := url.Parse(u)
	if err != nil || p.Host == "" {
		return u
	}
	p.User, p.RawQuery, p.Fragment = nil, "", ""
	return p.String()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lazyOnce is a per-key cache of answers that are expensive to get.
type lazyOnce[T any] struct {
	mu    sync.Mutex
	known map[string]T
}

func (l *lazyOnce[T]) get(key string, fill func() (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.known[key]; ok {
		return v, nil
	}
	v, err := fill()
	if err == nil {
		if l.known == nil {
			l.known = make(map[string]T)
		}
		l.known[key] = v
	}
	return v, err
}

var transientStatus = []int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

func passingStatus(code int) bool { return slices.Contains(transientStatus, code) }
