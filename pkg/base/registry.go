package base

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/regclient"
)

// mediaTypes is the namespace of the cache where a manifest's digest leads to its media type, which a registry tells
// beside the bytes.
const mediaTypes = "mediatype"

// registrySource reads blobs from a repository, and keeps them in the store.
type registrySource struct {
	repo    name.Repository
	o       Options
	options func() []remote.Option // made once: they hold what the registry has granted
}

func openRegistry(ctx context.Context, src Source, o Options) (*Opened, error) {
	ref, err := o.Client.Reference(src.Ref)
	if err != nil {
		return nil, err
	}
	repo := ref.Context()
	if digest, ok := ref.(name.Digest); ok && o.Store != nil {
		if opened := fromStore(ctx, digest, repo, o); opened != nil {
			return opened, nil
		}
	}
	if o.Offline {
		return nil, hint.Wrap(hint.Network(fmt.Errorf("opening %s: it is not in the cache, and --offline forbids to ask the registry", src)),
			"build once with a network, with the base pinned (jubako lock); or name an archive with --base")
	}
	from := ref
	if m, ok := o.Client.Mirror(ref); ok {
		from = m
	}
	s := &registrySource{repo: from.Context(), o: o}
	s.options = remoteOptions(ctx, o.Client)
	desc, err := remote.Get(from, s.options()...)
	if err != nil {
		return nil, regclient.Explain(err, "pulling "+src.Ref)
	}
	if o.Store != nil {
		if err := Keep(o.Store, desc.Digest, desc.MediaType, desc.Manifest); err != nil {
			return nil, err
		}
	}
	return &Opened{Raw: desc.Manifest, MediaType: desc.MediaType, Repository: &repo, blobs: s}, nil
}

// remoteOptions leaves patience to the client's transport: the library's own on top of it would multiply both. What is asked
// with the same options is asked with the same token.
func remoteOptions(ctx context.Context, c *regclient.Client) func() []remote.Option {
	return sync.OnceValue(func() []remote.Option {
		all := []remote.Option{remote.WithAuthFromKeychain(c.Keychain()), remote.WithTransport(c.Transport()), remote.WithContext(ctx),
			remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes()}
		if puller, err := remote.NewPuller(all...); err == nil {
			all = append(all, remote.Reuse(puller))
		}
		return all
	})
}

// Keep stores a manifest or an index with its media type, so that a source that names its digest is opened without a registry.
func Keep(store *cas.Store, digest v1.Hash, mediaType types.MediaType, raw []byte) error {
	known, err := store.Record(mediaTypes, digest.String())
	if err == nil && string(known) == string(mediaType) && store.Has(digest.Hex, int64(len(raw))) {
		return nil
	}
	if _, _, err := store.Put(bytes.NewReader(raw), digest.Hex); err != nil {
		return err
	}
	return store.PutRecord(mediaTypes, digest.String(), []byte(mediaType))
}

// fromStore opens a pinned reference that the store knows; nil where it does not.
func fromStore(ctx context.Context, ref name.Digest, repo name.Repository, o Options) *Opened {
	h, err := v1.NewHash(ref.DigestStr())
	if err != nil {
		return nil
	}
	mediaType, err := o.Store.Record(mediaTypes, h.String())
	if err != nil {
		return nil
	}
	f, err := o.Store.Verified(h.Hex)
	if err != nil {
		return nil
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil
	}
	return &Opened{Raw: raw, MediaType: types.MediaType(mediaType), Repository: &repo, blobs: &registrySource{repo: repo, o: o, options: remoteOptions(ctx, o.Client)}}
}

// open reads a blob from the store, or else from the registry and on its way into the store.
func (s *registrySource) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if s.o.Store != nil && s.o.Store.Has(d.Digest.Hex, d.Size) {
		f, err := s.o.Store.Verified(d.Digest.Hex) // a damaged one is discarded, and comes anew
		if err == nil || !errors.Is(err, cas.ErrNotFound) {
			return f, err
		}
	}
	if s.o.Offline {
		return nil, hint.Wrap(hint.Network(fmt.Errorf("blob %s of %s is not in the cache, and --offline forbids to ask the registry", d.Digest, s.repo)), "build once with a network")
	}
	options := s.options()
	doing := fmt.Sprintf("pulling blob %s of %s", d.Digest, s.repo)
	ref := s.repo.Digest(d.Digest.String())
	if d.MediaType.IsIndex() || d.MediaType.IsImage() {
		desc, err := remote.Get(ref, options...)
		if err != nil {
			return nil, regclient.Explain(err, doing)
		}
		if s.o.Store != nil {
			if err := Keep(s.o.Store, desc.Digest, desc.MediaType, desc.Manifest); err != nil {
				return nil, err
			}
		}
		return io.NopCloser(bytes.NewReader(desc.Manifest)), nil
	}
	l, err := remote.Layer(ref, options...)
	if err != nil {
		return nil, regclient.Explain(err, doing)
	}
	r, err := l.Compressed()
	if err != nil {
		return nil, regclient.Explain(err, doing)
	}
	blob := &remoteBlob{r: r, digest: d.Digest.Hex, size: d.Size, doing: doing}
	if s.o.Store == nil {
		return blob, nil
	}
	return s.o.Store.Tee(blob, d.Digest.Hex)
}

// remoteBlob is a blob on its way here. The client library compares its digest, and knows no size (remote.Layer).
type remoteBlob struct {
	r       io.ReadCloser
	digest  string
	n, size int64
	doing   string
}

// Verifies implements cas.Verifying.
func (b *remoteBlob) Verifies(digest string, size int64) bool {
	return b.digest == digest && b.size == size
}

func (b *remoteBlob) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.size:
		return 0, fmt.Errorf("%s: it is longer than the %d bytes of its descriptor", b.doing, b.size)
	case err == io.EOF && b.n < b.size:
		return n, fmt.Errorf("%s: it ends after %d bytes of %d: %w", b.doing, b.n, b.size, io.ErrUnexpectedEOF)
	case err != nil && err != io.EOF:
		err = regclient.Explain(err, b.doing)
	}
	return n, err
}

func (b *remoteBlob) Close() error { return b.r.Close() }

func digestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// The namespaces in the store of what was read of bases.
const (
	factRecords = "facts"
	dpkgRecords = "dpkg"
)

// record reads what was read of a base from the store.
func record[T any](store *cas.Store, namespace, key string) (*T, bool) {
	b, err := store.Record(namespace, key)
	if err != nil {
		return nil, false
	}
	var v T
	return &v, json.Unmarshal(b, &v) == nil
}
