package runimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/patience"
)

// Port is a TCP port of this machine's loopback that leads to one of the image's.
type Port struct {
	Host      int // 0 is any that is free
	Container int
}

// ParsePort reads HOST:CONTAINER, or CONTAINER for any free port of this machine, with or without "/tcp".
func ParsePort(s string) (Port, error) {
	fail := func(why string) (Port, error) {
		return Port{}, hint.Wrap(hint.Usage(fmt.Errorf("the port %q %s", s, why)),
			"write HOST:CONTAINER; 0:CONTAINER takes any free port. Ports are opened on 127.0.0.1")
	}
	text, protocol, _ := strings.Cut(s, "/")
	if protocol != "" && protocol != "tcp" {
		return fail("is not TCP's")
	}
	host, container, ok := strings.Cut(text, ":")
	if !ok {
		host, container = "0", host
	}
	h, hostErr := strconv.ParseUint(host, 10, 16)
	c, err := strconv.ParseUint(container, 10, 16)
	if hostErr != nil || err != nil || c == 0 {
		return fail("is not understood")
	}
	return Port{Host: int(h), Container: int(c)}, nil
}

// portsOf are the ports that were asked for, else those that the image exposes; with a health check alone, nobody needs them.
func portsOf(conf *imageconf.Config, o Options) ([]Port, error) {
	if o.Ports != nil || o.Health {
		return o.Ports, nil
	}
	return exposed(conf), nil
}

// exposed are the TCP ports that the image exposes, in order. What is no port is left to those who start containers.
func exposed(conf *imageconf.Config) (all []Port) {
	for _, s := range slices.Sorted(maps.Keys(conf.Config.ExposedPorts)) {
		if p, err := ParsePort(s); err == nil && p.Host == 0 {
			all = append(all, Port{p.Container, p.Container})
		}
	}
	return all
}

// openPorts listens on the loopback, and leads what comes to the service.
func (r *running) openPorts(ctx context.Context, wg *sync.WaitGroup) (closeAll func(), err error) {
	var open []net.Listener
	closeAll = func() {
		for _, l := range open {
			_ = l.Close()
		}
	}
	for _, p := range r.plan.ports {
		if r.service.HostNetwork && (p.Host == 0 || p.Host == p.Container) {
			r.o.Report("port", fmt.Sprintf("%d is where the image listens, on this machine's own network", p.Container))
			continue
		}
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Host)))
		if err != nil {
			closeAll()
			return nil, hint.Wrap(fmt.Errorf("opening port %d: %w", p.Host, err), "choose another one with -p HOST:%d; 0:%d takes any that is free", p.Container, p.Container)
		}
		open = append(open, l)
		r.o.Report("port", fmt.Sprintf("http://%s leads to the image's port %d", l.Addr(), p.Container))
		wg.Go(func() { r.forward(ctx, l, p.Container, wg) })
	}
	return closeAll, nil
}

// acceptPause is the wait until a connection that cannot be accepted for now is tried again.
const acceptPause = 20 * time.Millisecond

func (r *running) forward(ctx context.Context, l net.Listener, port int, wg *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) {
				if patience.Sleep(ctx, acceptPause) == nil {
					continue // it passes when a connection ends
				}
			}
			return
		}
		wg.Go(func() { r.lead(ctx, c.(*net.TCPConn), port) })
	}
}

// lead copies both ways between a connection and the service.
func (r *running) lead(ctx context.Context, c *net.TCPConn, port int) {
	defer c.Close()
	s, err := r.service.Dial(ctx, port)
	if err != nil {
		_ = c.SetLinger(0) // it is reset, as it would be where nobody listens
		return
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = c.Close()
		_ = s.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	oneWay := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			_ = to.Close() // the other way has nobody to speak to any more
			_ = from.Close()
			return
		}
		_ = to.CloseWrite()
	}
	wg.Go(func() { oneWay(s.(*net.TCPConn), c) })
	wg.Go(func() { oneWay(c, s.(*net.TCPConn)) })
	wg.Wait()
}

// unreachable names the exposed ports that a healthy service does not answer on from outside.
func (r *running) unreachable(ctx context.Context) (ports []int) {
	for _, p := range exposed(r.plan.conf) {
		c, err := r.service.Dial(ctx, p.Container)
		if errors.Is(err, syscall.ECONNREFUSED) {
			ports = append(ports, p.Container)
		}
		if err == nil {
			_ = c.Close()
		}
	}
	return ports
}
