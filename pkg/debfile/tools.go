package debfile

import (
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/xz"
)

// Tools are what unpacks packages. Their memory, tens of megabytes for a package, serves the next one; at most as many are kept
// as have been at work at once. The zero value is ready, and safe for concurrent use.
type Tools struct {
	mu   sync.Mutex
	idle []*tools
}

// tools unpack one package at a time.
type tools struct {
	unxz    xz.Reader
	deflate *flate.Writer
}

// take gives idle tools, or new ones; t may be nil.
func (t *Tools) take() *tools {
	if t == nil {
		return &tools{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		one := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return one
	}
	return &tools{}
}

func (t *Tools) giveBack(one *tools) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle = append(t.idle, one)
}

// deflater gives the compressor, made ready to write to w.
func (t *tools) deflater(w io.Writer) (_ io.Writer, err error) {
	if t.deflate == nil {
		t.deflate, err = flate.NewWriter(w, compressionLevel)
		return t.deflate, err
	}
	t.deflate.Reset(w)
	return t.deflate, nil
}
