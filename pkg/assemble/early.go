package assemble

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/rootfs"
)

// early is the first command of a platform, which begins before the layers below it are made: their files are laid out first,
// and while it runs, on one processor, the others compress them. It begins where such a layer is made at all, other than the
// source's: then there is no earlier run whose layer could be taken. Where there is one all the same, the run is broken off.
type early struct {
	a     *ahead
	l     *lower
	list  []layers.Layer // below the command
	layer func(*stage) (layers.Watched, error)
	ctx   context.Context
	stop  context.CancelFunc
	done  chan struct{} // is closed when nothing of it is under way any more

	mu       sync.Mutex
	quiet    *sync.Cond // on mu: tells of the end of a planting
	planting int
	held     int // entries of trees that wait for their layers to be made
	below    map[layers.Layer]*laid
	left     int           // those of below of which it is not known yet where their files are
	ready    chan struct{} // is closed when it is known of all
	adopted  bool

	// Set before done.
	ran     bool
	took    time.Duration // by the command, where it ran
	command layers.Watched
	tree    *fstree.Tree
	err     error

	closing  sync.Once
	closeErr error
}

// laid is where the files of a layer are.
type laid struct {
	known   bool
	found   *madeLayer      // it was there, or nil
	planted *rootfs.Planted // it was not, or nil
	entries int             // that are held
	diffID  string          // once it was made
}

// maxHeld bounds the entries of trees that wait for their layers to be made: with more of them, layers are made at once.
const maxHeld = 20_000

// worthWaiting is the bytes of a layer's files from which making it takes long enough to hold up those that are being laid out.
const worthWaiting = 1 << 20

// beginEarly prepares for the first command over the layers of a list. It is nil where that cannot run early: not on this
// machine, or not without being seen elsewhere.
func (a *ahead) beginEarly(l *lower, list []layers.Layer) *early {
	b := a.b
	c := b.spec.Project.Config
	switch {
	case !b.atHome(l):
		return nil
	case len(c.Steps) > 0:
		st := c.Steps[0]
		if st.Network || len(st.Secrets) > 0 {
			return nil
		}
		return a.newEarly(l, list, func(s *stage) (layers.Watched, error) { return b.stepLayer(s, st) })
	case b.collects(l):
		return a.newEarly(l, list, b.staticLayer)
	}
	return nil
}

func (a *ahead) newEarly(l *lower, list []layers.Layer, layer func(*stage) (layers.Watched, error)) *early {
	e := &early{a: a, l: l, list: list, layer: layer, done: make(chan struct{}), below: make(map[layers.Layer]*laid), left: len(list), ready: make(chan struct{})}
	e.quiet = sync.NewCond(&e.mu)
	for _, below := range list {
		e.below[below] = &laid{}
	}
	e.ctx, e.stop = context.WithCancel(a.ctx)
	a.early = append(a.early, e)
	go func() {
		defer close(e.done)
		e.tree, e.err = e.run()
	}()
	return e
}

// plant lays out the files of a layer that is about to be made. It says whether the layer had better wait for others to be laid
// out as well: see wait.
func (e *early) plant(l layers.Layer, tree *fstree.Tree) (wait bool) {
	if e == nil || e.below[l] == nil || e.ctx.Err() != nil {
		return false
	}
	if l.Name() == sourceLayer { // it is laid out when it is known that the command runs
		e.mu.Lock()
		defer e.mu.Unlock()
		e.settle(e.below[l])
		return false
	}
	e.a.unpackBase(e.l)
	e.mu.Lock()
	e.planting++
	e.mu.Unlock()
	p, err := rootfs.Plant(e.ctx, e.a.b.Store, tree, e.a.b.spec.Epoch)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.planting--
	e.quiet.Broadcast()
	if err != nil {
		e.stop() // the command runs when its turn comes, and finds the same fault
		return false
	}
	at := e.below[l]
	at.planted, at.entries = p, tree.Len()
	e.held += at.entries
	e.settle(at)
	_, size := tree.Files()
	return e.held <= maxHeld && size >= worthWaiting
}

// settle notes that it is known where a layer's files are.
func (e *early) settle(at *laid) {
	if at.known {
		return
	}
	at.known = true
	if e.left--; e.left == 0 {
		close(e.ready)
	}
}

// wait waits until nothing is being laid out.
func (e *early) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, e.quiet.Broadcast)()
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.planting > 0 && ctx.Err() == nil {
		e.quiet.Wait()
	}
}

