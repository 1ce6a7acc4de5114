package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
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
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// digestOf turns a tag or a digest into the digest of a manifest that the repository has.
func (g *Registry) digestOf(r route) (digest string, err error) {
	unknown := refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s has no manifest %s", r.name, r.ref)
	digest = r.ref
	switch {
	case digestRE().MatchString(r.ref):
	case tagRE().MatchString(r.ref):
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

// readManifest reads a manifest of a repository, and the media type that it was pushed with.
func (g *Registry) readManifest(name, digest string) (mediaType string, content []byte, err error) {
	b, err := os.ReadFile(g.repo(name, "_manifests", digest))
	if missing(err) { // deleted since
		err = refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s has no manifest %s", name, digest)
	}
	if err != nil {
		return "", nil, err
	}
	head, content, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return "", nil, fmt.Errorf("reading manifest %s of %s: it is cut", digest, name)
	}
	return string(head), content, nil
}

// getManifest serves a manifest with the media type that it was pushed with (distribution-spec, "Pulling manifests").
func (g *Registry) getManifest(w http.ResponseWriter, req *http.Request, r route) error {
	digest, err := g.digestOf(r)
	if err != nil {
		return err
	}
	mediaType, b, err := g.readManifest(r.name, digest)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("Etag", `"`+digest+`"`)
	if req.Method == http.MethodGet {
		_, _ = w.Write(b) // a client that has gone away needs no answer
	}
	return nil
}

// putManifest stores a manifest whose parts are all there (distribution-spec, "Pushing Manifests"). The tag, if one is
// named, moves last.
func (g *Registry) putManifest(w http.ResponseWriter, req *http.Request, r route) error {
	byDigest := digestRE().MatchString(r.ref)
	if !byDigest && !tagRE().MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is neither a tag nor a digest", r.ref)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		return refuse(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a manifest has at most %d bytes", maxManifest)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "receiving a manifest: %v", err)
	}
	m, err := parseManifest(b, req.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	h := newHash(r.ref)
	h.Write(b)
	digest := digestOfHash(h, r.ref)
	if !byDigest {
		digest = digestOfHash(h, "sha256:")
	}
	if byDigest && digest != r.ref {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "what came is %s, not %s", digest, r.ref)
	}
	if err := g.checkParts(r.name, m); err != nil {
		return err
	}
	if err := g.storeManifest(r.name, digest, m, b); err != nil {
		return err
	}
	if !byDigest {
		if err := g.writeFile(g.repo(r.name, "_tags", r.ref), []byte(digest)); err != nil {
			return err
		}
	}
	if m.Subject != nil {
		w.Header().Set("OCI-Subject", m.Subject.Digest)
	}
	w.Header().Set("Location", "/v2/"+r.name+"/manifests/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// mediaTypeRE is for manifests in JSON, which all are that are in use. The media type comes back to other clients as it
// was given, so that nothing is taken that a browser would run.
var mediaTypeRE = lazyre.New(`^application/[a-z0-9][a-z0-9.+-]{0,120}\+json$`)

// parseManifest reads a manifest that came as a media type, and refuses what clients could read in two ways.
func parseManifest(b []byte, contentType string) (manifestFields, error) {
	var m manifestFields
	invalid := func(format string, args ...any) (manifestFields, error) {
		return m, refuse(http.StatusBadRequest, "MANIFEST_INVALID", format, args...)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return invalid("reading the manifest: %v", err)
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.TrimSpace(contentType)
	if m.MediaType != "" && contentType != "" && m.MediaType != contentType {
		return invalid("the manifest says it is %s, and the request says %s", m.MediaType, contentType)
	}
	m.MediaType = cmp.Or(contentType, m.MediaType, "application/vnd.oci.image.manifest.v1+json")
	switch {
	case !mediaTypeRE().MatchString(m.MediaType):
		return invalid("%q is no media type of a manifest", m.MediaType)
	case m.SchemaVersion != 2:
		return invalid("its schemaVersion is %d, and only 2 is served", m.SchemaVersion)
	case m.Manifests != nil && (m.Layers != nil || m.Config != nil):
		return invalid("it is an index and an image at once") // CVE-2021-41190
	case m.Subject != nil && !digestRE().MatchString(m.Subject.Digest):
		return invalid("the digest %q of its subject is none", m.Subject.Digest)
	}
	return m, nil
}

// storeManifest stores a manifest, and notes it with its subject.
func (g *Registry) storeManifest(name, digest string, m manifestFields, content []byte) error {
	if err := g.writeFile(g.repo(name, "_manifests", digest), append([]byte(m.MediaType+"\n"), content...)); err != nil {
		return err
	}
	if m.Subject == nil {
		return nil
	}
	d := descriptor{MediaType: m.MediaType, Digest: digest, Size: int64(len(content)), ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if d.ArtifactType == "" && m.Config != nil {
		d.ArtifactType = m.Config.MediaType // as "Listing Referrers" asks
	}
	entry, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return g.writeFile(g.repo(name, "_referrers", m.Subject.Digest, digest), entry)
}

// foreign layers stand elsewhere, and need not be here.
func foreign(d descriptor) bool {
	return strings.Contains(d.MediaType, "foreign") || strings.Contains(d.MediaType, "nondistributable")
}

// checkParts refuses a manifest that names what the repository was not given. The subject alone may come later.
func (g *Registry) checkParts(name string, m manifestFields) error {
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(blobs[:len(blobs):len(blobs)], *m.Config)
	}
	for _, d := range blobs {
		if !digestRE().MatchString(d.Digest) {
			return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is no digest", d.Digest)
		}
		has, err := g.hasBlob(name, d.Digest)
		if err != nil {
			return err
		}
		if !has && !foreign(d) {
			return refuse(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "%s has no blob %s", name, d.Digest)
		}
	}
	for _, d := range m.Manifests {
		if !digestRE().MatchString(d.Digest) {
			return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%q is no digest", d.Digest)
		}
		if _, err := os.Stat(g.repo(name, "_manifests", d.Digest)); missing(err) {
			return refuse(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "%s has no manifest %s", name, d.Digest)
		} else if err != nil {
			return err
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
		if doomed, err = g.leadingTo(r.name, digest); err != nil {
			return err
		}
	}
	for _, name := range doomed {
		if err := os.Remove(name); err != nil && !missing(err) {
			return err
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// leadingTo gives the files of a manifest: its tags, its place in its subject's referrers, and itself.
func (g *Registry) leadingTo(name, digest string) ([]string, error) {
	var files []string
	tags, err := names(g.repo(name, "_tags"))
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		file := g.repo(name, "_tags", tag)
		if b, err := os.ReadFile(file); err == nil && string(b) == digest {
			files = append(files, file)
		}
	}
	mediaType, content, err := g.readManifest(name, digest)
	if err != nil {
		return nil, err
	}
	if m, err := parseManifest(content, mediaType); err == nil && m.Subject != nil {
		files = append(files, g.repo(name, "_referrers", m.Subject.Digest, digest))
	}
	return append(files, g.repo(name, "_manifests", digest)), nil
}
