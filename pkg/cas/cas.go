// Package cas is jubako's cache on disk: blobs by the SHA-256 digest of their content, and small records by key.
//
// Everything is written beside its place and renamed into it, so that a reader sees a whole entry or none, also while
// other processes write, and after a crash. A damaged entry is discarded by the reader that meets it, and never used.
//
// It imports nothing of jubako.
package cas

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// ErrNotFound is returned when the store does not hold what was asked for.
var ErrNotFound = errors.New("not in the cache")

// Store is a cache in one folder, shared by any number of processes.
type Store struct {
	dir   string
	inUse *flock.Flock

	mu      sync.Mutex
	sound   map[string]Mark // blobs that are what their digests say, as long as their files are the same: see open
	trusted []string        // those of them that this process has not hashed itself
}

// Open opens the cache in dir and makes the folder where there is none. Until Close, no other process prunes it.
func Open(dir string) (*Store, error) {
	for _, d := range []string{"tmp", "blobs/sha256", "records", "trees"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("opening the cache: %w", err)
		}
	}
	if err := writeCacheDirTag(dir); err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	l := flock.New(filepath.Join(dir, "lock"))
	if err := l.RLock(); err != nil {
		return nil, fmt.Errorf("opening the cache: locking %s: %w", l.Path(), err)
	}
	return &Store{dir: dir, inUse: l}, nil
}

// writeCacheDirTag marks the folder for backup programs (bford.info/cachedir).
func writeCacheDirTag(dir string) error {
	name := filepath.Join(dir, "CACHEDIR.TAG")
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	return os.WriteFile(name, []byte("Signature: 8a477f597d28d172789f06886806bc55\n# made by jubako\n"), 0o644)
}

// Close gives up the claim that keeps other processes from pruning.
func (s *Store) Close() error { return s.inUse.Close() }

// Dir is the store's folder.
func (s *Store) Dir() string { return s.dir }

// TempDir makes a new folder inside the store, on the same file system as everything in it. The caller removes it;
// Prune removes what a crash left behind.
func (s *Store) TempDir(pattern string) (string, error) {
	return os.MkdirTemp(filepath.Join(s.dir, "tmp"), pattern)
}

// BlobPath is where the blob with this digest (64 hex digits) stands when the store holds it.
func (s *Store) BlobPath(digest string) string {
	return filepath.Join(s.dir, "blobs", "sha256", digest[:2], digest)
}

// Has says whether the store holds the blob, at that size in bytes; a size below 0 stands for any. An entry of another
// size is damaged: it is discarded.
func (s *Store) Has(digest string, size int64) bool {
	if !ValidDigest(digest) {
		return false
	}
	fi, err := os.Stat(s.BlobPath(digest))
	if err != nil {
		return false
	}
	if size >= 0 && fi.Size() != size {
		s.Discard(digest)
		return false
	}
	return true
}

// Open opens a blob. Its content is not compared with the digest: see Verified and Reader.
func (s *Store) Open(digest string) (*os.File, error) {
	f, _, _, err := s.open(digest)
	return f, err
}

// Verified opens a blob after reading it once to compare it with its digest, unless that was done before and its file is the
// same since. A damaged blob is discarded and reported as ErrNotFound.
func (s *Store) Verified(digest string) (*File, error) {
	f, fi, sound, err := s.open(digest)
	if err != nil {
		return nil, err
	}
	if !sound {
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return nil, errors.Join(fmt.Errorf("reading blob sha256:%s: %w", digest, err), f.Close())
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != digest {
			s.Discard(digest)
			return nil, errors.Join(fmt.Errorf("blob sha256:%s was damaged: %w", digest, ErrNotFound), f.Close())
		}
		s.compared(digest, f)
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &File{f, digest, fi.Size()}, nil
}

// Discard removes a blob that turned out to be damaged.
func (s *Store) Discard(digest string) { _ = os.Remove(s.BlobPath(digest)) }

// Writer takes the bytes of a blob that is about to enter the store. Exactly one of Commit and Abort ends it; Abort
// after Commit does nothing, so it can be deferred.
type Writer struct {
	store *Store
	f     *os.File
	h     hash.Hash // nil where the bytes are verified on their way here
	n     int64
	done  bool
	along *followed // nil where nobody reads along
}

// NewWriter starts a blob.
func (s *Store) NewWriter() (*Writer, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "blob-")
	if err != nil {
		return nil, fmt.Errorf("writing to the cache: %w", err)
	}
	return &Writer{store: s, f: f, h: sha256.New()}, nil
}