// made is told of each layer that is there.
func (e *early) made(l layers.Layer, made madeLayer) {
	if e == nil || e.below[l] == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.below[l]
	at.diffID = made.DiffID
	e.held, at.entries = e.held-at.entries, 0
	if !at.known {
		at.found = &made
		e.settle(at)
	}
}

// run runs the command, once it is known where the files of every layer below are.
func (e *early) run() (*fstree.Tree, error) {
	select {
	case <-e.ready:
	case <-e.ctx.Done():
		return nil, e.ctx.Err()
	}
	e.mu.Lock()
	worth := false
	for _, at := range e.below {
		worth = worth || at.planted != nil
	}
	e.mu.Unlock()
	if !worth {
		return nil, nil
	}
	s, err := e.prepare()
	if err != nil {
		return nil, err
	}
	if e.command, err = e.layer(s); err != nil {
		return nil, err
	}
	e.ran = true
	start := e.a.b.Now()
	defer func() { e.took = e.a.b.Now().Sub(start) }()
	return e.command.Tree(e.ctx)
}

// prepare gives the stage that the command runs on. Its keys are nobody's.
func (e *early) prepare() (*stage, error) {
	b := e.a.b
	s := &stage{b: b, at: e.l, host: e.l}
	if err := s.settle(e.ctx); err != nil {
		return nil, err
	}
	group, err := groupOf(e.l.image)
	if err != nil {
		return nil, err
	}
	groups := []rootfs.Group{group}
	for _, l := range e.list {
		s.below = append(s.below, madeLayer{name: l.Name()})
		if found := e.below[l].found; found != nil {
			groups = append(groups, b.groups([]madeLayer{*found})...)
		}
	}
	unpacked, err := rootfs.Unpack(e.ctx, b.Store, groups, rootfs.Limits{})
	if err != nil {
		return nil, err
	}
	s.trees, unpacked = unpacked[:1:1], unpacked[1:]
	for _, l := range e.list {
		at := e.below[l]
		if at.found != nil {
			s.trees, unpacked = append(s.trees, unpacked[0]), unpacked[1:]
			continue
		}
		if at.planted == nil {
			if err := e.plantSource(at); err != nil {
				return nil, err
			}
		}
		s.trees = append(s.trees, at.planted.Dir)
	}
	return s, nil
}

func (e *early) plantSource(at *laid) error {
	tree, err := e.l.source.Tree(e.ctx)
	if err == nil {
		err = e.l.maker.addParents(e.ctx, tree)
	}
	if err != nil {
		return err
	}
	p, err := rootfs.Plant(e.ctx, e.a.b.Store, tree, e.a.b.spec.Epoch)
	e.mu.Lock()
	defer e.mu.Unlock()
	at.planted = p
	return err
}

// adopt gives the layer of the command that runs early, described by what it runs in as it is known now. It is nil for any other:
// the first that asks is the first command.
func (e *early) adopt(l layers.Watched) *adopted {
	if e == nil || e.adopted {
		return nil
	}
	e.adopted = true
	return &adopted{Watched: l, e: e}
}

// close breaks off the command, if it still runs, and leaves to the cache the trees of layers that were made.
func (e *early) close() error {
	e.closing.Do(func() {
		e.stop()
		<-e.done
		if e.command != nil {
			e.closeErr = e.command.Close()
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, at := range e.below {
			if at.planted == nil {
				continue
			}
			if at.diffID != "" {
				e.closeErr = errors.Join(e.closeErr, at.planted.Keep(at.diffID))
			} else {
				e.closeErr = errors.Join(e.closeErr, at.planted.Discard())
			}
			at.planted = nil
		}
	})
	return e.closeErr
}

// adopted is the layer of a command that runs already.
type adopted struct {
	layers.Watched
	e *early
}

// Tree waits for the command. One that did not come to run is run now.
func (a *adopted) Tree(ctx context.Context) (*fstree.Tree, error) {
	select {
	case <-a.e.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.e.ran {
		return a.e.tree, a.e.err
	}
	if err := a.e.close(); err != nil { // its trees are of use
		return nil, err
	}
	return a.Watched.Tree(ctx)
}

// now is the layer that has run, or will.
func (a *adopted) now() layers.Watched {
	select {
	case <-a.e.done:
		if a.e.ran {
			return a.e.command
		}
	default:
	}
	return a.Watched
}

func (a *adopted) Summary() string                  { return a.now().Summary() }
func (a *adopted) Looked() ([]observed.Look, error) { return a.now().Looked() }
func (a *adopted) Close() error                     { return errors.Join(a.e.close(), a.Watched.Close()) }
