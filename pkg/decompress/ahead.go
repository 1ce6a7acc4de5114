package decompress

import (
	"io"
	"sync"
)

const (
	aheadSize = 128 << 10 // bytes of a buffer
	aheadMost = 3         // buffers: one that is filled, one that waits, one that is read
)

// Ahead reads from r in a goroutine of its own, up to some 400 KB ahead of whoever reads from it, so that r's work and theirs are
// done side by side. It is to be closed before what r reads from is: r is not read from any more once Close has returned.
func Ahead(r io.Reader) io.ReadCloser {
	a := &ahead{full: make(chan chunk, aheadMost), empty: make(chan []byte, aheadMost), stop: make(chan struct{})}
	for range aheadMost {
		a.empty <- nil // made when it is first needed: many layers are small
	}
	a.running.Go(func() { a.fill(r) })
	return a
}

type ahead struct {
	full    chan chunk
	empty   chan []byte
	stop    chan struct{}
	once    sync.Once
	running sync.WaitGroup

	at  chunk // what is being read
	pos int
}

// chunk is what was read, and what the source said after it.
type chunk struct {
	data []byte
	err  error
}

// fill reads until the source says that it has no more, or until nobody wants any.
func (a *ahead) fill(r io.Reader) {
	for {
		var buf []byte
		select {
		case <-a.stop:
			return
		case buf = <-a.empty:
		}
		if buf == nil {
			buf = make([]byte, aheadSize)
		}
		var c chunk
		n := 0
		for n < len(buf) && c.err == nil {
			var more int
			more, c.err = r.Read(buf[n:])
			n += more
		}
		c.data = buf[:n]
		a.full <- c // there is room for all buffers
		if c.err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for a.pos == len(a.at.data) {
		if a.at.err != nil {
			return 0, a.at.err
		}
		if buf := a.at.data; buf != nil {
			a.empty <- buf[:cap(buf)]
		}
		a.at, a.pos = <-a.full, 0
	}
	n := copy(p, a.at.data[a.pos:])
	a.pos += n
	return n, nil
}

// Close ends the reading ahead, and waits for it.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	a.running.Wait()
	a.at, a.pos = chunk{err: io.ErrClosedPipe}, 0
	return nil
}
