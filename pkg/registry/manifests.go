package registry

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// descriptor is what a referrers list says of a manifest (image-spec, "descriptor").
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// manifestFields is what the registry reads of a manifest or an index.
type manifestFields struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *descriptor       `json:"config"`
	Layers       []descriptor      `json:"layers"`
	Manifests    []descriptor      `json:"manifests"`
	Subject      *descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// digestOf turns a tag or a digest into the digest of a manifest that the repository has.
func (g *Registry) digestOf(r route) (digest string, err error) {
	unknown := refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s has no manifest %s", r.name, r.ref)
	digest = r.ref
	switch {
	case digestRE.MatchString(r.ref):
	case tagRE.MatchString(r.ref):
		b, err := os.ReadFile(g.repo(r.name, "_tags", r.ref))
		if missing(err) {
			return "", unknown
		}
		if err != nil {
			return "", err
		}
		digest = string(b)
	default:
		return "", refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is neither a tag nor a digest", r.ref)
	}
	if _, err := os.Stat(g.repo(r.name, "_manifests", digest)); missing(err) {
		return "", unknown
	} else if err != nil {
		return "", err
	}
	return digest, nil
}

// getManifest serves a manifest with the media type that it was pushed with (distribution-spec, "Pulling manifests").
func (g *Registry) getManifest(w http.ResponseWriter, req *http.Request, r route) error {
	digest, err := g.digestOf(r)
	if err != nil {
		return err
	}
	mediaType, err := os.ReadFile(g.repo(r.name, "_manifests", digest))
	if err != nil {
		return err
	}
	b, err := os.ReadFile(g.blobPath(digest))
	if missing(err) {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "the content of %s was deleted", digest)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", string(mediaType))
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("Etag", `"`+digest+`"`)
	if req.Method == http.MethodGet {
		_, err = w.Write(b)
	}
	return err
}

// putManifest stores a manifest whose blobs are all there (distribution-spec, "Pushing Manifests"). The tag, if one is
// named, moves last.
func (g *Registry) putManifest(w http.ResponseWriter, req *http.Request, r route) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return refuse(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a manifest has at most %d bytes", maxManifest)
	}
	if err != nil {
		return fmt.Errorf("receiving a manifest: %w", err)
	}
	var m manifestFields
	if err := json.Unmarshal(b, &m); err != nil {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "reading the manifest: %v", err)
	}
	mediaType := cmp.Or(req.Header.Get("Content-Type"), m.MediaType, "application/vnd.oci.image.manifest.v1+json")
	if m.MediaType != "" && m.MediaType != mediaType {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "the manifest says it is %s, and the request says %s", m.MediaType, mediaType)
	}
	alg := "sha256"
	byDigest := digestRE.MatchString(r.ref)
	if byDigest {
		alg, _, _ = strings.Cut(r.ref, ":")
	} else if !tagRE.MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is neither a tag nor a digest", r.ref)
	}
	h := newHash(alg)
	h.Write(b)
	digest := alg + ":" + hex.EncodeToString(h.Sum(nil))
	if byDigest && digest != r.ref {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "what came is %s, not %s", digest, r.ref)
	}
	if err := g.checkParts(r.name, m); err != nil {
		return err
	}
	if err := g.writeFile(g.blobPath(digest), b); err != nil {
		return err
	}
	if err := g.writeFile(g.repo(r.name, "_manifests", digest), []byte(mediaType)); err != nil {
		return err
	}
	if m.Subject != nil && digestRE.MatchString(m.Subject.Digest) {
		d := descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(b)), ArtifactType: m.ArtifactType, Annotations: m.Annotations}
		if d.ArtifactType == "" && m.Config != nil {
			d.ArtifactType = m.Config.MediaType
		}
		entry, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if err := g.writeFile(g.repo(r.name, "_referrers", m.Subject.Digest, digest), entry); err != nil {
			return err
		}
		w.Header().Set("OCI-Subject", m.Subject.Digest)
	}
	if !byDigest {
		if err := g.writeFile(g.repo(r.name, "_tags", r.ref), []byte(digest)); err != nil {
			return err
		}
	}
	w.Header().Set("Location", "/v2/"+r.name+"/manifests/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// foreign layers stand elsewhere, and need not be here.
func foreign(d descriptor) bool {
	return strings.Contains(d.MediaType, "foreign") || strings.Contains(d.MediaType, "nondistributable")
}

// checkParts refuses a manifest that names what is not there.
func (g *Registry) checkParts(name string, m manifestFields) error {
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(blobs[:len(blobs):len(blobs)], *m.Config)
	}
	for _, d := range blobs {
		if !digestRE.MatchString(d.Digest) {
			return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is no digest", d.Digest)
		}
		if _, err := os.Stat(g.blobPath(d.Digest)); missing(err) && !foreign(d) {
			return refuse(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "there is no blob %s", d.Digest)
		}
	}
	for _, d := range m.Manifests {
		if !digestRE.MatchString(d.Digest) {
			return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is no digest", d.Digest)
		}
		if _, err := os.Stat(g.repo(name, "_manifests", d.Digest)); missing(err) {
			return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no manifest %s", d.Digest)
		}
	}
	return nil
}

