package base

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/jubako/jubako/pkg/attach"
	"github.com/jubako/jubako/pkg/regclient"
)

// maxArtifacts is how many artifacts with attachments are looked at. An image has one, unless it was pushed twice with others.
const maxArtifacts = 4

// Attachments are the small blobs that travel with a pushed image (pkg/attach).
type Attachments struct {
	opened  *Opened
	entries []attach.Entry
}

// Attachments finds what is attached to the image, or to the index. Only a registry holds such; elsewhere, and where there
// are none, there is nothing in what it gives.
func (o *Opened) Attachments(ctx context.Context) (*Attachments, error) {
	all := &Attachments{opened: o}
	s, ok := o.blobs.(*registrySource)
	if !ok || s.o.Offline {
		return all, nil
	}
	options := append(s.options()[:len(s.options()):len(s.options())], remote.WithFilter("artifactType", attach.ArtifactType))
	index, err := remote.Referrers(s.repo.Digest(o.Digest.String()), options...)
	if err != nil {
		return nil, regclient.Explain(err, fmt.Sprintf("looking for what is attached to %s", o.Source))
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading what refers to %s: %w", o.Source, err)
	}
	var errs []error
	for i, d := range list.Manifests {
		if i == maxArtifacts {
			break
		}
		if !d.MediaType.IsImage() || d.Size > attach.MaxManifest {
			continue
		}
		raw, err := o.read(ctx, d)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		entries, err := attach.Parse(raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all.entries = append(all.entries, entries...)
	}
	if len(all.entries) == 0 && len(errs) > 0 {
		return nil, fmt.Errorf("reading what is attached to %s: %w", o.Source, errors.Join(errs...))
	}
	return all, nil
}

// Blobs are what the attachments consist of, in the repository of the image.
func (a *Attachments) Blobs() (all []v1.Hash) {
	for _, e := range a.entries {
		all = append(all, e.Digest)
	}
	if all != nil {
		all = append(all, attach.Attachment{Data: []byte(attach.Empty)}.Digest())
	}
	return all
}

// Read gives the content of the attachment with the name, nil where there is none. It is compared with its digest and has at
// most attach.MaxSize bytes; what it says is for the caller to judge.
func (a *Attachments) Read(ctx context.Context, name string) ([]byte, error) {
	for _, e := range a.entries {
		switch {
		case e.Name != name:
		case e.Data != nil:
			return e.Data, nil
		default:
			b, err := a.opened.read(ctx, v1.Descriptor{Digest: e.Digest, Size: e.Size, MediaType: e.MediaType})
			if err != nil {
				return nil, fmt.Errorf("reading what is attached to %s: %w", a.opened.Source, err)
			}
			return b, nil
		}
	}
	return nil, nil
}
