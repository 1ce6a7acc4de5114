package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ownNetwork stands in for a network namespace where a service is traced, and has none: what it binds and connects to
// comes to lie at addresses of this machine's loopback that nobody else uses, and no other address can be reached. The
// service sees what a container would: a port of its own loopback is not that of its other address, where it is reached
// from without, a low port needs no privilege, and another service, or this machine, may have the same port.
//
// It is no wall against a program that means to get around it, as a network namespace is: an address is read before the
// kernel reads it, and a thread may change it in between.
type ownNetwork struct {
	first netip.Addr // the first of four addresses, one for each kind
	low   int        // the first port that needs no privilege

	mu    sync.Mutex
	ports map[uint16]kinds          // how a port was bound
	socks map[string]netip.AddrPort // what a socket was bound to, as the service knows it, by its name in /proc/PID/fd
}

// kind is how an address was given.
type kind int

const (
	anyV4 kind = iota // 0.0.0.0
	loopV4
	anyV6 // ::, for both families
	loopV6
	nKinds
)

// kinds is a set of them.
type kinds uint8

func (k kinds) has(one kind) bool { return k&(1<<one) != 0 }

// randomLoopback is the first of four addresses of 127.0.0.0/8 beyond those that anybody uses by habit.
func randomLoopback() netip.Addr {
	var b [3]byte
	_, _ = rand.Read(b[:]) // which never fails
	return netip.AddrFrom4([4]byte{127, b[0] | 0x80, b[1], b[2]&^3%252 + 1})
}

func newOwnNetwork(first netip.Addr) *ownNetwork {
	n := &ownNetwork{first: first, low: 1024, ports: make(map[uint16]kinds), socks: make(map[string]netip.AddrPort)}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if low := number(strings.TrimSpace(string(b))); low <= 1024 {
			n.low = low
		}
	}
	return n
}

// note says where the service's network lies.
func (n *ownNetwork) note() string {
	return fmt.Sprintf("its network is %s to %s of this machine's loopback", n.address(anyV4), n.address(loopV6))
}

func (n *ownNetwork) address(k kind) netip.Addr {
	b := n.first.As4()
	b[3] += byte(k)
	return netip.AddrFrom4(b)
}

// lowPorts is what is added to a port that would need a privilege.
const lowPorts = 60000

func (n *ownNetwork) real(port uint16) uint16 {
	if int(port) < n.low && port != 0 {
		return port + lowPorts
	}
	return port
}

func (n *ownNetwork) shown(port uint16) uint16 {
	if port > lowPorts && int(port) < lowPorts+n.low {
		return port - lowPorts
	}
	return port
}

// kindOf says how an address was given; ok is false for what is neither this machine nor any address of it.
func kindOf(a netip.Addr) (k kind, ok bool) {
	v6 := a.Is6() && !a.Is4In6()
	a = a.Unmap()
	switch {
	case a.IsUnspecified() && v6:
		return anyV6, true
	case a.IsUnspecified():
		return anyV4, true
	case a.IsLoopback() && v6:
		return loopV6, true
	case a.IsLoopback():
		return loopV4, true
	}
	return 0, false
}

// bound remembers what a socket was bound to, and finds the address to bind it to instead.
func (n *ownNetwork) bound(sock string, to netip.AddrPort) (netip.AddrPort, error) {
	k, ok := kindOf(to.Addr())
	if !ok {
		return netip.AddrPort{}, unix.EADDRNOTAVAIL
	}
	at := n.address(k)
	port := to.Port()
	if port == 0 {
		free, err := freePortAt(at)
		if err != nil {
			return netip.AddrPort{}, err
		}
		port = free
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[port] |= 1 << k
	n.socks[sock] = netip.AddrPortFrom(to.Addr(), port)
	return netip.AddrPortFrom(at, n.real(port)), nil
}

// freePortAt is a port that the kernel would give: nobody but the service uses the address.
func freePortAt(a netip.Addr) (uint16, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return 0, unix.EADDRINUSE
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), nil
}

// inside finds where the service is to connect to.
func (n *ownNetwork) inside(to netip.AddrPort) (netip.AddrPort, error) {
	k, ok := kindOf(to.Addr())
	if !ok {
		return netip.AddrPort{}, unix.ENETUNREACH
	}
	prefer := []kind{loopV4, anyV4, anyV6}
	if k == loopV6 || k == anyV6 {
		prefer = []kind{loopV6, anyV6}
	}
	return n.find(to.Port(), prefer), nil
}

