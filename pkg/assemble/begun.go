package assemble

import (
	"context"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/source"
)

// begun is what a build does side by side: each waits for a disk, a registry or another program, and none for another. Each
// function waits for its answer, and is nil before it was begun.
type begun struct {
	revision func() string // of the source
	source   func() (*source.Tree, error)
	base     func() error // opens inputs.base; nil also where its name is not known, or it is to be made
	tags     func() *output.Looked
}

// background does something in the background.
func background[T any](do func() T) (wait func() T) {
	var answer T
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer = do()
	}()
	return func() T {
		<-done
		return answer
	}
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
	type read struct {
		tree *source.Tree
		err  error
	}
	wait := background(func() (r read) {
		if r.tree, r.err = source.Walk(ctx, b.walk()); r.err == nil {
			_, r.err = r.tree.Digest(ctx, b.Store, b.Now())
		}
		return r
	})
	b.begun.source = func() (*source.Tree, error) {
		r := wait()
		return r.tree, r.err
	}
	if ask := b.spec.Revision; ask != nil && !b.dry { // in a large repository that takes a while
		b.begun.revision = background(func() string { return ask(ctx) })
	}
}

// end waits until nothing is under way any more, and closes the base. What it waits for has been told to stop.
func (b *builder) end() error {
	if b.begun.source != nil {
		_, _ = b.begun.source()
	}
	b.revision()
	b.looked()
	if b.begun.base != nil {
		_ = b.begun.base() // if it has failed, that was said, or something before it
	}
	if b.in == nil || b.in.base == nil {
		return nil
	}
	return b.in.base.Close()
}

func (b *builder) revision() string {
	if b.begun.revision == nil {
		return ""
	}
	return b.begun.revision()
}

// looked is where those of the tags led when the build began that are likely to lead there still; nil where none is.
func (b *builder) looked() *output.Looked {
	if b.begun.tags == nil {
		return nil
	}
	return b.begun.tags()
}
