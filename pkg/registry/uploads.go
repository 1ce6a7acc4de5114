package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/jubako/jubako/pkg/lazyre"
)

// uploadRE is the form of an upload's name, which the registry chooses.
var uploadRE = lazyre.New(`^[0-9a-f]{32}$`)

// startUpload begins an upload, mounts a blob, or takes a whole blob at once (distribution-spec, "Pushing blobs").
func (g *Registry) startUpload(w http.ResponseWriter, req *http.Request, r route) error {
	q := req.URL.Query()
	if digest := q.Get("mount"); digest != "" {
		mounted, err := g.mount(r.name, digest, q.Get("from"))
		if err != nil {
			return err
		}
		if mounted {
			created(w, r, digest)
			return nil
		}
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	r.ref = hex.EncodeToString(id[:])
	f, err := os.OpenFile(g.uploadPath(r), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if q.Has("digest") {
		err := g.finishUpload(w, req, r)
		if err != nil {
			// Nobody was told of this upload, so that nobody can go on with it.
			if rerr := os.Remove(g.uploadPath(r)); !missing(rerr) {
				err = errors.Join(err, rerr)
			}
		}
		return err
	}
	progress(w, r, 0)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (g *Registry) uploadPath(r route) string { return filepath.Join(g.dir, "uploads", r.ref) }

// upload goes on with an upload: PATCH adds a chunk, PUT closes it, GET tells how far it is, DELETE gives it up.
func (g *Registry) upload(w http.ResponseWriter, req *http.Request, r route) error {
	switch req.Method {
	case http.MethodGet:
		if !uploadRE().MatchString(r.ref) {
			return unknownUpload(r)
		}
		fi, err := os.Stat(g.uploadPath(r))
		if missing(err) {
			return unknownUpload(r)
		}
		if err != nil {
			return err
		}
		progress(w, r, fi.Size())
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodDelete:
		u, err := g.openUpload(req.Context(), r)
		if err != nil {
			return err
		}
		err = os.Remove(u.Name())
		if err := errors.Join(err, u.Close()); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		u, err := g.openUpload(req.Context(), r)
		if err != nil {
			return err
		}
		size, err := u.add(w, req, r, nil)
		if err := errors.Join(err, u.Close()); err != nil {
			return err
		}
		progress(w, r, size)
		w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		return g.finishUpload(w, req, r)
	}
	return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not for an upload", req.Method)
}

func unknownUpload(r route) error {
	return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no upload %q", r.ref)
}

// openUpload is an upload's file, which no other request and no other process writes to or renames until Close.
type openUpload struct {
	*os.File
	lock *flock.Flock
}

// uploadPatience is how long a request waits for another one that writes to the same upload, as the first half of a
// repeated request may do.
const uploadPatience = 10 * time.Second

func (g *Registry) openUpload(ctx context.Context, r route) (*openUpload, error) {
	if !uploadRE().MatchString(r.ref) {
		return nil, unknownUpload(r)
	}
	ctx, cancel := context.WithTimeout(ctx, uploadPatience)
	defer cancel()
	lock := flock.New(g.uploadPath(r), flock.SetFlag(os.O_RDWR)) // not created where it is missing
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); missing(err) {
		return nil, unknownUpload(r)
	} else if errors.Is(err, context.DeadlineExceeded) {
		return nil, refuse(http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request is writing to the upload %s", r.ref)
	} else if err != nil {
		return nil, err
	}
	// Only who holds the lock renames or removes: the name is still this file's, or it is gone.
	f, err := os.OpenFile(g.uploadPath(r), os.O_RDWR, 0)
	if missing(err) {
		err = unknownUpload(r)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &openUpload{f, lock}, nil
}

func (u *openUpload) Close() error { return errors.Join(u.File.Close(), u.lock.Close()) }

// add adds the request's body to the upload, and gives the upload's size. What it adds to an upload that was empty goes to
// sum too, unless sum is nil. On an error the upload is as it was, so that the client can send the chunk again.
func (u *openUpload) add(w http.ResponseWriter, req *http.Request, r route, sum io.Writer) (size int64, err error) {
	at, err := u.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	want := req.ContentLength
	if s := req.Header.Get("Content-Range"); s != "" {
		first, last, ok := parseRange(s)
		if !ok {
			return 0, refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "Content-Range %q is not FIRST-LAST", s)
		}
		if first != at {
			progress(w, r, at)
			return 0, refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the chunk starts at %d, and the upload ends at %d", first, at)
		}
		if n := last - first + 1; want < 0 {
			want = n
		} else if n != want {
			return 0, refuse(http.StatusBadRequest, "SIZE_INVALID", "Content-Range %q has %d bytes, and the request %d", s, n, want)
		}
	}
	var to io.Writer = u.File
	if sum != nil && at == 0 {
		to = io.MultiWriter(u.File, sum)
	}
	n, err := io.Copy(to, req.Body)
	if err == nil && want >= 0 && n != want {
		err = fmt.Errorf("%d bytes were announced, and %d came", want, n)
	}
	if err != nil {
		if _, local := errors.AsType[*fs.PathError](err); !local {
			err = refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "receiving a chunk: %v", err)
		}
		return 0, errors.Join(err, u.Truncate(at))
	}
	return at + n, nil
}

// parseRange reads an upload's Content-Range: "FIRST-LAST", both inclusive (distribution-spec, "Pushing a blob in
// chunks"). The unit of RFC 9110 is allowed before it, as some clients send it.
func parseRange(s string) (first, last int64, ok bool) {
	a, b, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "-")
	b, _, _ = strings.Cut(b, "/")
	if !ok || !digits(a) || !digits(b) {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	const most = 1 << 60 // far from where a size overflows
	return first, last, err == nil && err2 == nil && first <= last && last < most
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// finishUpload adds what the request still brings, compares the digest, and makes a blob of the upload. An upload of
// another digest is given up.
func (g *Registry) finishUpload(w http.ResponseWriter, req *http.Request, r route) error {
	digest := req.URL.Query().Get("digest")
	if !digestRE().MatchString(digest) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", digest)
	}
	u, err := g.openUpload(req.Context(), r)
	if err != nil {
		return err
	}
	err = g.finish(u, w, req, r, digest)
	if err := errors.Join(err, u.Close()); err != nil {
		return err
	}
	created(w, r, digest)
	return nil
}

func (g *Registry) finish(u *openUpload, w http.ResponseWriter, req *http.Request, r route, digest string) error {
	before, err := u.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	h := newHash(digest)
	if _, err := u.add(w, req, r, h); err != nil {
		return err
	}
	if before > 0 {
		if err := u.hash(h); err != nil {
			return err
		}
	}
	if got := digestOfHash(h, digest); got != digest {
		return errors.Join(refuse(http.StatusBadRequest, "DIGEST_INVALID", "what came is %s, not %s", got, digest), os.Remove(u.Name()))
	}
	if err := u.Sync(); err != nil { // a blob that is there is whole, after a power cut too
		return err
	}
	return g.store(r.name, digest, u.Name())
}

// hash reads the whole upload.
func (u *openUpload) hash(h hash.Hash) error {
	if _, err := u.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(h, u.File)
	return err
}

// RemoveStale removes uploads that nobody has added to since a time, and what a crash left behind.
func (g *Registry) RemoveStale(before time.Time) error {
	dir := filepath.Join(g.dir, "uploads")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("removing stale uploads: %w", err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() || !fi.ModTime().Before(before) {
			continue // gone since, or in use
		}
		if err := removeUnlocked(filepath.Join(dir, e.Name())); err != nil && !missing(err) {
			return fmt.Errorf("removing stale uploads: %w", err)
		}
	}
	return nil
}

// removeUnlocked removes a file unless a request has it open.
func removeUnlocked(name string) error {
	lock := flock.New(name, flock.SetFlag(os.O_RDWR))
	locked, err := lock.TryLock()
	if err != nil || !locked {
		return err
	}
	return errors.Join(os.Remove(name), lock.Close())
}
