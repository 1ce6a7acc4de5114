// Package registry is an OCI registry kept in a folder: what `jubako registry serve` serves, for demos, tests and sites
// without a network. It implements the OCI Distribution Specification 1.1: pull, push (monolithic, chunked, mounted),
// content discovery, content management and referrers.
//
// Nothing is kept in memory: blobs are streamed to disk and renamed into place once their digest holds, and tags are
// files, so that a restart loses nothing and several processes may serve one folder. There is no authentication: it is
// for the loopback interface.
//
// The folder holds
//
//	blobs/ALGORITHM/xx/HEX                 each blob once, for all repositories
//	repositories/NAME/_blobs/DIGEST        the same file (a hard link), in each repository that was given it
//	repositories/NAME/_manifests/DIGEST    the media type, a line feed, and the manifest
//	repositories/NAME/_referrers/SUBJECT/DIGEST   a descriptor
//	repositories/NAME/_tags/TAG            a digest
//	uploads/ID                             what has come of a blob
//
// A repository has what it was given and nothing else, and deleting in one takes nothing from another.
//
// It imports nothing of jubako.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jubako/jubako/pkg/lazyre"
)

// maxManifest bounds a manifest's size in bytes (distribution-spec, "Pushing Manifests", asks for at least 4 MiB).
const maxManifest = 4 << 20

// Registry serves one folder.
type Registry struct {
	dir string
	log func(string)
}

// New opens the registry in dir, and makes the folder where there is none. log, which may be nil, is told of every request.
func New(dir string, log func(string)) (*Registry, error) {
	for _, d := range []string{"blobs/sha256", "blobs/sha512", "uploads", "repositories"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("opening the registry: %w", err)
		}
	}
	if log == nil {
		log = func(string) {}
	}
	return &Registry{dir: dir, log: log}, nil
}

// The grammar of names, tags and digests (distribution-spec, "Pulling manifests").
var (
	nameRE   = lazyre.New(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRE    = lazyre.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestRE = lazyre.New(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

// maxName bounds a repository's name, so that every name is a possible path.
const maxName = 200

// apiError is an error that a client is told of (distribution-spec, "Error Codes").
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.message }

func refuse(status int, code, format string, args ...any) error {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

// route is a request's path, taken apart.
type route struct {
	name string // repository
	kind string // "blobs", "uploads", "manifests", "tags", "referrers"
	ref  string // digest, tag or upload
}

// parseRoute takes a path below /v2/ apart. Names hold slashes, so the end is read first.
func parseRoute(path string) (route, error) {
	notFound := refuse(http.StatusNotFound, "NAME_INVALID", "no such place: %q", path)
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	n := len(parts)
	if n < 3 {
		return route{}, notFound
	}
	var r route
	switch last, before := parts[n-1], parts[n-2]; {
	case before == "blobs" && last == "uploads": // without the closing slash
		r = route{strings.Join(parts[:n-2], "/"), "uploads", ""}
	case n > 3 && parts[n-3] == "blobs" && before == "uploads":
		r = route{strings.Join(parts[:n-3], "/"), "uploads", last}
	case before == "tags" && last == "list":
		r = route{strings.Join(parts[:n-2], "/"), "tags", ""}
	case before == "blobs" || before == "manifests" || before == "referrers":
		r = route{strings.Join(parts[:n-2], "/"), before, last}
	default:
		return route{}, notFound
	}
	if !validName(r.name) {
		return route{}, refuse(http.StatusBadRequest, "NAME_INVALID", "%q is no name of a repository", r.name)
	}
	return r, nil
}

// ServeHTTP answers a request of the distribution API. It may be called from any number of goroutines.
func (g *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := g.serve(w, req)
	if err == nil {
		g.log(fmt.Sprintf("%s %s", req.Method, req.URL.Path))
		return
	}
	g.log(fmt.Sprintf("%s %s: %v", req.Method, req.URL.Path, err))
	api, ok := errors.AsType[*apiError](err)
	switch {
	case ok:
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		api = &apiError{http.StatusInsufficientStorage, "UNKNOWN", "the registry's disk is full"}
	default:
		api = &apiError{http.StatusInternalServerError, "UNKNOWN", "the registry has a fault of its own, which its log names"}
	}
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	writeJSON(w, req, api.status, "application/json", map[string][]item{"errors": {{api.code, api.message}}})
}

func validName(name string) bool { return len(name) <= maxName && nameRE().MatchString(name) }

func (g *Registry) serve(w http.ResponseWriter, req *http.Request) error {
	switch req.URL.Path {
	case "/v2", "/v2/":
		writeJSON(w, req, http.StatusOK, "application/json", struct{}{})
		return nil
	case "/v2/_catalog":
		return g.catalog(w, req)
	}
	if !strings.HasPrefix(req.URL.Path, "/v2/") {
		return refuse(http.StatusNotFound, "UNSUPPORTED", "this is a registry: its API is below /v2/")
	}
	r, err := parseRoute(req.URL.Path)
	if err != nil {
		return err
	}
	get := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch {
	case r.kind == "blobs" && get:
		return g.getBlob(w, req, r)
	case r.kind == "blobs" && req.Method == http.MethodDelete:
		return g.deleteBlob(w, r)
	case r.kind == "uploads" && req.Method == http.MethodPost && r.ref == "":
		return g.startUpload(w, req, r)
	case r.kind == "uploads" && r.ref != "":
		return g.upload(w, req, r)
	case r.kind == "manifests" && get:
		return g.getManifest(w, req, r)
	case r.kind == "manifests" && req.Method == http.MethodPut:
		return g.putManifest(w, req, r)
	case r.kind == "manifests" && req.Method == http.MethodDelete:
		return g.deleteManifest(w, r)
	case r.kind == "tags" && get:
		return g.listTags(w, req, r)
	case r.kind == "referrers" && get:
		return g.referrers(w, req, r)
	}
	return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not for this place", req.Method)
}

func writeJSON(w http.ResponseWriter, req *http.Request, status int, mediaType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.WriteHeader(status)
	if req.Method != http.MethodHead {
		_, _ = w.Write(b) // a client that has gone away needs no answer
	}
}

// blobPath is where a blob stands; the digest has been checked.
func (g *Registry) blobPath(digest string) string {
	alg, hex, _ := strings.Cut(digest, ":")
	return filepath.Join(g.dir, "blobs", alg, hex[:2], hex)
}

// repo is a path below a repository's folder. No repository's name has a part that starts with "_".
func (g *Registry) repo(name string, elem ...string) string {
	return filepath.Join(append([]string{g.dir, "repositories", filepath.FromSlash(name)}, elem...)...)
}

// writeFile writes a file under another name and renames it into its place.
func (g *Registry) writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Join(g.dir, "uploads"), ".file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return place(f.Name(), name)
}

func place(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// missing says that nothing is there: also where the path leads through a file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
