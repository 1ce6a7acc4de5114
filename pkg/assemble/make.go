package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/seekable"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// layerRecords is the namespace in the cache where a key leads to a finished layer.
const layerRecords = "layer"

// descriptor is what the cache remembers of a finished layer.
type descriptor struct {
	Digest string `json:"digest"` // SHA-256 in hex, like DiffID
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"`
	Tar    int64  `json:"tar"`
	Files  int    `json:"files"`
	// Summary is the layer's own, which may be known only once it was made: "128 files".
	Summary string `json:"summary"`
}

// madeLayer is a layer whose blob is in the cache, or in a registry.
type madeLayer struct {
	descriptor
	name  string
	key   layers.Key // of its tar: see blobKey
	state LayerState
	took  time.Duration
	whole string       // of a layers.Part
	from  *remoteLayer // set where a registry holds the blob, and this machine does not
	// compression is the blob's.
	compression tarlayer.Compression
	// stepKey is that of a layer that a command makes: see watched.go.
	stepKey layers.Key
	// index says where its files lie in the blob, for commands that run in it; nil where their tree is made otherwise.
	index *seekable.Index
	// up is set where the blob has gone up while it was written, or goes up still.
	up *output.Stream
}

// maker turns layers into blobs.
type maker struct {
	store  *cas.Store
	epoch  int64
	jobs   int
	parent func(ctx context.Context, dir string) (fstree.Entry, error)
	// writable are the folders that the service writes to; service makes the entry of one of them its own, and leaves others as they are.
	writable []string
	service  func(fstree.Entry) fstree.Entry
	// context is what a blob depends on beside its layer's own key: the time of its entries and the directories of the
	// base that lead to them.
	context any
	noCache bool
	dry     bool
	// compression is the form in which layers are made, with the encoders that they share.
	compression tarlayer.Compression
	encoders    *tarlayer.Encoders
	remote      *remoteCache
	// see is shown a layer's whole tree while it is written; it may be nil.
	see     func(context.Context, *fstree.Tree) error
	beside  *beside // what is done with layers meanwhile; it may be nil
	report  func(Event)
	now     func() time.Time
	written sync.Map // by layer's name: *atomic.Int64, bytes so far
}

// key is the key of a layer's tar.
func (m *maker) key(l layers.Layer) layers.Key {
	return layers.KeyOf("blob", struct {
		Layer   layers.Key
		Context any
		Epoch   int64
	}{l.Key(), m.context, m.epoch})
}

// cached finds the blob for a key on this machine.
func (m *maker) cached(key layers.Key) (descriptor, bool) {
	var d descriptor
	if m.noCache {
		return d, false
	}
	b, err := m.store.Record(layerRecords, string(key))
	if err != nil || json.Unmarshal(b, &d) != nil {
		return descriptor{}, false
	}
	return d, m.store.Has(d.Digest, d.Size)
}

// make gives the layer's blob: the one in the cache where there is one, else a new one. It closes the layer.
func (m *maker) make(ctx context.Context, l layers.Layer) (madeLayer, error) {
	return m.makeOver(ctx, l, nil)
}

