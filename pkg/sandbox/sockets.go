package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A socket's address of the family AF_UNIX is its family and a path, which need not end with a zero byte (unix(7)).
const (
	familySize  = 2
	maxSockPath = 108
	maxSockAddr = 128
)

// unixPath reads an address of the family AF_UNIX among the arguments; ok is false for any other.
func (c *call) unixPath(addrArg, lenArg int) (p string, ok bool, err error) {
	size := int(int32(c.args[lenArg]))
	if c.args[addrArg] == 0 || size <= familySize || size > maxSockAddr {
		return "", false, nil
	}
	b := make([]byte, size)
	if err := readMem(c.task.tid, c.args[addrArg], b); err != nil {
		return "", false, err
	}
	if binary.NativeEndian.Uint16(b) != unix.AF_UNIX {
		return "", false, nil
	}
	b = b[familySize:]
	if b[0] == 0 {
		return "", true, nil // an abstract name, which is no path
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b), true, nil
}

// setUnixPath makes a call take another address.
func (c *call) setUnixPath(addrArg, lenArg int, host string) error {
	if len(host) >= maxSockPath {
		short, err := c.shorter(host)
		if err != nil {
			return err
		}
		host = short
	}
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	b = append(append(b, host...), 0)
	at, err := c.put(b)
	if err != nil {
		return err
	}
	c.setArg(addrArg, at)
	c.setArg(lenArg, uint64(len(b)))
	return nil
}

// shorter names the directory of a socket by a symlink of this machine's /tmp, since a socket's address has room for 107
// bytes and a store may lie deep. The link goes when the step ends.
func (t *tracer) shorter(host string) (string, error) {
	dir, name := filepath.Split(host)
	link := t.shortcuts[dir]
	if link == "" {
		base, err := os.MkdirTemp("/tmp", "jubako-")
		if err != nil {
			return "", err
		}
		link = filepath.Join(base, strconv.Itoa(len(t.shortcuts)))
		t.shortcuts[dir] = link
		if err := os.Symlink(dir, link); err != nil {
			return "", err
		}
	}
	if short := link + "/" + name; len(short) < maxSockPath {
		return short, nil
	}
	return "", unix.ENAMETOOLONG
}

// socketName gives the path of a socket as the step knows it.
func (c *call) socketName() (verdict, error) {
	tid, addr, sizeAt := c.task.tid, c.args[1], c.args[2]
	var room uint32
	if err := readMem(tid, sizeAt, bytesOf(&room)); err != nil {
		return asItIs, nil // the kernel has the right answer
	}
	var bound netip.AddrPort
	if sock, err := c.fdPath(c.fd(0)); err == nil && c.net != nil && c.nr == unix.SYS_GETSOCKNAME {
		bound, _ = c.net.known(sock)
	}
	return verdict{watch: true, after: func(ret int64) {
		var size uint32
		if ret != 0 || readMem(tid, sizeAt, bytesOf(&size)) != nil || size <= familySize || size > maxSockAddr || size > room {
			return
		}
		b := make([]byte, size)
		if readMem(tid, addr, b) != nil {
			return
		}
		if a, ok := parseInet(b); ok && c.net != nil {
			shown, own := c.net.seen(a)
			if own && bound.IsValid() {
				shown = bound
			}
			_ = writeMem(tid, addr, putInet(b, shown)) // memory that the kernel has just written
			return
		}
		if binary.NativeEndian.Uint16(b) != unix.AF_UNIX || b[familySize] != '/' {
			return
		}
		host, _, _ := bytes.Cut(b[familySize:], []byte{0})
		p, ok := c.unshorten(string(host))
		if !ok || familySize+len(p)+1 > int(room) {
			return
		}
		b = append(append(b[:familySize:familySize], p...), 0)
		size = uint32(len(b))
		_ = errors.Join(writeMem(tid, addr, b), writeMem(tid, sizeAt, bytesOf(&size))) // memory that the kernel has just written
	}}, nil
}

