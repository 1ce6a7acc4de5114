package regclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"
)

// faulty fails at first.
type faulty struct {
	err  error
	left int
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.left--; f.left >= 0 {
		return nil, f.err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

// TestFaultsOfConnections: what breaks a connection passes, whatever layer tells of it.
func TestFaultsOfConnections(t *testing.T) {
	_, late := (&net.Dialer{Deadline: time.Now().Add(-time.Second)}).Dial("tcp", "127.0.0.1:1")
	for fault, times := range map[error]int{
		late: 1,
		&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}: 2,
		net.ErrClosed: 2,
		errors.New("stream error: stream ID 5; INTERNAL_ERROR; received from peer"): 2,
	} {
		slept := 0
		c := New(Options{Base: &faulty{fault, times}, Sleep: func(context.Context, time.Duration) error { slept++; return nil }})
		req, err := http.NewRequest(http.MethodGet, "https://reg.example/v2/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Transport().RoundTrip(req); err != nil || slept != times {
			t.Errorf("%v: %v after %d waits", fault, err, slept)
		}
	}
	slept := 0
	c := New(Options{Base: &faulty{late, 2}, Sleep: func(context.Context, time.Duration) error { slept++; return nil }})
	req, err := http.NewRequest(http.MethodGet, "https://reg.example/v2/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Transport().RoundTrip(req); !errors.Is(err, late) || slept != 1 {
		t.Errorf("a host that takes no connection: %v after %d waits", err, slept)
	}
}

// TestRetryAtOnce: a registry that asks for no wait gets the usual one, or all attempts would be over at once.
func TestRetryAtOnce(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	var waits []time.Duration
	resp, err := patient(&waits).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if len(waits) != attempts-1 || waits[0] != firstWait || waits[3] != 8*firstWait {
		t.Errorf("waited %v", waits)
	}
}
