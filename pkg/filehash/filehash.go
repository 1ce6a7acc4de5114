// Package filehash knows the digests by which locks, indexes and requirements name a file's content.
//
// It imports nothing of jubako.
package filehash

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"golang.org/x/crypto/blake2b"
)

// Hash is a digest as locks write it: "sha256:…". The zero Hash stands for none.
type Hash struct{ Algorithm, Hex string }

// algorithms are those of uv, the best first; blake2b is the one of 256 bits.
var algorithms = []string{"sha256", "sha512", "sha384", "blake2b", "md5"}

// Known says whether an algorithm's digests can be computed.
func Known(algorithm string) bool { return slices.Contains(algorithms, algorithm) }

// Parse reads alg:hex, in either case.
func Parse(s string) (Hash, error) {
	alg, digits, ok := strings.Cut(s, ":")
	h := Hash{alg, strings.ToLower(digits)}
	n := New(alg)
	if !ok || n == nil {
		return Hash{}, fmt.Errorf("%q is no hash that jubako knows (%s)", s, strings.Join(algorithms, ", "))
	}
	if b, err := hex.DecodeString(h.Hex); err != nil || len(b) != n.Size() {
		return Hash{}, fmt.Errorf("%q is no %s hash", s, alg)
	}
	return h, nil
}

// ParseAll reads several; that none is wrong is asked of all.
func ParseAll(texts []string) ([]Hash, error) {
	var all []Hash
	for _, s := range texts {
		h, err := Parse(s)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

func (h Hash) String() string { return h.Algorithm + ":" + h.Hex }

// New makes a hash of an algorithm; nil where it is not known.
func New(algorithm string) hash.Hash {
	switch algorithm {
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

// Sort puts the hashes into the order in which they are to be relied on: SHA-256, by which files are stored, then the
// stronger before the weaker.
func Sort(all []Hash) {
	slices.SortStableFunc(all, func(a, b Hash) int {
		return cmp.Compare(slices.Index(algorithms, a.Algorithm), slices.Index(algorithms, b.Algorithm))
	})
}
