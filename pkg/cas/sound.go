package cas

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

// soundRecords is the namespace where a blob's digest leads to the mark of its file, as it was when its bytes were compared. A blob is
// never written in its place: who changes one is no jubako.
const soundRecords = "sound"

// open opens a blob, and says whether it has been compared with its digest already, when it was written or read, and its file
// is the same since then: by this process, or by one before it.
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
	was, known := s.sound[digest]
	sound = known && was == MarkOf(fi)
	if !known {
		b, err := s.Record(soundRecords, digest)
		if sound = err == nil && string(b) == MarkOf(fi).String(); sound {
			s.note(digest, fi)
			s.trusted = append(s.trusted, digest)
		}
	}
	if used(f.Name(), fi) && sound {
		s.noteFile(digest, f)
	}
	return f, fi, sound, nil
}

// note remembers that a blob is what its digest says. The caller holds mu.
func (s *Store) note(digest string, fi os.FileInfo) {
	if s.sound == nil {
		s.sound = make(map[string]Mark)
	}
	s.sound[digest] = MarkOf(fi)
}

// noteFile is note of an open file, for processes to come as well. The caller holds mu.
func (s *Store) noteFile(digest string, f *os.File) {
	fi, err := f.Stat()
	if err != nil {
		delete(s.sound, digest)
		return
	}
	s.note(digest, fi)
	_ = s.PutRecord(soundRecords, digest, []byte(MarkOf(fi).String())) // where it cannot be kept, it is hashed again
}

// written remembers a blob whose bytes were hashed on their way to the disk, once its file is in its place: to be moved changes
// a file's mark. Whether the disk has them is for another process to see. fi is the file's from before.
func (s *Store) written(digest string, fi os.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sound, digest)
	if now, err := os.Stat(s.BlobPath(digest)); err == nil && os.SameFile(fi, now) && fi.ModTime().Equal(now.ModTime()) && fi.Size() == now.Size() {
		s.note(digest, now)
	}
}

// compared remembers a blob whose file was read and hashed.
func (s *Store) compared(digest string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteFile(digest, f)
}

// Doubt forgets which blobs this process took for sound because one before it had compared them: something has failed, and a
// disk may have changed what no mark tells. The next process hashes them again.
func (s *Store) Doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, digest := range s.trusted {
		delete(s.sound, digest)
		_ = os.Remove(s.recordPath(soundRecords, digest))
	}
	s.trusted = nil
}

// Reader opens a blob to be read once, to its end, which compares it with its digest unless that was done before and its file
// is the same since. A damaged blob is an error of Verify's, and discarded.
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
