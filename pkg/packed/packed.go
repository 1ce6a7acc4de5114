// Package packed writes and reads records of numbers and texts: an unsigned varint each, and texts and lists with their length
// before them.
//
// It imports nothing of jubako.
package packed

import (
	"encoding/binary"
	"errors"
)

// ErrDamaged is of a record that no Writer has written.
var ErrDamaged = errors.New("it is cut or damaged")

// Writer is a record in the making.
type Writer []byte

// Uint adds a number.
func (w *Writer) Uint(n uint64) { *w = binary.AppendUvarint(*w, n) }

// Bool adds a number that is 1 or 0.
func (w *Writer) Bool(b bool) {
	n := uint64(0)
	if b {
		n = 1
	}
	w.Uint(n)
}

// Text adds a text.
func (w *Writer) Text(s string) {
	w.Uint(uint64(len(s)))
	*w = append(*w, s...)
}

// Texts adds a list of texts.
func (w *Writer) Texts(list []string) {
	w.Uint(uint64(len(list)))
	for _, s := range list {
		w.Text(s)
	}
}

// Reader reads what a Writer has written, in the same order. Once Err is set it gives zero values.
type Reader struct {
	Rest []byte // what has not been read
	Err  error
}

// Uint reads a number, most at the most.
func (r *Reader) Uint(most uint64) uint64 {
	n, k := binary.Uvarint(r.Rest)
	if r.Err != nil || k <= 0 || n > most {
		r.Err = ErrDamaged
		return 0
	}
	r.Rest = r.Rest[k:]
	return n
}

// Count reads the number of things that follow, each of which takes a byte at least.
func (r *Reader) Count() int { return int(r.Uint(uint64(len(r.Rest)))) }

// Bool reads a number that is 1 or 0.
func (r *Reader) Bool() bool { return r.Uint(1) == 1 }

// Take reads n bytes. They are the record's own.
func (r *Reader) Take(n uint64) []byte {
	if r.Err != nil || n > uint64(len(r.Rest)) {
		r.Err = ErrDamaged
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// Text reads a text.
func (r *Reader) Text() string { return string(r.Take(uint64(r.Count()))) }

// Texts reads a list of texts; nil for an empty one.
func (r *Reader) Texts() (list []string) {
	for range r.Count() {
		list = append(list, r.Text())
		if r.Err != nil {
			return nil
		}
	}
	return list
}

// End says whether all has been read, and as it was written.
func (r *Reader) End() error {
	if r.Err == nil && len(r.Rest) > 0 {
		r.Err = ErrDamaged
	}
	return r.Err
}
