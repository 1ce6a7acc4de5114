package imageconf

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signal reads a config's StopSignal: SIGTERM, TERM, 15, or SIGRTMIN+3 (OCI image-spec config.md); "" is SIGTERM.
func Signal(s string) (syscall.Signal, error) {
	const rtMin, rtMax = 34, 64
	name := strings.ToUpper(s)
	if name == "" {
		return syscall.SIGTERM, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= rtMax {
		return syscall.Signal(n), nil
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	for prefix, from := range map[string]int{"SIGRTMIN": rtMin, "SIGRTMAX": rtMax} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if rest == "" {
			return syscall.Signal(from), nil
		}
		if n, err := strconv.Atoi(rest); err == nil && (rest[0] == '+' || rest[0] == '-') && from+n >= rtMin && from+n <= rtMax {
			return syscall.Signal(from + n), nil
		}
	}
	return 0, fmt.Errorf("%q is no signal", s)
}
