package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/debian"
	"github.com/jubako/jubako/pkg/base"
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
	if len(request) == 0 {
		return nil, nil
	}
	o := debian.Options{Arch: debArch(l.image.Platform), Epoch: b.spec.Epoch, StrictScripts: b.spec.StrictScripts, Store: b.Store, Jobs: b.spec.Jobs, Warn: b.warn}
	set, err := b.debsUnread(l, request, &o)
	if err != nil {
		return nil, err
	}
	if set == nil {
		if set, err = b.debs(ctx, l.image, request, nil); err != nil || len(set.Packages) == 0 {
			return nil, err
		}
		if l.facts, err = l.facts.Whole(ctx); err != nil { // any file of the base may stand in a package's way
			return nil, err
		}
		o.Facts = l.facts
		if o.Dpkg, err = l.image.Dpkg(ctx, b.Store); err != nil {
			return nil, err
		}
	}
	o.Packages = b.packagesOf(set)
	for _, text := range request {
		if q, err := deb.ParseRequest(text); err == nil {
			o.Requested = append(o.Requested, q.Name)
		}
	}
	layer, err := debian.New(o)
	if err != nil {
		return nil, err
	}
	effects, err := b.effects(ctx, layer, o.Load != nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the debian layer: %w", err), layer.Close())
	}
	l.facts = effects.Over(l.facts)
	return layer, nil
}

// debsUnread finds the packages of a request for a base of which a summary is known, where jubako.lock has them for just its
// packages: then neither the base nor its packages need to be read, for as long as the layer need not be made. It is nil where
// the base has to be read.
func (b *builder) debsUnread(l *lower, request []string, o *debian.Options) (*debs, error) {
	files, installed := l.facts.Packages()
	if files == "" || installed == "" {
		return nil, nil
	}
	set := b.pinned(l.image, request, nil)
	if set == nil || set.Installed != installed || len(set.Packages) == 0 {
		return nil, nil
	}
	facts := l.facts
	o.Base, o.Load = files, func(ctx context.Context) (*base.Facts, *base.Dpkg, error) {
		whole, err := facts.Whole(ctx)
		if err != nil {
			return nil, nil, err
		}
		dpkg, err := l.image.Dpkg(ctx, b.Store)
		return whole, dpkg, err
	}
	return set, nil
}

// effects gives what the layer does to the base, and has it travel with the image. Where the base was not read, what
// travels with an earlier image will do.
func (b *builder) effects(ctx context.Context, layer *debian.Layer, unread bool) (*debian.Effects, error) {
	name := "debian-" + string(layer.Key())
	effects, known := layer.Known()
	if !known && unread && !b.spec.NoCache {
		raw := b.borrow(ctx, name, func(raw []byte) (err error) {
			effects, err = debian.Unpack(raw)
			return err
		})
		if raw != nil {
			b.attach(name, raw)
			return effects, layer.Believe(effects)
		}
	}
	effects, err := layer.Effects(ctx)
	if err != nil {
		return nil, err
	}
	if !b.spec.Push {
		return effects, nil
	}
	raw, err := b.Store.Record(packedRecords, name)
	if err != nil {
		if raw, err = effects.Pack(); err != nil {
			b.debug("%v", err)
			return effects, nil
		}
		if err := b.Store.PutRecord(packedRecords, name, raw); err != nil {
			return nil, err
		}
	}
	b.attach(name, raw)
	return effects, nil
}

// packedRecords is the namespace in the cache with effects that this machine has made, as they travel.
const packedRecords = "packed"

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
		if hint.KindOf(err) != hint.KindNetwork {
			first = err
			break // it came, and is another one
		}
		if first == nil {
			first = err
		}
		b.debug("%s: %v", p, err)
	}
	if fetch.Absent(first) {
		return nil, hint.Wrap(hint.Network(fmt.Errorf("package %s: %w", p, first)), "the archive has a newer one by now: jubako lock --upgrade takes it, or name a mirror or snapshot that has it still")
	}
	return nil, archive.Mismatch(fmt.Errorf("package %s: %w", p, first), "package "+p.String()+" is not the one that was pinned",
		"the archive, a mirror or a proxy on the way serves another file under the same name; where the change is meant, jubako lock --upgrade takes it")
}
