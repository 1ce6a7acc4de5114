package registry

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// getBlob serves a blob, or a range of it (distribution-spec, "Pulling blobs").
func (g *Registry) getBlob(w http.ResponseWriter, req *http.Request, r route) error {
	if !digestRE().MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", r.ref)
	}
	f, err := os.Open(g.repo(r.name, "_blobs", r.ref))
	if missing(err) {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "%s has no blob %s", r.name, r.ref)
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

// hasBlob says whether a repository was given a blob.
func (g *Registry) hasBlob(name, digest string) (bool, error) {
	_, err := os.Stat(g.repo(name, "_blobs", digest))
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

// deleteBlob takes a blob from one repository (distribution-spec, "Deleting Blobs"). Its bytes go with the last of them.
func (g *Registry) deleteBlob(w http.ResponseWriter, r route) error {
	if !digestRE().MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", r.ref)
	}
	err := os.Remove(g.repo(r.name, "_blobs", r.ref))
	if missing(err) {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "%s has no blob %s", r.name, r.ref)
	}
	if err != nil {
		return err
	}
	// A repository that is given the blob at this very moment has a link of its own, and does not need this one.
	if fi, err := os.Stat(g.blobPath(r.ref)); err == nil && links(fi) == 1 {
		if err := os.Remove(g.blobPath(r.ref)); err != nil && !missing(err) {
			return err
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// give puts a blob that stands in a file into a repository, without moving its bytes.
func (g *Registry) give(name, digest, file string) error {
	to := g.repo(name, "_blobs", digest)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := os.Link(file, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	if missing(err) {
		return err
	}
	return g.copyFile(file, to) // a file system without hard links, or too many of them
}

func (g *Registry) copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	f, err := os.CreateTemp(filepath.Join(g.dir, "uploads"), ".file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, src)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// mount gives a repository a blob that another one has (distribution-spec, "Mounting a blob from another repository"),
// and says whether it could. A client that names no other repository gets what any of them has.
func (g *Registry) mount(name, digest, from string) (bool, error) {
	if !digestRE().MatchString(digest) {
		return false, nil
	}
	file := g.blobPath(digest)
	if from != "" {
		if !validName(from) {
			return false, nil
		}
		file = g.repo(from, "_blobs", digest)
	}
	err := g.give(name, digest, file)
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

// store takes a finished upload, whose digest holds, as a blob of a repository.
func (g *Registry) store(name, digest, upload string) error {
	// Where the bytes are there already, those stay, and the repositories go on sharing them.
	err := g.give(name, digest, g.blobPath(digest))
	if err == nil {
		return os.Remove(upload)
	}
	if !missing(err) {
		return err
	}
	if err := g.give(name, digest, upload); err != nil {
		return err
	}
	return place(upload, g.blobPath(digest))
}

func newHash(digest string) hash.Hash {
	if strings.HasPrefix(digest, "sha512:") {
		return sha512.New()
	}
	return sha256.New()
}

// digestOfHash gives the digest that h has come to, in the algorithm of another digest.
func digestOfHash(h hash.Hash, like string) string {
	algorithm, _, _ := strings.Cut(like, ":")
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil))
}

// created answers that the repository has the blob.
func created(w http.ResponseWriter, r route, digest string) {
	w.Header().Set("Location", "/v2/"+r.name+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// progress says where an upload goes on, and how far it is.
func progress(w http.ResponseWriter, r route, size int64) {
	w.Header().Set("Location", "/v2/"+r.name+"/blobs/uploads/"+r.ref)
	w.Header().Set("Docker-Upload-Uuid", r.ref)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, size-1)))
}
