package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	read := func(text string, size int64) (string, error) {
		b, err := io.ReadAll(Verify(io.NopCloser(strings.NewReader(text)), "blob x", helloDigest, size))
		return string(b), err
	}
	if got, err := read("hello", 5); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := read("hell", 5); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	if got, err := read("hello, and on", 5); err == nil || got != "" || !strings.Contains(err.Error(), "longer than the 5 bytes") {
		t.Errorf("longer: %q, %v", got, err)
	}
	_, err := read("jello", 5)
	if de, ok := errors.AsType[*DigestError](err); !ok || de.Want != helloDigest || !strings.HasPrefix(err.Error(), "blob x is damaged") {
		t.Errorf("changed: %v", err)
	}
}

// TestVerifyWithholdsTheEnd shows that a reader who asks for exactly the announced number of bytes does not get all of them where
// something is wrong, although it never asks for an end.
func TestVerifyWithholdsTheEnd(t *testing.T) {
	sum := sha256.Sum256([]byte("right"))
	for text, good := range map[string]bool{"right": true, "wrong": false, "right and more": false, "rig": false} {
		r := Verify(io.NopCloser(strings.NewReader(text)), "blob", hex.EncodeToString(sum[:]), 5)
		var all [5]byte
		n, err := r.Read(all[:])
		if good && (n != 5 || err != io.EOF) {
			t.Errorf("%q: got %d bytes, %v", text, n, err)
		}
		if good {
			continue
		}
		if err == nil {
			_, err = io.ReadFull(r, all[n:])
		}
		if err == nil || err == io.EOF {
			t.Errorf("%q: no error: %v", text, err)
		}
		if _, ok := errors.AsType[*DigestError](err); ok != (text == "wrong") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
