package packed

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func TestRecord(t *testing.T) {
	var w Writer
	w.Uint(math.MaxUint64)
	w.Bool(true)
	w.Text("ü\x00")
	w.Texts([]string{"", "a"})
	w.Texts(nil)
	w.Bool(false)
	read := func(b []byte) (same bool, err error) {
		r := Reader{Rest: b}
		same = r.Uint(math.MaxUint64) == math.MaxUint64 && r.Bool() && r.Text() == "ü\x00" && slices.Equal(r.Texts(), []string{"", "a"}) && r.Texts() == nil && !r.Bool()
		return same, r.End()
	}
	if same, err := read(w); !same || err != nil {
		t.Errorf("it came back as another: %v", err)
	}
	for n := range w {
		if _, err := read(w[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut after %d bytes of %d: %v", n, len(w), err)
		}
	}
	if _, err := read(append(w[:len(w):len(w)], 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a byte behind it: %v", err)
	}
	if r := (Reader{Rest: []byte{2}}); r.Bool() || r.Err == nil {
		t.Error("2 is taken for a flag")
	}
}
