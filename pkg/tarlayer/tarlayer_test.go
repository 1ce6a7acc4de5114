package tarlayer

import (
	"archive/tar"
	"bytes"
	stdcmp "cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/fstree"
)

// deflated is wheel-like content, with room for lies.
type deflated struct {
	fstree.Bytes
	stream []byte
	crc    uint32
	size   int64
}

func (d deflated) Size() int64         { return d.size }
func (d deflated) DeflatedSize() int64 { return int64(len(d.stream)) }
func (d deflated) CRC32() uint32       { return d.crc }
func (d deflated) OpenDeflated() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d.stream)), nil
}

func deflate(t testing.TB, b []byte) deflated {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 6)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return deflated{Bytes: b, stream: out.Bytes(), crc: crc32.ChecksumIEEE(b), size: int64(len(b))}
}

// text is compressible, and the same on every run.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of %x\n", b.Len(), r.Uint32N(1<<20))
	}
	return b.Bytes()[:n]
}

func tree(t testing.TB, entries ...fstree.Entry) *fstree.Tree {
	t.Helper()
	var tr fstree.Tree
	for _, e := range entries {
		if err := tr.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return &tr
}

func sample(t testing.TB) *fstree.Tree {
	long := strings.Repeat("long/", 30) + strings.Repeat("n", 120)
	return tree(t,
		fstree.Entry{Path: "app", Kind: fstree.Dir, Mode: 0o755, UID: 999, GID: 999},
		fstree.Entry{Path: "app/small.txt", Kind: fstree.File, Mode: 0o644, UID: 999, GID: 999, Content: fstree.Bytes("hello\n")},
		fstree.Entry{Path: "app/empty", Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes(nil)},
		fstree.Entry{Path: "app/lib.so", Kind: fstree.File, Mode: 0o755, Content: deflate(t, text(1, 3<<20))},
		fstree.Entry{Path: "app/tiny.py", Kind: fstree.File, Mode: 0o644, Content: deflate(t, text(2, 900))},
		fstree.Entry{Path: "app/stored.bin", Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes(text(3, 5<<20+17))},
		fstree.Entry{Path: "app/link", Kind: fstree.Symlink, Link: "small.txt"},
		fstree.Entry{Path: "app/zz-hard", Kind: fstree.Hardlink, Mode: 0o644, Link: "app/small.txt"},
		fstree.Entry{Path: "app/grüße.txt", Kind: fstree.File, Mode: 0o600, Content: fstree.Bytes("ü")},
		fstree.Entry{Path: "big-ids", Kind: fstree.File, Mode: 0o4755, UID: 3_000_000, GID: 4_000_000, Content: fstree.Bytes("x")},
		fstree.Entry{Path: "lib", Kind: fstree.Dir, Mode: 0o755},
		fstree.Entry{Path: "lib/a.py", Kind: fstree.File, Mode: 0o644, Content: deflate(t, text(6, 400<<10))},
		fstree.Entry{Path: "lib/b.py", Kind: fstree.File, Mode: 0o644, Content: deflate(t, text(7, 3000))},
		fstree.Entry{Path: "lib/c.py", Kind: fstree.File, Mode: 0o644, Content: deflate(t, text(8, 9000))},
		fstree.Entry{Path: "gone/away", Kind: fstree.Whiteout},
		fstree.Entry{Path: "gone", Kind: fstree.Dir, Mode: 0o755},
		fstree.Entry{Path: long, Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes("long name")},
		fstree.Entry{Path: "far", Kind: fstree.Symlink, Link: "/" + long},
	)
}

func write(t testing.TB, tr *fstree.Tree, o Options) ([]byte, Result) {
	t.Helper()
	var out bytes.Buffer
	res, err := Write(context.Background(), &out, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), res
}

// TestReadBack reads the blob with the standard library's gzip and tar and finds every entry as it was described.
func TestReadBack(t *testing.T) {
	tr := sample(t)
	blob, res := write(t, tr, Options{Epoch: 1_700_000_000, Jobs: 3})
	if res.Size != int64(len(blob)) {
		t.Errorf("Size is %d, and %d bytes were written", res.Size, len(blob))
	}
	zr, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	if got := hex.EncodeToString(sum[:]); got != res.DiffID || res.Tar != int64(len(raw)) {
		t.Errorf("diffID %s of %d bytes, want %s of %d", res.DiffID, res.Tar, got, len(raw))
	}
	got := map[string]string{}
	var last string
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if name <= last && !strings.Contains(name, ".wh.") {
			t.Errorf("%q comes after %q", name, last)
		}
		last = name
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 1_700_000_000 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: time %v, names %q %q", h.Name, h.ModTime, h.Uname, h.Gname)
		}
		got[name] = fmt.Sprintf("%c %o %d:%d %s %x", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname, sha256.Sum256(b))
	}
	want := map[string]string{}
	for e := range tr.All() {
		var b []byte
		flag, mode, name := byte('0'), e.Mode, e.Path
		switch e.Kind {
		case fstree.Dir:
			flag = '5'
		case fstree.Symlink:
			flag, mode = '2', 0o777
		case fstree.Hardlink:
			flag = '1'
		case fstree.Whiteout:
			name, mode = "gone/.wh.away", 0o644
		case fstree.File:
			r, _ := e.Content.Open()
			b, _ = io.ReadAll(r)
		}
		want[name] = fmt.Sprintf("%c %o %d:%d %s %x", flag, mode, e.UID, e.GID, e.Link, sha256.Sum256(b))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestGolden holds format 3 still. A dependency upgrade that fails it calls for a new layers.Format, never for a new
// digest here.
func TestGolden(t *testing.T) {
	blob, res := write(t, sample(t), Options{})
	sum := sha256.Sum256(blob)
	got := fmt.Sprintf("digest %x\ndiffID %s\n%d of %d bytes", sum, res.DiffID, res.Size, res.Tar)
	if d := cmp.Diff(golden, got); d != "" {
		t.Errorf("the bytes of format 3 have changed:\n%s", d)
	}
}

func TestBytesDoNotDependOnJobs(t *testing.T) {
	tr := sample(t)
	first, _ := write(t, tr, Options{Jobs: 1})
	for _, jobs := range []int{2, 7, 32} {
		if again, _ := write(t, tr, Options{Jobs: jobs}); !bytes.Equal(first, again) {
			t.Errorf("with %d jobs the blob differs", jobs)
		}
	}
}

// TestBytesDoNotDependOnHistory: nor on what a compressor has compressed before.
func TestBytesDoNotDependOnHistory(t *testing.T) {
	small := func(seed uint64) *fstree.Tree {
		return tree(t, fstree.Entry{Path: "a", Kind: fstree.File, Content: fstree.Bytes(text(seed, 100<<10))},
			fstree.Entry{Path: "b", Kind: fstree.File, Content: deflate(t, text(seed, 100<<10))}, fstree.Entry{Path: "c", Kind: fstree.File, Content: deflate(t, text(seed, 5000))})
	}
	tr := small(0)
	first, _ := write(t, tr, Options{})
	for seed := range uint64(8) {
		write(t, small(seed+1), Options{})
		if again, _ := write(t, tr, Options{}); !bytes.Equal(first, again) {
			t.Fatal("the blob differs")
		}
	}
}

func TestSplicedStreamIsCopied(t *testing.T) {
	for _, size := range []int{9000, 100 << 10, 1 << 20} {
		d := deflate(t, text(9, size))
		blob, _ := write(t, tree(t, fstree.Entry{Path: "f", Kind: fstree.File, Content: d}), Options{})
		if !bytes.Contains(blob, d.stream) {
			t.Errorf("the wheel's DEFLATE stream of %d bytes is not in the blob", size)
		}
	}
}

func TestHostileStreams(t *testing.T) {
	for size, good := range map[string]deflated{"small": deflate(t, text(4, 20<<10)), "large": deflate(t, text(4, 400<<10))} {
		if (size == "large") != (good.DeflatedSize() > wholeMax) {
			t.Fatalf("%s is %d bytes", size, good.DeflatedSize())
		}
		for name, tc := range map[string]struct {
			change func(*deflated)
			want   string
		}{
			"CRC lie":            {func(d *deflated) { d.crc++ }, "CRC-32"},
			"trailing bytes":     {func(d *deflated) { d.stream = append(d.stream[:len(d.stream):len(d.stream)], 0, 0) }, "ends after"},
			"a second stream":    {func(d *deflated) { d.stream = append(d.stream[:len(d.stream):len(d.stream)], d.stream...) }, "ends after"},
			"cut":                {func(d *deflated) { d.stream = d.stream[:len(d.stream)-9] }, "inflating"},
			"smaller than said":  {func(d *deflated) { d.size += 10 }, "declared"},
			"larger than said":   {func(d *deflated) { d.size -= 10 }, "declared"},
			"not DEFLATE at all": {func(d *deflated) { d.stream = bytes.Repeat([]byte{0xff}, len(d.stream)) }, "inflating"},
			"a bomb":             {func(d *deflated) { *d = deflate(t, make([]byte, 8<<20)); d.size = 1 << 20 }, "more than"},
		} {
			t.Run(size+", "+name, func(t *testing.T) {
				d := good
				tc.change(&d)
				_, err := Write(context.Background(), io.Discard, tree(t, fstree.Entry{Path: "evil.so", Kind: fstree.File, Content: d, Producer: "wheel evil"}), Options{})
				if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "/evil.so of wheel evil") {
					t.Errorf("got %v, want an error with %q", err, tc.want)
				}
			})
		}
	}
}

