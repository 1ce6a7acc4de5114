package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/patience"
	"github.com/jubako/jubako/pkg/regclient"
)

// PushOptions says how to push.
type PushOptions struct {
	Client *regclient.Client
	// Jobs is how many blobs go up at once; 4 where it is 0.
	Jobs int
	// Progress is told how many bytes of a blob have gone up; it may be nil. It is called from several goroutines.
	Progress func(b Blob, done int64)
	// Sleep waits between attempts; it is for tests. A timer where it is nil.
	Sleep func(context.Context, time.Duration) error
	// Earlier is what references were found to lead to a while ago, by their names (name.Reference.Name): these are not
	// asked for again.
	Earlier map[string]Earlier
	// Looked is where references led, as Earlier, of which no more is known. It may be nil.
	Looked *Looked
	// Holds names a repository of a registry that is likely to hold a blob, nil where none is known. It may be nil, and is asked
	// about blobs whose From is of no use.
	Holds func(registry string, blob v1.Hash) *name.Repository
	// Attach gives what travels with the image outside of it. It is called where the image is new in a repository, while its blobs go
	// up, and may be nil.
	Attach func() AttachOptions
	// Ahead is what has gone up before; it may be nil. Push waits for it.
	Ahead *Ahead
}

func (o PushOptions) withDefaults() PushOptions {
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.Sleep == nil {
		o.Sleep = patience.Sleep
	}
	return o
}

// Earlier is what a reference leads to in a registry.
type Earlier struct {
	Digest v1.Hash
	Blobs  []v1.Hash // layers and configs
}

// PushResult says what a push moved.
type PushResult struct {
	Pushed  int   // blobs that went up
	Bytes   int64 // their bytes
	Mounted int   // blobs that the registry took from another of its repositories
	Present int   // blobs that were there
}

// Push brings the artifact to every reference. Tags move last of all, when every blob and every manifest is at its place in
// every registry: a push that fails or is interrupted before that has moved none.
func Push(ctx context.Context, o PushOptions, a Artifact, refs []name.Reference) (PushResult, error) {
	o = o.withDefaults()
	o.Ahead.settle()
	pushers, err := preparePushers(ctx, o, a, refs)
	if err != nil {
		return PushResult{}, err
	}
	attaching := attachAll(ctx, o, pushers, a)
	defer attaching.giveUp()
	for _, p := range pushers {
		if err := p.content(ctx, a, len(refs) == 1); err != nil {
			return sum(pushers), explain(err, "pushing to "+p.repo.Name())
		}
	}
	if err := moveTags(ctx, pushers, a); err != nil {
		return sum(pushers), err
	}
	attaching.finish(ctx)
	return sum(pushers), nil
}

func sum(pushers []*pusher) (res PushResult) {
	for _, p := range pushers {
		res.Pushed += p.res.Pushed
		res.Bytes += p.res.Bytes
		res.Mounted += p.res.Mounted
		res.Present += p.res.Present
	}
	return res
}

// preparePushers makes a pusher for every repository and asks, at once, where all references lead.
func preparePushers(ctx context.Context, o PushOptions, a Artifact, refs []name.Reference) ([]*pusher, error) {
	all := pushersOf(o, refs)
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range all {
		g.Go(func() error {
			o.Ahead.tell(p)
			if p.recall(); p.there(a) {
				return nil
			}
			err := p.connect(ctx, a.blobs())
			if err == nil {
				err = p.look(ctx, a)
			}
			return regclient.Explain(err, "pushing to "+p.repo.Name())
		})
	}
	return all, g.Wait()
}

// pushersOf makes a pusher for each of the references' repositories.
func pushersOf(o PushOptions, refs []name.Reference) (all []*pusher) {
	for _, ref := range refs {
		same := func(p *pusher) bool { return p.repo.Name() == ref.Context().Name() }
		at := slices.IndexFunc(all, same)
		if at < 0 {
			p := &pusher{o: o, repo: ref.Context(), leads: make(map[string]v1.Hash), known: make(map[v1.Hash]bool)}
			if i := slices.IndexFunc(all, func(q *pusher) bool { return q.repo.RegistryStr() == p.repo.RegistryStr() }); i >= 0 {
				p.sibling = &all[i].repo
			}
			at, all = len(all), append(all, p)
		}
		all[at].refs = append(all[at].refs, ref)
	}
	return all
}