func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if w.h != nil {
		w.h.Write(p[:n])
	}
	w.n += int64(n)
	if err != nil {
		return n, fmt.Errorf("writing to the cache: %w", err)
	}
	w.along.grow(w.n, nil)
	return n, nil
}

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return w.n }

// Digest is the SHA-256 of the bytes written so far, in hex.
func (w *Writer) Digest() string { return hex.EncodeToString(w.h.Sum(nil)) }

// Commit puts the blob into the store and gives its digest. Where want is not empty and differs, nothing is stored and
// the error is a *DigestError.
func (w *Writer) Commit(want string) (digest string, err error) {
	if w.done {
		return "", errors.New("the blob is committed already")
	}
	defer w.Abort() // where it is not committed
	digest = w.Digest()
	if want != "" && digest != want {
		return digest, &DigestError{Want: want, Got: digest}
	}
	return digest, w.commit(digest)
}

// commit puts the blob into its place, under a digest that it has.
func (w *Writer) commit(digest string) error {
	if err := w.f.Chmod(0o644); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	now := time.Now() // the time of a write is no finer than a clock tick
	if err := os.Chtimes(w.f.Name(), now, now); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	fi, err := w.f.Stat()
	if err := errors.Join(err, w.f.Close()); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	if err := place(w.f.Name(), w.store.BlobPath(digest)); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	w.store.written(digest, fi)
	w.done = true
	w.along.grow(w.n, io.EOF)
	return nil
}

// Abort gives the blob up, unless it was committed.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.along.grow(w.n, errGivenUp)
	_ = w.f.Close()
	_ = os.Remove(w.f.Name())
}

// DigestError says that bytes are not those that were asked for.
type DigestError struct{ Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("sha256:%s was wanted, and what came is sha256:%s", e.Want, e.Got)
}

// Put stores everything that r yields; see Writer.Commit for want.
func (s *Store) Put(r io.Reader, want string) (digest string, size int64, err error) {
	w, err := s.NewWriter()
	if err != nil {
		return "", 0, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return "", 0, err
	}
	digest, err = w.Commit(want)
	return digest, w.n, err
}

// usedLately is how long after its last use that of a record or blob need not be noted, for Prune: a build reads hundreds.
const usedLately = time.Hour

// used gives a file the time of its last use, for Prune, where that is not lately; noted says whether it did. A read-only cache
// still serves.
func used(name string, fi os.FileInfo) (noted bool) {
	now := time.Now()
	return now.Sub(fi.ModTime()) > usedLately && os.Chtimes(name, now, now) == nil
}

// Record reads the small record with this key in a namespace ("layer", "facts"). A record that is cut or damaged is
// discarded and is ErrNotFound.
func (s *Store) Record(namespace, key string) ([]byte, error) {
	name := s.recordPath(namespace, key)
	body, fi, err := readRecord(name)
	if errors.Is(err, errDamagedRecord) {
		_ = os.Remove(name)
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	used(name, fi)
	return body, nil
}

// errDamagedRecord is what readRecord says of a record that is cut, or not what was written.
var errDamagedRecord = errors.New("a record is damaged")

// readRecord reads a record as it is; ErrNotFound where there is none.
func readRecord(name string) (body []byte, fi os.FileInfo, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	b := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, b); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	sum, body, ok := bytes.Cut(b, []byte("\n"))
	if want := sha256.Sum256(body); !ok || string(sum) != hex.EncodeToString(want[:]) {
		return nil, nil, errDamagedRecord
	}
	return body, fi, nil
}

// PutRecord stores a small record, in place of one that has the same key.
func (s *Store) PutRecord(namespace, key string, data []byte) error {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "record-")
	if err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	defer os.Remove(f.Name())
	sum := sha256.Sum256(data)
	_, err = f.Write(slices.Concat([]byte(hex.EncodeToString(sum[:])+"\n"), data))
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	if err := place(f.Name(), s.recordPath(namespace, key)); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	return nil
}

// recordPath hashes the key, so that any string can be one.
func (s *Store) recordPath(namespace, key string) string {
	sum := sha256.Sum256([]byte(key))
	h := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, "records", namespace, h[:2], h)
}

// place renames a finished file into its place, and makes the folder for it.
func place(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		err = os.Rename(from, to)
	}
	return err
}

// ValidDigest says whether d is a SHA-256 in 64 lower-case hex digits.
func ValidDigest(d string) bool {
	return len(d) == 64 && strings.Trim(d, "0123456789abcdef") == ""
}
