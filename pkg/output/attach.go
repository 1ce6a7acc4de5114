package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/regclient"
)

// Attachment is a text that goes with an image and is no part of it: it changes neither the image's digest nor what a client
// pulls. It travels as a manifest without content that has the image as its subject and the text as an annotation, which
// the list of an image's referrers holds too, so that one request brings it (distribution-spec, "Listing Referrers").
type Attachment struct {
	Kind string // the manifest's artifactType
	Name string // the annotation's
	Text string // at most MaxAttachment bytes
}

// MaxAttachment bounds a text in bytes, and maxReferrers what is read of a list of referrers.
const (
	MaxAttachment = 1 << 20
	maxReferrers  = 8 << 20
)

// The empty blob (image-spec manifest.md, "Guidance for an Empty Descriptor").
const (
	emptyType = types.MediaType("application/vnd.oci.empty.v1+json")
	emptyBlob = "{}"
)

// attached is a manifest with a subject.
type attached struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// referrer is an entry of a list of referrers.
type referrer struct {
	MediaType    types.MediaType   `json:"mediaType"`
	Digest       v1.Hash           `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// referrers is such a list.
type referrers struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	Manifests     []referrer      `json:"manifests"`
}

// attachAll attaches what is to go with images that are new in the repository.
func (p *pusher) attachAll(ctx context.Context, a Artifact) {
	if p.o.Attach == nil || p.unchanged(a) {
		return
	}
	for _, img := range a.Images {
		for _, at := range p.o.Attach(img) {
			if err := p.attach(ctx, img, at); err != nil && p.o.Unattached != nil {
				p.o.Unattached(regclient.Explain(err, "attaching to "+p.repo.Name()+"@"+img.Digest.String()))
			}
		}
	}
}

// attach stores an attachment of an image that the repository holds.
func (p *pusher) attach(ctx context.Context, img Image, a Attachment) error {
	if len(a.Text) > MaxAttachment {
		return fmt.Errorf("a text of %d bytes is too long to go with an image", len(a.Text))
	}
	empty := bytesBlob("empty", []byte(emptyBlob))
	none := descriptor{MediaType: emptyType, Digest: empty.Digest, Size: empty.Size}
	m := attached{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: a.Kind, Config: &none, Layers: []descriptor{none},
		Subject:     &descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.Manifest))},
		Annotations: map[string]string{a.Name: a.Text}}
	b, err := encode(m)
	if err != nil {
		return err
	}
	digest := digestOf(b)
	listed, err := p.putSubject(ctx, b, digest)
	te, ok := errors.AsType[*transport.Error](err)
	if ok && (te.StatusCode == http.StatusBadRequest || te.StatusCode == http.StatusNotFound) { // the first here
		res := p.res // which counts the image's blobs alone
		if err := p.pushBlobs(ctx, []Blob{empty}); err != nil {
			return err
		}
		p.res = res
		listed, err = p.putSubject(ctx, b, digest)
	}
	if err != nil || listed {
		return err
	}
	return p.list(ctx, img.Digest, referrer{MediaType: m.MediaType, Digest: digest, Size: int64(len(b)), ArtifactType: a.Kind, Annotations: m.Annotations})
}

// putSubject puts a manifest with a subject, and says whether the registry lists it as a referrer of that.
func (p *pusher) putSubject(ctx context.Context, b []byte, digest v1.Hash) (listed bool, err error) {
	resp, err := p.putManifestFor(ctx, digest.String(), b, types.OCIManifestSchema1)
	if err != nil {
		return false, err
	}
	return resp.Header.Get("OCI-Subject") != "", sameDigest(resp, digest)
}

// list does a registry's work that keeps no list of referrers (distribution-spec, "Referrers Tag Schema"). Where two do so at
// once, one of the entries may be lost.
func (p *pusher) list(ctx context.Context, subject v1.Hash, r referrer) error {
	tag := referrersTag(subject)
	l, err := getReferrers(ctx, p.client, p.url("/manifests/%s", tag))
	if err != nil {
		return err
	}
	if l == nil {
		l = &referrers{}
	}
	l.SchemaVersion, l.MediaType = 2, types.OCIImageIndex
	if slices.ContainsFunc(l.Manifests, func(old referrer) bool { return old.Digest == r.Digest }) {
		return nil
	}
	l.Manifests = append(l.Manifests, r)
	b, err := encode(l)
	if err != nil {
		return err
	}
	_, err = p.putManifestFor(ctx, tag, b, types.OCIImageIndex)
	return err
}

func referrersTag(subject v1.Hash) string { return subject.Algorithm + "-" + subject.Hex }

// Attached gives the texts of one kind and name that go with an image, none where there are none.
func Attached(ctx context.Context, client *regclient.Client, repo name.Repository, digest v1.Hash, kind, annotation string) ([]string, error) {
	doing := "reading what goes with " + repo.Name() + "@" + digest.String()
	auth, err := authn.Resolve(ctx, client.Keychain(), repo)
	if err != nil {
		return nil, regclient.Explain(err, doing)
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, client.Transport(), []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, regclient.Explain(err, doing)
	}
	p := &pusher{repo: repo, client: &http.Client{Transport: rt}}
	at := p.url("/referrers/%s", digest)
	at.RawQuery = url.Values{"artifactType": {kind}}.Encode()
	l, err := getReferrers(ctx, p.client, at)
	if err == nil && l == nil {
		l, err = getReferrers(ctx, p.client, p.url("/manifests/%s", referrersTag(digest)))
	}
	if err != nil {
		return nil, regclient.Explain(err, doing)
	}
	var texts []string
	if l != nil {
		for _, r := range l.Manifests {
			if text := r.Annotations[annotation]; r.ArtifactType == kind && text != "" && len(text) <= MaxAttachment {
				texts = append(texts, text)
			}
		}
	}
	return texts, nil
}

// getReferrers reads a list of referrers; nil where there is none.
func getReferrers(ctx context.Context, client *http.Client, at *url.URL) (*referrers, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", string(types.OCIImageIndex))
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReferrers+1))
	if err != nil {
		return nil, err
	}
	return parseReferrers(b)
}

func parseReferrers(b []byte) (*referrers, error) {
	if len(b) > maxReferrers {
		return nil, errors.New("the list of an image's referrers is too long")
	}
	var l referrers
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("reading the list of an image's referrers: %w", err)
	}
	return &l, nil
}
