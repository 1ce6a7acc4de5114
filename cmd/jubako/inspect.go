package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/patience"
)

func (a *app) inspectCmd() *cobra.Command {
	var format *string
	var packages bool
	cmd := &cobra.Command{
		Use:   "inspect SOURCE",
		Short: "Show an image's config, layers, sizes, keys and packages",
		Long: `Show what an image is made of. No layer is read, unless --packages asks for the Python and Debian
packages in them.

` + sourceHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := checkFormat(*format); err != nil {
				return err
			}
			opened, _, err := a.openSource(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, opened.Close()) }()
			images, err := opened.Images(cmd.Context())
			if err != nil {
				return err
			}
			return a.inspect(cmd.Context(), opened, images, *format, packages)
		},
	}
	format = outputFormat(cmd)
	cmd.Flags().BoolVar(&packages, "packages", false, "read the layers, and list the Python and Debian packages")
	return cmd
}

// inspected is an image as inspect shows it.
type inspected struct {
	Platform string           `json:"platform"`
	Manifest string           `json:"manifest"`
	Config   json.RawMessage  `json:"config"`
	Layers   []inspectedLayer `json:"layers"`
	Packages []installed      `json:"packages,omitempty"`
}

type inspectedLayer struct {
	CreatedBy string `json:"createdBy"`
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	DiffID    string `json:"diffID"`
	Size      int64  `json:"size"`
	Key       string `json:"key,omitempty"`
}

// by is what made the layer, in the width of a column.
func (l inspectedLayer) by() string {
	by := strings.TrimPrefix(l.CreatedBy, "jubako: ")
	if len(by) > 40 {
		by = by[:39] + "…"
	}
	return by
}

func (a *app) inspect(ctx context.Context, o *base.Opened, images []*base.Image, format string, packages bool) error {
	var all []inspected
	for _, img := range images {
		one, err := inspectImage(img)
		if err != nil {
			return err
		}
		if packages {
			if one.Packages, err = packagesOf(ctx, img); err != nil {
				return err
			}
		}
		all = append(all, one)
	}
	if format == "json" {
		b, err := json.MarshalIndent(map[string]any{"digest": o.Digest.String(), "mediaType": o.MediaType, "images": all}, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", b)
		return err
	}
	fmt.Fprintf(a.stdout, "%-12s %s\n", "digest", o.Digest)
	for _, img := range all {
		if err := a.printImage(img); err != nil {
			return err
		}
	}
	return nil
}

func inspectImage(img *base.Image) (inspected, error) {
	m, err := img.Manifest()
	if err != nil {
		return inspected{}, err
	}
	conf, err := imageconf.Parse(img.Config)
	if err != nil {
		return inspected{}, err
	}
	var by []string
	for _, h := range conf.History {
		if !h.EmptyLayer {
			by = append(by, h.CreatedBy)
		}
	}
	one := inspected{Platform: img.Platform.String(), Manifest: img.Digest.String(), Config: img.Config}
	comments := conf.LayerComments()
	for i, d := range m.Layers {
		l := inspectedLayer{MediaType: string(d.MediaType), Digest: d.Digest.String(), Size: d.Size, Key: d.Annotations[output.KeyAnnotation]}
		if i < len(comments) {
			l.Key = output.KeyOf(d.Annotations, comments[i])
		}
		if i < len(conf.RootFS.DiffIDs) {
			l.DiffID = conf.RootFS.DiffIDs[i]
		}
		if i < len(by) {
			l.CreatedBy = by[i]
		}
		one.Layers = append(one.Layers, l)
	}
	return one, nil
}

func (a *app) printImage(img inspected) error {
	conf, err := imageconf.Parse(img.Config)
	if err != nil {
		return err
	}
	line := func(name, value string) {
		if value != "" && value != "[]" {
			fmt.Fprintf(a.stdout, "%-12s %s\n", name, value)
		}
	}
	list := func(v []string) string {
		if len(v) == 0 {
			return ""
		}
		b, _ := json.Marshal(v)
		return string(b)
	}
	line("platform", img.Platform)
	line("manifest", img.Manifest)
	line("user", conf.Config.User)
	line("workdir", conf.Config.WorkingDir)
	line("entrypoint", list(conf.Config.Entrypoint))
	line("cmd", list(conf.Config.Cmd))
	for _, kv := range conf.Config.Env {
		line("env", kv)
	}
	for _, l := range slices.Sorted(maps.Keys(conf.Config.ExposedPorts)) {
		line("expose", l)
	}
	if h := conf.Config.Healthcheck; h != nil {
		line("healthcheck", list(h.Test))
	}
	var total int64
	for _, l := range img.Layers {
		key := ""
		if l.Key != "" {
			key = "  key " + l.Key[:min(12, len(l.Key))]
		}
		line("layer", fmt.Sprintf("%s  %9s  %s%s", l.Digest[:min(19, len(l.Digest))], size(l.Size), l.by(), key))
		total += l.Size
	}
	for _, p := range img.Packages {
		line(p.Kind, p.Name+" "+p.Version)
	}
	line("total", fmt.Sprintf("%d layers, %s", len(img.Layers), size(total)))
	return nil
}

func (a *app) verifyCmd() *cobra.Command {
	o := &buildOptions{}
	cmd := &cobra.Command{
		Use:   "verify SOURCE [DIR]",
		Short: "Check every digest of an image and, given DIR, rebuild it and compare",
		Long: `Read the whole image and compare every blob with its digest, and every layer with its diffID.

Given DIR, the project there is built as well, with the same flags as build takes, and the
digests are compared: they differ (exit code 4) when the image was not made from these inputs.
A docker-archive has no manifest, and so it is the digests of the configs that are compared, which
name every layer's diffID.

` + sourceHelp,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			opened, _, err := a.openSource(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, opened.Close()) }()
			if err := a.verify(cmd.Context(), opened); err != nil {
				return err
			}
			if len(args) == 2 {
				if err := a.verifyRebuilt(cmd.Context(), opened, o, args[1]); err != nil {
					return err
				}
			}
			a.term.finish()
			_, err = fmt.Fprintln(a.stdout, pinned(args[0], opened))
			return err
		},
	}
	o.inputFlags(cmd.Flags())
	return cmd
}

