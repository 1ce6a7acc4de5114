package cas

import (
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
