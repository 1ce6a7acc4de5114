package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/attach"
)

// attaching is the way of the attachments to every repository where no tag leads to the artifact yet. They go up beside its blobs, which
// saves the time that a registry takes to answer; what makes them be found comes once the tags have moved. The image is there
// without them: what goes wrong is told, and is no error.
type attaching struct {
	a     Artifact
	o     AttachOptions // set by begun
	all   []*attached   // the same
	stop  context.CancelFunc
	begun sync.WaitGroup
}

// attached is what is attached in one repository.
type attached struct {
	p    *pusher        // a pusher of its own: what it moves is not counted as the image's
	raw  []byte         // the attachments' manifest
	list *referrersList // in which it is to be noted; nil where the registry keeps the list itself
	err  error
}

// attachAll begins to attach.
func attachAll(ctx context.Context, o PushOptions, pushers []*pusher, a Artifact) *attaching {
	there := func(p *pusher) bool {
		return slices.ContainsFunc(p.refs, func(r name.Reference) bool { return p.leads[r.Identifier()] == a.Digest })
	}
	t := &attaching{a: a, stop: func() {}}
	if pushers = slices.DeleteFunc(slices.Clone(pushers), there); o.Attach == nil || len(pushers) == 0 {
		return t
	}
	ctx, t.stop = context.WithCancel(ctx)
	t.begun.Go(func() {
		if t.o = o.Attach(); len(t.o.Attachments) == 0 {
			return
		}
		for _, p := range pushers {
			one := &attached{p: &pusher{o: p.o, repo: p.repo, sibling: p.sibling, client: p.client}}
			one.p.o.Progress = nil
			t.all = append(t.all, one)
			t.begun.Go(func() { one.err = one.place(ctx, t.a, t.o) })
		}
	})
	return t
}

// giveUp ends what is under way; it does nothing after finish.
func (t *attaching) giveUp() {
	t.stop()
	t.begun.Wait()
}

// finish lets the attachments be found, now that the tags have moved.
func (t *attaching) finish(ctx context.Context) {
	t.begun.Wait()
	var all sync.WaitGroup
	for _, one := range t.all {
		all.Go(func() {
			if refused(one.err) { // it may be for want of the image
				one.err = one.place(ctx, t.a, t.o)
			}
			if one.err == nil {
				one.err = one.find(ctx, t.a.Digest)
			}
			if one.err != nil && t.o.Note != nil {
				t.o.Note(fmt.Sprintf("nothing is attached to the image in %s: %v", one.p.repo.Name(), one.err))
			} else if one.err == nil && t.o.Attached != nil {
				t.o.Attached(one.p.repo)
			}
		})
	}
	all.Wait()
}

// refused says whether a registry would not have something, as against being out of order or too busy.
func refused(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	return ok && !slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout}, te.StatusCode)
}

// place puts the attachments beside the artifact, and reads the list of what refers to it where the registry keeps none itself.
func (t *attached) place(ctx context.Context, a Artifact, o AttachOptions) (err error) {
	if t.raw, err = attach.Manifest(attach.Subject{MediaType: a.MediaType, Digest: a.Digest, Size: int64(len(a.top()))}, o.Attachments); err != nil {
		return err
	}
	img := Image{Manifest: t.raw, MediaType: types.OCIManifestSchema1, Digest: digestOf(t.raw), Config: []byte(attach.Empty)}
	for _, x := range o.Attachments {
		b := bytesBlob(x.Name, x.Data)
		b.From = o.AttachedFrom[x.Name]
		img.Layers = append(img.Layers, b)
	}
	t.p.known = make(map[v1.Hash]bool)
	if o.AttachedEarlier != nil {
		for _, d := range o.AttachedEarlier(t.p.repo) {
			t.p.known[d] = true
		}
		t.p.learned = len(t.p.known) > 0
	}
	artifact := Single(img)
	if err := t.p.pushBlobs(ctx, artifact.blobs()); err != nil {
		return err
	}
	if err := t.p.put(ctx, artifact, img.Digest.String(), t.raw, img.MediaType, img.Digest); err != nil || t.p.refers {
		return err
	}
	t.list, err = t.p.referrers(ctx, a.Digest)
	return err
}

// find puts the artifact into the list of what refers to the image, where the registry keeps none itself. What was read long ago is read
// again: somebody else may have put another artifact there.
func (t *attached) find(ctx context.Context, image v1.Hash) (err error) {
	if t.list == nil {
		return nil
	}
	if time.Since(t.list.at) > time.Second {
		if t.list, err = t.p.referrers(ctx, image); err != nil {
			return err
		}
	}
	return t.p.note(ctx, t.list, t.raw)
}

// referrersList is the index that stands in for the referrers API, under a tag of its own (distribution-spec, "Pushing Manifests with
// Subject").
type referrersList struct {
	tag string
	raw []byte    // nil where there is none yet
	at  time.Time // when it was read
}

// referrers reads the list of what refers to a manifest.
func (p *pusher) referrers(ctx context.Context, subject v1.Hash) (*referrersList, error) {
	l := &referrersList{tag: attach.Tag(subject), at: time.Now()}
	req, err := p.manifestRequest(ctx, http.MethodGet, l.tag)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
	case http.StatusOK:
		if l.raw, err = io.ReadAll(io.LimitReader(resp.Body, maxEarlier+1)); err != nil {
			return nil, err
		}
		if len(l.raw) > maxEarlier {
			return nil, fmt.Errorf("the list of referrers %s has more than %d bytes", l.tag, maxEarlier)
		}
	default:
		return nil, fmt.Errorf("reading the list of referrers %s: the registry answers %s", l.tag, resp.Status)
	}
	return l, nil
}

// note puts an artifact into the list.
func (p *pusher) note(ctx context.Context, l *referrersList, artifact []byte) error {
	index, err := attach.List(l.raw, artifact)
	if err != nil {
		return err
	}
	return p.putManifest(ctx, l.tag, index, types.OCIImageIndex, digestOf(index))
}

// AttachOptions say what travels with an image that is pushed, outside of it: see pkg/attach.
type AttachOptions struct {
	// Attachments go to every repository, and are found there once the tags have moved.
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
