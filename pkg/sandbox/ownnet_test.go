package sandbox

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzInet reads the addresses that a service hands to the kernel: whatever they hold, the one that is put in their place
// has their family and length, and is read as itself.
func FuzzInet(f *testing.F) {
	v4 := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	v6 := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	f.Add(append(v4, make([]byte, inetSize-familySize)...))
	f.Add(append(v6, make([]byte, inet6Size-familySize)...))
	f.Add(append(v6, make([]byte, inet6MinSize-familySize-1)...))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parseInet(b)
		if !ok {
			return
		}
		n := newOwnNetwork(randomLoopback())
		to, err := n.inside(a)
		if _, mine := kindOf(a.Addr()); (err == nil) != mine {
			t.Fatalf("%s: %v", a, err)
		}
		if err != nil {
			return
		}
		if at := to.Addr(); !at.IsLoopback() || at.Compare(n.address(anyV4)) < 0 || at.Compare(n.address(loopV6)) > 0 {
			t.Fatalf("%s leads to %s", a, to)
		}
		before := bytes.Clone(b)
		put := putInet(b, to)
		again, ok := parseInet(put)
		if !ok || again.Port() != to.Port() || again.Addr().Unmap() != to.Addr() || len(put) != len(b) || !bytes.Equal(b, before) {
			t.Fatalf("%x became %x, which is %s, not %s", b, put, again, to)
		}
		if shown, own := n.seen(again); !own || shown.Port() != a.Port() && int(a.Port()) < lowPorts {
			t.Fatalf("%s is shown as %s", to, shown)
		}
	})
}
