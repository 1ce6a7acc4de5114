package assemble

import (
	"context"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
)

// borrowedRecords is the namespace in the cache where a repository and a name lead to what was found attached under the name to
// an image in that repository. It counts for builds that have a tag or --cache-from there, and for no others: whoever may push
// to the repository may have written it.
const borrowedRecords = "borrowed"

// factsName is the attachment with the summary of a base (base.ParseSummary).
func factsName(img *base.Image) string { return "facts-" + img.Digest.Hex }

// factsOf gives what a build needs to know of a base: what this machine has read of it; else the summary that travels with an
// earlier image, which is borrowed then; else the base is read. The summary is attached to the image that is built.
func (b *builder) factsOf(ctx context.Context, img *base.Image) (f *base.Facts, borrowed []byte, err error) {
	f, raw, ok := img.Summary(b.Store)
	if !ok && img.Repository != nil && !b.spec.NoCache {
		whole := func(ctx context.Context) (*base.Facts, error) {
			b.debug("the summary of %s does not tell everything: its layers are read", img.Source)
			return b.readFacts(ctx, img)
		}
		raw = b.borrow(ctx, factsName(img), func(raw []byte) (err error) {
			f, err = base.ParseSummary(raw, img.Digest, whole)
			return err
		})
		if raw != nil {
			b.attach(factsName(img), raw)
			return f, raw, nil
		}
		b.debug("no summary of %s travels with an earlier image: its layers are read", img.Source)
	}
	if !ok {
		if f, err = b.readFacts(ctx, img); err != nil {
			return nil, nil, err
		}
		_, raw, _ = img.Summary(b.Store)
	}
	if raw != nil {
		b.attach(factsName(img), raw)
	}
	return f, nil, nil
}

// borrow finds what will do, by the word of ok, in the cache or attached to an earlier image; nil where nothing does.
func (b *builder) borrow(ctx context.Context, attachment string, ok func([]byte) error) []byte {
	for _, repo := range b.cacheRepositories() {
		if raw, err := b.Store.Record(borrowedRecords, repo.Name()+" "+attachment); err == nil && ok(raw) == nil {
			return raw
		}
	}
	raw, repo := b.attached(ctx, attachment, ok)
	if raw == nil {
		return nil
	}
	b.debug("%.20s… was attached to an image in %s", attachment, repo.Name())
	if err := b.Store.PutRecord(borrowedRecords, repo.Name()+" "+attachment, raw); err != nil {
		b.debug("%s is not kept: %v", attachment, err)
	}
	return raw
}

// cacheRepositories are those whose images this build trusts, as those of its own tags.
func (b *builder) cacheRepositories() (all []name.Repository) {
	for _, r := range b.cacheRefs() {
		ref, err := b.Registry.Reference(r)
		if err != nil || slices.Contains(all, ref.Context()) {
			continue // such as a layout
		}
		all = append(all, ref.Context())
	}
	return all
}

// lied says whether a build that failed on borrowed facts was told something else than the base's layers say. Then it
// gives the facts that were read, which count from now on.
func (b *builder) lied(ctx context.Context, img *base.Image, borrowed []byte, failed error) (*base.Facts, bool) {
	if borrowed == nil || ctx.Err() != nil || hint.KindOf(failed) == hint.KindNetwork {
		return nil, false
	}
	b.debug("it may be what an earlier image says of %s: its layers are read", img.Source)
	f, err := img.Facts(ctx, b.Store)
	if err != nil {
		return nil, false
	}
	_, raw, ok := img.Summary(b.Store)
	if !ok || slices.Equal(raw, borrowed) {
		return nil, false
	}
	b.attach(factsName(img), raw)
	return f, true
}
