package assemble

import (
	"context"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/output"
)

// remoteCache finds layers by their keys in images that were pushed before: the ones that the tags lead to, and those of
// --cache-from. A registry is asked once, and only when this machine lacks a layer.
type remoteCache struct {
	once sync.Once
	find func() (map[layers.Key]remoteLayer, []output.Seen)
	all  map[layers.Key]remoteLayer
	tags []output.Seen // where the image's own tags led
}

// remoteLayer is a layer that a registry holds.
type remoteLayer struct {
	descriptor
	repo  *name.Repository
	layer v1.Layer
}

func (r *remoteLayer) open(context.Context) (io.ReadCloser, error) { return r.layer.Compressed() }

func (c *remoteCache) lookUp(key layers.Key) (remoteLayer, bool) {
	if c == nil {
		return remoteLayer{}, false
	}
	c.once.Do(func() { c.all, c.tags = c.find() })
	l, ok := c.all[key]
	return l, ok
}

// seen is where tags led, where they have been asked for; it may be called when no layer is being made any more.
func (c *remoteCache) seen() []output.Seen {
	if c == nil {
		return nil
	}
	return c.tags
}

// openRemoteCache prepares the look into earlier images. What cannot be read is no error: then the layers are made.
func (b *builder) openRemoteCache(ctx context.Context) *remoteCache {
	if b.spec.NoCache || b.spec.Offline {
		return nil
	}
	refs := b.spec.CacheFrom
	if b.spec.Push {
		for _, t := range b.spec.Tags {
			refs = append(refs[:len(refs):len(refs)], t.String())
		}
	}
	if len(refs) == 0 {
		return nil
	}
	return &remoteCache{find: func() (map[layers.Key]remoteLayer, []output.Seen) {
		all := make(map[layers.Key]remoteLayer)
		var tags []output.Seen
		for _, ref := range refs {
			n := len(all)
			seen, err := b.readEarlier(ctx, ref, all)
			if err != nil {
				b.debug("no layers are reused from %s: %v", ref, err)
				continue
			}
			b.debug("%s holds %d layers with keys", ref, len(all)-n)
			for _, t := range b.spec.Tags {
				tag, ok := t.(name.Tag)
				if _, mirrored := b.Registry.Mirror(t); ok && !mirrored && t.String() == ref {
					seen.Tag = tag
					tags = append(tags, seen)
				}
			}
		}
		return all, tags
	}}
}

// readEarlier notes the layers of an image, and of every image of an index, by their keys, and all of its blobs.
func (b *builder) readEarlier(ctx context.Context, ref string, all map[layers.Key]remoteLayer) (output.Seen, error) {
	src, err := base.ParseSource(ref)
	if err != nil {
		return output.Seen{}, err
	}
	opened, err := base.Open(ctx, src, base.Options{Client: b.Registry, Store: b.Store})
	if err != nil {
		return output.Seen{}, err
	}
	seen := output.Seen{Digest: opened.Digest}
	platforms := opened.Platforms()
	if !opened.IsIndex() {
		platforms = []v1.Platform{{}}
	}
	for _, p := range platforms {
		img, err := opened.Image(ctx, p)
		if err != nil {
			return seen, err
		}
		m, err := img.Manifest()
		if err != nil {
			return seen, err
		}
		seen.Blobs = append(seen.Blobs, m.Config.Digest)
		for _, l := range m.Layers {
			seen.Blobs = append(seen.Blobs, l.Digest)
		}
		if err := note(img, m, all); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

func note(img *base.Image, m *v1.Manifest, all map[layers.Key]remoteLayer) error {
	conf, err := imageconf.Parse(img.Config)
	if err != nil || len(conf.RootFS.DiffIDs) != len(m.Layers) {
		return err
	}
	for i, d := range m.Layers {
		key := layers.Key(d.Annotations[output.KeyAnnotation])
		diffID, err := v1.NewHash(conf.RootFS.DiffIDs[i])
		if key == "" || err != nil {
			continue
		}
		l, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return err
		}
		all[key] = remoteLayer{descriptor{Digest: d.Digest.Hex, DiffID: diffID.Hex, Size: d.Size, Files: 1}, img.Repository, l}
	}
	return nil
}