// short is a stream that ends before what its container says of it.
type short struct{ deflated }

func (s short) DeflatedSize() int64 { return s.deflated.DeflatedSize() + 100 }

func TestShortStreams(t *testing.T) {
	for _, size := range []int{20 << 10, 400 << 10} {
		_, err := Write(context.Background(), io.Discard, tree(t, fstree.Entry{Path: "f", Kind: fstree.File, Content: short{deflate(t, text(4, size))}, Producer: "wheel evil"}), Options{})
		if err == nil || !strings.Contains(err.Error(), "/f of wheel evil") {
			t.Errorf("of %d bytes: got %v", size, err)
		}
	}
}

// liar is content of another size than it says.
type liar struct {
	fstree.Bytes
	size int64
}

func (l liar) Size() int64 { return l.size }

func TestContentOfAnotherSize(t *testing.T) {
	for name, c := range map[string]fstree.Content{
		"shorter": liar{fstree.Bytes("abc"), 4},
		"longer":  liar{fstree.Bytes("abc"), 2},
	} {
		_, err := Write(context.Background(), io.Discard, tree(t, fstree.Entry{Path: "f", Kind: fstree.File, Content: c, Producer: "the source tree"}), Options{})
		if err == nil || !strings.Contains(err.Error(), "declared") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// once is content that cannot seek, and counts how often it is opened. Where it is a liar, it says so at its end alone.
type once struct {
	fstree.Bytes
	opened *int
	lie    error
}

func (c once) Open() (io.ReadCloser, error) {
	*c.opened++
	return io.NopCloser(io.MultiReader(bytes.NewReader(c.Bytes), iotest.ErrReader(stdcmp.Or(c.lie, io.EOF)))), nil
}

// TestContentThatCannotSeek is read once in all, however many runs it has a part in, and to its end, where it is found out.
func TestContentThatCannotSeek(t *testing.T) {
	content := text(5, 2<<20+9)
	for _, compression := range []Compression{Gzip, Zstd} {
		opened := 0
		build := func(c fstree.Content) *fstree.Tree {
			return tree(t, fstree.Entry{Path: "a", Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes("first")}, fstree.Entry{Path: "b", Kind: fstree.File, Mode: 0o644, Content: c})
		}
		blob, _ := write(t, build(once{Bytes: content, opened: &opened}), Options{Compression: compression})
		want, _ := write(t, build(fstree.Bytes(content)), Options{Compression: compression})
		if !bytes.Equal(blob, want) || opened != 1 {
			t.Errorf("%s: the same bytes as of content that seeks: %t; opened %d times", compression, bytes.Equal(blob, want), opened)
		}
		lie := errors.New("its CRC-32 is another")
		for _, size := range []int{0, 10, len(content)} {
			_, err := Write(context.Background(), io.Discard, build(once{Bytes: content[:size], opened: &opened, lie: lie}), Options{Compression: compression})
			if !errors.Is(err, lie) || !strings.Contains(err.Error(), "/b") {
				t.Errorf("%s, %d bytes that are not what they are said to be: %v", compression, size, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for name, e := range map[string]fstree.Entry{
		"whiteout name":       {Path: "a/.wh.b", Kind: fstree.File, Content: fstree.Bytes("")},
		"no content":          {Path: "a", Kind: fstree.File},
		"hard link elsewhere": {Path: "a", Kind: fstree.Hardlink, Link: "b"},
		"mode":                {Path: "a", Kind: fstree.Dir, Mode: 0o10755},
		"owner":               {Path: "a", Kind: fstree.Dir, UID: -1},
	} {
		if _, err := Write(context.Background(), io.Discard, tree(t, e), Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type failingWriter struct{ after int }

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	_, err := Write(context.Background(), &failingWriter{after: 100 << 10}, sample(t), Options{Jobs: 2})
	if err == nil || !strings.HasSuffix(err.Error(), "no space left on device") {
		t.Errorf("got %v", err)
	}
}

// TestTarToo gives the tar to who wants it beside the blob.
func TestTarToo(t *testing.T) {
	for _, c := range []Compression{Gzip, Zstd} {
		want, wantRes := write(t, sample(t), Options{Compression: c})
		var tar bytes.Buffer
		got, res := write(t, sample(t), Options{Compression: c, Tar: &tar})
		if sum := sha256.Sum256(tar.Bytes()); !bytes.Equal(got, want) || res != wantRes || hex.EncodeToString(sum[:]) != res.DiffID {
			t.Errorf("%s: %+v, not %+v; a tar of %x", c, res, wantRes, sum)
		}
		_, err := Write(context.Background(), io.Discard, sample(t), Options{Compression: c, Tar: &failingWriter{after: 100 << 10}})
		if err == nil || !strings.HasSuffix(err.Error(), "no space left on device") {
			t.Errorf("%s: got %v", c, err)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Write(ctx, io.Discard, sample(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzHeader holds jubako's headers against the standard library's reader.
func FuzzHeader(f *testing.F) {
	f.Add("app/manage.py", "", uint32(0o644), 999, 999)
	f.Add(strings.Repeat("d/", 200)+"x", strings.Repeat("l", 300), uint32(0o4755), 3_000_000, 0)
	f.Add("ü", "../ü", uint32(0), 0, 1<<30)
	f.Fuzz(func(t *testing.T, name, link string, mode uint32, uid, gid int) {
		if fstree.CheckPath(name) != nil || strings.ContainsRune(link, 0) {
			return
		}
		e := fstree.Entry{Path: name, Kind: fstree.Symlink, Link: link, Mode: mode, UID: uid, GID: gid}
		b, err := appendHeader(nil, e, 0)
		if err != nil {
			return
		}
		h, err := tar.NewReader(bytes.NewReader(append(b, make([]byte, 1024)...))).Next()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if h.Name != name || h.Linkname != link || h.Uid != uid || h.Gid != gid {
			t.Errorf("%q → %q, %q %d:%d came back as %q → %q, %d:%d", name, link, "", uid, gid, h.Name, h.Linkname, h.Uid, h.Gid)
		}
	})
}

func BenchmarkWriteSpliced(b *testing.B) {
	d := deflate(b, text(5, 32<<20))
	tr := tree(b, fstree.Entry{Path: "lib.so", Kind: fstree.File, Content: d})
	b.SetBytes(d.size)
	for b.Loop() {
		if _, err := Write(context.Background(), io.Discard, tr, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteCompressed(b *testing.B) {
	tr := tree(b, fstree.Entry{Path: "lib.so", Kind: fstree.File, Content: fstree.Bytes(text(5, 32<<20))})
	b.SetBytes(32 << 20)
	for b.Loop() {
		if _, err := Write(context.Background(), io.Discard, tr, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
