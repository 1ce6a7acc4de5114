package assemble

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// delivers says whether the image goes anywhere.
func (b *builder) delivers() bool { return b.spec.Push || len(b.spec.Outputs) > 0 }

// deliver brings the image to its places: files first, registries last.
func (b *builder) deliver(ctx context.Context, all artifacts, res *Result) error {
	for _, o := range b.spec.Outputs {
		if o.Kind == toDockerArchive && b.spec.Compression.All == tarlayer.Zstd {
			b.note("%s:%s has its layers compressed with gzip, which every docker load takes", o.Kind, o.Path)
		}
		if err := b.write(ctx, all[b.spec.Compression.For(o.Kind)], o); err != nil {
			return err
		}
		b.Report(Event{Kind: Written, Text: fmt.Sprintf("%s:%s", o.Kind, o.Path)})
	}
	if !b.spec.Push {
		return nil
	}
	var err error
	o := b.pushOptions()
	o.Earlier, o.Looked, o.Attach, o.Ahead = b.remote.seen(), b.begun.tags.wait(), b.attachOptions, b.ahead.uploads
	artifact := all[b.spec.Compression.For(toPush)]
	res.Push, err = output.Push(ctx, o, artifact, b.spec.Tags)
	if err != nil {
		return err
	}
	res.Pushed = true
	if res.Push.Pushed+res.Push.Mounted > 0 {
		if err := b.hold(artifact); err != nil {
			return err
		}
	}
	if err := b.keepPushed(artifact); err != nil {
		return err
	}
	b.Report(Event{Kind: Pushed, Text: PushText(res.Push), Size: res.Push.Bytes})
	return nil
}

// pushedRecords is the namespace in the cache where a tag leads to the digest of what this machine has pushed to it last, and so does its
// repository.
const pushedRecords = "pushed"

// keepPushed keeps an artifact's manifests and configs: the next build looks for layers in it, and they need not come back then.
func (b *builder) keepPushed(a output.Artifact) error {
	if a.Index != nil {
		if err := base.Keep(b.Store, a.Digest, a.MediaType, a.Index); err != nil {
			return err
		}
	}
	for _, img := range a.Images {
		if err := base.Keep(b.Store, img.Digest, img.MediaType, img.Manifest); err != nil {
			return err
		}
		digest := img.ConfigDigest()
		if b.Store.Has(digest.Hex, int64(len(img.Config))) {
			continue
		}
		if _, _, err := b.Store.Put(strings.NewReader(string(img.Config)), digest.Hex); err != nil {
			return err
		}
	}
	for _, t := range b.spec.Tags {
		for _, place := range []string{t.Name(), t.Context().Name()} {
			if last, err := b.Store.Record(pushedRecords, place); err == nil && string(last) == a.Digest.String() {
				continue
			}
			if err := b.Store.PutRecord(pushedRecords, place, []byte(a.Digest.String())); err != nil {
				return err
			}
		}
	}
	return nil
}

// pushedBefore are the tags that this machine has pushed to before. Another machine is likely to need what the image before holds,
// and asks for all of it in one request.
func (b *builder) pushedBefore() (tags []name.Reference) {
	if !b.spec.Push || b.dry {
		return nil
	}
	for _, t := range b.spec.Tags {
		if _, err := b.Store.Record(pushedRecords, t.Name()); err == nil {
			tags = append(tags, t)
		}
	}
	return tags
}

func (b *builder) pushOptions() output.PushOptions {
	return output.PushOptions{Client: b.Registry, Jobs: b.spec.Jobs, Holds: b.holds, Progress: PushProgress(b.Report)}
}

// heldRecords is the namespace in the cache where a registry and a blob lead to a repository that was given the blob: another
// project's image of the same layers mounts them from there.
const heldRecords = "held"

// hold notes which repositories hold the artifact's layers now.
func (b *builder) hold(a output.Artifact) error {
	before := make(map[v1.Hash]bool)
	for _, e := range b.remote.seen() {
		for _, d := range e.Blobs {
			before[d] = true
		}
	}
	for _, img := range a.Images {
		for _, l := range img.Layers {
			if before[l.Digest] {
				continue
			}
			for _, t := range b.spec.Tags {
				if err := b.held(t.Context(), l.Digest); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *builder) held(by name.Repository, blob v1.Hash) error {
	return b.Store.PutRecord(heldRecords, by.RegistryStr()+" "+blob.String(), []byte(by.RepositoryStr()))
}

// holds finds what hold has noted. A repository that lacks the blob by now costs nothing: the registry takes it as an upload.
func (b *builder) holds(registry string, blob v1.Hash) *name.Repository {
	record, err := b.Store.Record(heldRecords, registry+" "+blob.String())
	if err != nil {
		return nil
	}
	repo, err := name.NewRepository(registry + "/" + string(record))
	if err != nil {
		return nil
	}
	return &repo
}

// PushText says in words what a push moved.
func PushText(r output.PushResult) string {
	s := fmt.Sprintf("%s, %s", count(r.Pushed, "blob"), bytes(r.Bytes))
	if r.Mounted > 0 {
		s += fmt.Sprintf("; %s mounted", count(r.Mounted, "blob"))
	}
	if r.Present > 0 {
		s += fmt.Sprintf("; %s there already", count(r.Present, "blob"))
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bytes gives a size as the terminal does.
func bytes(n int64) string {
	if n < 1_000_000 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func (b *builder) write(ctx context.Context, a output.Artifact, o Output) error {
	switch o.Kind {
	case "oci":
		tag := o.Tag
		if tag == "" && len(b.spec.Tags) > 0 {
			tag = b.spec.Tags[0].Identifier()
		}
		return output.WriteLayout(ctx, o.Path, tag, a)
	case "oci-archive":
		if o.Path == "-" {
			return output.WriteOCIArchiveTo(ctx, b.Stdout, a, b.spec.Tags)
		}
		return output.WriteOCIArchive(ctx, o.Path, a, b.spec.Tags)
	case "docker-archive":
		if o.Path == "-" {
			return output.WriteDockerArchiveTo(ctx, b.Stdout, a, b.spec.Tags)
		}
		return output.WriteDockerArchive(ctx, o.Path, a, b.spec.Tags)
	}
	return hint.Usage(fmt.Errorf("there is no output of the kind %q", o.Kind))
}

// blob gives a layer as it goes out.
func (b *builder) blob(m madeLayer) output.Blob {
	blob := output.Blob{
		Name: m.name, Digest: v1.Hash{Algorithm: "sha256", Hex: m.Digest}, Size: m.Size, MediaType: m.mediaType(),
		Annotations: map[string]string{output.KeyAnnotation: string(blobKey(m.key, m.compression))}, From: m.repository(),
		Open: func(context.Context) (io.ReadCloser, error) { return b.Store.Reader(m.Digest, m.Size) },
	}
	if m.from != nil {
		blob.Open = m.from.open
	}
	return blob
}

// result is what a caller learns of a layer.
func (m madeLayer) result() LayerResult {
	return LayerResult{Name: m.name, Key: blobKey(m.key, m.compression), Digest: m.Digest, DiffID: m.DiffID, Size: m.Size, Summary: m.Summary, State: m.state, Took: m.took}
}
