package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
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
