package cas

import (
	"errors"
	"io"
	"os"
	"sync"
)

// errGivenUp is what a Follower ends with where the blob never became whole.
var errGivenUp = errors.New("the blob was given up")

// followed is what a writer shares with those who read along.
type followed struct {
	mu   sync.Mutex
	more sync.Cond // there are more bytes, or an end
	n    int64     // bytes that are in the file
	end  error     // nil while it is written; io.EOF once it is whole
}

// grow tells how many bytes there are, and the end once it has come. It does nothing where nobody reads along.
func (s *followed) grow(n int64, end error) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		s.n, s.end = n, end
	}
	s.more.Broadcast()
}

// Follower reads a blob while it is being written: Read waits for what is not there yet. It ends with io.EOF once Commit has put the
// blob into its place, and with an error where it is given up. Close may be called from another goroutine, and wakes a Read that waits.
type Follower struct {
	of     *followed
	f      *os.File
	at     int64
	closed bool // under of.mu
}

// Follow gives a reader of all that has been written and will be. It is called where Write is, never beside it.
func (w *Writer) Follow() (*Follower, error) {
	f, err := os.Open(w.f.Name())
	if err != nil {
		return nil, err
	}
	if w.along == nil {
		w.along = &followed{n: w.n}
		w.along.more.L = &w.along.mu
	}
	return &Follower{of: w.along, f: f}, nil
}

// Read implements io.Reader.
func (r *Follower) Read(p []byte) (int, error) {
	r.of.mu.Lock()
	for r.at == r.of.n && r.of.end == nil && !r.closed {
		r.of.more.Wait()
	}
	there, end := r.of.n-r.at, r.of.end
	if r.closed {
		end = os.ErrClosed
	}
	r.of.mu.Unlock()
	if end != nil && (there == 0 || end != io.EOF) {
		return 0, end
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), there)], r.at)
	r.at += int64(n)
	if err == io.EOF { // the file is shorter than what was written to it
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (r *Follower) Close() error {
	r.of.mu.Lock()
	r.closed = true
	r.of.more.Broadcast()
	r.of.mu.Unlock()
	return r.f.Close()
}
