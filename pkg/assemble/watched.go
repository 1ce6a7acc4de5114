package assemble

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// A layer that a command makes has two keys. The one of all layers covers everything that the command could have looked at,
// the whole source among it. The other, the step's, leaves the source out, and leads to records of what the command did
// look at when it ran: where one of them holds in the source as it is now, the layer is the one that was made then.

const (
	// watchedRecords is the namespace in the cache where a step's key leads to what its command has looked at.
	watchedRecords = "looks"
	// maxKept is how many records a step's key leads to, the newest first: those of a few branches of one project.
	maxKept = 8

	sourceLayer   = "app"
	unchangedText = "no file it read has changed"
)

// keptLooks is what a command has looked at, and the layer that it made.
type keptLooks struct {
	Key    layers.Key `json:"key"`    // of the layer's tar
	DiffID string     `json:"diffID"` // of the same, SHA-256 in hex
	Looks  []byte     `json:"looks"`  // an observed.Record
}

// overSource is a layer that a command makes, and the source that it runs over.
type overSource struct {
	step   layers.Watched
	source func(context.Context) (*observed.Tree, error)
}

// key is the step's key as the cache has it, like maker.key; "" for nil.
func (o *overSource) key(m *maker) layers.Key {
	if o == nil {
		return ""
	}
	return layers.KeyOf("step", struct {
		Step    layers.Key
		Context any
		Epoch   int64
	}{o.step.StepKey(), m.context, m.epoch})
}

// observed is the source as commands see it.
func (l *lower) observed(ctx context.Context) (*observed.Tree, error) {
	l.observedOnce.Do(func() {
		tree, err := l.source.Tree(ctx)
		if l.observedErr = err; err == nil {
			l.observedTree = observed.NewTree(tree)
		}
	})
	return l.observedTree, l.observedErr
}

// unchanged finds a layer whose command would see today what it has seen: its descriptor and, where a registry has it, what
// is to be known of that. Else it says why the command is to run, "" where nothing is known of it.
func (m *maker) unchanged(ctx context.Context, o *overSource) (_ *descriptor, from *remoteLayer, why string, err error) {
	key := o.key(m)
	all := keptIn(m.store, key)
	for i := 0; ; i++ {
		if i == len(all) {
			more := m.remote.looks(key)
			if more = slices.DeleteFunc(slices.Clone(more), func(k keptLooks) bool { return has(all, k) }); len(more) == 0 {
				return nil, nil, why, nil
			}
			all = append(all, more...)
		}
		record, err := observed.Parse(all[i].Looks)
		if err != nil {
			m.report(Event{Kind: Debug, Text: err.Error()})
			continue
		}
		tree, err := o.source(ctx)
		if err != nil {
			return nil, nil, "", err
		}
		change, err := record.Changed(tree)
		if err != nil {
			return nil, nil, "", err
		}
		if change != nil {
			why = cmp.Or(why, changeText(change))
			continue
		}
		if d, from, ok := m.blobOf(ctx, all[i]); ok {
			return &d, from, "", nil
		}
	}
}

func changeText(c *observed.Change) string {
	return "/" + strings.TrimPrefix(c.Path, ".") + " " + c.What
}

func has(all []keptLooks, k keptLooks) bool {
	return slices.ContainsFunc(all, func(other keptLooks) bool { return other.DiffID == k.DiffID && string(other.Looks) == string(k.Looks) })
}

// blobOf finds the blob of a layer that was made before, in the form that is wanted.
func (m *maker) blobOf(ctx context.Context, k keptLooks) (d descriptor, from *remoteLayer, ok bool) {
	if k.Key != "" {
		if d, ok := m.cached(blobKey(k.Key, m.compression)); ok && d.DiffID == k.DiffID {
			return d, nil, true
		}
		if d, ok := m.fromGzip(ctx, k.Key); ok && d.DiffID == k.DiffID {
			return d, nil, true
		}
	}
	if r, ok := m.remote.byDiffID(k.DiffID, m.compression); ok {
		return r.descriptor, &r, true
	}
	return descriptor{}, nil, false
}

// rememberHere is remember for a layer that was found, if its blob is on this machine.
func (m *maker) rememberHere(key layers.Key, made madeLayer) error {
	if m.dry || made.from != nil {
		return nil
	}
	return m.remember(key, made.descriptor)
}

// keptIn reads what commands have looked at under a step's key.
func keptIn(store *cas.Store, key layers.Key) (all []keptLooks) {
	b, err := store.Record(watchedRecords, string(key))
	if err != nil || json.Unmarshal(b, &all) != nil {
		return nil
	}
	return all
}

// keepLooks keeps what the command of a layer has looked at, if that is known.
func (m *maker) keepLooks(ctx context.Context, o *overSource, made madeLayer) error {
	if o == nil {
		return nil
	}
	looks, err := o.step.Looked()
	var b []byte
	if err == nil {
		b, err = m.record(ctx, o, looks)
	}
	if err != nil {
		m.report(Event{Kind: Debug, Text: made.name + " is made again when anything of the source has changed: " + err.Error()})
		return nil
	}
	k := keptLooks{Key: made.key, DiffID: made.DiffID, Looks: b}
	all := slices.DeleteFunc(keptIn(m.store, made.stepKey), func(other keptLooks) bool { return has([]keptLooks{k}, other) })
	all = append([]keptLooks{k}, all...)
	b, err = json.Marshal(all[:min(len(all), maxKept)])
	if err != nil {
		return err
	}
	return m.store.PutRecord(watchedRecords, string(made.stepKey), b)
}

func (m *maker) record(ctx context.Context, o *overSource, looks []observed.Look) ([]byte, error) {
	tree, err := o.source(ctx)
	if err != nil {
		return nil, err
	}
	r, err := observed.Make(looks, tree)
	if err != nil {
		return nil, err
	}
	b, err := r.Marshal()
	if err == nil {
		m.report(Event{Kind: Debug, Text: o.step.Name() + " looked at " + count(r.Len(), "path") + " of the source, " + bytes(int64(len(b))) + " to remember"})
	}
	return b, err
}

// byDiffID finds a layer of an earlier image by what it holds: of several blobs, always the same.
func (c *remoteCache) byDiffID(diffID string, form tarlayer.Compression) (found remoteLayer, ok bool) {
	for _, r := range c.layers() {
		if r.DiffID == diffID && (r.compression == tarlayer.Zstd) == (form == tarlayer.Zstd) && (!ok || r.Digest < found.Digest) {
			found, ok = r, true
		}
	}
	return found, ok
}
