package cas

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Verifying is a reader that compares what it yields with a digest before it hands out the last of it as the last, or
// yields what has been compared. Verify does not hash such bytes again.
type Verifying interface {
	io.ReadCloser
	// Verifies says whether that is the digest (64 hex digits), and the size, that the reader holds its bytes against.
	Verifies(digest string, size int64) bool
}

// File is a blob of the store that was compared with its digest.
type File struct {
	*os.File
	digest string
	size   int64
}

// Verifies implements Verifying.
func (f *File) Verifies(digest string, size int64) bool { return f.digest == digest && f.size == size }

// open opens a blob, and says whether this process has compared it with its digest already, when it was written or read. A
// file that was changed since then has another time, to the nanosecond.
func (s *Store) open(digest string) (f *os.File, fi os.FileInfo, sound bool, err error) {
	if !ValidDigest(digest) {
		return nil, nil, false, fmt.Errorf("blob %q: %w", digest, ErrNotFound)
	}
	f, err = os.Open(s.BlobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, false, fmt.Errorf("blob sha256:%s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fi, err = f.Stat(); err != nil {
		return nil, nil, false, errors.Join(err, f.Close())
	}
	was := s.sound[digest]
	sound = was != nil && os.SameFile(was, fi) && was.ModTime().Equal(fi.ModTime()) && was.Size() == fi.Size()
	now := time.Now()
	// The time is that of the last use, for Prune; a read-only cache still serves.
	if os.Chtimes(f.Name(), now, now) == nil && sound {
		s.note(digest, f)
	}
	return f, fi, sound, nil
}

// note remembers that a blob is what its digest says. The caller holds mu.
func (s *Store) note(digest string, f *os.File) {
	fi, err := f.Stat()
	if err != nil {
		delete(s.sound, digest)
		return
	}
	if s.sound == nil {
		s.sound = make(map[string]os.FileInfo)
	}
	s.sound[digest] = fi
}

// compared remembers a blob whose bytes were hashed. Its time is set, since that of a write is no finer than a clock tick.
func (s *Store) compared(digest string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if os.Chtimes(f.Name(), now, now) == nil {
		s.note(digest, f)
	}
}

// Reader opens a blob to be read once, to its end, which compares it with its digest unless this process has done so
// before. A damaged blob is an error of Verify's, and discarded.
func (s *Store) Reader(digest string, size int64) (Verifying, error) {
	f, fi, sound, err := s.open(digest)
	if err != nil {
		return nil, err
	}
	if sound && fi.Size() == size {
		return &File{f, digest, size}, nil
	}
	v := Verify(f, "blob sha256:"+digest, digest, size).(Verifying)
	return &discarding{Verifying: v, store: s, digest: digest, f: f}, nil
}

// discarding takes a blob that turns out to be damaged from the store.
type discarding struct {
	Verifying
	store  *Store
	digest string
	f      *os.File
}

func (d *discarding) Read(p []byte) (int, error) {
	n, err := d.Verifying.Read(p)
	if err == io.EOF {
		d.store.compared(d.digest, d.f)
	} else if errors.Is(err, errDamaged) {
		d.store.Discard(d.digest)
	}
	return n, err
}

// Tee yields what r does, and stores it under the digest once it was read to its end. It is not hashed again.
func (s *Store) Tee(r Verifying, digest string) (Verifying, error) {
	w, err := s.NewWriter()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	w.h = nil
	return &tee{r, w, digest}, nil
}

type tee struct {
	Verifying
	w      *Writer
	digest string
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.Verifying.Read(p)
	if n > 0 && !t.w.done {
		if _, werr := t.w.Write(p[:n]); werr != nil {
			return n, werr
		}
	}
	if err == io.EOF && !t.w.done { // a reader may ask again at the end
		if cerr := t.w.commit(t.digest); cerr != nil {
			return n, cerr
		}
	}
	return n, err
}

func (t *tee) Close() error {
	t.w.Abort()
	return t.Verifying.Close()
}
