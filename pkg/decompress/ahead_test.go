package decompress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func TestAhead(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{0, 1, aheadSize - 1, aheadSize, aheadSize + 1, 5*aheadSize + 77} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		for name, r := range map[string]io.Reader{"plain": bytes.NewReader(want), "by halves": iotest.HalfReader(bytes.NewReader(want)),
			"with its end": iotest.DataErrReader(bytes.NewReader(want))} {
			a := Ahead(r)
			if err := iotest.TestReader(a, want); err != nil {
				t.Errorf("%d bytes, %s: %v", size, name, err)
			}
			if err := errors.Join(a.Close(), a.Close()); err != nil {
				t.Errorf("%d bytes, %s: %v", size, name, err)
			}
			if n, err := a.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%d bytes, %s: %d bytes after it was closed, %v", size, name, n, err)
			}
		}
	}
	// What was read before a fault is given before the fault.
	fault := errors.New("the disk is gone")
	got, err := io.ReadAll(Ahead(io.MultiReader(bytes.NewReader(make([]byte, aheadSize+5)), iotest.ErrReader(fault))))
	if len(got) != aheadSize+5 || !errors.Is(err, fault) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// endless counts what is read of it.
type endless int64

func (e *endless) Read(p []byte) (int, error) { *e += endless(len(p)); return len(p), nil }

// TestAheadIsBounded: it reads some buffers ahead and no more, and nothing once it is closed.
func TestAheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e endless
		a := Ahead(&e)
		synctest.Wait()
		if e != aheadMost*aheadSize {
			t.Errorf("%d bytes ahead", e)
		}
		if _, err := io.ReadFull(a, make([]byte, aheadSize+1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if e != (aheadMost+1)*aheadSize {
			t.Errorf("%d bytes after a buffer", e)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}
