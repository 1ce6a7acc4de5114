// Package attach describes the attachments of a pushed image: small blobs with names, which a later build finds from the
// image's digest. They are no part of the image: its digest does not depend on them, no client pulls them, and a build must
// be right without them.
//
// In a registry they are one artifact (image-spec manifest.md, "Guidelines for Artifact Usage") whose subject is the image's
// manifest, or its index where it has several platforms. It is found by the referrers API, or by the tag that stands in for
// it where a registry lacks one (distribution-spec 1.1, "Listing Referrers", "Referrers Tag Schema"), and a registry keeps it
// for as long as the image. A copy made by a tool that leaves referrers behind has none.
//
// To let something travel: assemble's builder.attach puts it under a name of its own, output.Push brings it up beside the image's
// blobs and has it found once the tags have moved, and builder.attached finds it in the image that a tag or --cache-from leads to, by way of base's Opened.Attachments;
// builder.borrow does so too, and keeps what it found for the next build from the same repository. The name says what it is and
// for what, such as facts-SHA256 of the base's manifest. The bytes are compared with their digest on every way, and that is all
// that is known of them: whoever may push to the repository may have written them. So a user of them
//   - checks and bounds them like any other input, and does without where they do not fit;
//   - keeps what it concludes from them under the repository's name, never where builds of other images would find it;
//   - lets them decide nothing but what goes into an image that is built from that repository's last one, whose layers are
//     trusted in the same way.
//
// It imports nothing of jubako.
package attach

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/lazyre"
)

// ArtifactType is the artifact's, and MediaType that of every blob in it.
const (
	ArtifactType = "application/vnd.jubako.attachments.v1+json"
	MediaType    = "application/vnd.jubako.attachment.v1"
)

// title is the annotation that names a blob (image-spec annotations.md).
const title = "org.opencontainers.image.title"

// The bounds of the attachments of one image. What has at most inline bytes stands in the manifest too, which saves the
// reader a round trip (image-spec descriptor.md, "data").
const (
	MaxCount    = 64
	MaxSize     = 4 << 20 // bytes of one
	MaxManifest = 1 << 20 // bytes
	inline      = 12 << 10
)

// Empty is the content of the artifact's config (image-spec manifest.md, "Guidance for an Empty Descriptor").
const Empty = "{}"

const emptyType = "application/vnd.oci.empty.v1+json"

// Attachment is a blob under its name: lower-case letters, digits, ".", "_" and "-", at most 128, a letter or digit first.
type Attachment struct {
	Name string
	Data []byte
}

var nameRE = lazyre.New(`^[a-z0-9][a-z0-9._-]{0,127}$`)

// Digest is the digest of the attachment's blob.
func (a Attachment) Digest() v1.Hash { return digestOf(a.Data) }

// Entry is what a manifest says of an attachment. Its Data is the whole content where the manifest holds it, else nil.
type Entry struct {
	Name string
	v1.Descriptor
}

// descriptor and manifest have their keys in the order of the image-spec, so that the same attachments have one digest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      v1.Hash           `json:"digest"`
	Size        int64             `json:"size"`
	Data        []byte            `json:"data,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        descriptor      `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Subject       *descriptor     `json:"subject"`
}

// Subject is the manifest that is attached to.
type Subject struct {
	MediaType types.MediaType
	Digest    v1.Hash
	Size      int64
}

