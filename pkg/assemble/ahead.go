package assemble

import (
	"context"
	"runtime"
	"sync"

	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/rootfs"
)

// ahead is what is done with layers as soon as they are made, while others still are: they are unpacked for the commands that
// will run in them, and go up to the registry. Nothing depends on it. What fails here is done again where it is needed, and
// then it is said.
type ahead struct {
	b       *builder
	ctx     context.Context
	stop    context.CancelFunc
	unpacks sync.WaitGroup
	slots   chan struct{} // as many as are unpacked at once
	base    sync.Once
	uploads *output.Ahead // nil where nothing is pushed
}

// smallUpload is what a push at the end has brought before a registry has said how it wants to be spoken to.
const smallUpload = 1 << 20

func (b *builder) lookAhead(ctx context.Context) *ahead {
	a := &ahead{b: b, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	a.ctx, a.stop = context.WithCancel(ctx)
	if b.spec.Push && !b.dry {
		a.uploads = output.NewAhead(a.ctx, b.pushOptions(), b.spec.Tags)
	}
	return a
}

// close breaks off what nobody waits for any more, and leaves nothing of it behind.
func (a *ahead) close() {
	a.stop()
	a.unpacks.Wait()
	a.uploads.Stop()
}

// made is told of a layer that no cache held.
func (a *ahead) made(l *lower, m madeLayer) {
	b := a.b
	if blob := b.blob(m); a.uploads != nil && m.Size >= smallUpload && m.compression == b.spec.Compression.For(toPush) && !b.remote.replaces(b.spec.Tags, blob.Digest) {
		a.uploads.Push(blob)
	}
	// Where what a command runs in has changed, it runs. A change of the source alone may leave it as it is.
	if l.made != nil || m.name == sourceLayer || !b.runsCommands(l) || !b.atHome(l) {
		return
	}
	a.base.Do(func() {
		if group, err := groupOf(l.image); err == nil {
			a.unpack(func() error { return rootfs.UnpackLowest(a.ctx, b.Store, group) })
		}
	})
	for _, group := range b.groups([]madeLayer{m}) {
		a.unpack(func() error { return rootfs.UnpackUpper(a.ctx, b.Store, group) })
	}
}

func (a *ahead) unpack(work func() error) {
	a.unpacks.Go(func() {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
			_ = work()
		case <-a.ctx.Done():
		}
	})
}