// outside finds where others reach a port.
func (n *ownNetwork) outside(port int) (address string, real int) {
	at := n.find(uint16(port), []kind{anyV4, anyV6})
	return at.Addr().String(), int(at.Port())
}

func (n *ownNetwork) find(port uint16, prefer []kind) netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range prefer {
		if n.ports[port].has(k) {
			return netip.AddrPortFrom(n.address(k), n.real(port))
		}
	}
	return netip.AddrPortFrom(n.address(prefer[0]), n.real(port)) // where nobody listens
}

// known is what a socket was bound to; ok says that it was, which may be to an address of another family.
func (n *ownNetwork) known(sock string) (netip.AddrPort, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.socks[sock]
	return a, ok
}

// remember notes that a socket of another family has an address.
func (n *ownNetwork) remember(sock string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.socks[sock] = netip.AddrPort{}
}

// seen is how the service is to see an address of its own; ok is false for any other.
func (n *ownNetwork) seen(a netip.AddrPort) (netip.AddrPort, bool) {
	at := a.Addr().Unmap()
	for k := range nKinds {
		if at != n.address(k) {
			continue
		}
		loop := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if k == anyV6 || k == loopV6 {
			loop = netip.IPv6Loopback()
		}
		return netip.AddrPortFrom(loop, n.shown(a.Port())), true
	}
	return a, false
}

// The sizes of struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)); the kernel takes one of the latter without its end.
const (
	inetSize     = 16
	inet6Size    = 28
	inet6MinSize = 24
)

// parseInet reads an address of the families AF_INET and AF_INET6; ok is false for any other, and for what the kernel
// would not take.
func parseInet(b []byte) (a netip.AddrPort, ok bool) {
	if len(b) < inetSize {
		return a, false
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port), true
	case family == unix.AF_INET6 && len(b) >= inet6MinSize:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), port), true
	}
	return a, false
}

// putInet writes an address in place of that in b, in its family.
func putInet(b []byte, a netip.AddrPort) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[2:], a.Port())
	if binary.NativeEndian.Uint16(b) == unix.AF_INET {
		at := a.Addr().Unmap()
		if at.Is6() { // which a socket of this family has not
			at = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		copy(b[4:8], at.AsSlice())
		return b
	}
	at := a.Addr().As16()
	copy(b[8:24], at[:])
	return b
}

// inet reads an address among the arguments; raw is nil for one of another family.
func (c *call) inet(addrArg, lenArg int) (a netip.AddrPort, raw []byte, err error) {
	size := int(int32(c.args[lenArg]))
	if c.net == nil || c.args[addrArg] == 0 || size < inetSize || size > maxSockAddr {
		return a, nil, nil
	}
	b := make([]byte, size)
	if err := readMem(c.task.tid, c.args[addrArg], b); err != nil {
		return a, nil, err
	}
	a, ok := parseInet(b)
	if !ok {
		return a, nil, nil
	}
	return a, b, nil
}

func (c *call) setInet(addrArg int, raw []byte, a netip.AddrPort) error {
	at, err := c.put(putInet(raw, a))
	if err != nil {
		return err
	}
	c.setArg(addrArg, at)
	return nil
}

// bindInet binds a socket to an address of the service's own; done is false where it is of another family.
func (c *call) bindInet() (done bool, err error) {
	a, raw, err := c.inet(1, 2)
	if raw == nil || err != nil {
		return false, err
	}
	if c.task.scratch.size == 0 {
		return true, needScratch(scratchSize / 2) // first, since a free port is not to be looked for twice
	}
	sock, err := c.fdPath(c.fd(0))
	if err != nil {
		return true, err
	}
	to, err := c.net.bound(sock, a)
	if err != nil {
		return true, err
	}
	return true, c.setInet(1, raw, to)
}

// connectInet is bindInet for connecting to an address, and for sending to one.
func (c *call) connectInet(addrArg, lenArg int) (done bool, err error) {
	a, raw, err := c.inet(addrArg, lenArg)
	if raw == nil || err != nil {
		return false, err
	}
	to, err := c.net.inside(a)
	if err != nil {
		return true, err
	}
	return true, c.setInet(addrArg, raw, to)
}

// listen refuses a socket that has no address: the kernel would give it one that all the world reaches.
func (c *call) listen() (verdict, error) {
	sock, err := c.fdPath(c.fd(0))
	if err != nil {
		return verdict{}, err
	}
	if _, ok := c.net.known(sock); !ok {
		return verdict{}, unix.EADDRNOTAVAIL
	}
	return asItIs, nil
}