// deleteManifest removes a tag, or a manifest with the tags that lead to it (distribution-spec, "Content Management").
func (g *Registry) deleteManifest(w http.ResponseWriter, r route) error {
	digest, err := g.digestOf(r)
	if err != nil {
		return err
	}
	doomed := []string{g.repo(r.name, "_tags", r.ref)}
	if digest == r.ref {
		doomed = []string{g.repo(r.name, "_manifests", digest)}
		tags, err := names(g.repo(r.name, "_tags"))
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if b, err := os.ReadFile(g.repo(r.name, "_tags", tag)); err == nil && string(b) == digest {
				doomed = append(doomed, g.repo(r.name, "_tags", tag))
			}
		}
		of, err := filepath.Glob(g.repo(r.name, "_referrers", "*", digest))
		if err != nil {
			return err
		}
		doomed = append(doomed, of...)
	}
	for _, name := range doomed {
		if err := os.Remove(name); err != nil && !missing(err) {
			return err
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// names lists a folder's files in order; a folder that is not there has none.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if missing(err) {
		return nil, nil
	}
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.Name()
	}
	return all, err
}

// listTags lists a repository's tags, page by page (distribution-spec, "Listing Tags").
func (g *Registry) listTags(w http.ResponseWriter, req *http.Request, r route) error {
	if _, err := os.Stat(g.repo(r.name, "_manifests")); missing(err) {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "there is no repository %s", r.name)
	}
	tags, err := names(g.repo(r.name, "_tags"))
	if err != nil {
		return err
	}
	if tags, err = page(w, req, tags); err != nil {
		return err
	}
	writeJSON(w, req, http.StatusOK, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{r.name, tags})
	return nil
}

// page gives the part of a sorted list that the query's n and last ask for, and links the next.
func page(w http.ResponseWriter, req *http.Request, all []string) ([]string, error) {
	q := req.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if s := q.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return nil, refuse(http.StatusBadRequest, "UNSUPPORTED", "n=%q is no number", s)
		}
		if n < len(all) {
			all = all[:n]
			if n > 0 {
				next := url.URL{Path: req.URL.Path, RawQuery: url.Values{"n": {s}, "last": {all[n-1]}}.Encode()}
				w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
			}
		}
	}
	if all == nil {
		all = []string{}
	}
	return all, nil
}

// catalog lists the repositories.
func (g *Registry) catalog(w http.ResponseWriter, req *http.Request) error {
	var all []string
	root := filepath.Join(g.dir, "repositories")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !strings.HasPrefix(d.Name(), "_") {
			return err
		}
		if d.Name() == "_manifests" {
			rel, err := filepath.Rel(root, filepath.Dir(p))
			if err != nil {
				return err
			}
			all = append(all, filepath.ToSlash(rel))
		}
		return fs.SkipDir
	})
	if err != nil {
		return err
	}
	slices.Sort(all)
	if all, err = page(w, req, all); err != nil {
		return err
	}
	writeJSON(w, req, http.StatusOK, "application/json", map[string][]string{"repositories": all})
	return nil
}

// referrers lists the manifests whose subject is the digest (distribution-spec, "Listing Referrers").
func (g *Registry) referrers(w http.ResponseWriter, req *http.Request, r route) error {
	if !digestRE.MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", r.ref)
	}
	dir := g.repo(r.name, "_referrers", r.ref)
	files, err := names(dir)
	if err != nil {
		return err
	}
	only := req.URL.Query().Get("artifactType")
	list := []descriptor{}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		var d descriptor
		if err := json.Unmarshal(b, &d); err != nil {
			return fmt.Errorf("reading the referrers of %s: %w", r.ref, err)
		}
		if only == "" || d.ArtifactType == only {
			list = append(list, d)
		}
	}
	if only != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	const index = "application/vnd.oci.image.index.v1+json"
	writeJSON(w, req, http.StatusOK, index, struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{2, index, list})
	return nil
}