// Manifest gives the artifact's manifest. It depends on the arguments alone, and not on the order of the attachments.
func Manifest(to Subject, all []Attachment) ([]byte, error) {
	all = slices.SortedFunc(slices.Values(all), func(a, b Attachment) int { return strings.Compare(a.Name, b.Name) })
	if len(all) == 0 || len(all) > MaxCount {
		return nil, fmt.Errorf("%d attachments, where an image has 1 to %d", len(all), MaxCount)
	}
	m := manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: ArtifactType,
		Config:  descriptor{MediaType: emptyType, Digest: digestOf([]byte(Empty)), Size: int64(len(Empty)), Data: []byte(Empty)},
		Subject: &descriptor{MediaType: string(to.MediaType), Digest: to.Digest, Size: to.Size},
	}
	for i, a := range all {
		switch {
		case !nameRE().MatchString(a.Name):
			return nil, fmt.Errorf("%q is no name of an attachment", a.Name)
		case i > 0 && all[i-1].Name == a.Name:
			return nil, fmt.Errorf("two attachments have the name %s", a.Name)
		case len(a.Data) > MaxSize:
			return nil, fmt.Errorf("the attachment %s has %d bytes, and may have %d", a.Name, len(a.Data), MaxSize)
		}
		d := descriptor{MediaType: MediaType, Digest: a.Digest(), Size: int64(len(a.Data)), Annotations: map[string]string{title: a.Name}}
		if len(a.Data) <= inline {
			d.Data = a.Data
		}
		m.Layers = append(m.Layers, d)
	}
	b, err := json.Marshal(m)
	if err == nil && len(b) > MaxManifest {
		err = fmt.Errorf("the attachments' manifest has %d bytes, and may have %d", len(b), MaxManifest)
	}
	return b, err
}

// Parse reads an artifact's manifest. What of it is of another kind is left out; what contradicts itself is an error.
func Parse(raw []byte) ([]Entry, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("the attachments' manifest has %d bytes, and may have %d", len(raw), MaxManifest)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading the attachments' manifest: %w", err)
	}
	if m.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("%q is not the artifact type of attachments", m.ArtifactType)
	}
	if len(m.Layers) > MaxCount {
		return nil, fmt.Errorf("there are %d attachments, and may be %d", len(m.Layers), MaxCount)
	}
	var all []Entry
	for _, d := range m.Layers {
		name := d.Annotations[title]
		if d.MediaType != MediaType {
			continue
		}
		switch {
		case !nameRE().MatchString(name):
			return nil, fmt.Errorf("%.130q is no name of an attachment", name)
		case slices.ContainsFunc(all, func(e Entry) bool { return e.Name == name }):
			return nil, fmt.Errorf("two attachments have the name %s", name)
		case d.Digest.Algorithm != "sha256" || d.Size < 0 || d.Size > MaxSize:
			return nil, fmt.Errorf("the attachment %s has %d bytes and the digest %s: at most %d, and a sha256, are read", name, d.Size, d.Digest, MaxSize)
		case d.Data != nil && (int64(len(d.Data)) != d.Size || digestOf(d.Data) != d.Digest):
			return nil, fmt.Errorf("the attachment %s does not have its digest %s", name, d.Digest)
		}
		all = append(all, Entry{name, v1.Descriptor{MediaType: types.MediaType(d.MediaType), Digest: d.Digest, Size: d.Size, Data: d.Data}})
	}
	return all, nil
}

// Tag is the tag of the list of what refers to a manifest, where a registry has no referrers API.
func Tag(subject v1.Hash) string { return subject.Algorithm + "-" + subject.Hex }

// List adds an artifact to such a list, in place of the attachments that it holds; what is of another kind stays as it is. raw
// is nil where there is no list yet.
func List(raw []byte, artifact []byte) ([]byte, error) {
	index := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     types.MediaType   `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
	}{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []json.RawMessage{}}
	if raw != nil {
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, fmt.Errorf("reading the list of referrers: %w", err)
		}
		if index.MediaType != types.OCIImageIndex {
			return nil, errors.New("reading the list of referrers: it is no index")
		}
	}
	type entry struct {
		MediaType    types.MediaType `json:"mediaType"`
		Digest       v1.Hash         `json:"digest"`
		Size         int64           `json:"size"`
		ArtifactType string          `json:"artifactType"`
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(m json.RawMessage) bool {
		var e entry
		return json.Unmarshal(m, &e) == nil && e.ArtifactType == ArtifactType
	})
	own, err := json.Marshal(entry{types.OCIManifestSchema1, digestOf(artifact), int64(len(artifact)), ArtifactType})
	if err != nil {
		return nil, err
	}
	index.Manifests = append(index.Manifests, own)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err = e.Encode(index)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func digestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
