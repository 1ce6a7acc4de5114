package assemble

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/regclient"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// remoteCache finds layers by their keys in images that were pushed before: the ones that the tags lead to, and those of
// --cache-from. A registry is asked once, and only when this machine lacks a layer, or is likely to.
type remoteCache struct {
	once    sync.Once
	done    chan struct{}  // closed once everything was read
	eager   bool           // what is attached to the images is likely to be wanted too
	reading sync.WaitGroup // what is read before it was asked for
	find    func() map[layers.Key]remoteLayer
	all     map[layers.Key]remoteLayer
	earlier map[string]output.Earlier // what was read, by reference; set by find
	found   []*earlierImage           // those of the tags first; set by find

	looksOnce sync.Once
	findLooks func() map[layers.Key][]keptLooks
	allLooks  map[layers.Key][]keptLooks
}

// remoteLayer is a layer that a registry holds.
type remoteLayer struct {
	descriptor
	repo        *name.Repository
	layer       v1.Layer
	compression tarlayer.Compression
}

func (r *remoteLayer) open(context.Context) (io.ReadCloser, error) { return r.layer.Compressed() }

// layers looks into the earlier images, once.
func (c *remoteCache) layers() map[layers.Key]remoteLayer {
	if c == nil {
		return nil
	}
	c.once.Do(func() {
		c.all = c.find()
		close(c.done)
	})
	return c.all
}

func (c *remoteCache) lookUp(key layers.Key) (remoteLayer, bool) {
	l, ok := c.layers()[key]
	return l, ok
}

// openRemoteCache prepares the look into earlier images. What cannot be read is no error: then the layers are made.
func (b *builder) openRemoteCache(ctx context.Context) *remoteCache {
	if b.spec.NoCache || b.spec.Offline {
		return nil
	}
	refs := b.cacheRefs()
	if len(refs) == 0 {
		return nil
	}
	c := &remoteCache{done: make(chan struct{}), earlier: make(map[string]output.Earlier), findLooks: func() map[layers.Key][]keptLooks { return b.earlierLooks(ctx) }}
	c.find = func() map[layers.Key]remoteLayer {
		read := make([]*earlierImage, len(refs))
		var wait sync.WaitGroup
		for i, ref := range refs {
			wait.Go(func() { read[i] = b.readEarlier(ctx, ref, c) })
		}
		wait.Wait()
		all := make(map[layers.Key]remoteLayer)
		var others []*earlierImage
		for i, e := range read {
			if r, ok := b.unmirrored(refs[i]); ok && (e.err == nil || e.opened == nil && regclient.NotFound(e.err)) {
				c.earlier[r.Name()] = e.holds
			}
			maps.Copy(all, e.layers)
			if e.err != nil {
				b.debug("%d layers are reused from %s: %v", len(e.layers), refs[i], e.err)
				continue
			}
			b.debug("%s holds %d layers with keys", refs[i], len(e.layers))
			if i < len(b.spec.CacheFrom) {
				others = append(others, e)
			} else {
				c.found = append(c.found, e)
			}
		}
		c.found = append(c.found, others...)
		return all
	}
	if b.newHere() {
		c.eager = true
		c.reading.Go(func() { c.layers() })
	}
	return c
}

// newHere says whether this machine is likely to lack what the image before holds: it has pushed to none of the repositories yet.
func (b *builder) newHere() bool {
	return b.spec.Push && !b.dry && !slices.ContainsFunc(b.spec.Tags, func(t name.Reference) bool {
		_, err := b.Store.Record(pushedRecords, t.Context().Name())
		return err == nil
	})
}

// wait lets end what is read before it was asked for.
func (c *remoteCache) wait() {
	if c != nil {
		c.reading.Wait()
	}
}

// images are the earlier images, those of the tags first.
func (c *remoteCache) images() []*earlierImage {
	if c == nil {
		return nil
	}
	c.layers()
	return c.found
}

