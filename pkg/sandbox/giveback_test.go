package sandbox

import (
	"runtime"
	"testing"
)

// TestGiveBack has garbage returned to the machine, and not kept for the time of a command.
func TestGiveBack(t *testing.T) {
	const size = 128 << 20
	garbage := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		garbage[i] = 1
	}
	before := heldMemory()
	runtime.KeepAlive(garbage)
	garbage = nil
	giveBack()
	if after := heldMemory(); before-after < size/2 || after > before {
		t.Errorf("of %d bytes, %d are left", before, after)
	}
}
