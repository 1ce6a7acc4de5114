package patience

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// Passing tells a connection that broke or timed out from one that will fail the same way again: an unknown name, a port where
// nobody listens, a certificate that does not hold, a redirect that is not followed. The caller has seen to it that no context of
// its own has ended: a timeout in dialling reads as one.
func Passing(err error) bool {
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, target) {
			return true
		}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e.IsTemporary && !e.IsNotFound
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return true
	}
	// net/http does not export what an HTTP/2 peer does when it goes away, nor a connection that it closed while idle.
	text := err.Error()
	return strings.Contains(text, "GOAWAY") || strings.Contains(text, "stream error: stream ID") || strings.Contains(text, "server closed idle connection")
}