// makeOver is make for a layer that a command makes, over a source; nil for any other.
func (m *maker) makeOver(ctx context.Context, l layers.Layer, o *overSource) (made madeLayer, err error) {
	defer func() {
		if err = errors.Join(err, l.Close()); err == nil && made.state == Made {
			m.beside.made(made)
		}
		made.up.Drop()
	}()
	start := m.now()
	made = madeLayer{name: l.Name(), key: m.key(l), stepKey: o.key(m), compression: m.compression}
	key := blobKey(made.key, m.compression)
	making := l.Summary()
	if p, ok := l.(layers.Part); ok {
		made.whole, making = p.Whole(), p.Whole()
	}
	why := ""
	_, anew := l.(fresh)
	if !anew {
		ok, reason, err := m.find(ctx, l, o, &made)
		if ok || err != nil {
			return made, err
		}
		why = reason
	}
	if m.dry {
		made.state, made.Summary, made.Files = ToMake, l.Summary(), 1
		if why != "" {
			made.Summary += ": " + why
		}
		return made, nil
	}
	if why != "" {
		m.report(Event{Kind: Debug, Text: fmt.Sprintf("%s is made anew: %s", made.name, why)})
	}
	m.report(Event{Kind: LayerIs, Name: made.name, State: Making, Text: making})
	if !anew {
		if d, ok := m.fromGzip(ctx, made.key); ok {
			made.descriptor, made.state, made.took = d, Made, m.now().Sub(start)
			return made, m.remember(key, d)
		}
	}
	tree, err := l.Tree(ctx)
	if err != nil {
		return made, fmt.Errorf("making the %s layer: %w", made.name, err)
	}
	var unread error
	err = tree.AddParents(func(dir string) fstree.Entry {
		e, err := m.parent(ctx, dir)
		unread = errors.Join(unread, err)
		return e
	})
	if unread != nil {
		err = unread
	}
	for _, dir := range m.writable {
		if e, ok := tree.Lookup(dir); ok {
			err = errors.Join(err, tree.Replace(m.service(e)))
		}
	}
	if err != nil {
		return made, fmt.Errorf("making the %s layer: %w", made.name, err)
	}
	if made.descriptor, made.index, made.up, err = m.write(ctx, l, tree); err != nil {
		return made, fmt.Errorf("making the %s layer: %w", made.name, err)
	}
	if err := m.keep(ctx, l, o, made); err != nil {
		return made, err
	}
	made.state, made.took = Made, m.now().Sub(start)
	return made, nil
}

// find looks for a layer that is there: in the cache, in a registry, or as one that a command would make again the same.
// Else it says why that command is to run, "" where nothing is known.
func (m *maker) find(ctx context.Context, l layers.Layer, o *overSource, made *madeLayer) (ok bool, why string, err error) {
	key := blobKey(made.key, m.compression)
	if d, ok := m.cached(key); ok {
		made.descriptor, made.state = d, Reused
		return true, "", nil
	}
	if m.noCache {
		return false, "", nil
	}
	if r, ok := m.remote.lookUp(key); ok {
		made.descriptor, made.state, made.from = r.descriptor, Reused, &r
		made.Summary = l.Summary() + ", from the registry"
		return true, "", nil
	}
	if o == nil {
		return false, "", nil
	}
	d, from, why, err := m.unchanged(ctx, o)
	if err != nil {
		return false, "", fmt.Errorf("making the %s layer: %w", made.name, err)
	}
	if d == nil {
		return false, why, nil
	}
	made.descriptor, made.state, made.from, made.Summary = *d, Reused, from, unchangedText
	return true, "", m.rememberHere(key, *made)
}

// keep notes in the cache what was made, and what of the source it depends on.
func (m *maker) keep(ctx context.Context, l layers.Layer, o *overSource, made madeLayer) error {
	if t, ok := l.(*twice); ok {
		before, _, _, err := m.unchanged(ctx, o)
		if err != nil {
			return err
		}
		if before != nil && before.DiffID != made.DiffID {
			t.stale()
		}
	}
	if err := m.remember(blobKey(made.key, m.compression), made.descriptor); err != nil {
		return err
	}
	return m.keepLooks(ctx, o, made)
}

// atOnce is how many layers are made side by side, whatever the number of cores: while one waits for a download, another
// is compressed.
const atOnce = 4

// makeAll makes layers side by side, and reports them in their order in the image, those of one name as one.
func (m *maker) makeAll(ctx context.Context, list []layers.Layer) ([]madeLayer, error) {
	made := make([]madeLayer, len(list))
	runs := sameNames(list)
	done := make([]sync.WaitGroup, len(runs))
	left := make([]atomic.Int32, len(runs))
	slots := make(chan struct{}, max(atOnce, m.jobs))
	g, ctx := errgroup.WithContext(ctx)
	for r, run := range runs {
		left[r].Store(int32(run.to - run.from))
		for i := run.from; i < run.to; i++ {
			done[r].Add(1)
			g.Go(func() (err error) {
				defer done[r].Done()
				slots <- struct{}{}
				defer func() { <-slots }()
				if err := ctx.Err(); err != nil {
					return errors.Join(err, list[i].Close())
				}
				made[i], err = m.make(ctx, list[i])
				if left[r].Add(-1) == 0 {
					m.report(Event{Kind: Ended, Name: list[i].Name()})
				}
				return err
			})
		}
	}
	for r, run := range runs {
		done[r].Wait()
		m.finished(made[run.from:run.to]...)
	}
	return made, g.Wait()
}

