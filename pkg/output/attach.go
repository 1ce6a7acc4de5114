package output

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/attach"
)

// attachAll attaches the attachments to the artifact in every repository where no tag led to it before. The image is there
// without them: what goes wrong is told, and is no error.
func attachAll(ctx context.Context, pushers []*pusher, a Artifact) {
	there := func(p *pusher) bool {
		return slices.ContainsFunc(p.refs, func(r name.Reference) bool { return p.leads[r.Identifier()] == a.Digest })
	}
	attaching := pushers[0].o.Attach
	if pushers = slices.DeleteFunc(slices.Clone(pushers), there); attaching == nil || len(pushers) == 0 {
		return
	}
	o := attaching()
	if len(o.Attachments) == 0 {
		return
	}
	var g errgroup.Group
	for _, p := range pushers {
		g.Go(func() error {
			if err := p.attach(ctx, a, o); err != nil && o.Note != nil {
				o.Note(fmt.Sprintf("nothing is attached to the image in %s: %v", p.repo.Name(), err))
			} else if err == nil && o.Attached != nil {
				o.Attached(p.repo)
			}
			return nil
		})
	}
	_ = g.Wait() // nothing in it fails
}

// attach puts the attachments beside the artifact, and in the list of what refers to it where the registry keeps none itself.
func (p *pusher) attach(ctx context.Context, a Artifact, o AttachOptions) error {
	raw, err := attach.Manifest(attach.Subject{MediaType: a.MediaType, Digest: a.Digest, Size: int64(len(a.top()))}, o.Attachments)
	if err != nil {
		return err
	}
	img := Image{Manifest: raw, MediaType: types.OCIManifestSchema1, Digest: digestOf(raw), Config: []byte(attach.Empty)}
	for _, x := range o.Attachments {
		b := bytesBlob(x.Name, x.Data)
		b.From = o.AttachedFrom[x.Name]
		img.Layers = append(img.Layers, b)
	}
	// A pusher of its own: what it moves is not counted as the image's.
	q := &pusher{o: p.o, repo: p.repo, sibling: p.sibling, client: p.client, known: make(map[v1.Hash]bool)}
	q.o.Progress = nil
	if o.AttachedEarlier != nil {
		for _, d := range o.AttachedEarlier(p.repo) {
			q.known[d] = true
		}
	}
	artifact := Single(img)
	if err := q.pushBlobs(ctx, artifact.blobs()); err != nil {
		return err
	}
	if err := q.put(ctx, artifact, img.Digest.String(), raw, img.MediaType, img.Digest); err != nil {
		return err
	}
	if q.refers {
		return nil
	}
	return q.list(ctx, a.Digest, raw)
}

// list notes the attachments under the tag that stands in for the referrers API (distribution-spec, "Pushing Manifests with
// Subject").
func (p *pusher) list(ctx context.Context, subject v1.Hash, artifact []byte) error {
	tag := attach.Tag(subject)
	req, err := p.manifestRequest(ctx, http.MethodGet, tag)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var there []byte
	switch resp.StatusCode {
	case http.StatusNotFound:
	case http.StatusOK:
		if there, err = io.ReadAll(io.LimitReader(resp.Body, maxEarlier+1)); err != nil {
			return err
		}
		if len(there) > maxEarlier {
			return fmt.Errorf("the list of referrers %s has more than %d bytes", tag, maxEarlier)
		}
	default:
		return fmt.Errorf("reading the list of referrers %s: the registry answers %s", tag, resp.Status)
	}
	index, err := attach.List(there, artifact)
	if err != nil {
		return err
	}
	return p.putManifest(ctx, tag, index, types.OCIImageIndex, digestOf(index))
}

// AttachOptions say what travels with an image that is pushed, outside of it: see pkg/attach.
type AttachOptions struct {
	// Attachments go to every repository, once the tags have moved.
	Attachments []attach.Attachment
	// AttachedFrom names repositories that hold an attachment's blob already.
	AttachedFrom map[string]*name.Repository
	// AttachedEarlier gives blobs of attachments that a repository was given before: they are taken to be there. It may be
	// nil.
	AttachedEarlier func(name.Repository) []v1.Hash
	// Attached is told of each repository to which everything was attached. It may be nil, and is called from several
	// goroutines, as Note is, which is told why nothing could be attached.
	Attached func(name.Repository)
	Note     func(string)
}
