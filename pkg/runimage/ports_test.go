package runimage

import (
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// full is a listener of a process that has no descriptor left, until it is closed.
type full struct {
	net.Listener
	asked int
	until time.Time
}

func (l *full) Accept() (net.Conn, error) {
	if l.asked++; l.asked > 10_000 || time.Now().After(l.until) {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

// TestForwardWithoutDescriptors: a port waits for a descriptor, and does not spin.
func TestForwardWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &full{until: time.Now().Add(time.Second)}
		var wg sync.WaitGroup
		(&running{}).forward(t.Context(), l, 80, &wg)
		wg.Wait()
		if l.asked > 100 {
			t.Errorf("asked %d times in a second", l.asked)
		}
	})
}