// span is a range of a list.
type span struct{ from, to int }

// sameNames gives the runs of layers that bear one name.
func sameNames(list []layers.Layer) (runs []span) {
	for i, l := range list {
		if i == 0 || l.Name() != list[i-1].Name() {
			runs = append(runs, span{from: i})
		}
		runs[len(runs)-1].to = i + 1
	}
	return runs
}

// finished reports layers of one name that are there; one whose making failed has no state.
func (m *maker) finished(all ...madeLayer) {
	e := Event{Kind: LayerIs, Name: all[0].name, State: Reused, Text: all[0].Summary}
	anew := 0
	for _, l := range all {
		if l.state != Made && l.state != Reused {
			return
		}
		e.Size += l.Size
		if l.state == Made {
			anew++
			e.State, e.Took = Made, max(e.Took, l.took)
		}
	}
	if len(all) > 1 {
		e.Text = all[0].whole
		if anew > 0 && anew < len(all) {
			e.Text += fmt.Sprintf(", %d made", anew)
		}
	}
	m.report(e)
}

// streamFrom is how many bytes of a layer are there when it begins to go up: a small one is whole before a registry has answered.
const streamFrom = 4 << 20

// write writes the tree into the cache. It gives the stream in which it goes up meanwhile, if it does, and an index where commands
// will run in it and look at few of its files.
func (m *maker) write(ctx context.Context, l layers.Layer, tree *fstree.Tree) (d descriptor, index *seekable.Index, up *output.Stream, err error) {
	w, err := m.store.NewWriter()
	if err != nil {
		return d, nil, nil, err
	}
	defer func() {
		w.Abort()
		if err != nil {
			up.Drop()
		}
	}()
	asked := false
	counter := &progressWriter{w: w, report: func(n int64) {
		m.report(Event{Kind: Progress, Name: l.Name(), Done: m.progress(l.Name(), n)})
		if !asked && w.Size() >= streamFrom {
			up, asked = m.beside.along(m.compression, w), true
		}
	}}
	o := m.options(m.compression)
	var filling *rootfs.Filling
	if m.beside.sparse(l, m.compression) {
		index = new(seekable.Index)
		o.Index = index
	} else if filling = m.beside.fill(ctx, l.Name()); filling != nil {
		defer filling.Drop()
		o.Tar = filling
	}
	var res tarlayer.Result
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		res, err = tarlayer.Write(ctx, counter, tree, o)
		return err
	})
	if m.see != nil {
		g.Go(func() error { return m.see(ctx, tree) })
	}
	if err := g.Wait(); err != nil {
		return d, nil, up, err
	}
	digest, err := w.Commit("")
	if err != nil {
		return d, nil, up, err
	}
	if index != nil {
		if err := m.beside.b.sparses.keep(m.store, index); err != nil {
			return d, nil, up, err
		}
	}
	_ = filling.Place(rootfs.Group{{DiffID: res.DiffID}}) // else it is made of the blob
	files, _ := tree.Files()
	return descriptor{Digest: digest, DiffID: res.DiffID, Size: res.Size, Tar: res.Tar, Files: files, Summary: l.Summary()}, index, up, nil
}

func (m *maker) options(c tarlayer.Compression) tarlayer.Options {
	return tarlayer.Options{Epoch: m.epoch, Jobs: m.jobs, Compression: c, Encoders: m.encoders}
}

// progress adds to what has been written under a name, and gives the sum.
func (m *maker) progress(name string, n int64) int64 {
	sum, _ := m.written.LoadOrStore(name, new(atomic.Int64))
	return sum.(*atomic.Int64).Add(n)
}

// progressWriter reports now and then how much more has gone through it.
type progressWriter struct {
	w      io.Writer
	since  int64
	report func(int64)
}

// progressStep is how many bytes lie between two reports.
const progressStep = 256 << 10

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if p.since += int64(n); p.since >= progressStep {
		p.report(p.since)
		p.since = 0
	}
	return n, err
}
