package output

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// accepted are the manifests that jubako reads.
var accepted = []string{string(types.OCIManifestSchema1), string(types.OCIImageIndex), string(types.DockerManifestSchema2), string(types.DockerManifestList)}

// The bounds of what is read of earlier images: a manifest's bytes, and the images of an index.
const (
	maxEarlier       = 4 << 20
	maxEarlierImages = 8
)

// look finds out where the references lead, and what is therefore in the repository. A manifest that is read in the place of
// a question for each blob is worth it: an image with its base has forty blobs, and most of them are those of the image
// before.
func (p *pusher) look(ctx context.Context, a Artifact) error {
	digests := make([]v1.Hash, len(p.refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Jobs)
	for i, ref := range p.refs {
		if e, ok := p.o.Earlier[ref.Name()]; ok {
			digests[i] = e.Digest
			for _, b := range e.Blobs {
				p.known[b] = true
			}
			continue
		}
		g.Go(func() (err error) {
			digests[i], err = p.head(gctx, ref.Identifier())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	there := true
	var other v1.Hash
	for i, ref := range p.refs {
		p.leads[ref.Identifier()] = digests[i]
		there = there && digests[i] == a.Digest
		if digests[i] != (v1.Hash{}) && len(p.known) == 0 {
			other = digests[i]
		}
	}
	if !there && other != (v1.Hash{}) {
		p.learn(ctx, other.String(), maxEarlierImages)
	}
	return nil
}

// learn notes the blobs of a manifest that the repository holds, and of an index's images. What cannot be read teaches
// nothing: then blobs are asked for one by one.
func (p *pusher) learn(ctx context.Context, digest string, images int) {
	req, err := p.manifestRequest(ctx, http.MethodGet, digest)
	if err != nil {
		return
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxEarlier+1))
	if err != nil || resp.StatusCode != http.StatusOK || len(b) > maxEarlier || digestOf(b).String() != digest {
		return
	}
	var m manifest
	if json.Unmarshal(b, &m) != nil {
		return
	}
	if m.Config != nil {
		p.known[m.Config.Digest] = true
	}
	for _, l := range m.Layers {
		p.known[l.Digest] = true
	}
	for _, d := range m.Manifests[:min(len(m.Manifests), images)] {
		p.learn(ctx, d.Digest.String(), 0)
	}
}

func (p *pusher) manifestRequest(ctx context.Context, method, ref string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url("/manifests/%s", ref).String(), nil)
	if err != nil {
		return nil, err
	}
	for _, t := range accepted {
		req.Header.Add("Accept", t)
	}
	return req, nil
}

// head asks where a reference leads; the zero hash where it leads nowhere.
func (p *pusher) head(ctx context.Context, ref string) (v1.Hash, error) {
	req, err := p.manifestRequest(ctx, http.MethodHead, ref)
	if err != nil {
		return v1.Hash{}, err
	}
	resp, err := p.do(req, http.StatusOK)
	if resp != nil && resp.StatusCode == http.StatusNotFound {
		return v1.Hash{}, nil
	}
	if err != nil {
		return v1.Hash{}, err
	}
	h, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return v1.Hash{}, nil // the registry does not say: then the manifest is put once more
	}
	return h, nil
}