// moveTags points every reference to the artifact. Where one fails, the error says which have moved before it.
func moveTags(ctx context.Context, pushers []*pusher, a Artifact) error {
	var moved []string
	for _, p := range pushers {
		for _, ref := range p.refs {
			if p.leads[ref.Identifier()] == a.Digest {
				continue
			}
			if err := p.put(ctx, a, ref.Identifier(), a.top(), a.MediaType, a.Digest); err != nil {
				doing := "tagging " + ref.Name()
				if len(moved) > 0 {
					doing += " (moved already: " + strings.Join(moved, ", ") + ")"
				}
				return explain(err, doing)
			}
			moved = append(moved, ref.Name())
		}
	}
	return nil
}

// blobError is a fault in reading a blob, as against one in sending it: no other attempt helps, and it is not the
// registry's.
type blobError struct{ error }

func (e *blobError) Unwrap() error { return e.error }

func explain(err error, doing string) error {
	if e, ok := errors.AsType[*blobError](err); ok {
		return fmt.Errorf("%s: %w", doing, e.error)
	}
	return regclient.Explain(err, doing)
}

// top is the bytes that a tag leads to.
func (a Artifact) top() []byte {
	if a.Index != nil {
		return a.Index
	}
	return a.Images[0].Manifest
}

// pusher pushes to one repository.
type pusher struct {
	o       PushOptions
	repo    name.Repository
	sibling *name.Repository // of the same registry, which has got every blob before this one
	refs    []name.Reference
	client  *http.Client       // nil until connect, and where nothing is to be done
	scoped  map[string]bool    // the repositories that client may mount from
	leads   map[string]v1.Hash // where references lead
	refers  bool               // the registry has taken note of the subject of the last manifest that had one

	// known are the blobs that are there: those of which an image in the repository is made, if one was learned of, and those of ahead.
	known   map[v1.Hash]bool
	learned bool
	// ahead are those of known that have gone up before, and are counted.
	ahead     map[v1.Hash]bool
	wantsSize atomic.Bool // the registry takes no blob of which the size is not known yet

	mu  sync.Mutex
	res PushResult
}

// maxScopes is how many repositories a token is asked for: what cannot be mounted for want of one goes up instead.
const maxScopes = 9

// connect finds out how the registry wants to be spoken to.
func (p *pusher) connect(ctx context.Context, blobs []Blob) error {
	scopes := []string{p.repo.Scope(transport.PushScope)}
	p.scoped = make(map[string]bool)
	for _, b := range blobs {
		if from := p.mountable(b); from != nil && !p.scoped[from.Name()] && len(scopes) < maxScopes {
			scopes = append(scopes, from.Scope(transport.PullScope))
			p.scoped[from.Name()] = true
		}
	}
	if p.client = p.o.Looked.client(p.repo); p.client != nil && len(scopes) == 1 {
		return nil
	}
	auth, err := authn.Resolve(ctx, p.o.Client.Keychain(), p.repo)
	if err != nil {
		return err
	}
	rt, err := transport.NewWithContext(ctx, p.repo.Registry, auth, p.o.Client.Transport(), scopes)
	if err != nil {
		return err
	}
	p.client = &http.Client{Transport: rt}
	return nil
}

// mountable gives the repository of the same registry from which a blob can be mounted.
func (p *pusher) mountable(b Blob) *name.Repository {
	if p.sibling != nil {
		return p.sibling
	}
	from := b.From
	if from == nil || from.RegistryStr() != p.repo.RegistryStr() {
		if from = nil; p.o.Holds != nil {
			from = p.o.Holds(p.repo.RegistryStr(), b.Digest)
		}
	}
	if from == nil || from.RegistryStr() != p.repo.RegistryStr() || from.RepositoryStr() == p.repo.RepositoryStr() {
		return nil
	}
	return from
}

