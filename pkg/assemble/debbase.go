package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/layers/debian"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/pins"
)

// baseRequest are the packages of a base that is made of packages alone: Python with its standard library, the C locale in
// UTF-8, CA certificates, time zones, and the names of services and media types.
var baseRequest = [...]string{"python3-minimal", "libpython3-stdlib", "base-files", "ca-certificates", "tzdata", "netbase", "media-types", "libc-bin"}

// baseExclude are packages that scripts of those would want, and nothing that runs in a container does.
var baseExclude = [...]string{"dpkg", "debconf", "openssl", "awk", "mawk"}

// The environment of such a base.
var baseEnv = [...]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}

// open finds a base: an image that is there, or one that is made of packages. The path of one that the configuration names is
// relative to the project, as all its paths are; one of --base to where jubako was started.
func (b *builder) open(ctx context.Context, src base.Source) (*base.Opened, error) {
	if src.Kind == base.Packages {
		return b.packageBase(ctx, src)
	}
	if b.spec.Base == "" {
		src = src.In(b.spec.Project.Dir)
	}
	return base.Open(ctx, src, base.Options{Client: b.Registry, Store: b.Store, Offline: b.spec.Offline})
}

// packageBase makes the base debian:SUITE, of one layer, for every platform that is wanted. It lies in the cache then, as
// if it had been pulled.
func (b *builder) packageBase(ctx context.Context, src base.Source) (*base.Opened, error) {
	if b.spec.debMirror() == "" && len(b.spec.Project.Config.DebSources) == 0 {
		b.hostMirror = b.ownMirror()
	}
	platforms := b.spec.Platforms
	if len(platforms) == 0 {
		platforms = []v1.Platform{b.Host}
	}
	// The archives are asked for all platforms at once; one is made after the other, on all processors.
	sets := make([]*debs, len(platforms))
	failed := func(p v1.Platform, err error) error { return fmt.Errorf("making the base %s for %s: %w", src, p, err) }
	errs := make([]error, len(platforms))
	var wg sync.WaitGroup
	for i, p := range platforms {
		wg.Go(func() { sets[i], errs[i] = b.baseSet(ctx, src, p) })
	}
	wg.Wait()
	for i, p := range platforms {
		if errs[i] != nil {
			return nil, failed(p, errs[i])
		}
	}
	var images []output.Image
	for i, p := range platforms {
		for _, w := range sets[i].Warnings {
			b.warn(w)
		}
		b.baseSets = append(b.baseSets, sets[i])
		img, err := b.packageImage(ctx, src, p, sets[i])
		if err != nil {
			return nil, failed(p, err)
		}
		for _, blob := range [][]byte{img.Manifest, img.Config} {
			if _, _, err := b.Store.Put(strings.NewReader(string(blob)), ""); err != nil {
				return nil, err
			}
		}
		images = append(images, img)
	}
	if len(images) == 1 {
		return base.Made(src, b.Store, images[0].Manifest, images[0].MediaType)
	}
	index, err := output.Several(images, output.OCI)
	if err != nil {
		return nil, err
	}
	return base.Made(src, b.Store, index.Index, types.OCIImageIndex)
}

// packageImage makes the base for one platform of its packages.
func (b *builder) packageImage(ctx context.Context, src base.Source, p v1.Platform, set *debs) (output.Image, error) {
	layer, err := debian.New(debian.Options{
		Name: "packages", Arch: debArch(p), Packages: b.packagesOf(set), StrictScripts: b.spec.StrictScripts, Store: b.Store, Jobs: b.spec.Jobs, Warn: b.warn,
	})
	if err != nil {
		return output.Image{}, err
	}
	plain := func(_ context.Context, dir string) (fstree.Entry, error) {
		return fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755, Producer: "jubako"}, nil
	}
	// The epoch is no part of it: the base is the same for every commit, as one from a registry is.
	m := &maker{store: b.Store, jobs: b.spec.Jobs, parent: plain, noCache: b.spec.NoCache, report: b.Report, now: b.Now}
	var scan *base.Scan // of what is made; the blob is not read again for it
	m.see = func(ctx context.Context, t *fstree.Tree) (err error) {
		scan, err = base.ScanTree(ctx, t)
		return err
	}
	made, err := m.make(ctx, layer)
	b.Report(Event{Kind: Ended, Name: layer.Name()})
	if err != nil {
		return output.Image{}, err
	}
	m.finished(made)
	config, err := json.Marshal(struct {
		Architecture string    `json:"architecture"`
		Config       any       `json:"config"`
		Created      string    `json:"created"`
		History      []history `json:"history"`
		OS           string    `json:"os"`
		RootFS       any       `json:"rootfs"`
		Variant      string    `json:"variant,omitempty"`
	}{
		p.Architecture, map[string]any{"Env": baseEnv, "Cmd": []string{"python3"}}, "1970-01-01T00:00:00Z",
		[]history{{"1970-01-01T00:00:00Z", fmt.Sprintf("jubako: %s of %d packages", src, len(set.Packages))}}, p.OS,
		map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + made.DiffID}}, p.Variant,
	})
	if err != nil {
		return output.Image{}, err
	}
	img, err := output.Assemble(output.Base{}, []output.Blob{b.blob(made)}, config, p, output.OCI)
	if err == nil && scan != nil {
		err = scan.Keep(b.Store, img.Manifest, img.Config)
	}
	return img, err
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// baseSet finds the packages of the base: those that jubako.lock pins, else what the archives have today.
func (b *builder) baseSet(ctx context.Context, src base.Source, p v1.Platform) (*debs, error) {
	request := baseRequest[:]
	if b.in.pins != nil && b.in.pinned {
		if c, ok := b.in.pins.Debian.Closure(p.String(), request, nil); ok && c.Installed == deb.InstalledDigest(nil) {
			return &debs{Sources: b.in.pins.Debian.Sources, Closure: c}, nil
		}
	}
	return b.resolveFor(ctx, place{platform: p, os: base.OS{ID: "debian", Codename: src.Path}, dpkg: &base.Dpkg{}, exclude: baseExclude[:]}, request, nil)
}

// ownMirror is the archive that this machine's own apt fetches Debian's packages from; "" where there is none.
func (b *builder) ownMirror() string {
	if b.AptDir == "" {
		return ""
	}
	files := make(map[string][]byte)
	err := filepath.WalkDir(b.AptDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := filepath.Ext(p); d.IsDir() || ext != ".list" && ext != ".sources" {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.AptDir, p)
		files["etc/apt/"+filepath.ToSlash(rel)] = data
		return err
	})
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			b.debug("the apt sources of this machine: %v", err)
		}
		return ""
	}
	sources, err := deb.Sources(files)
	if err != nil {
		b.debug("the apt sources of this machine: %v", err)
		return ""
	}
	for _, s := range sources {
		if uri := strings.TrimRight(s.URI, "/"); path.Base(uri) == "debian" {
			b.noteOnce("using deb-mirror = %q (this machine's own apt has its packages from there)", uri)
			return uri
		}
	}
	return ""
}

// pinBase adds to a lock the packages that the base was made of.
func (b *builder) pinBase(d *pins.Debian) *pins.Debian {
	if len(b.baseSets) == 0 {
		return d
	}
	if d == nil {
		d = &pins.Debian{Exclude: b.spec.Project.Config.ExcludePackages}
	}
	for _, set := range b.baseSets {
		addClosure(d, set)
	}
	return d
}
