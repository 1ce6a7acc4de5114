package base

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// File is a path of an image's merged tree with what its content is.
type File struct {
	Stat
	SHA256 string // of a file: hex
	Kept   []byte // whole content, where it was asked for
}

// Files reads the merged trees of images: every path without leading slash, devices and pipes left out. Layers that all
// of them have in common, from the lowest on, are read once. keep names paths whose content comes back whole, with the
// most bytes that each may have.
func Files(ctx context.Context, keep map[string]int, images ...*Image) ([]map[string]File, error) {
	var lists [][]v1.Layer
	for _, i := range images {
		l, err := i.Layers()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", i.Source, err)
		}
		lists = append(lists, l)
	}
	common, err := commonLayers(lists)
	if err != nil {
		return nil, err
	}
	shared := scanner{nodes: make(map[string]node), sums: true, keep: keep}
	if common > 0 {
		if err := shared.layers(ctx, images[0], lists[0][:common], 0); err != nil {
			return nil, err
		}
	}
	var all []map[string]File
	for i, img := range images {
		s := scanner{nodes: maps.Clone(shared.nodes), sums: true, keep: keep}
		if err := s.layers(ctx, img, lists[i][common:], common); err != nil {
			return nil, err
		}
		files := make(map[string]File, len(s.nodes))
		for p, n := range s.nodes {
			files[p] = File{n.Stat, n.sum, n.kept}
		}
		all = append(all, files)
	}
	return all, nil
}

// commonLayers counts the lowest layers that all lists have in common.
func commonLayers(lists [][]v1.Layer) (n int, err error) {
	for ; ; n++ {
		var first v1.Hash
		for i, l := range lists {
			if n >= len(l) {
				return n, nil
			}
			h, err := l[n].DiffID()
			if err != nil {
				return 0, err
			}
			if i == 0 {
				first = h
			} else if h != first {
				return n, nil
			}
		}
	}
}

// layers reads an image's layers from the number from on.
func (s *scanner) layers(ctx context.Context, img *Image, list []v1.Layer, from int) error {
	for n, l := range list {
		if err := ReadTar(ctx, l, s.layer); err != nil {
			return fmt.Errorf("reading layer %d of %s: %w", from+n+1, img.Source, err)
		}
	}
	return nil
}

// sum reads a file for its digest, and keeps it where that is wanted.
func (s *scanner) sum(n *node, name string, content io.Reader) error {
	h := sha256.New()
	var to io.Writer = h
	limit, wanted := s.keep[name]
	var kept bytes.Buffer
	if wanted {
		if n.Size > int64(limit) {
			return fmt.Errorf("it has %d bytes; at most %d are read", n.Size, limit)
		}
		to = io.MultiWriter(h, &kept)
	}
	if _, err := io.Copy(to, content); err != nil {
		return err
	}
	n.sum, n.kept = hex.EncodeToString(h.Sum(nil)), kept.Bytes()
	return nil
}
