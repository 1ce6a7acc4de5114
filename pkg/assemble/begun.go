package assemble

import (
	"context"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/source"
)

// begun is what a build does side by side: each waits for a disk, a registry or another program, and none for another. What is
// nil was not begun.
type begun struct {
	base     *pending[error]          // opens inputs.base; nil also where its name is not known, or it is to be made
	tags     *pending[*output.Looked] // where those led that are likely to lead there still
	source   *pending[sourceRead]
	revision *pending[string] // of the source
}

type sourceRead struct {
	tree *source.Tree
	err  error
}

// pending is the answer of something that is done in the background.
type pending[T any] struct {
	done  chan struct{}
	value T
}

func background[T any](do func() T) *pending[T] {
	p := &pending[T]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.value = do()
	}()
	return p
}

// wait gives the answer; the zero value of nil.
func (p *pending[T]) wait() (value T) {
	if p == nil {
		return value
	}
	<-p.done
	return p.value
}

// beginBase begins to open the base, if its name is known. With ctx it comes to an end.
func (b *builder) beginBase(ctx context.Context) {
	if src, err := base.ParseSource(b.in.baseName); err == nil && src.Kind != base.Packages {
		b.begun.base = background(func() error { return b.openBase(ctx, b.in) })
	}
}

// begin begins what can be done while the base's registry is waited for: the lock has been read, and nothing is wrong with it.
// With ctx it all comes to an end.
func (b *builder) begin(ctx context.Context) {
	if tags := b.pushedBefore(); len(tags) > 0 {
		b.begun.tags = background(func() *output.Looked { return output.Look(ctx, b.pushOptions(), tags) })
	}
	b.remote = b.openRemoteCache(ctx)
	b.begun.source = background(func() (r sourceRead) {
		if r.tree, r.err = source.Walk(ctx, b.walk()); r.err == nil {
			_, r.err = r.tree.Digest(ctx, b.Store, b.Now())
		}
		return r
	})
	if ask := b.spec.Revision; ask != nil && !b.dry { // in a large repository that takes a while
		b.begun.revision = background(func() string { return ask(ctx) })
	}
}

// end tells what is under way to stop, waits for it, and closes the base.
func (b *builder) end(stop context.CancelFunc) error {
	stop()
	b.begun.source.wait()
	b.begun.revision.wait()
	b.begun.tags.wait()
	b.remote.wait()
	_ = b.begun.base.wait() // if it has failed, that was said, or something before it
	if b.in == nil || b.in.base == nil {
		return nil
	}
	return b.in.base.Close()
}
