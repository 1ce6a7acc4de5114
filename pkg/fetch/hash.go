package fetch

import (
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
)

// sink writes a download into the store and hashes it on the way.
type sink struct {
	c    *Client
	a    Artifact
	from string
	w    *cas.Writer
	h    map[string]hash.Hash // of the algorithms other than SHA-256
}

// newSink starts a file. Where bytes of it were kept when an earlier run was cut, it goes on from them: the hash of the
// whole is compared in the end. That needs SHA-256, which the store computes anew.
func (c *Client) newSink(a Artifact, from string, resume bool) (*sink, error) {
	s := &sink{c: c, a: a, from: from}
	var err error
	if resume && a.resumable() {
		s.w, err = c.o.Store.Resume(a.Hashes[0].String())
	} else {
		s.w, err = c.o.Store.NewWriter()
	}
	if err != nil {
		return nil, diskFull(err, c.o.Store.Dir())
	}
	s.h = make(map[string]hash.Hash)
	for _, h := range a.Hashes {
		if h.Algorithm != "sha256" {
			s.h[h.Algorithm] = filehash.New(h.Algorithm)
		}
	}
	return s, nil
}

func (s *sink) Write(p []byte) (int, error) {
	if s.w.Size()+int64(len(p)) > s.c.o.MaxSize {
		return 0, &sizeError{s.a.Filename, s.c.o.MaxSize}
	}
	if size := s.w.Size() + int64(len(p)); s.a.Sized && size > s.a.Size { // what comes behind would be for nothing
		return 0, hint.Wrap(hint.Check(&SizeError{s.a.Filename, redact(s.from), s.a.Size, size}), changed)
	}
	n, err := s.w.Write(p)
	for _, h := range s.h {
		h.Write(p[:n])
	}
	s.c.o.Progress(s.a.Filename, int64(n))
	return n, diskFull(err, s.c.o.Store.Dir())
}

// restart gives up what has come.
func (s *sink) restart() error {
	fresh, err := s.c.newSink(s.a, s.from, false)
	if err != nil {
		return err
	}
	s.w.Abort()
	*s = *fresh
	return nil
}

// minKept is how many bytes are worth keeping for the next run.
const minKept = 1 << 20

// giveUp ends an unfinished download: what has come is kept for the next run where it can be gone on with.
func (s *sink) giveUp(keep bool) {
	if keep && s.a.resumable() && s.w.Size() >= minKept {
		if err := s.w.Keep(s.a.Hashes[0].String()); err == nil {
			s.c.o.Log(fmt.Sprintf("%s: keeping %d bytes for the next run", s.a.Filename, s.w.Size()))
			return
		}
	}
	s.w.Abort()
}

// commit puts the finished file into the store, if it is the one that the lock has.
func (s *sink) commit() (Blob, error) {
	if err := s.check(); err != nil {
		return Blob{}, err
	}
	size := s.w.Size()
	digest, err := s.w.Commit("")
	if err != nil {
		return Blob{}, diskFull(err, s.c.o.Store.Dir())
	}
	for alg, h := range s.h {
		got := filehash.Hash{Algorithm: alg, Hex: hex.EncodeToString(h.Sum(nil))}
		if err := s.c.o.Store.PutRecord(aliases, got.String(), []byte(digest)); err != nil {
			return Blob{}, diskFull(err, s.c.o.Store.Dir())
		}
	}
	return Blob{digest, size, s.c.o.Store.BlobPath(digest)}, nil
}

// check holds the finished file against what the lock has of it.
func (s *sink) check() error {
	if s.a.Sized && s.w.Size() != s.a.Size {
		return hint.Wrap(hint.Check(&SizeError{s.a.Filename, redact(s.from), s.a.Size, s.w.Size()}), changed)
	}
	var first error
	for _, want := range s.a.Hashes {
		got := filehash.Hash{Algorithm: "sha256", Hex: s.w.Digest()}
		if h := s.h[want.Algorithm]; h != nil {
			got = filehash.Hash{Algorithm: want.Algorithm, Hex: hex.EncodeToString(h.Sum(nil))}
		}
		if got == want {
			if s.a.AnyHash {
				return nil
			}
			continue
		}
		if first == nil {
			first = hint.Wrap(hint.Check(&HashError{s.a.Filename, redact(s.from), want, got}), changed)
		}
		if !s.a.AnyHash {
			return first
		}
	}
	return first
}

const changed = "the file was changed after it was locked, or on its way: if the change is meant, lock anew (uv lock)"

// resumable says whether a part that an earlier run has left can be gone on with: the hash of the whole is compared in the
// end, by the SHA-256 that the store computes anew.
func (a Artifact) resumable() bool {
	return len(a.Hashes) > 0 && a.Hashes[0].Algorithm == "sha256" && !a.AnyHash
}

// key tells artifacts apart.
func (a Artifact) key() string {
	parts := []string{a.Filename, a.URL, a.Path, fmt.Sprint(a.AnyHash, a.Sized, a.Size)}
	for _, h := range a.Hashes {
		parts = append(parts, h.String())
	}
	return strings.Join(parts, "\n")
}