// unshorten finds the image path of a socket's path on this machine.
func (t *tracer) unshorten(host string) (string, bool) {
	for dir, link := range t.shortcuts {
		if rest, ok := strings.CutPrefix(host, link+"/"); ok {
			host = dir + rest
			break
		}
	}
	key, ok := t.tree.key(host)
	if p, bound := t.sockets[key]; ok && bound {
		return p, true
	}
	return imagePath(key), ok
}

// removeShortcuts removes what shorter has made.
func (t *tracer) removeShortcuts() {
	for _, link := range t.shortcuts {
		_ = os.Remove(link)
		_ = os.Remove(filepath.Dir(link))
	}
}

func (c *call) bind() (verdict, error) {
	if done, err := c.bindInet(); done || err != nil {
		return asItIs, err
	}
	if sock, err := c.fdPath(c.fd(0)); err == nil && c.net != nil {
		c.net.remember(sock)
	}
	p, ok, err := c.unixPath(1, 2)
	if err != nil || !ok || p == "" {
		return asItIs, err
	}
	at, err := c.find(noDir, p, false)
	if err != nil {
		return verdict{}, err
	}
	if at.exists {
		return verdict{}, unix.EADDRINUSE
	}
	c.sockets[at.key] = p
	return asItIs, c.setUnixPath(1, 2, at.host)
}

func (c *call) connect() (verdict, error) { return c.connectTo(1, 2) }

// sendto names the receiver of a datagram.
func (c *call) sendto() (verdict, error) { return c.connectTo(4, 5) }

func (c *call) connectTo(addrArg, lenArg int) (verdict, error) {
	if done, err := c.connectInet(addrArg, lenArg); done || err != nil {
		return asItIs, err
	}
	p, ok, err := c.unixPath(addrArg, lenArg)
	if err != nil || !ok {
		return asItIs, err
	}
	if p == "" {
		return asItIs, c.abstract()
	}
	at, err := c.find(noDir, p, true)
	if err != nil {
		return verdict{}, err
	}
	if !at.exists {
		return verdict{}, unix.ENOENT
	}
	return asItIs, c.setUnixPath(addrArg, lenArg, at.host)
}

// abstract refuses a socket without a path, which may be another's, where the kernel does not tell them apart.
func (t *tracer) abstract() error {
	if t.scoped {
		return nil
	}
	return unix.ECONNREFUSED
}

// msgHeader is the beginning of struct msghdr, and messageSize the size of the struct mmsghdr around it (sendmmsg(2)).
type msgHeader struct {
	name uint64
	size uint32
	_    uint32
}

const (
	messageSize = 64
	maxMessages = 1024 // that the kernel takes at once (UIO_MAXIOV)
)

// sendmsg may name a receiver too; no program is known that does so with a path, and none is rewritten, nor an address in a
// network of the service's own.
func (c *call) sendmsg() (verdict, error) { return asItIs, c.nameless(c.args[1]) }

func (c *call) sendmmsg() (verdict, error) {
	for i := range min(c.args[2], maxMessages) {
		if err := c.nameless(c.args[1] + i*messageSize); err != nil {
			return verdict{}, err
		}
	}
	return asItIs, nil
}

// nameless refuses a message that names a receiver whose address would have to be another.
func (c *call) nameless(addr uint64) error {
	family, err := receiver(c.task.tid, addr)
	if err != nil {
		return err
	}
	switch family {
	case unix.AF_UNIX:
		return unix.ECONNREFUSED
	case unix.AF_INET, unix.AF_INET6:
		if c.net != nil {
			return unix.ENETUNREACH
		}
	}
	return nil
}

// receiver is the family of the address that a message names, 0 where it names none.
func receiver(tid int, addr uint64) (family uint16, err error) {
	var head msgHeader
	if err := readMem(tid, addr, bytesOf(&head)); err != nil {
		return 0, err
	}
	if head.name == 0 || head.size < familySize {
		return 0, nil
	}
	err = readMem(tid, head.name, bytesOf(&family))
	return family, err
}
