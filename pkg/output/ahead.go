package output

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Ahead brings blobs to a registry while the artifact that they belong to is still being made. Nothing depends on it: what
// fails here, Push does again, and then it is said. A registry forgets in time what no manifest speaks of.
type Ahead struct {
	ctx     context.Context
	stop    context.CancelFunc
	pushers []*pusher // one for each registry: the other repositories mount what the first has

	uploads sync.WaitGroup
	spoken  atomic.Bool   // the registries have been spoken to
	slots   chan struct{} // as many as may go up at once
	once    sync.Once
	ready   []bool // by pusher: the registry has said how it wants to be spoken to

	mu   sync.Mutex
	done map[*pusher]map[v1.Hash]bool
}

// NewAhead prepares to bring blobs to where Push will look for them. The registries are asked nothing before there is one.
func NewAhead(ctx context.Context, o PushOptions, refs []name.Reference) *Ahead {
	o = o.withDefaults()
	a := &Ahead{done: make(map[*pusher]map[v1.Hash]bool)}
	a.ctx, a.stop = context.WithCancel(ctx)
	for _, p := range pushersOf(o, refs) {
		if p.sibling == nil {
			a.pushers = append(a.pushers, p)
			a.done[p] = make(map[v1.Hash]bool)
		}
	}
	a.slots = make(chan struct{}, o.Jobs)
	return a
}

// Push begins to bring a blob, and does not wait for it. One that can be mounted is left to the other Push.
func (a *Ahead) Push(b Blob) {
	for i, p := range a.pushers {
		a.uploads.Go(func() {
			select {
			case a.slots <- struct{}{}:
				defer func() { <-a.slots }()
			case <-a.ctx.Done():
				return
			}
			a.once.Do(func() { a.connect(b) })
			if !a.ready[i] || p.mountable(b) != nil || p.tryBlob(a.ctx, b) != nil {
				return
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.done[p][b.Digest] = true
		})
	}
}

func (a *Ahead) connect(first Blob) {
	a.ready = make([]bool, len(a.pushers))
	var all sync.WaitGroup
	for i, p := range a.pushers {
		all.Go(func() { a.ready[i] = p.connect(a.ctx, []Blob{first}) == nil })
	}
	all.Wait()
	a.spoken.Store(true)
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
		p.ahead, p.res = a.done[before], before.res
		for digest := range p.ahead {
			p.known[digest] = true
		}
	}
}
