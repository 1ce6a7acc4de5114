package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
)

func (a *app) diffCmd() *cobra.Command {
	var format *string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what differs between two images: config, layers, packages, files",
		Long: `Say what differs between two images, platform by platform: the config, the layers, the Python and Debian packages, and
the files of the merged trees. A file differs when its kind, mode, owner, content or link does; times are not compared.
Layers that both images have are read once.

A line starts with what it is about, and then - (in A alone), + (in B alone) or ~ (in both, and different).

A and B are each a SOURCE. ` + sourceHelp + `

Exit codes: 0 also where they differ; with --exit-code 1 where they differ, and only there; 2 usage, or an image that cannot
be read · 3 registry or network · 4 a digest that did not hold.`,
		Example: `  jubako diff registry.example.com/team/app:1.4 registry.example.com/team/app:1.5
  jubako diff --exit-code oci:here docker-archive:there.tar`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(*format); err != nil {
				return err
			}
			d, err := a.diff(cmd.Context(), args[0], args[1])
			if err == nil {
				a.term.finish()
				err = a.printDifference(d, *format)
			}
			switch {
			case err != nil && hint.KindOf(err) == hint.KindBuild:
				return hint.Usage(err) // 1 would say that they differ
			case err == nil && exitCode && !d.Equal:
				return exitStatus(1)
			}
			return err
		},
	}
	format = outputFormat(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit code 1 where they differ")
	return cmd
}

// difference is what differs between two sources.
type difference struct {
	A         string         `json:"a"` // digests
	B         string         `json:"b"`
	Equal     bool           `json:"equal"` // nothing below differs; the digests may
	Platforms []platformDiff `json:"platforms"`
}

// platformDiff is what differs between two images for a platform. A list that is empty says that nothing does.
type platformDiff struct {
	Platform string        `json:"platform"`
	In       string        `json:"in"` // "both", or the one that has it: "a" or "b"
	Config   []valueDiff   `json:"config"`
	Layers   layersDiff    `json:"layers"`
	Packages []packageDiff `json:"packages"`
	Files    []fileDiff    `json:"files"`
}

func (p platformDiff) equal() bool {
	return p.In == "both" && len(p.Config)+len(p.Layers.Removed)+len(p.Layers.Added)+len(p.Packages)+len(p.Files) == 0
}

func (a *app) diff(ctx context.Context, from, to string) (_ *difference, err error) {
	store, err := a.store() // which keeps a layer that both have, and reading it again is free
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var opened [2]*base.Opened
	var images [2]map[string]*base.Image
	var order []string
	for i, s := range []string{from, to} {
		if opened[i], _, err = a.openSource(ctx, s, store); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, opened[i].Close()) }()
		all, err := opened[i].Images(ctx)
		if err != nil {
			return nil, err
		}
		images[i] = make(map[string]*base.Image)
		for _, img := range all {
			name := strings.TrimSuffix(img.Platform.String(), "/v8") // arm64's only variant, which is often left out
			if img.Platform.OS == "unknown" {                        // an attestation
				continue
			}
			images[i][name] = img
			if !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
	}
	d := &difference{A: opened[0].Digest.String(), B: opened[1].Digest.String(), Equal: true}
	for _, name := range order {
		p, err := diffImages(ctx, images[0][name], images[1][name])
		if err != nil {
			return nil, err
		}
		p.Platform = name
		d.Equal = d.Equal && p.equal()
		d.Platforms = append(d.Platforms, p)
	}
	return d, nil
}

// diffImages compares two images, of which one may be missing.
func diffImages(ctx context.Context, from, to *base.Image) (p platformDiff, err error) {
	switch {
	case from == nil:
		return platformDiff{In: "b"}, nil
	case to == nil:
		return platformDiff{In: "a"}, nil
	}
	p.In = "both"
	if from.Digest == to.Digest {
		m, err := from.Manifest()
		if err == nil {
			p.Layers.Same = len(m.Layers)
		}
		return p, err
	}
	if p.Config, err = diffConfigs(from.Config, to.Config); err != nil {
		return p, err
	}
	if p.Layers, err = diffLayers(from, to); err != nil {
		return p, err
	}
	files, err := base.Files(ctx, map[string]int{dpkgStatus: maxStatus}, from, to)
	if err != nil {
		return p, hint.Check(err)
	}
	p.Files = diffFiles(files[0], files[1])
	p.Packages, err = diffPackages(files[0], files[1])
	return p, err
}

func (a *app) printDifference(d *difference, format string) error {
	if format == "json" {
		for i := range d.Platforms {
			d.Platforms[i].fill()
		}
		b, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", b)
		return err
	}
	var b strings.Builder
	line := func(about, mark, text string) { fmt.Fprintf(&b, "%-9s %s  %s\n", about, mark, printable(text)) }
	for _, p := range d.Platforms {
		if len(d.Platforms) > 1 || p.In != "both" {
			mark := map[string]string{"a": "-", "b": "+", "both": "~"}[p.In]
			if p.equal() {
				mark = "="
			}
			line("platform", mark, p.Platform)
		}
		p.print(line)
	}
	if d.Equal && d.A == d.B {
		fmt.Fprintf(&b, "equal: both are %s\n", d.A)
	} else if d.Equal {
		fmt.Fprintf(&b, "equal, but for their digests: %s, %s\n", d.A, d.B)
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// fill makes empty lists of absent ones, as a reader of the JSON expects.
func (p *platformDiff) fill() {
	p.Config, p.Packages, p.Files = orEmpty(p.Config), orEmpty(p.Packages), orEmpty(p.Files)
	p.Layers.Removed, p.Layers.Added = orEmpty(p.Layers.Removed), orEmpty(p.Layers.Added)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// print prints what differs, the shortest part first.
func (p platformDiff) print(line func(about, mark, text string)) {
	for _, c := range p.Config {
		switch {
		case c.A == nil:
			line("config", "+", c.Name+" "+string(c.B))
		case c.B == nil:
			line("config", "-", c.Name+" "+string(c.A))
		default:
			line("config", "~", fmt.Sprintf("%s %s → %s", c.Name, c.A, c.B))
		}
	}
	printLayers(line, "-", p.Layers.Removed)
	printLayers(line, "+", p.Layers.Added)
	for _, x := range p.Packages {
		switch {
		case x.A == "":
			line(x.Kind, "+", x.Name+" "+x.B)
		case x.B == "":
			line(x.Kind, "-", x.Name+" "+x.A)
		default:
			line(x.Kind, "~", fmt.Sprintf("%s %s → %s", x.Name, x.A, x.B))
		}
	}
	for _, f := range p.Files {
		line("file", map[string]string{"added": "+", "removed": "-", "changed": "~"}[f.Change], f.text())
	}
	if len(p.Files) == 0 && len(p.Layers.Removed)+len(p.Layers.Added) > 0 {
		line("files", "=", "the layers hold equal files, with other times, in another order or in another compression")
	}
}

// printable takes out what would do something to a terminal: paths and values come from strangers.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func printLayers(line func(about, mark, text string), mark string, list []inspectedLayer) {
	for _, l := range list {
		line("layer", mark, fmt.Sprintf("%s  %9s  %s", l.Digest[:min(19, len(l.Digest))], size(l.Size), l.by()))
	}
}
