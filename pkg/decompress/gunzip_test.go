package decompress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// members makes a gzip file of members of these sizes, some with all that a header may hold.
func members(t testing.TB, sizes ...int) (compressed, plain []byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for i, size := range sizes {
		content := make([]byte, size)
		for j := range content {
			content[j] = byte(random.IntN(1 + i%200))
		}
		w, err := gzip.NewWriterLevel(&b, []int{gzip.DefaultCompression, gzip.NoCompression, gzip.HuffmanOnly}[i%3])
		if err != nil {
			t.Fatal(err)
		}
		if i%4 == 1 {
			w.Name, w.Comment, w.Extra = "name", "comment", make([]byte, 300)
		}
		_, err = w.Write(content)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		plain = append(plain, content...)
	}
	return b.Bytes(), plain
}

func TestGunzip(t *testing.T) {
	var sizes []int
	for i := range 600 { // small ones lie many to a buffer, large ones reach over several
		sizes = append(sizes, i%50)
	}
	sizes = append(sizes, 200_000, 0, 1, 70_000, 33_000, 5)
	compressed, plain := members(t, sizes...)
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(compressed), "by bytes": iotest.OneByteReader(bytes.NewReader(compressed)), "by halves": iotest.HalfReader(bytes.NewReader(compressed)),
		"with its end": iotest.DataErrReader(bytes.NewReader(compressed)),
	} {
		g := newGunzip(r)
		got, err := io.ReadAll(g)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if _, err := g.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s, after its end: %v", name, err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	// One that is cut is no shorter one, unless a member ends there.
	compressed, plain = members(t, 40, 50)
	first, _ := members(t, 40)
	for n := range compressed {
		got, err := io.ReadAll(newGunzip(bytes.NewReader(compressed[:n])))
		if whole := n == len(first); (err == nil) != whole || whole && !bytes.Equal(got, plain[:40]) {
			t.Errorf("cut at %d of %d: %d bytes, %v", n, len(compressed), len(got), err)
		}
	}
	if _, err := io.ReadAll(newGunzip(io.MultiReader(bytes.NewReader(compressed), bytes.NewReader([]byte("more than zeros"))))); err == nil {
		t.Error("what follows the last member was taken")
	}
	if _, err := io.ReadAll(newGunzip(io.MultiReader(bytes.NewReader(compressed), iotest.ErrReader(io.ErrClosedPipe)))); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a fault of the file's: %v", err)
	}
}

// FuzzGunzip holds it against the standard library, which looks at checksums too.
func FuzzGunzip(f *testing.F) {
	for _, sizes := range [][]int{{}, {0}, {40, 50}, {1, 2, 3, 4, 5, 6, 7}, {70_000, 3}} {
		b, _ := members(f, sizes...)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		got, err := io.ReadAll(io.LimitReader(newGunzip(bytes.NewReader(b)), limit))
		var want []byte
		z, wantErr := gzip.NewReader(bytes.NewReader(b))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(z, limit))
		}
		if err == nil && wantErr == nil && !bytes.Equal(got, want) {
			t.Errorf("%d bytes, not %d", len(got), len(want))
		}
	})
}
