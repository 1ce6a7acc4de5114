package assemble

import (
	"context"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// ahead is what is done with layers while they are made and as soon as they are, while others still are made: they are unpacked for the commands that
// will run in them, and go up to the registry. Nothing depends on it. What fails here is done again where it is needed, and
// then it is said.
type ahead struct {
	b       *builder
	ctx     context.Context
	stop    context.CancelFunc
	unpacks sync.WaitGroup
	turns   *semaphore.Weighted // as many as are unpacked at once
	base    sync.Once
	uploads *output.Ahead // nil where nothing is pushed

	mu    sync.Mutex
	large bool          // there was a blob that is worthwhile
	small []output.Blob // those before it
}

// worthwhile is the size of a blob, in bytes, for which it is worth it to speak to a registry before the end: a smaller one alone is there
// before that has said how it wants to be spoken to.
const worthwhile = 1 << 20

// upload lets a blob go up, unless it does already: once there is a large one, those before it and after it as well.
func (a *ahead) upload(blob output.Blob, up *output.Stream) {
	a.mu.Lock()
	if up == nil {
		a.small = append(a.small, blob)
	}
	a.large = a.large || up != nil || blob.Size >= worthwhile
	var blobs []output.Blob
	if a.large {
		blobs, a.small = a.small, nil
	}
	a.mu.Unlock()
	replaced := func(b output.Blob) bool { return a.b.remote.replaces(a.b.spec.Tags, b.Digest) }
	if up != nil && !replaced(blob) {
		up.Whole(blob)
	}
	a.uploads.Push(slices.DeleteFunc(blobs, replaced)...)
}

// beside is what a maker does with the layers over one base while it makes them. Nil does nothing.
type beside struct {
	*ahead
	lower *lower
}

func (b *builder) lookAhead(ctx context.Context) *ahead {
	a := &ahead{b: b, turns: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	a.ctx, a.stop = context.WithCancel(ctx)
	if b.spec.Push {
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
func (a *beside) made(m madeLayer) {
	if a == nil {
		return
	}
	if a.wants(m.compression) && m.Files > 0 { // an empty one is left out of the image
		a.upload(a.b.blob(m), m.up)
	}
	if !a.wanted(m.name) || m.index != nil {
		return
	}
	for _, group := range a.b.groups([]madeLayer{m}) {
		a.unpack(group, false)
	}
}

// wanted says whether the tree of a layer that is made will be needed. Where what a command runs in has changed, it runs; a change of
// the source alone may leave it as it is.
func (a *beside) wanted(name string) bool {
	return a.lower.made == nil && name != sourceLayer && a.b.runsCommands(a.lower.layout) && a.b.atHome(a.lower.image)
}

// readFacts gives a base's facts. Where its layers have to be read for them, and commands are likely to run in it, the tree of them is made
// meanwhile. Which packages there will be is not known yet, so that whoever has a manage.py is taken to have Django.
func (b *builder) readFacts(ctx context.Context, img *base.Image) (*base.Facts, error) {
	p := b.spec.Project
	if b.ahead == nil || !b.atHome(img) || !b.runsCommands(p.Look(os.DirFS(p.SourceDir()), map[string]bool{"django": true})) {
		return img.Facts(ctx, b.Store)
	}
	group, err := groupOf(img)
	if err != nil {
		return nil, err
	}
	var tree *rootfs.Filling
	defer func() { tree.Drop() }()
	begun := false
	facts, err := img.FactsAlong(ctx, b.Store, func() io.Writer {
		if begun {
			tree.Next()
		} else {
			tree, _ = rootfs.Fill(ctx, b.Store, true) // else nil, which takes nothing
		}
		begun = true
		return tree
	})
	if err == nil {
		_ = tree.Place(group) // else it is made of the blobs
	}
	return facts, err
}

// fill begins the tree of the layer of that name, which is about to be written, for commands that will run in it, and sees to that of
// the base. It may give nil.
func (a *beside) fill(ctx context.Context, name string) *rootfs.Filling {
	if a == nil || !a.wanted(name) {
		return nil
	}
	a.unpackBase()
	f, _ := rootfs.Fill(ctx, a.b.Store, false) // else nil, which takes nothing
	return f
}

// unpackBase sees to the tree of the base, once.
func (a *beside) unpackBase() {
	a.base.Do(func() {
		if group, err := groupOf(a.lower.image); err == nil {
			a.unpack(group, true)
		}
	})
}

// wants says whether layers in this form go up: not those that are there for commands alone, over this machine's base.
func (a *beside) wants(c tarlayer.Compression) bool {
	return a.uploads != nil && c == a.b.spec.Compression.For(toPush) && a.b.isTarget(a.lower.image)
}

// along lets a layer go up while it is written, where an image that was built before is known and has it not: then the registry most
// likely wants it. Where none is known, or none was looked at (--no-cache), the registry may well have the layer, and is asked about
// it once its digest is known. It may give nil.
func (a *beside) along(c tarlayer.Compression, w *cas.Writer) *output.Stream {
	if a == nil || !a.wants(c) || a.b.spec.NoCache || len(a.b.remote.images()) == 0 {
		return nil
	}
	return a.uploads.Stream(func() (io.ReadCloser, error) { return w.Follow() })
}

func (a *ahead) unpack(group rootfs.Group, lowest bool) {
	a.unpacks.Go(func() {
		if a.turns.Acquire(a.ctx, 1) != nil {
			return
		}
		defer a.turns.Release(1)
		_ = rootfs.UnpackAhead(a.ctx, a.b.Store, group, lowest)
	})
}
