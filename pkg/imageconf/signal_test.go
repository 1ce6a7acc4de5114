package imageconf

import (
	"syscall"
	"testing"
)

func TestSignal(t *testing.T) {
	for s, want := range map[string]syscall.Signal{"": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "quit": syscall.SIGQUIT, "9": syscall.SIGKILL,
		"SIGRTMIN+3": 37, "RTMIN": 34, "SIGRTMAX-1": 63} {
		if got, err := Signal(s); got != want || err != nil {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"0", "-1", "65", "SIGRTMIN-1", "SIGRTMIN3", "SIGRTMAX+1", "x", "SIG"} {
		if got, err := Signal(s); err == nil {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}
