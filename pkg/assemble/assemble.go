// Package assemble is the pipeline: a Spec in, an image at its places out. It knows every room of the house, and no
// terminal, no environment and no clock of its own.
package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/semaphore"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// Build makes the image and brings it to its places: every layer that no cache holds is made, blobs go before manifests,
// and tags move last of all.
func Build(ctx context.Context, t Tools, s Spec) (_ *Result, err error) {
	if err := s.Compression.check(s.Format); err != nil {
		return nil, err
	}
	b := newBuilder(t, s)
	ctx, stop := context.WithCancel(ctx)
	defer func() { // the base's blobs are read until the last place has them
		if err = errors.Join(err, b.end(stop)); err != nil {
			b.Store.Doubt()
		}
	}()
	if err := b.gather(ctx); err != nil {
		return nil, err
	}
	b.ahead = b.lookAhead(ctx)
	defer b.ahead.close()
	all, res, err := b.assemble(ctx)
	tidied := background(b.sparses.close) // no command runs any more
	defer func() { err = errors.Join(err, tidied.wait()) }()
	if err != nil {
		return nil, err
	}
	return res, b.deliver(ctx, all, res)
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
	travels  attachments
	begun    begun
	ahead    *ahead            // nil where nothing is made
	dry      bool              // nothing is made: see Plan
	targets  []v1.Platform     // what the image is made for
	lowers   map[string]*lower // by platform
	warned   sync.Mutex
	warnings []string
	// hostMirror is the archive that this machine's own apt uses, for a base that is made of packages and nothing else names
	// one.
	hostMirror string
	baseSets   []*debs     // what a base that is made of packages consists of, for each platform
	made       []madeLayer // of the images, in one form of each
	sparses    sparseTrees
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
func (b *builder) assemble(ctx context.Context) (artifacts, *Result, error) {
	platforms, err := b.platforms()
	if err != nil {
		return nil, nil, err
	}
	b.targets, b.lowers = platforms, make(map[string]*lower)
	res := &Result{}
	images := make(map[tarlayer.Compression][]output.Image)
	for _, p := range platforms {
		r, err := b.image(ctx, p, images)
		if err != nil {
			if len(platforms) > 1 {
				err = fmt.Errorf("platform %s: %w", p, err)
			}
			return nil, nil, err
		}
		res.Platform = append(res.Platform, r)
	}
	if err := b.checkSteps(); err != nil {
		return nil, nil, err
	}
	all, err := b.combine(images)
	if err != nil {
		return nil, nil, err
	}
	res.Digest, res.Outputs, res.Warnings = all[b.spec.mainForm()].Digest, b.outputDigests(all), b.warnings
	return all, res, nil
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

// isTarget says whether an image is made on this one.
func (b *builder) isTarget(img *base.Image) bool {
	return slices.ContainsFunc(b.targets, func(p v1.Platform) bool {
		return p.Architecture == "" || p.OS == img.Platform.OS && p.Architecture == img.Platform.Architecture
	})
}

// image makes the image for one platform, in every form that is wanted.
func (b *builder) image(ctx context.Context, p v1.Platform, images map[tarlayer.Compression][]output.Image) (PlatformResult, error) {
	low, err := b.lower(ctx, p)
	if err != nil {
		return PlatformResult{}, err
	}
	made, err := b.withCommands(ctx, low)
	if err != nil {
		return PlatformResult{}, err
	}
	b.made = append(b.made, made...)
	config, err := b.config(low, made)
	if err != nil {
		return PlatformResult{}, err
	}
	baseBlobs, err := output.BlobsOf(low.image.Image, low.image.Repository)
	if err != nil {
		return PlatformResult{}, err
	}
	r := PlatformResult{Platform: low.image.Platform, BaseName: b.in.baseName, BaseDigest: low.image.Digest}
	onBase := output.Base{Layers: baseBlobs, Name: b.in.annotationName(), Digest: b.in.base.Digest}
	for i, form := range b.spec.forms() {
		if i > 0 {
			if made, err = low.maker.reform(ctx, made, form); err != nil {
				return PlatformResult{}, err
			}
		}
		var blobs []output.Blob
		for _, m := range made {
			blobs = append(blobs, b.blob(m))
		}
		img, err := output.Assemble(onBase, blobs, config, low.image.Platform, b.spec.Format)
		if err != nil {
			return PlatformResult{}, fmt.Errorf("assembling the image: %w", err)
		}
		images[form] = append(images[form], img)
		if form == b.spec.mainForm() {
			r.Manifest, r.Config = img.Digest, img.ConfigDigest()
			for _, m := range made {
				r.Layers = append(r.Layers, m.result())
			}
		}
	}
	if n := len(baseBlobs) + len(made); n > stackedLayers {
		b.warn(fmt.Sprintf("the image has %d layers, %d of them its base's: Docker's overlay driver takes %d", n, len(baseBlobs), stackedLayers))
	}
	if w := output.PodmanWarning(config, b.spec.Format); w != "" && b.delivers() {
		b.warn(w)
	}
	return r, nil
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
