package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// serve answers each connection at an address with what it is sent, until a SIGTERM or SIGINT comes.
func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		sig := <-stop
		fmt.Println("stopped by", sig)
		_ = l.Close()
	}()
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// id prints who this process is.
func id() error {
	groups, err := os.Getgroups()
	fmt.Println("uid", os.Getuid(), "gid", os.Getgid(), "groups", groups)
	return err
}

// deaf takes no notice of SIGTERM.
func deaf() error {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("deaf")
	return nil
}

// network prints what it sees of its own network, and what it reaches; machine is an address that it must not.
func network(machine string) error {
	for _, address := range []string{"0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0", "127.0.0.1:80"} {
		family := "tcp4"
		if address[0] == '[' {
			family = "tcp6"
		}
		l, err := net.Listen(family, address)
		if err != nil {
			return err
		}
		own := l.Addr().(*net.TCPAddr)
		other := map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"}[family]
		c, err := net.Dial("tcp", net.JoinHostPort(other, fmt.Sprint(own.Port)))
		if err != nil {
			return err
		}
		s, err := l.Accept()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(s, "hello")
		b := make([]byte, 5)
		if _, readErr := io.ReadFull(c, b); err != nil || readErr != nil {
			return errors.Join(err, readErr)
		}
		fmt.Println(own.IP, own.Port == 80, string(b), c.RemoteAddr().(*net.TCPAddr).IP, s.LocalAddr().(*net.TCPAddr).IP)
		if err := errors.Join(c.Close(), s.Close(), l.Close()); err != nil {
			return err
		}
	}
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := u.WriteTo([]byte("packet"), u.LocalAddr()); err != nil {
		return err
	}
	b := make([]byte, 6)
	if _, _, err := u.ReadFrom(b); err != nil {
		return err
	}
	fmt.Println("udp", string(b), u.Close())
	for _, address := range []string{machine, "192.0.2.1:80", "[2001:db8::1]:80"} {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		fmt.Println(errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENETUNREACH))
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	fmt.Println("listening anywhere:", syscall.Listen(fd, 1))
	return syscall.Close(fd)
}
