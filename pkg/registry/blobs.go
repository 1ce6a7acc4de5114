package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errNotDir is what a path through a file gives: nothing is there either.
var errNotDir = syscall.ENOTDIR

// getBlob serves a blob, or a range of it (distribution-spec, "Pulling blobs").
func (g *Registry) getBlob(w http.ResponseWriter, req *http.Request, r route) error {
	if !digestRE.MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", r.ref)
	}
	f, err := os.Open(g.blobPath(r.ref))
	if missing(err) {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "there is no blob %s", r.ref)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Docker-Content-Digest", r.ref)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Etag", `"`+r.ref+`"`)
	http.ServeContent(w, req, "", time.Time{}, f)
	return nil
}

func (g *Registry) deleteBlob(w http.ResponseWriter, r route) error {
	if !digestRE.MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", r.ref)
	}
	err := os.Remove(g.blobPath(r.ref))
	if missing(err) {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "there is no blob %s", r.ref)
	}
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return err
}

// uploadRE is the form of an upload's name, which jubako chooses.
var uploadRE = regexp.MustCompile(`^[0-9a-f]{32}$`)

// startUpload begins an upload, mounts a blob, or takes a whole blob at once (distribution-spec, "Pushing blobs").
func (g *Registry) startUpload(w http.ResponseWriter, req *http.Request, r route) error {
	q := req.URL.Query()
	if mount := q.Get("mount"); digestRE.MatchString(mount) {
		if _, err := os.Stat(g.blobPath(mount)); err == nil {
			return g.created(w, r, mount)
		}
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	r.ref = hex.EncodeToString(id[:])
	f, err := os.OpenFile(g.uploadPath(r), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if q.Get("digest") != "" {
		return g.finishUpload(w, req, r)
	}
	g.accepted(w, r, 0)
	return nil
}

func (g *Registry) uploadPath(r route) string { return filepath.Join(g.dir, "uploads", r.ref) }

// upload goes on with an upload: PATCH adds a chunk, PUT closes it, GET tells how far it is, DELETE gives it up.
func (g *Registry) upload(w http.ResponseWriter, req *http.Request, r route) error {
	unknown := refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no upload %s", r.ref)
	if !uploadRE.MatchString(r.ref) {
		return unknown
	}
	fi, err := os.Stat(g.uploadPath(r))
	if missing(err) {
		return unknown
	}
	if err != nil {
		return err
	}
	switch req.Method {
	case http.MethodGet:
		g.progress(w, r, fi.Size())
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodDelete:
		if err := os.Remove(g.uploadPath(r)); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		size, err := g.appendChunk(req, r)
		if err != nil {
			return err
		}
		g.accepted(w, r, size)
		return nil
	case http.MethodPut:
		return g.finishUpload(w, req, r)
	}
	return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not for an upload", req.Method)
}

// appendChunk adds the request's body to the upload. A chunk that does not start where the upload ends is refused with
// 416, as the specification asks.
func (g *Registry) appendChunk(req *http.Request, r route) (size int64, err error) {
	f, err := os.OpenFile(g.uploadPath(r), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if cr := req.Header.Get("Content-Range"); cr != "" {
		start, _, _ := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
		if at, err := strconv.ParseInt(start, 10, 64); err != nil || at != fi.Size() {
			return 0, refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the chunk starts at %s, and the upload ends at %d", start, fi.Size())
		}
	}
	n, err := io.Copy(f, req.Body)
	if err != nil {
		// What came of a cut chunk is taken back, so that the client can send it again.
		return 0, errors.Join(fmt.Errorf("receiving a chunk: %w", err), f.Truncate(fi.Size()))
	}
	return fi.Size() + n, nil
}

// finishUpload adds what the request still brings, compares the digest, and puts the blob in its place.
func (g *Registry) finishUpload(w http.ResponseWriter, req *http.Request, r route) (err error) {
	digest := req.URL.Query().Get("digest")
	if !digestRE.MatchString(digest) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", digest)
	}
	if _, err := g.appendChunk(req, r); err != nil {
		return err
	}
	got, err := digestFile(g.uploadPath(r), digest)
	if err != nil {
		return err
	}
	if got != digest {
		return errors.Join(refuse(http.StatusBadRequest, "DIGEST_INVALID", "what came is %s, not %s", got, digest), os.Remove(g.uploadPath(r)))
	}
	if err := place(g.uploadPath(r), g.blobPath(digest)); err != nil {
		return err
	}
	return g.created(w, r, digest)
}

// digestFile gives the digest of a file's content, by the algorithm of the digest it is to have.
func digestFile(name, like string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	alg, _, _ := strings.Cut(like, ":")
	h := newHash(alg)
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return alg + ":" + hex.EncodeToString(h.Sum(nil)), f.Sync()
}

func newHash(alg string) hash.Hash {
	if alg == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

func (g *Registry) created(w http.ResponseWriter, r route, digest string) error {
	w.Header().Set("Location", "/v2/"+r.name+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (g *Registry) accepted(w http.ResponseWriter, r route, size int64) {
	g.progress(w, r, size)
	w.WriteHeader(http.StatusAccepted)
}

func (g *Registry) progress(w http.ResponseWriter, r route, size int64) {
	w.Header().Set("Location", "/v2/"+r.name+"/blobs/uploads/"+r.ref)
	w.Header().Set("Docker-Upload-Uuid", r.ref)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, size-1)))
}
