package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/output"
)

const sourceHelp = `SOURCE is a registry reference (registry/repo:tag, registry/repo@sha256:…), oci:DIR[:TAG],
oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG].`

func (a *app) pushCmd() *cobra.Command {
	jobs := 0
	cmd := &cobra.Command{
		Use:   "push SOURCE REF...",
		Short: "Bring an image from a layout, an archive or a registry into registries",
		Long:  "Bring an image, unchanged, into one or more registries: the far side of an air gap.\n\n" + sourceHelp,
		Example: `  jubako push oci-archive:app.tar registry.example.com/team/app:1.4
  jubako push docker-archive:app.tar localhost:5000/app:1.4 localhost:5000/app:latest`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.push(cmd.Context(), args[0], args[1:], jobs)
		},
	}
	cmd.Flags().IntVar(&jobs, "jobs", 0, "blobs that go up at once (default 4)")
	return cmd
}

func (a *app) push(ctx context.Context, source string, to []string, jobs int) (err error) {
	opened, client, err := a.openSource(ctx, source, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	var refs []name.Reference
	for _, s := range to {
		ref, err := client.Reference(s)
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	artifact, err := artifactOf(ctx, opened)
	if err != nil {
		return err
	}
	for i, ref := range refs {
		if d, ok := ref.(name.Digest); ok && d.DigestStr() != artifact.Digest.String() {
			return hint.Usage(fmt.Errorf("%s: the image has the digest %s, and another one cannot be given to it", to[i], artifact.Digest))
		}
	}
	res, err := output.Push(ctx, output.PushOptions{Client: client, Jobs: jobs, Progress: assemble.PushProgress(a.term.report)}, artifact, refs)
	if err != nil {
		return err
	}
	a.term.report(assemble.Event{Kind: assemble.Pushed, Text: assemble.PushText(res)})
	a.term.finish()
	for _, r := range refs {
		if _, err := fmt.Fprintln(a.stdout, pinnedRef(r.String(), artifact.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// artifactOf takes an opened source as it stands.
func artifactOf(ctx context.Context, o *base.Opened) (output.Artifact, error) {
	images, err := o.Images(ctx)
	if err != nil {
		return output.Artifact{}, err
	}
	a := output.Artifact{MediaType: o.MediaType, Digest: o.Digest}
	if o.IsIndex() {
		a.Index = o.Raw
	}
	for _, img := range images {
		one, err := output.FromImage(img.Image, o.Repository)
		if err != nil {
			return output.Artifact{}, err
		}
		one.Platform = &img.Platform
		a.Images = append(a.Images, one)
	}
	return a, nil
}
