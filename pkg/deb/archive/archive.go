// Package archive brings here what Debian archives publish: releases, whose signatures it verifies, and their lists of
// packages, which it compares with the release before it reads them.
//
// It may import pkg/deb, pkg/fetch, pkg/filehash, pkg/hint and pkg/xz.
package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/xz"
)

// The bounds of what an archive publishes, in bytes.
const (
	maxRelease = 32 << 20
	maxList    = 1 << 30 // uncompressed
	// maxDictionary is what a list that is compressed by xz may ask for.
	maxDictionary = 128 << 20
)

// Client reads archives. It is safe for concurrent use.
type Client struct {
	Fetch *fetch.Client
	Now   func() time.Time
	// Note is told what a person may want to know, and what is no error; it may be nil.
	Note func(string)
}

// Suite is a source whose release has been verified.
type Suite struct {
	Source  deb.Source
	Release *deb.Release
	SHA256  string // of the file with the signed text, in hex
	// SignedBy are the fingerprints of the keys that have signed; none where the source is trusted without.
	SignedBy []string
}

// Trust says how far a source is trusted.
type Trust struct {
	// Keys are those that a source's release may be signed with, by the names of their keyrings.
	Keys map[string][]byte
	// Unsigned takes a release without looking at its signature: the user has said so himself.
	Unsigned bool
	// Pinned takes a release that has expired: it is that of a snapshot.
	Pinned bool
}

// Open fetches the release of a source, and verifies it.
func (c *Client) Open(ctx context.Context, src deb.Source, t Trust) (*Suite, error) {
	s := &Suite{Source: src}
	now := c.Now()
	fail := func(err error) (*Suite, error) {
		return nil, fmt.Errorf("reading the release of %s: %w", redacted(src), err)
	}
	ring, err := keyring(src, t)
	if err != nil {
		return fail(hint.Usage(err))
	}
	signed, err := c.signed(ctx, s, ring, t, now)
	if bad, ok := errors.AsType[*deb.SignatureError](err); ok {
		return fail(hint.Wrap(hint.Check(bad), "the archive, a mirror or a proxy on the way may not be what it should be; where the keys are out of date, take a newer base, or name the keyring with Signed-By"))
	}
	if err != nil {
		return fail(err)
	}
	if s.Release, err = deb.ParseRelease(signed.Text); err != nil {
		return fail(err)
	}
	s.SignedBy = signed.By
	err = s.Release.Check(src.Suite, now, t.Pinned)
	if old, ok := errors.AsType[*deb.ExpiredError](err); ok {
		return fail(hint.Wrap(hint.Check(old), "the mirror is not kept up to date, or this machine's clock is wrong: it is %s here; --snapshot takes an old release on purpose", now.UTC().Format(time.RFC3339)))
	}
	if err != nil {
		return fail(hint.Check(err))
	}
	return s, nil
}

func redacted(src deb.Source) string {
	before, at, ok := strings.Cut(src.URI, "@")
	scheme, _, _ := strings.Cut(before, "://")
	if ok {
		return scheme + "://" + at + " " + src.Suite
	}
	return src.String()
}

func keyring(src deb.Source, t Trust) (*deb.Keyring, error) {
	if src.Trusted && !t.Unsigned {
		return nil, hint.Wrap(errors.New("the base's apt takes it without a signature ([trusted=yes])"), "name it in deb-sources yourself, [trusted=yes] included, if that is meant")
	}
	ring := &deb.Keyring{}
	for _, name := range slices.Sorted(maps.Keys(t.Keys)) {
		if err := ring.Add(t.Keys[name]); err != nil {
			return nil, fmt.Errorf("the keyring %s: %w", name, err)
		}
	}
	ring.Only(src.SignedBy.Fingerprints)
	if ring.Len() == 0 && !t.Unsigned {
		return nil, hint.Wrap(errors.New("there is no key to verify it with"), "name a keyring with [signed-by=FILE] in deb-sources")
	}
	return ring, nil
}

