package output

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
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
	if err := p.ask(ctx); err != nil {
		return err
	}
	if p.there(a) || p.learned {
		return nil
	}
	for _, ref := range p.refs {
		if other := p.leads[ref.Identifier()]; other != (v1.Hash{}) {
			p.learn(ctx, other.String(), maxEarlierImages)
			return nil
		}
	}
	return nil
}

// recall notes what is known of the references without asking.
func (p *pusher) recall() {
	for _, ref := range p.refs {
		if e, ok := p.o.Earlier[ref.Name()]; ok {
			p.leads[ref.Identifier()] = e.Digest
			p.learned = p.learned || len(e.Blobs) > 0
			for _, b := range e.Blobs {
				p.known[b] = true
			}
		} else if d, ok := p.o.Looked.Leads(ref); ok {
			p.leads[ref.Identifier()] = d
		}
	}
}

// ask finds out where those references lead of which it is not known.
func (p *pusher) ask(ctx context.Context) error {
	digests := make([]v1.Hash, len(p.refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Jobs)
	for i, ref := range p.refs {
		var known bool
		if digests[i], known = p.leads[ref.Identifier()]; known {
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
	for i, ref := range p.refs {
		p.leads[ref.Identifier()] = digests[i]
	}
	return nil
}

// there says whether every reference is known to lead to the artifact.
func (p *pusher) there(a Artifact) bool {
	return !slices.ContainsFunc(p.refs, func(r name.Reference) bool { return p.leads[r.Identifier()] != a.Digest })
}

// Looked is where references led when they were looked at, before there was an artifact.
type Looked struct {
	mu      sync.Mutex
	digests map[string]v1.Hash      // by name
	clients map[string]*http.Client // by repository: they may be asked for more, as long as nothing is mounted
}

// Look asks where references lead. What it cannot find out is left to Push, whose errors are heard.
func Look(ctx context.Context, o PushOptions, refs []name.Reference) *Looked {
	l := &Looked{digests: make(map[string]v1.Hash), clients: make(map[string]*http.Client)}
	var all sync.WaitGroup
	for _, p := range pushersOf(o.withDefaults(), refs) {
		all.Go(func() {
			if p.connect(ctx, nil) != nil || p.ask(ctx) != nil {
				return
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.clients[p.repo.Name()] = p.client
			for _, ref := range p.refs {
				l.digests[ref.Name()] = p.leads[ref.Identifier()]
			}
		})
	}
	all.Wait()
	return l
}

// Leads says where a reference led: the zero hash where it led nowhere. ok is false where that is not known.
func (l *Looked) Leads(ref name.Reference) (digest v1.Hash, ok bool) {
	if l == nil {
		return v1.Hash{}, false
	}
	digest, ok = l.digests[ref.Name()]
	return digest, ok
}

// client is the one that has spoken to a repository; nil where none has.
func (l *Looked) client(repo name.Repository) *http.Client {
	if l == nil {
		return nil
	}
	return l.clients[repo.Name()]
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
		p.learned = true
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
