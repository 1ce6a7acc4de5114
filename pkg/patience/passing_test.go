package patience

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPassing(t *testing.T) {
	_, late := (&net.Dialer{Deadline: time.Now().Add(-time.Second)}).Dial("tcp", "127.0.0.1:1")
	if !errors.Is(late, context.DeadlineExceeded) {
		t.Errorf("a timeout in dialling: %v", late)
	}
	broke := func(call string, err error) error {
		return &net.OpError{Op: call, Net: "tcp", Err: os.NewSyscallError(call, err)}
	}
	for err, want := range map[error]bool{
		late:                                             true,
		broke("read", syscall.ETIMEDOUT):                 true,
		broke("read", syscall.ECONNRESET):                true,
		broke("write", syscall.EPIPE):                    true,
		broke("connect", syscall.ECONNREFUSED):           false,
		&net.OpError{Op: "read", Err: net.ErrClosed}:     true,
		fmt.Errorf("transport: %w", io.ErrUnexpectedEOF): true,
		errors.New("stream error: stream ID 5; INTERNAL_ERROR; received from peer"): true,
		errors.New("http2: server sent GOAWAY and closed the connection"):           true,
		errors.New("http: server closed idle connection"):                           true,
		errors.New("http: server gave HTTP response to HTTPS client"):               false,
		x509.UnknownAuthorityError{}:                                                false,
		&net.DNSError{Err: "no such host", IsNotFound: true}:                        false,
		&net.DNSError{Err: "server misbehaving", IsTemporary: true}:                 true,
		context.Canceled: false,
	} {
		if got := Passing(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
