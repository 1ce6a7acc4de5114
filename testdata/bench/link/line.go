package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// line carries connections, counts what crosses them, and holds it back as a slow link would.
type line struct {
	oneWay         time.Duration
	bytesPerSecond float64
	shaped         atomic.Bool

	mu    sync.Mutex
	free  [2]time.Time // when each direction has sent all that was handed to it
	asked []*request
	moved map[string]*[2]int64 // by service: bytes there and back
}

// there and back are the directions: from the client, and to it.
const (
	there = iota
	back
)

// ahead is how far a sender may be ahead of the line: what its socket holds. With less, a timer that wakes late would cost bandwidth.
const ahead = 20 * time.Millisecond

// request is one HTTP request as it crossed the line.
type request struct {
	Service  string    `json:"service"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	Sent     int64     `json:"sent"`     // bytes of the request's body
	Received int64     `json:"received"` // bytes of the response's body
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"` // zero while it is under way
}

// stats is what the control answers.
type stats struct {
	Moved    map[string][2]int64 `json:"moved"`
	Requests []request           `json:"requests"`
	Rounds   map[string]int      `json:"rounds"` // by service: the most requests of which each began after the one before it had ended
}

func (l *line) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked, l.moved = nil, nil
}

func (l *line) stats() stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := stats{Moved: map[string][2]int64{}, Rounds: map[string]int{}, Requests: []request{}}
	for name, m := range l.moved {
		s.Moved[name] = *m
	}
	for _, r := range l.asked {
		s.Requests = append(s.Requests, *r)
	}
	done := slices.DeleteFunc(slices.Clone(s.Requests), func(r request) bool { return r.End.IsZero() })
	slices.SortFunc(done, func(a, b request) int { return a.End.Compare(b.End) })
	last := map[string]time.Time{}
	for _, r := range done {
		if r.Start.After(last[r.Service]) {
			s.Rounds[r.Service]++
			last[r.Service] = r.End
		}
	}
	slices.SortFunc(s.Requests, func(a, b request) int { return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Path, b.Path)) })
	return s
}

// count adds bytes that crossed, and gives when the last of them has been sent.
func (l *line) count(service string, direction, n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = map[string]*[2]int64{}
	}
	if l.moved[service] == nil {
		l.moved[service] = &[2]int64{}
	}
	l.moved[service][direction] += int64(n)
	now := time.Now()
	if !l.shaped.Load() {
		return now
	}
	if l.free[direction].Before(now) {
		l.free[direction] = now
	}
	l.free[direction] = l.free[direction].Add(time.Duration(float64(n) / l.bytesPerSecond * float64(time.Second)))
	return l.free[direction]
}

func (l *line) serve(on net.Listener, service string, dial func() (net.Conn, error)) error {
	for {
		c, err := on.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := l.carry(c, service, dial); err != nil {
				fmt.Fprintf(os.Stderr, "link: %s: %v\n", service, err)
			}
		}()
	}
}

// carry carries one connection until both sides have ended it.
func (l *line) carry(client net.Conn, service string, dial func() (net.Conn, error)) error {
	defer client.Close()
	server, err := dial()
	if err != nil {
		return err
	}
	defer server.Close()
	requests, responses := newTee(), newTee()
	go l.watch(service, requests, responses)
	var wait sync.WaitGroup
	wait.Go(func() {
		// A handshake crosses the real line there and back before the first byte; on loopback it takes no time.
		l.pump(server, client, service, there, requests, 2*l.oneWay)
		closeWrite(server)
	})
	l.pump(client, server, service, back, responses, 0)
	closeWrite(client)
	wait.Wait()
	return nil
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the other side may be gone already
	}
}

// pump moves bytes of one direction, each chunk when the line would have delivered it. An end of either side ends it.
func (l *line) pump(to, from net.Conn, service string, direction int, seen *tee, extra time.Duration) {
	type chunk struct {
		b  []byte
		at time.Time
	}
	chunks := make(chan chunk, 64)
	go func() {
		defer close(chunks)
		defer seen.end()
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				shaped := l.shaped.Load()
				seen.add(b[:n])
				sent := l.count(service, direction, n)
				c := chunk{b: b[:n]}
				if shaped {
					c.at = sent.Add(l.oneWay + extra)
					time.Sleep(time.Until(sent.Add(-ahead))) // the sender's own socket is full until then
				}
				extra = 0
				chunks <- c
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for c := range chunks {
		if broken {
			continue
		}
		if !c.at.IsZero() {
			time.Sleep(time.Until(c.at))
		}
		if _, err := to.Write(c.b); err != nil {
			broken = true
			from.Close()
		}
	}
}

// watch reads the requests and responses of a connection as they pass.
func (l *line) watch(service string, requests, responses *tee) {
	pending := make(chan *http.Request, 64)
	records := make(chan *request, 64)
	go func() {
		defer close(pending)
		defer close(records)
		in := bufio.NewReader(requests)
		for {
			if _, err := in.Peek(1); err != nil {
				return
			}
			start := time.Now()
			q, err := http.ReadRequest(in)
			if err != nil {
				complain(service, "request", err)
				return
			}
			r := &request{Service: service, Method: q.Method, Path: q.URL.RequestURI(), Start: start}
			l.mu.Lock()
			l.asked = append(l.asked, r)
			l.mu.Unlock()
			pending <- q
			records <- r
			n, _ := io.Copy(io.Discard, q.Body)
			l.mu.Lock()
			r.Sent = n
			l.mu.Unlock()
		}
	}()
	out := bufio.NewReader(responses)
	for q := range pending {
		r := <-records
		for {
			p, err := http.ReadResponse(out, q)
			if err != nil {
				complain(service, "response", err)
				break
			}
			n, _ := io.Copy(io.Discard, p.Body)
			if p.StatusCode/100 == 1 {
				continue
			}
			l.mu.Lock()
			r.Status, r.Received, r.End = p.StatusCode, n, time.Now()
			l.mu.Unlock()
			break
		}
	}
}

func complain(service, what string, err error) {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		fmt.Fprintf(os.Stderr, "link: %s: reading a %s: %v\n", service, what, err)
	}
}

// tee hands a copy of what passes to a reader. It never holds the line up: what the reader has not read waits.
type tee struct {
	mu    sync.Mutex
	more  *sync.Cond
	b     []byte
	ended bool
}

func newTee() *tee {
	t := &tee{}
	t.more = sync.NewCond(&t.mu)
	return t
}

func (t *tee) add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.more.Signal()
}

func (t *tee) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.more.Signal()
}

func (t *tee) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.b) == 0 && !t.ended {
		t.more.Wait()
	}
	if len(t.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, t.b)
	t.b = t.b[n:]
	return n, nil
}
