package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// places are what a compression can be chosen for.
var places = [...]string{"push", "oci", "oci-archive", "docker-archive"}

// parseCompression reads the values of --compression: "zstd" for all places, "push=zstd" for one.
func parseCompression(values []string) (assemble.Compression, error) {
	c := assemble.Compression{Place: make(map[string]tarlayer.Compression)}
	for _, v := range values {
		place, kind, one := strings.Cut(v, "=")
		if !one {
			kind = v
		}
		form := tarlayer.Compression(kind)
		switch {
		case form != tarlayer.Gzip && form != tarlayer.Zstd:
			return c, hint.Usage(fmt.Errorf("--compression is gzip or zstd, not %q", kind))
		case !one:
			c.All = form
		case !slices.Contains(places[:], place):
			return c, hint.Wrap(hint.Usage(fmt.Errorf("--compression %s: there is no place %q", v, place)), "the places are %s", strings.Join(places[:], ", "))
		default:
			c.Place[place] = form
		}
	}
	return c, nil
}

// compressionOf gives the compression that an image's own layers have, those with a key: of an index, the first image's.
func compressionOf(ctx contextT, o *base.Opened) (tarlayer.Compression, error) {
	images, err := o.Images(ctx)
	if err != nil || len(images) == 0 {
		return tarlayer.Gzip, err
	}
	m, err := images[0].Manifest()
	if err != nil {
		return "", err
	}
	for _, l := range m.Layers {
		if l.Annotations[output.KeyAnnotation] != "" && l.MediaType == types.OCILayerZStd {
			return tarlayer.Zstd, nil
		}
	}
	return tarlayer.Gzip, nil
}
