package output

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/semaphore"
)

// Ahead brings blobs to a registry while the artifact that they belong to is still being made. Nothing depends on it: what
// fails here, Push does again, and then it is said. A registry forgets in time what no manifest speaks of.
type Ahead struct {
	ctx     context.Context
	stop    context.CancelFunc
	pushers []*pusher // one for each registry: the other repositories mount what the first has

	uploads sync.WaitGroup
	spoken  atomic.Bool         // the registries have been spoken to
	turns   *semaphore.Weighted // as many as may go up at once
	few     *semaphore.Weighted // and of small ones, so that they do not take the turns of all others
	once    sync.Once
	claimed sync.Map // the digests of blobs that go up, or have
}

// NewAhead prepares to bring blobs to where Push will look for them. The registries are asked nothing before there is one.
func NewAhead(ctx context.Context, o PushOptions, refs []name.Reference) *Ahead {
	o = o.withDefaults()
	a := &Ahead{turns: semaphore.NewWeighted(int64(o.Jobs)), few: semaphore.NewWeighted(int64(max(1, o.Jobs-1)))}
	a.ctx, a.stop = context.WithCancel(ctx)
	for _, p := range pushersOf(o, refs) {
		if p.sibling == nil {
			p.ahead = make(map[v1.Hash]bool)
			a.pushers = append(a.pushers, p)
		}
	}
	return a
}

// Push begins to bring blobs, each once, and does not wait for them. What may be mounted from a repository that no token was asked for is
// left to the other Push: a token is for those among which the first of all was.
func (a *Ahead) Push(blobs ...Blob) {
	for _, b := range blobs {
		if !a.claim(b) {
			continue
		}
		for _, p := range a.pushers {
			a.uploads.Go(func() { a.push(p, b, blobs) })
		}
	}
}

// claim says whether a blob is the first of its digest.
func (a *Ahead) claim(b Blob) bool {
	_, there := a.claimed.LoadOrStore(b.Digest, true)
	return !there
}

// push brings a blob to one registry.
func (a *Ahead) push(p *pusher, b Blob, known []Blob) {
	a.connect(known)
	turns := []*semaphore.Weighted{a.turns}
	if b.Size <= wasteful {
		turns = []*semaphore.Weighted{a.few, a.turns}
	}
	for _, t := range turns {
		if t.Acquire(a.ctx, 1) != nil {
			return
		}
		defer t.Release(1)
	}
	if from := p.mountable(b); p.client != nil && (from == nil || p.scoped[from.Name()]) && p.tryBlob(a.ctx, b) == nil {
		p.arrived(b)
	}
}

// arrived notes that a blob has gone up.
func (p *pusher) arrived(b Blob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead[b.Digest] = true
}

// connect finds out, once, how the registries want to be spoken to. Those that do not answer have no client after it.
func (a *Ahead) connect(known []Blob) {
	a.once.Do(func() {
		var all sync.WaitGroup
		for _, p := range a.pushers {
			all.Go(func() { _ = p.connect(a.ctx, known) })
		}
		all.Wait()
		a.spoken.Store(true)
	})
}

// Stop breaks off what is under way, and waits until nothing is.
func (a *Ahead) Stop() {
	if a != nil {
		a.stop()
		a.wait()
	}
}

// settle lets end what is under way. A registry that has not answered until now is left to Push, whose errors are heard.
func (a *Ahead) settle() {
	if a != nil && !a.spoken.Load() {
		a.stop()
	}
	a.wait()
}

func (a *Ahead) wait() {
	if a != nil {
		a.uploads.Wait()
	}
}

// tell lets a pusher know what has gone up to its repository.
func (a *Ahead) tell(p *pusher) {
	if a == nil {
		return
	}
	for _, before := range a.pushers {
		if before.repo.Name() != p.repo.Name() {
			continue
		}
		p.ahead, p.res = before.ahead, before.res
		for digest := range p.ahead {
			p.known[digest] = true
		}
	}
}
