package tarlayer

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/fstree"
)

func gunzip(t testing.TB, blob []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestZstdIsTheSameTar: the frames hold the tar of the gzip blob, none asks for more than a decoder has to give, and all
// but the last hold the same number of bytes.
func TestZstdIsTheSameTar(t *testing.T) {
	asGzip, wantRes := write(t, sample(t), Options{Epoch: 7})
	blob, res := write(t, sample(t), Options{Epoch: 7, Compression: Zstd, Jobs: 3})
	if res.DiffID != wantRes.DiffID || res.Tar != wantRes.Tar || res.Size != int64(len(blob)) {
		t.Errorf("%+v for %d bytes, and as gzip %+v", res, len(blob), wantRes)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tar, err := d.DecodeAll(blob, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tar, gunzip(t, asGzip)) {
		t.Error("the tar is another one than in the gzip blob")
	}
	frames := 0
	for rest := blob; len(rest) > 0; frames++ {
		var h zstd.Header
		if err := h.Decode(rest); err != nil {
			t.Fatal(err)
		}
		end := bytes.Index(rest[4:], []byte{0x28, 0xb5, 0x2f, 0xfd})
		if !h.HasCheckSum || !h.HasFCS || h.Skippable || h.WindowSize > 8<<20 || end >= 0 && h.FrameContentSize != frameSize {
			t.Errorf("frame %d: %+v", frames, h)
		}
		if end < 0 {
			rest = nil
		} else {
			rest = rest[4+end:]
		}
	}
	if want := int((res.Tar + frameSize - 1) / frameSize); frames != want {
		t.Errorf("%d frames, want %d", frames, want)
	}
}

// TestGoldenZstd holds format 3 still, as TestGolden does.
func TestGoldenZstd(t *testing.T) {
	blob, res := write(t, sample(t), Options{Compression: Zstd})
	got := fmt.Sprintf("digest %x\ndiffID %s\n%d of %d bytes", sha256.Sum256(blob), res.DiffID, res.Size, res.Tar)
	if d := cmp.Diff(goldenZstd, got); d != "" {
		t.Errorf("the bytes of format 3 have changed:\n%s", d)
	}
}

// TestZstdBytesDoNotDependOnHistory: neither on the number of jobs, nor on what an encoder has compressed before.
func TestZstdBytesDoNotDependOnHistory(t *testing.T) {
	tr := sample(t)
	first, _ := write(t, tr, Options{Compression: Zstd, Jobs: 1})
	shared := NewEncoders(2)
	write(t, tree(t, fstree.Entry{Path: "f", Kind: fstree.File, Content: fstree.Bytes(text(77, 3<<20))}), Options{Compression: Zstd, Encoders: shared})
	for _, o := range []Options{{Jobs: 2}, {Jobs: 7}, {Jobs: 32}, {Encoders: shared}, {Encoders: shared, Jobs: 5}} {
		o.Compression = Zstd
		if again, _ := write(t, tr, o); !bytes.Equal(first, again) {
			t.Errorf("with %d jobs the blob differs", o.Jobs)
		}
	}
}

func TestWriteTar(t *testing.T) {
	asGzip, _ := write(t, sample(t), Options{})
	want, wantRes := write(t, sample(t), Options{Compression: Zstd})
	tar := gunzip(t, asGzip)
	var got bytes.Buffer
	res, err := WriteTar(context.Background(), &got, bytes.NewReader(tar), Options{Compression: Zstd, Encoders: NewEncoders(3)})
	if err != nil || res != wantRes || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%+v, %v, and of the tree %+v", res, err, wantRes)
	}
	broken := io.MultiReader(bytes.NewReader(tar[:3<<20]), failingReader{})
	if _, err := WriteTar(context.Background(), io.Discard, broken, Options{Compression: Zstd}); err == nil || err.Error() != "the disk is ill" {
		t.Errorf("a reader that fails gave %v", err)
	}
	if _, err := WriteTar(context.Background(), &failingWriter{after: 1 << 10}, bytes.NewReader(tar), Options{Compression: Zstd}); err == nil || !strings.HasSuffix(err.Error(), "no space left on device") {
		t.Errorf("a writer that fails gave %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := WriteTar(ctx, io.Discard, bytes.NewReader(tar), Options{Compression: Zstd}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, it gave %v", err)
	}
	if _, err := WriteTar(context.Background(), io.Discard, bytes.NewReader(tar), Options{}); err == nil {
		t.Error("gzip was made from a tar")
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the disk is ill") }

// TestZstdFails: what is refused as gzip is refused as zstd.
func TestZstdFails(t *testing.T) {
	lie := deflate(t, text(4, 3<<20))
	lie.crc++
	evil := tree(t, fstree.Entry{Path: "evil.so", Kind: fstree.File, Content: lie, Producer: "wheel evil"})
	if _, err := Write(context.Background(), io.Discard, evil, Options{Compression: Zstd}); err == nil || !strings.Contains(err.Error(), "CRC-32") {
		t.Errorf("a wrong CRC gave %v", err)
	}
	if _, err := Write(context.Background(), &failingWriter{after: 100 << 10}, sample(t), Options{Compression: Zstd, Jobs: 2}); err == nil || !strings.HasSuffix(err.Error(), "no space left on device") {
		t.Errorf("a writer that fails gave %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Write(ctx, io.Discard, sample(t), Options{Compression: Zstd}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, it gave %v", err)
	}
	if _, err := Write(context.Background(), io.Discard, sample(t), Options{Compression: "lz4"}); err == nil {
		t.Error("there is no lz4")
	}
}

func BenchmarkWriteZstd(b *testing.B) {
	d := deflate(b, text(5, 32<<20))
	tr := tree(b, fstree.Entry{Path: "lib.so", Kind: fstree.File, Content: d})
	b.SetBytes(d.size)
	for b.Loop() {
		if _, err := Write(context.Background(), io.Discard, tr, Options{Compression: Zstd}); err != nil {
			b.Fatal(err)
		}
	}
}