// verify reads every blob.
func (a *app) verify(ctx context.Context, o *base.Opened) error {
	images, err := o.Images(ctx)
	if err != nil {
		return err
	}
	type layer struct {
		digest v1.Hash
		diffID string // two configs, or one, may say different things of a blob
	}
	seen := make(map[layer]bool)
	for _, img := range images {
		conf, err := imageconf.Parse(img.Config)
		if err != nil {
			return err
		}
		list, err := img.Layers()
		if err != nil {
			return err
		}
		if len(conf.RootFS.DiffIDs) != len(list) {
			return hint.Check(fmt.Errorf("the image %s has %d layers, and its config names %d", img.Digest, len(list), len(conf.RootFS.DiffIDs)))
		}
		for i, l := range list {
			digest, err := l.Digest()
			if err != nil {
				return err
			}
			this := layer{digest, conf.RootFS.DiffIDs[i]}
			if seen[this] {
				continue
			}
			seen[this] = true
			n, err := verifyLayer(ctx, l, this.diffID)
			if err != nil {
				if err = fmt.Errorf("verifying layer %d, %s: %w", i+1, digest, err); hint.KindOf(err) == hint.KindBuild {
					err = hint.Check(err) // nothing but the bytes is wrong
				}
				return err
			}
			a.term.report(assemble.Event{Kind: assemble.LayerIs, Name: fmt.Sprintf("layer %d", i+1), State: "holds", Text: digest.String()[:19] + "…", Size: n})
		}
	}
	return nil
}

// verifyLayer reads a layer's blob to its end, where its digest is compared, and compares its diffID.
func verifyLayer(ctx context.Context, l v1.Layer, want string) (size int64, err error) {
	r, err := l.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, patience.Reader(ctx, r)); err != nil {
		return 0, err
	}
	if got := "sha256:" + hexOf(h); got != want {
		return 0, hint.Check(fmt.Errorf("it has the diffID %s, and the config says %s", got, want))
	}
	return l.Size()
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// verifyRebuilt builds the project and compares digests.
func (a *app) verifyRebuilt(ctx context.Context, opened *base.Opened, o *buildOptions, dir string) error {
	tools, spec, err := a.prepare(o, dir)
	if err != nil {
		return err
	}
	defer tools.Store.Close()
	spec.Tags = nil
	if len(o.compression) == 0 {
		if spec.Compression.All, err = compressionOf(ctx, opened); err != nil {
			return err
		}
	}
	res, err := assemble.Build(ctx, tools, spec)
	if err != nil {
		return err
	}
	if opened.Source.Kind == base.DockerArchive {
		err = sameConfig(ctx, opened, res, dir)
	} else if res.Digest != opened.Digest {
		err = hint.Check(fmt.Errorf("the image is %s, and what is built from %s is %s", opened.Digest, dir, res.Digest))
	}
	return hint.Wrap(err, "build with the same base, profile, platform, format and SOURCE_DATE_EPOCH; the labels hold the commit, so the checkout has to be clean")
}

// sameConfig compares configs, which name the diffID of every layer: what docker save writes has no manifest, and the one that it
// was opened with is made up.
func sameConfig(ctx context.Context, opened *base.Opened, res *assemble.Result, dir string) error {
	img, err := opened.Image(ctx, v1.Platform{})
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	built := res.Platform[0].Config
	if len(res.Platform) > 1 || m.Config.Digest != built {
		return hint.Check(fmt.Errorf("the image's config, which is what tells of a docker-archive, is %s, and that of what is built from %s is %s", m.Config.Digest, dir, built))
	}
	return nil
}