// signed gets the text that is signed: InRelease, or Release with Release.gpg beside it.
func (c *Client) signed(ctx context.Context, s *Suite, ring *deb.Keyring, t Trust, now time.Time) (deb.Signed, error) {
	at := s.Source.URI + "/dists/" + s.Source.Suite + "/"
	get := func(file string) ([]byte, error) {
		return c.Fetch.Page(ctx, file+" of "+s.Source.Suite, at+file, maxRelease)
	}
	b, err := get("InRelease")
	switch {
	case err == nil && t.Unsigned:
		s.SHA256 = sum(b)
		return deb.Unverified(b), nil
	case err == nil:
		s.SHA256 = sum(b)
		return ring.VerifyInline(b, now)
	case !fetch.Absent(err):
		return deb.Signed{}, err
	}
	plain, perr := get("Release")
	if perr != nil {
		if fetch.Absent(perr) {
			return deb.Signed{}, hint.Wrap(err, "there is no such suite in that archive, or no archive at that URL")
		}
		return deb.Signed{}, perr
	}
	s.SHA256 = sum(plain)
	if t.Unsigned {
		return deb.Signed{Text: plain}, nil
	}
	signature, err := get("Release.gpg")
	if fetch.Absent(err) {
		return deb.Signed{}, &deb.SignatureError{Why: "it is not signed"}
	}
	if err != nil {
		return deb.Signed{}, err
	}
	return ring.VerifyDetached(plain, signature, now)
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// List reads what the suite has for an architecture. number is what the list's packages call their source.
func (c *Client) List(ctx context.Context, s *Suite, arch string, number int) (deb.List, error) {
	l := deb.List{Source: number, Suites: []string{s.Source.Suite, s.Release.Codename, s.Release.Suite}, OnRequest: s.Release.NotAutomatic}
	if len(s.Source.Arches) > 0 && !contains(s.Source.Arches, arch) {
		return l, nil
	}
	for _, component := range s.Source.Components {
		ix, ok, err := s.Release.Index(component, arch)
		if err != nil {
			return l, fmt.Errorf("reading the release of %s: %w", redacted(s.Source), err)
		}
		if !ok {
			if c.Note != nil {
				c.Note(fmt.Sprintf("%s has no %s for %s", redacted(s.Source), component, arch))
			}
			continue
		}
		more, err := c.index(ctx, s, ix)
		if err != nil {
			return l, fmt.Errorf("reading %s of %s: %w", ix.Path, redacted(s.Source), err)
		}
		l.Catalogues = append(l.Catalogues, more)
	}
	return l, nil
}

func contains(all []string, one string) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// index fetches a list of packages, and reads it once it is known to be what the release says.
func (c *Client) index(ctx context.Context, s *Suite, ix deb.Index) (*deb.Catalogue, error) {
	dir := s.Source.URI + "/dists/" + s.Source.Suite + "/"
	a := fetch.Artifact{
		Filename: ix.Path + " of " + s.Source.Suite, URL: dir + ix.Path,
		Hashes: []filehash.Hash{{Algorithm: "sha256", Hex: ix.SHA256}}, Size: ix.Size, Sized: true,
	}
	var b fetch.Blob
	var err error
	if s.Release.ByHash {
		named := a
		a.URL = dir + ix.HashPath()
		if b, err = c.Fetch.Fetch(ctx, a); fetch.Absent(err) {
			b, err = c.Fetch.Fetch(ctx, named)
		}
	} else {
		b, err = c.Fetch.Fetch(ctx, a)
	}
	if fetch.Absent(err) {
		return nil, hint.Wrap(err, "the mirror lacks what its release names, or is in the middle of an update: try again, or name another with --deb-mirror")
	}
	if err != nil {
		return nil, Mismatch(err, "it is not the file that the release names", "the mirror may be in the middle of an update: try again; if it stays so, a proxy serves an old copy")
	}
	return read(b, ix)
}

// Mismatch puts into the right words that a file is not the one that was pinned, by its hash or its size. Other errors
// stay as they are.
func Mismatch(err error, what, remedy string) error {
	if e, ok := errors.AsType[*fetch.HashError](err); ok {
		return hint.Wrap(hint.Check(fmt.Errorf("%s: from %s came %s, and %s is wanted", what, e.From, e.Got, e.Want)), "%s", remedy)
	}
	if e, ok := errors.AsType[*fetch.SizeError](err); ok {
		return hint.Wrap(hint.Check(fmt.Errorf("%s: from %s came %d bytes or more, and %d are wanted", what, e.From, e.Got, e.Want)), "%s", remedy)
	}
	return err
}

// read reads a list in the store, uncompressed into as many bytes as the release says that it has. Nothing is uncompressed
// before its hash is known to hold.
func read(b fetch.Blob, ix deb.Index) (*deb.Catalogue, error) {
	f, err := os.Open(b.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	if hex.EncodeToString(h.Sum(nil)) != ix.SHA256 {
		_ = os.Remove(b.Path) // damaged on disk: fetched anew next time
		return nil, errors.New("the cache's copy is damaged, and was removed: try again")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := io.Reader(bufio.NewReaderSize(f, 256<<10))
	switch {
	case strings.HasSuffix(ix.Path, ".gz"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(ix.Path, ".xz"):
		r = xz.NewReader(r, maxDictionary)
	}
	if err != nil {
		return nil, err
	}
	limit := ix.Plain.Size
	if ix.Plain.SHA256 == "" || limit > maxList {
		limit = maxList
	}
	text := newAhead(&bounded{r: r, left: limit, most: limit})
	defer text.Close()
	return deb.ReadCatalogue(text)
}

// bounded ends with an error when more comes out than should.
type bounded struct {
	r          io.Reader
	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("uncompressed it has more than the %d bytes that it should have", b.most)
	}
	return n, err
}
