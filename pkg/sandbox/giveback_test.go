package sandbox

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// TestGiveBack has garbage returned to the machine, and not kept for the time of a command.
func TestGiveBack(t *testing.T) {
	held := func() uint64 {
		all := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(all)
		return all[0].Value.Uint64() - all[1].Value.Uint64()
	}
	const size = 128 << 20
	garbage := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		garbage[i] = 1
	}
	before := held()
	runtime.KeepAlive(garbage)
	garbage = nil
	giveBack()
	if after := held(); before-after < size/2 || after > before {
		t.Errorf("of %d bytes, %d are left", before, after)
	}
}
