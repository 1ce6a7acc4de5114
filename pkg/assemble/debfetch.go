package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/debian"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/archive"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
)

// debian describes the layer of the image's Debian packages, and puts what it brings over the facts of the base. It is nil
// where none are asked for.
func (b *builder) debian(ctx context.Context, l *lower) (layers.Layer, error) {
	request := b.spec.Project.Config.Packages
	set, err := b.debs(ctx, l.image, request, nil)
	if err != nil || set == nil || len(set.Packages) == 0 {
		return nil, err
	}
	dpkg, err := l.image.Dpkg(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	o := debian.Options{
		Facts: l.facts, Dpkg: dpkg, Arch: debArch(l.image.Platform), Packages: b.packagesOf(set), Epoch: b.spec.Epoch,
		StrictScripts: b.spec.StrictScripts, Store: b.Store, Jobs: b.spec.Jobs, Warn: b.warn,
	}
	for _, text := range request {
		if q, err := deb.ParseRequest(text); err == nil {
			o.Requested = append(o.Requested, q.Name)
		}
	}
	layer, err := debian.New(o)
	if err != nil {
		return nil, err
	}
	effects, err := layer.Effects(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the debian layer: %w", err), layer.Close())
	}
	l.facts = effects.Over(l.facts)
	return layer, nil
}

// packagesOf gives the packages of a set, each fetched when it is opened.
func (b *builder) packagesOf(set *debs) []debian.Package {
	var all []debian.Package
	for _, p := range set.Locked() {
		all = append(all, debian.Package{
			Name: p.Name, Version: string(p.Version), Arch: p.Arch, Filename: path.Base(p.Path), SHA256: p.SHA256, Size: p.Size,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return b.openDeb(ctx, set, p) },
		})
	}
	return all
}

// openDeb brings a package into the cache, unless it is there, and opens it once its hash has been compared. It is looked
// for on the configured mirror, where it was locked, and in the snapshot; a place that lacks it is passed over.
func (b *builder) openDeb(ctx context.Context, set *debs, p deb.Locked) (io.ReadCloser, error) {
	s := set.Sources[p.Source]
	src := []debSource{{Source: deb.Source{URI: s.URI, Suite: s.Suite}, at: s.URI}}
	var places []string
	if mirror := b.spec.debMirror(); mirror != "" && mirrored(src, mirror) == nil {
		places = append(places, src[0].at)
	}
	if b.spec.snapshot() != "" && s.Snapshot != "" {
		places = append(places, s.Snapshot)
	}
	places = append(places, s.URI)
	if s.Snapshot != "" {
		places = append(places, s.Snapshot)
	}
	var first error
	for _, at := range places {
		blob, err := b.Fetch.Fetch(ctx, fetch.Artifact{
			Filename: path.Base(p.Path), URL: at + "/" + p.Path, Hashes: []filehash.Hash{{Algorithm: "sha256", Hex: p.SHA256}}, Size: p.Size, Sized: true,
		})
		if err == nil {
			return b.Store.Verified(blob.SHA256)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if first == nil {
			first = err
		}
		if hint.KindOf(err) != hint.KindNetwork {
			break // it came, and is another one
		}
		b.debug("%s: %v", p, err)
	}
	if fetch.Absent(first) {
		return nil, hint.Wrap(hint.Network(fmt.Errorf("package %s: %w", p, first)), "the archive has a newer one by now: jubako lock --upgrade takes it, or name a mirror or snapshot that has it still")
	}
	return nil, archive.Mismatch(fmt.Errorf("package %s: %w", p, first), "package "+p.String()+" is not the one that was pinned",
		"the archive, a mirror or a proxy on the way serves another file under the same name; where the change is meant, jubako lock --upgrade takes it")
}
