package xz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	ulikunitz "github.com/ulikunitz/xz"
)

const room = 64 << 20

func decode(b []byte, maxDict int64) ([]byte, error) {
	return io.ReadAll(NewReader(bytes.NewReader(b), maxDict))
}

// encode makes a .xz file by the encoder of another implementation.
func encode(t testing.TB, c ulikunitz.WriterConfig, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mixed gives n bytes, of which some repeat what was long before, some are noise, and some are one byte again and again.
func mixed(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+5000)
	for len(b) < n {
		switch k := 1 + r.IntN(4000); r.IntN(4) {
		case 0:
			for range k {
				b = append(b, byte(r.Uint32()))
			}
		case 1:
			b = append(b, bytes.Repeat([]byte{byte(k)}, k)...)
		case 2:
			if from := r.IntN(len(b) + 1); from+k < len(b) {
				b = append(b, b[from:from+k]...)
			}
		default:
			for i := range k {
				b = append(b, "abcdefgh"[(i*i/3)%8])
			}
		}
	}
	return b[:n]
}

// TestFiles reads what xz itself has written: many blocks with their sizes in the headers, all checks, streams with padding
// between them, all kinds of properties.
func TestFiles(t *testing.T) {
	want, err := os.ReadFile("testdata/plain")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("testdata/*.xz")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(b, room)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		got, err = io.ReadAll(NewReader(iotest.OneByteReader(bytes.NewReader(b)), room))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, byte by byte: %d bytes, %v", name, len(got), err)
		}
		for n := 0; n < len(b); n += 1 + n/20 {
			if strings.HasSuffix(name, "streams.xz") && n > len(b)/4 {
				break // where the first stream ends, a file may end
			}
			if _, err := decode(b[:n], room); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s, cut after %d bytes: %v", name, n, err)
			}
		}
	}
}

// TestReset reads files of every kind one after another with one reader, across every size at which its buffer grows or moves.
func TestReset(t *testing.T) {
	z := &Reader{}
	for _, c := range []ulikunitz.WriterConfig{
		{DictCap: 4096}, {DictCap: 1 << 16, CheckSum: ulikunitz.CRC32}, {DictCap: 8 << 20, CheckSum: ulikunitz.SHA256}, {DictCap: 1 << 20, NoCheckSum: true},
		{DictCap: 1 << 20, BlockSize: 700_000},
	} {
		for _, n := range []int{1, 4096, 300_000, 5 << 20} {
			if n > 1<<20 && c.DictCap != 1<<16 {
				continue
			}
			plain := mixed(n)
			z.Reset(bytes.NewReader(encode(t, c, plain)), room)
			got, err := io.ReadAll(z)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%+v, %d bytes: %d came, %v", c, n, len(got), err)
			}
		}
	}
	z.Reset(strings.NewReader("no xz file at all"), room)
	if _, err := io.ReadAll(z); err == nil {
		t.Error("it was taken")
	}
	z.Reset(bytes.NewReader(encode(t, ulikunitz.WriterConfig{}, []byte("x"))), room)
	if got, err := io.ReadAll(z); err != nil || string(got) != "x" {
		t.Errorf("after an error: %q, %v", got, err)
	}
}

func TestEmpty(t *testing.T) {
	if got, err := decode(encode(t, ulikunitz.WriterConfig{}, nil), room); err != nil || len(got) != 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := decode(nil, room); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("nothing at all: %v", err)
	}
}

// TestDamaged: no changed byte goes unnoticed, whichever it is.
func TestDamaged(t *testing.T) {
	plain := mixed(3000)
	good := encode(t, ulikunitz.WriterConfig{}, plain)
	for i := range good {
		for _, flip := range []byte{1, 0x80} {
			b := bytes.Clone(good)
			b[i] ^= flip
			if _, err := decode(b, room); err == nil {
				t.Errorf("byte %d of %d, changed by %#x: it was taken", i, len(b), flip)
			}
		}
	}
	if _, err := decode(append(bytes.Clone(good), "garbage!"...), room); err == nil {
		t.Error("what follows the stream was taken")
	}
}

func TestDictionary(t *testing.T) {
	b := encode(t, ulikunitz.WriterConfig{DictCap: 8 << 20}, []byte("x"))
	_, err := decode(b, 4<<20)
	if e, ok := errors.AsType[*DictionaryError](err); !ok || e.Asked != 8<<20 || e.Given != 4<<20 {
		t.Errorf("%v", err)
	}
	z := NewReader(bytes.NewReader(b), room)
	if _, err := io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	if n := len(z.lz.buf); n > 1<<20 {
		t.Errorf("for one byte, the buffer has %d", n)
	}
}

// TestKnownErrors: each says where and what.
func TestKnownErrors(t *testing.T) {
	good := encode(t, ulikunitz.WriterConfig{}, mixed(500))
	for _, c := range []struct {
		at   int
		to   byte
		want string
	}{{0, 'x', "no .xz file"}, {7, 0x05, "header is damaged"}, {14, 0x03, "block's header is damaged"}, {len(good) - 1, 'x', "footer is damaged"}} {
		b := bytes.Clone(good)
		b[c.at] = c.to
		_, err := decode(b, room)
		if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(fmt.Sprint(err), c.want) || !strings.HasPrefix(err.Error(), "xz: at byte ") {
			t.Errorf("byte %d: %v", c.at, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(encode(f, ulikunitz.WriterConfig{}, mixed(200)))
	f.Add(encode(f, ulikunitz.WriterConfig{BlockSize: 50, CheckSum: ulikunitz.CRC32}, mixed(200)))
	names, _ := filepath.Glob("testdata/*.xz")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 4 << 20
		got, err := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(b), 1<<20), most))
		if err != nil || len(got) == most {
			return
		}
		// What is taken, the other implementation reads as the same bytes.
		r, err := ulikunitz.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if want, err := io.ReadAll(io.LimitReader(r, most)); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%d bytes came, and from the other one %d", len(got), len(want))
		}
	})
}

// FuzzChunk decodes the bytes of a chunk without the checksums around it, which a fuzzer seldom meets.
func FuzzChunk(f *testing.F) {
	f.Add([]byte{0x01, 0, 3, 'a', 'b', 'c', 'd', 0})
	good := encode(f, ulikunitz.WriterConfig{}, mixed(2000))
	f.Add(good[24:]) // without the headers of stream and block
	f.Fuzz(func(t *testing.T, b []byte) {
		var in counter
		in.reset(bytes.NewReader(b))
		d := &decoder{}
		d.begin(1 << 16)
		for range 64 {
			more, err := d.chunk(&in)
			if err != nil || !more {
				return
			}
			if n := len(d.pending()); n > maxChunk || len(d.buf) > 1<<16+maxChunk {
				t.Fatalf("%d bytes of a chunk, in a buffer of %d", n, len(d.buf))
			}
			d.read = d.end
		}
	})
}

// BenchmarkReader is beside the reader of the library whose writer made the sample.
func BenchmarkReader(b *testing.B) {
	plain := mixed(8 << 20)
	sample := encode(b, ulikunitz.WriterConfig{}, plain)
	b.Run("here", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		z := &Reader{}
		for b.Loop() {
			z.Reset(bytes.NewReader(sample), room)
			if _, err := io.Copy(io.Discard, z); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ulikunitz", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		for b.Loop() {
			r, err := ulikunitz.NewReader(bytes.NewReader(sample))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
