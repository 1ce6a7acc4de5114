package inflate_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	fast "github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/inflate"
)

// samples are contents of different kinds.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	few := make([]byte, 500_000)
	for i := range few {
		few[i] = byte(r.ExpFloat64() * 20)
	}
	var text strings.Builder
	for text.Len() < 700_000 {
		fmt.Fprintf(&text, "def f%d(self, x):\n    return self.%c[%d]\n", r.IntN(1000), 'a'+r.IntN(26), r.IntN(100))
	}
	far := append(append(bytes.Clone(noise[:40_000]), make([]byte, 100)...), noise[40_000-32_768:40_000]...)
	return map[string][]byte{"empty": nil, "one": {7}, "zeros": make([]byte, 400_000), "pairs": bytes.Repeat([]byte("ab"), 100_000),
		"triples": bytes.Repeat([]byte("abc"), 100_000), "sevens": bytes.Repeat([]byte("abcdefg"), 50_000), "noise": noise, "few": few, "text": []byte(text.String()), "far": far}
}

func deflate(t testing.TB, b []byte, level int) []byte {
	var out bytes.Buffer
	w, err := fast.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSamples inflates what others have deflated, at every level, whatever way the bytes come in and go out.
func TestSamples(t *testing.T) {
	z := &inflate.Reader{}
	for name, want := range samples() {
		for level := -2; level <= 9; level++ {
			stream := deflate(t, want, level)
			tail := append(bytes.Clone(stream), "what follows"...)
			for way, r := range map[string]io.Reader{"whole": bytes.NewReader(tail), "bytes": iotest.OneByteReader(bytes.NewReader(tail)),
				"halves": iotest.HalfReader(bytes.NewReader(tail)), "exact": bytes.NewReader(stream), "with its error": iotest.DataErrReader(bytes.NewReader(tail))} {
				if way == "bytes" && len(stream) > 50_000 {
					continue
				}
				z.Reset(r)
				got, err := io.ReadAll(z)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, level %d, %s: %v, %d bytes of %d", name, level, way, err, len(got), len(want))
				}
				if n := z.Consumed(); n != int64(len(stream)) {
					t.Errorf("%s, level %d, %s: it took %d bytes of %d", name, level, way, n, len(stream))
				}
			}
		}
	}
}

// TestBroken are streams that are cut, and that no other program would take.
func TestBroken(t *testing.T) {
	stream := deflate(t, samples()["text"][:20_000], 6)
	for n := range len(stream) {
		if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(stream[:n]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	cause := errors.New("the disk")
	if _, err := io.ReadAll(inflate.NewReader(io.MultiReader(bytes.NewReader(stream[:100]), iotest.ErrReader(cause)))); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	for name, b := range map[string][]byte{
		"reserved":          {7},
		"stored complement": {1, 1, 0, 0, 0, 'x'},
		"before its begin":  {0x4b, 0x04, 0x12, 0, 0, 0, 0}, // "a" and a match 5 back, fixed codes
		"too many codes":    {0xfd, 0xff, 0xff, 0xff},
	} {
		_, err := io.ReadAll(inflate.NewReader(bytes.NewReader(b)))
		if _, ok := errors.AsType[*inflate.CorruptError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzInflate holds every stream against the standard library's decoder: what is taken is the same, to the same end. What
// only that takes is a set of codes that zlib does not take either.
func FuzzInflate(f *testing.F) {
	for _, b := range samples() {
		for _, level := range []int{-2, 0, 1, 6, 9} {
			f.Add(deflate(f, b[:min(len(b), 3000)], level))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		src := bytes.NewReader(b)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(src), limit))
		z := inflate.NewReader(iotest.HalfReader(bytes.NewReader(b)))
		got, err := io.ReadAll(io.LimitReader(z, limit))
		if err == nil && wantErr != nil {
			t.Fatalf("it is taken, and not by the standard library: %v", wantErr)
		}
		if err == nil {
			if !bytes.Equal(got, want) {
				t.Fatal("it inflates to something else")
			}
			if n := int64(len(b) - src.Len()); len(got) < limit && z.Consumed() != n {
				t.Fatalf("it took %d bytes, not %d", z.Consumed(), n)
			}
			return
		}
		if corrupt, ok := errors.AsType[*inflate.CorruptError](err); wantErr == nil && (!ok || !strings.Contains(corrupt.Reason, "complete set") && !strings.Contains(corrupt.Reason, "without a code for its end")) {
			t.Fatalf("the standard library takes it: %v", err)
		}
		if !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want) {
			t.Fatal("it begins with something else")
		}
	})
}

// BenchmarkInflate compares three decoders, on text or on the files of the wheel that WHEEL names.
func BenchmarkInflate(b *testing.B) {
	type stream struct {
		deflated []byte
		size     int64
	}
	var all []stream
	var total int64
	if name := os.Getenv("WHEEL"); name != "" {
		z, err := zip.OpenReader(name)
		if err != nil {
			b.Fatal(err)
		}
		defer z.Close()
		for _, f := range z.File {
			r, err := f.OpenRaw()
			if err != nil {
				b.Fatal(err)
			}
			raw, err := io.ReadAll(r)
			if err != nil {
				b.Fatal(err)
			}
			if f.Method == zip.Deflate {
				all = append(all, stream{raw, int64(f.UncompressedSize64)})
			}
		}
	} else {
		text := samples()["text"]
		all = []stream{{deflate(b, text, 6), int64(len(text))}}
	}
	for _, s := range all {
		total += s.size
	}
	std, klauspost, own := flate.NewReader(nil), fast.NewReader(nil), &inflate.Reader{}
	for name, open := range map[string]func(r *bytes.Reader) io.Reader{
		"standard":  func(r *bytes.Reader) io.Reader { _ = std.(flate.Resetter).Reset(r, nil); return std },
		"klauspost": func(r *bytes.Reader) io.Reader { _ = klauspost.(fast.Resetter).Reset(r, nil); return klauspost },
		"own":       func(r *bytes.Reader) io.Reader { own.Reset(r); return own },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(total)
			buf := make([]byte, 128<<10)
			for b.Loop() {
				for _, s := range all {
					if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{open(bytes.NewReader(s.deflated))}, buf); err != nil || n != s.size {
						b.Fatal(n, err)
					}
				}
			}
		})
	}
}
