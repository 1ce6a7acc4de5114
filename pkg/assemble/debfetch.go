package assemble

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/archive"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
)

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