// content brings everything but the tags. Where every reference leads to the artifact already, nothing needs to move. The top
// manifest may be left to the tag: where there is but one reference, nothing else can fail before it moves.
func (p *pusher) content(ctx context.Context, a Artifact, tagOnly bool) error {
	blobs := a.blobs()
	if p.there(a) {
		for _, b := range blobs {
			if !p.ahead[b.Digest] { // which are counted
				p.res.Present++
			}
		}
		return nil
	}
	if err := p.pushBlobs(ctx, blobs); err != nil {
		return err
	}
	for _, img := range a.Images {
		if tagOnly && a.Index == nil {
			return nil
		}
		if err := p.put(ctx, a, img.Digest.String(), img.Manifest, img.MediaType, img.Digest); err != nil {
			return fmt.Errorf("manifest %s: %w", img.Digest, err)
		}
	}
	if a.Index == nil || tagOnly {
		return nil
	}
	if err := p.put(ctx, a, a.Digest.String(), a.Index, a.MediaType, a.Digest); err != nil {
		return fmt.Errorf("index %s: %w", a.Digest, err)
	}
	return nil
}

func (p *pusher) pushBlobs(ctx context.Context, blobs []Blob) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Jobs)
	for _, b := range blobs {
		if p.known[b.Digest] {
			if !p.ahead[b.Digest] {
				p.count(func(r *PushResult) { r.Present++ })
			}
			continue
		}
		g.Go(func() error { return p.pushBlob(ctx, b) })
	}
	return g.Wait()
}

// put puts a manifest. A registry that then misses a blob is asked for every one that was taken to be there.
func (p *pusher) put(ctx context.Context, a Artifact, ref string, b []byte, mediaType types.MediaType, digest v1.Hash) error {
	err := p.putManifest(ctx, ref, b, mediaType, digest)
	te, ok := errors.AsType[*transport.Error](err)
	if len(p.known) == 0 || !ok || te.StatusCode != http.StatusBadRequest && te.StatusCode != http.StatusNotFound {
		return err
	}
	var doubtful []Blob
	for _, blob := range a.blobs() {
		if !p.known[blob.Digest] {
			continue
		}
		doubtful = append(doubtful, blob)
		if !p.ahead[blob.Digest] {
			p.res.Present--
		}
	}
	clear(p.known)
	p.learned = false
	if err := p.pushBlobs(ctx, doubtful); err != nil {
		return err
	}
	return p.putManifest(ctx, ref, b, mediaType, digest)
}

func (p *pusher) url(format string, args ...any) *url.URL {
	return &url.URL{Scheme: p.repo.Registry.Scheme(), Host: p.repo.RegistryStr(), Path: "/v2/" + p.repo.RepositoryStr() + fmt.Sprintf(format, args...)}
}

// do makes a request and insists on one of the wanted answers. The answer's body is closed, but for errors, which hold
// what it says.
func (p *pusher) do(req *http.Request, want ...int) (*http.Response, error) {
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, want...); err != nil {
		return resp, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp, nil
}

func (p *pusher) count(f func(*PushResult)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.res)
}

// putManifest puts a manifest under a tag or its digest.
func (p *pusher) putManifest(ctx context.Context, ref string, b []byte, mediaType types.MediaType, digest v1.Hash) error {
	body := bytesBlob("manifest", b)
	open := func() (io.ReadCloser, error) { return body.Open(ctx) }
	r, err := open()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.url("/manifests/%s", ref).String(), r)
	if err != nil {
		return err
	}
	req.GetBody = open
	req.ContentLength = int64(len(b))
	req.Header.Set("Content-Type", string(mediaType))
	resp, err := p.do(req, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	p.refers = resp.Header.Get("OCI-Subject") != ""
	return sameDigest(resp, digest)
}
