package assemble

import (
	"cmp"
	"context"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/source"
)

// begun is what a build begins at once, side by side: each waits for a disk, a registry or another program, and none for
// another. Each function waits for its answer.
type begun struct {
	revision func() string // of the source
	source   func() (*source.Tree, error)
	base     func() error // opens inputs.base; nil where its name is not known, or it is to be made
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

// begin begins what needs nothing but the configuration: what waits for a network before what needs a processor. With ctx it all
// comes to an end.
func (b *builder) begin(ctx context.Context) {
	b.in = &inputs{baseName: cmp.Or(b.spec.Base, b.spec.Project.Config.Base)}
	if src, err := base.ParseSource(b.in.baseName); err == nil && src.Kind != base.Packages {
		b.begun.base = background(func() error { return b.openBase(ctx, b.in) })
	}
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
	_, _ = b.begun.source()
	b.revision()
	b.looked()
	if b.begun.base != nil {
		_ = b.begun.base() // if it has failed, that was said, or something before it
	}
	if b.in.base == nil {
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
