// Package assemble is the pipeline: a Spec in, an image at its places out. It knows every room of the house, and no
// terminal, no environment and no clock of its own.
package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/semaphore"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/output"
)

// Build makes the image and brings it to its places: every layer that no cache holds is made, blobs go before manifests,
// and tags move last of all.
func Build(ctx context.Context, t Tools, s Spec) (_ *Result, err error) {
	b := newBuilder(t, s)
	if b.in, err = b.gather(ctx); err != nil {
		return nil, err
	}
	// The base's blobs are read until the last place has them.
	defer func() { err = errors.Join(err, b.in.base.Close()) }()
	artifact, res, err := b.assemble(ctx)
	if err != nil {
		return nil, err
	}
	return res, b.deliver(ctx, artifact, res)
}

func newBuilder(t Tools, s Spec) *builder {
	return &builder{Tools: t, spec: s, turns: semaphore.NewWeighted(int64(cmp.Or(max(s.Jobs, 0), runtime.GOMAXPROCS(0))))}
}

// builder holds what the parts of one build share.
type builder struct {
	Tools
	spec     Spec
	in       *inputs
	remote   *remoteCache
	dry      bool              // nothing is made: see Plan
	lowers   map[string]*lower // by platform
	warned   sync.Mutex
	warnings []string
	// hostMirror is the archive that this machine's own apt uses, for a base that is made of packages and nothing else names
	// one.
	hostMirror string
	baseSets   []*debs // what a base that is made of packages consists of, for each platform
	// differing is what --check-steps has found.
	differing []string
	noted     []string // what noteOnce has said

	registries []string // the indexes that the lock's packages are from
	turns      *semaphore.Weighted
	sitesMu    sync.Mutex
	sites      map[string]*buildSite // by platform
	pinning    *buildPinner          // set where jubako.lock is written
}

// assemble makes the image, or the index of several.
func (b *builder) assemble(ctx context.Context) (output.Artifact, *Result, error) {
	platforms, err := b.platforms()
	if err != nil {
		return output.Artifact{}, nil, err
	}
	b.lowers = make(map[string]*lower)
	b.remote = b.openRemoteCache(ctx)
	res := &Result{}
	var images []output.Image
	for _, p := range platforms {
		img, r, err := b.image(ctx, p)
		if err != nil {
			if len(platforms) > 1 {
				err = fmt.Errorf("platform %s: %w", p, err)
			}
			return output.Artifact{}, nil, err
		}
		images = append(images, img)
		res.Platform = append(res.Platform, r)
	}
	if err := b.checkSteps(); err != nil {
		return output.Artifact{}, nil, err
	}
	artifact := output.Single(images[0])
	if len(images) > 1 {
		if artifact, err = output.Several(images, b.spec.Format); err != nil {
			return output.Artifact{}, nil, err
		}
	}
	res.Digest, res.Warnings = artifact.Digest, b.warnings
	return artifact, res, nil
}

// platforms are those asked for; else the host's, where the base has it; else the base's only one.
func (b *builder) platforms() ([]v1.Platform, error) {
	if len(b.spec.Platforms) > 0 {
		return b.spec.Platforms, nil
	}
	there := b.in.base.Platforms()
	if !b.in.base.IsIndex() {
		return []v1.Platform{{}}, nil // whatever the single image is for
	}
	for _, p := range there {
		if p.OS == b.Host.OS && p.Architecture == b.Host.Architecture {
			return []v1.Platform{b.Host}, nil
		}
	}
	if len(there) == 1 {
		return there, nil
	}
	return nil, hint.Wrap(hint.Usage(fmt.Errorf("the base %s is not there for this machine's platform, %s", b.in.base.Source, b.Host)), "choose with --platform from %v", there)
}

// image makes the image for one platform.
func (b *builder) image(ctx context.Context, p v1.Platform) (output.Image, PlatformResult, error) {
	low, err := b.lower(ctx, p)
	if err != nil {
		return output.Image{}, PlatformResult{}, err
	}
	made, err := b.withCommands(ctx, low)
	if err != nil {
		return output.Image{}, PlatformResult{}, err
	}
	config, err := b.config(low, made)
	if err != nil {
		return output.Image{}, PlatformResult{}, err
	}
	baseBlobs, err := output.BlobsOf(low.image.Image, low.image.Repository)
	if err != nil {
		return output.Image{}, PlatformResult{}, err
	}
	r := PlatformResult{Platform: low.image.Platform, BaseName: b.in.baseName, BaseDigest: low.image.Digest}
	var blobs []output.Blob
	for _, m := range made {
		blobs = append(blobs, b.blob(m))
		r.Layers = append(r.Layers, m.result())
	}
	img, err := output.Assemble(output.Base{Layers: baseBlobs, Name: b.in.annotationName(), Digest: b.in.base.Digest}, blobs, config, low.image.Platform, b.spec.Format)
	if err != nil {
		return output.Image{}, PlatformResult{}, fmt.Errorf("assembling the image: %w", err)
	}
	if w := output.PodmanWarning(config, b.spec.Format); w != "" && b.delivers() {
		b.warn(w)
	}
	r.Manifest = img.Digest
	return img, r, nil
}

// warn says something that is probably not as it was meant, once. Layers that are made side by side call it.
func (b *builder) warn(text string) {
	b.warned.Lock()
	defer b.warned.Unlock()
	for _, w := range b.warnings {
		if w == text {
			return
		}
	}
	b.warnings = append(b.warnings, text)
	b.Report(Event{Kind: Warning, Text: text})
}

func (b *builder) note(format string, args ...any) {
	b.Report(Event{Kind: Note, Text: fmt.Sprintf(format, args...)})
}

func (b *builder) debug(format string, args ...any) {
	b.Report(Event{Kind: Debug, Text: fmt.Sprintf(format, args...)})
}
