package archive

import (
	"io"
	"sync"
)

// ahead reads on in a goroutine of its own, so that a list is uncompressed on one processor and read on another.
type ahead struct {
	chunks chan chunk
	free   chan []byte
	stop   chan struct{}
	once   sync.Once
	now    chunk
}

type chunk struct {
	b    []byte // whole, to be used again
	rest []byte // what has not been read yet
	err  error  // behind it
}

const (
	aheadSize  = 256 << 10 // bytes of a chunk
	aheadCount = 4
)

// newAhead begins to read. Close ends it; r is not used any more then.
func newAhead(r io.Reader) *ahead {
	a := &ahead{chunks: make(chan chunk, aheadCount), free: make(chan []byte, aheadCount), stop: make(chan struct{})}
	for range aheadCount {
		a.free <- make([]byte, aheadSize)
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.chunks)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.stop:
			return
		}
		n, err := 0, error(nil)
		for n < len(b) && err == nil { // io.ReadFull would not tell the end from a cut
			var more int
			more, err = r.Read(b[n:])
			n += more
		}
		a.chunks <- chunk{b, b[:n], err} // as many fit in as there are
		if err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.b != nil {
			a.free <- a.now.b
			a.now = chunk{}
		}
		a.now = <-a.chunks
	}
	n := copy(p, a.now.rest)
	a.now.rest = a.now.rest[n:]
	return n, nil
}

// Close waits until nothing is read any more.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	for range a.chunks {
	}
	return nil
}
