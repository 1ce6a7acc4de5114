package archive

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestAhead(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 3*aheadCount*aheadSize/10)
	a := newAhead(iotest.HalfReader(bytes.NewReader(want)))
	got, err := io.ReadAll(a)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for range 2 { // a cut is no end, however often it is asked
		cut := newAhead(io.MultiReader(bytes.NewReader(want[:aheadSize+1]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		got, err = io.ReadAll(cut)
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != aheadSize+1 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := cut.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		_ = cut.Close()
	}
	early := newAhead(bytes.NewReader(want)) // whose reader leaves while it is full
	if _, err := early.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(early.Close(), early.Close()); err != nil {
		t.Error(err)
	}
}

func TestBounded(t *testing.T) {
	for most, ok := range map[int64]bool{5: true, 6: true, 4: false, 0: false} {
		b, err := io.ReadAll(&bounded{r: bytes.NewReader([]byte("12345")), left: most, most: most})
		if (err == nil) != ok || ok && string(b) != "12345" {
			t.Errorf("at most %d: %q, %v", most, b, err)
		}
	}
}
