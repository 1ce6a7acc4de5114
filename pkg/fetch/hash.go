package fetch

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/blake2b"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
)

// Hash is a digest as locks write it: "sha256:…".
type Hash struct{ Algorithm, Hex string }

// ParseHash reads alg:hex, in either case. The algorithms are those of uv: sha256, sha384, sha512, md5 and blake2b (of
// 256 bits).
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

// sink writes a download into the store and hashes it on the way.
type sink struct {
	c    *Client
	a    Artifact
	from string
	w    *cas.Writer
	h    hash.Hash // of an algorithm other than SHA-256; else nil
}

// newSink starts a file. Where bytes of it were kept when an earlier run was cut, it goes on from them: the hash of the
// whole is compared in the end. That needs SHA-256, which the store computes anew.
func (c *Client) newSink(a Artifact, from string, resume bool) (*sink, error) {
	s := &sink{c: c, a: a, from: from}
	var err error
	if resume && a.Hash.Algorithm == "sha256" {
		s.w, err = c.o.Store.Resume(a.Hash.String())
	} else {
		s.w, err = c.o.Store.NewWriter()
	}
	if err != nil {
		return nil, diskFull(err, c.o.Store.Dir())
	}
	if a.Hash.Algorithm != "" && a.Hash.Algorithm != "sha256" {
		s.h = newHash(a.Hash.Algorithm)
	}
	return s, nil
}

func (s *sink) Write(p []byte) (int, error) {
	if s.w.Size()+int64(len(p)) > s.c.o.MaxSize {
		return 0, &sizeError{s.a.Filename, s.c.o.MaxSize}
	}
	n, err := s.w.Write(p)
	if s.h != nil {
		s.h.Write(p[:n])
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
	if keep && s.a.Hash.Algorithm == "sha256" && s.w.Size() >= minKept {
		if err := s.w.Keep(s.a.Hash.String()); err == nil {
			s.c.o.Log(fmt.Sprintf("%s: keeping %d bytes for the next run", s.a.Filename, s.w.Size()))
			return
		}
	}
	s.w.Abort()
}

// commit puts the finished file into the store, if it is the one that the lock has.
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
		return Blob{}, diskFull(err, s.c.o.Store.Dir())
	}
	if s.h != nil {
		if err := s.c.o.Store.PutRecord(aliases, got.String(), []byte(digest)); err != nil {
			return Blob{}, diskFull(err, s.c.o.Store.Dir())
		}
	}
	return Blob{digest, size, s.c.o.Store.BlobPath(digest)}, nil
}
