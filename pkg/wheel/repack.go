package wheel

import (
	"cmp"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/fstree"
)

// The file by which a wheel's packing is judged is of at least sampleMin bytes, and of at most sampleMax where there is one.
const (
	sampleMin  = 2 << 10
	sampleMax  = 64 << 10
	sampleMost = 1 << 20
)

// Repack sees whether the wheel was packed badly, and then makes plain content of its deflated files, which whoever writes a layer
// compresses anew: their streams are not worth keeping. Badly is when level 6 makes a tenth less of a file than the wheel has: so do
// level 1, and streams of stored blocks. One file speaks for all, since one program has packed them: of those of 2 to 64 KiB the one
// of which the wheel has saved most bytes. The answer is a function of the wheel alone.
func (a *Archive) Repack() (bool, error) {
	e := a.sample()
	if e == nil {
		return false, nil
	}
	best, err := deflatedSize(deflated{e})
	if err != nil || e.packed*10 <= best*11 {
		return false, err
	}
	for i, f := range a.files {
		if d, ok := f.Content.(deflated); ok {
			a.files[i].Content = plain{d}
		}
	}
	return true, nil
}

// sample is the file that speaks for the wheel; nil where none does.
func (a *Archive) sample() *entry {
	var best, larger *entry
	for _, f := range a.files {
		d, ok := f.Content.(deflated)
		switch {
		case !ok || d.size < sampleMin || d.size > sampleMost:
		case d.size > sampleMax:
			if larger == nil || d.size < larger.size {
				larger = d.entry
			}
		case best == nil || d.saved() > best.saved():
			best = d.entry
		}
	}
	return cmp.Or(best, larger)
}

// saved is how many bytes the wheel has saved of the entry; where it has saved none, the larger entries come first all the same.
func (e *entry) saved() int64 {
	if e.packed < e.size {
		return e.size - e.packed + sampleMost
	}
	return e.size
}

// packers are flate.Writers of level 6, which have tables of a megabyte.
var packers sync.Pool

// deflatedSize is how many bytes a content takes at level 6.
func deflatedSize(c fstree.Content) (int64, error) {
	r, err := c.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var n counter
	w, ok := packers.Get().(*flate.Writer)
	if !ok {
		if w, err = flate.NewWriter(&n, 6); err != nil {
			return 0, err
		}
	}
	defer packers.Put(w)
	w.Reset(&n)
	if _, err := io.Copy(w, r); err != nil {
		return 0, err
	}
	err = w.Close() // before n is looked at
	return int64(n), err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// plain is a deflated entry whose stream nobody is to have.
type plain struct{ d deflated }

// Size is the number of bytes.
func (p plain) Size() int64 { return p.d.size }

// CRC32 is the checksum of the bytes that the archive declares.
func (p plain) CRC32() uint32 { return p.d.crc }

// Open yields the bytes, and checks them as those of a deflated entry are.
func (p plain) Open() (io.ReadCloser, error) { return p.d.Open() }
