package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Verify yields r's bytes, and compares their number and their SHA-256 (64 hex digits) before it hands out the last of
// them as the last. A stream that goes on beyond size is not read further. name is how an error calls it: "blob sha256:ab…".
// Of a wrong digest the error is a *DigestError, and of a short stream io.ErrUnexpectedEOF. What is Verifying for this digest
// and size already is given back as it is.
func Verify(r io.ReadCloser, name, digest string, size int64) io.ReadCloser {
	if v, ok := r.(Verifying); ok && v.Verifies(digest, size) {
		return r
	}
	return &verifier{ReadCloser: r, name: name, digest: digest, size: size, hash: sha256.New()}
}

type verifier struct {
	io.ReadCloser
	name, digest string
	size, n      int64
	hash         hash.Hash
}

// errDamaged is in every error of a blob that is not what it should be.
var errDamaged = errors.New("damaged")

// Verifies implements Verifying.
func (v *verifier) Verifies(digest string, size int64) bool {
	return v.digest == digest && v.size == size
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	if err == nil && v.n == v.size {
		// The end has to follow, and is looked for now: who sends as many bytes as were announced may never ask for more.
		var more [1]byte
		m, end := io.ReadFull(v.ReadCloser, more[:])
		v.n, err = v.n+int64(m), end
	}
	if v.n > v.size {
		return 0, fmt.Errorf("%s is %w: it is longer than the %d bytes of its descriptor", v.name, errDamaged, v.size)
	}
	if err != io.EOF {
		return n, err
	}
	if v.n != v.size {
		return n, fmt.Errorf("%s is %w: it ends after %d bytes of %d: %w", v.name, errDamaged, v.n, v.size, io.ErrUnexpectedEOF)
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.digest {
		return n, fmt.Errorf("%s is %w: %w", v.name, errDamaged, &DigestError{Want: v.digest, Got: got})
	}
	return n, io.EOF
}
