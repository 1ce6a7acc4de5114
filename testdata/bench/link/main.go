// Link stands between the contenders of the benchmark and what they talk to: a registry and an index of Python packages. It counts
// what crosses it, and, when it is told to, is as slow as a real line: so many milliseconds there and back, so many megabits a
// second each way, for all connections together. The index's answers are kept in a folder, so that a second run asks nobody.
//
//	link -registry 127.0.0.1:5000 -index https://index.example/simple -cache DIR -ca FILE -ports P,Q,R,S
//
// The ports are those of the registry, the registry behind TLS, the index, and the control, on 127.0.0.1; 0 takes a free one. What
// they are is printed as JSON. The control takes POST /reset, POST /shape?on=1, and answers GET /stats.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "link:", err)
		os.Exit(1)
	}
}

func run() error {
	registry := flag.String("registry", "", "HOST:PORT of the registry")
	upstream := flag.String("index", "", "URL of the index's simple API")
	cache := flag.String("cache", "", "the folder that keeps what the index has answered")
	ca := flag.String("ca", "", "where the certificate of the registry's TLS port is written")
	ports := flag.String("ports", "0,0,0,0", "ports for the registry, the same with TLS, the index, the control")
	rtt := flag.Duration("rtt", 20*time.Millisecond, "the time there and back, when shaped")
	rate := flag.Float64("mbit", 100, "megabits a second each way, when shaped")
	flag.Parse()

	l := &line{oneWay: *rtt / 2, bytesPerSecond: *rate * 1e6 / 8}
	numbers := strings.Split(*ports, ",")
	if len(numbers) != 4 {
		return fmt.Errorf("-ports %s: four are wanted", *ports)
	}
	var listeners [4]net.Listener
	addresses := map[string]string{}
	for i, name := range []string{"registry", "tls", "index", "control"} {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:"+numbers[i]); err != nil {
			return err
		}
		addresses[name] = listeners[i].Addr().String()
	}
	certificate, err := selfSigned(*ca)
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	behind, err := net.Listen("tcp", "127.0.0.1:0") // the index itself, behind the line
	if err != nil {
		return err
	}
	toRegistry := func() (net.Conn, error) { return net.Dial("tcp", *registry) }
	toIndex := func() (net.Conn, error) { return net.Dial("tcp", behind.Addr().String()) }
	failed := make(chan error, 5)
	go func() { failed <- l.serve(listeners[0], "registry", toRegistry) }()
	go func() {
		failed <- l.serve(tls.NewListener(listeners[1], &tls.Config{Certificates: []tls.Certificate{certificate}}), "registry", toRegistry)
	}()
	go func() { failed <- l.serve(listeners[2], "index", toIndex) }()
	ix := &index{upstream: strings.TrimSuffix(*upstream, "/"), dir: *cache}
	go func() { failed <- http.Serve(behind, ix) }()
	go func() { failed <- http.Serve(listeners[3], control(l)) }()
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}
	return <-failed
}

// control is what the benchmark steers and asks.
func control(l *line) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { l.reset() })
	mux.HandleFunc("POST /shape", func(_ http.ResponseWriter, r *http.Request) { l.shaped.Store(r.FormValue("on") == "1") })
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(l.stats()); err != nil {
			fmt.Fprintln(os.Stderr, "link:", err)
		}
	})
	return mux
}