// cacheRefs are the earlier images that are looked at: those of --cache-from, and then those that the tags lead to.
func (b *builder) cacheRefs() []string {
	refs := b.spec.CacheFrom
	if b.spec.Push {
		for _, t := range b.spec.Tags {
			refs = append(refs[:len(refs):len(refs)], t.String())
		}
	}
	return refs
}

// seen is what references were found to lead to in the course of the build. What nobody has waited for until now is not waited for here.
func (c *remoteCache) seen() map[string]output.Earlier {
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		return c.earlier
	default:
		return nil
	}
}

// replaces says whether an image that one of the tags led to holds a blob.
func (c *remoteCache) replaces(tags []name.Reference, blob v1.Hash) bool {
	if c == nil {
		return false
	}
	c.layers()
	for _, t := range tags {
		if slices.Contains(c.earlier[t.Name()].Blobs, blob) {
			return true
		}
	}
	return false
}

// earlierImage is an image, or an index, that was pushed before.
type earlierImage struct {
	opened      *base.Opened
	layers      map[layers.Key]remoteLayer
	holds       output.Earlier
	attachments func() (*base.Attachments, error) // asks once
	err         error                             // why the rest is of no use
}

// readEarlier reads the layers of an image, and of every image of an index, by their keys.
func (b *builder) readEarlier(ctx context.Context, ref string, c *remoteCache) *earlierImage {
	e := &earlierImage{layers: make(map[layers.Key]remoteLayer)}
	e.err = func() error {
		src, err := base.ParseSource(b.atDigest(ref))
		if err != nil {
			return err
		}
		if e.opened, err = base.Open(ctx, src, base.Options{Client: b.Registry, Store: b.Store}); err != nil {
			return err
		}
		e.attachments = sync.OnceValues(func() (*base.Attachments, error) { return e.opened.Attachments(ctx) })
		if c.eager {
			c.reading.Go(func() { _, _ = e.attachments() }) // whoever asks for them is told what is wrong
		}
		e.holds.Digest = e.opened.Digest
		platforms := e.opened.Platforms()
		if !e.opened.IsIndex() {
			platforms = []v1.Platform{{}}
		}
		for _, p := range platforms {
			img, err := e.opened.Image(ctx, p)
			if err != nil {
				return err
			}
			if err := note(img, e.layers); err != nil {
				return err
			}
			m, err := img.Manifest()
			if err != nil {
				return err
			}
			for _, d := range append(m.Layers, m.Config) {
				e.holds.Blobs = append(e.holds.Blobs, d.Digest)
			}
		}
		return nil
	}()
	return e
}

// unmirrored reads a reference, if it is the registry itself that is asked for it: a mirror does not say what the registry holds.
func (b *builder) unmirrored(ref string) (name.Reference, bool) {
	r, err := b.Registry.Reference(ref)
	if err != nil {
		return nil, false
	}
	_, mirrored := b.Registry.Mirror(r)
	return r, !mirrored
}

// atDigest names what a tag led to when the build began, if that is known: this machine may hold it.
func (b *builder) atDigest(ref string) string {
	r, ok := b.unmirrored(ref)
	if !ok {
		return ref
	}
	digest, known := b.begun.tags.wait().Leads(r)
	if !known || digest == (v1.Hash{}) {
		return ref
	}
	return r.Context().Digest(digest.String()).Name()
}

func note(img *base.Image, all map[layers.Key]remoteLayer) error {
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	conf, err := imageconf.Parse(img.Config)
	if err != nil || len(conf.RootFS.DiffIDs) != len(m.Layers) {
		return err
	}
	comments := conf.LayerComments()
	for i, d := range m.Layers {
		key := layers.Key(output.KeyOf(d.Annotations, comments[i]))
		diffID, err := v1.NewHash(conf.RootFS.DiffIDs[i])
		if key == "" || err != nil {
			continue
		}
		l, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return err
		}
		form := tarlayer.Gzip
		if d.MediaType == types.OCILayerZStd {
			form = tarlayer.Zstd
		}
		all[key] = remoteLayer{descriptor{Digest: d.Digest.Hex, DiffID: diffID.Hex, Size: d.Size, Files: 1}, img.Repository, l, form}
	}
	return nil
}
