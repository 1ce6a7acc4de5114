package tarlayer

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/seekable"
)

// TestIndex finds every entry of a layer by its folder, and reads every content out of the blob, in any order.
func TestIndex(t *testing.T) {
	tr := sample(t)
	for _, e := range []fstree.Entry{
		{Path: "many", Kind: fstree.Dir, Mode: 0o755},
		{Path: "many/empty", Kind: fstree.File, Mode: 0o600, Content: fstree.Bytes(nil)},
		{Path: "many/runs", Kind: fstree.File, Mode: 0o755, Content: fstree.Bytes(text(7, 3*runSize+100))},
		{Path: "many/spliced", Kind: fstree.File, Mode: 0o644, Content: deflate(t, text(8, 2<<20))},
		{Path: "many/spliced again", Kind: fstree.File, Mode: 0o644, Content: deflate(t, text(9, 300<<10))},
	} {
		if err := tr.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	for e := range tr.All() { // of which there is no index
		if e.Kind == fstree.Hardlink || e.Kind == fstree.Whiteout {
			tr.Remove(e.Path)
		}
	}
	want := make(map[string]fstree.Entry)
	for e := range tr.All() {
		want[e.Path] = e
	}
	index := new(seekable.Index)
	blob, res := write(t, tr, Options{Index: index})
	if plain, _ := write(t, tr, Options{}); !bytes.Equal(plain, blob) || !index.Whole() {
		t.Error("the index makes a difference")
	}
	type found struct {
		folder string
		seekable.Entry
	}
	var all []found
	file, err := os.Create(filepath.Join(t.TempDir(), "index"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if n, err := index.Move(file, 1000); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	for folder := range index.Folders() {
		entries, err := index.Entries(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, found{folder, e})
		}
	}
	if none, err := index.Entries("none"); len(all) != len(want) || none != nil || err != nil {
		t.Fatalf("%d entries of %d, and %v, %v", len(all), len(want), none, err)
	}
	var r seekable.Reader
	r.Reset(index, bytes.NewReader(blob), res.Size)
	for round := range 4 {
		for _, f := range all {
			p := path.Join(f.folder, f.Name)
			e := want[p]
			kind := map[fstree.Kind]seekable.Kind{fstree.Dir: seekable.Dir, fstree.File: seekable.File, fstree.Symlink: seekable.Symlink}[e.Kind]
			if f.Kind != kind || f.Link != e.Link || f.Mode != e.Mode {
				t.Errorf("%s: %+v", p, f)
			}
			if e.Kind != fstree.File {
				continue
			}
			content, err := r.Content(f.Entry)
			if err != nil {
				t.Fatal(p, err)
			}
			from, err := e.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			if round == 3 { // not all of it
				content = io.LimitReader(content, 10)
				from = io.NopCloser(io.LimitReader(from, 10))
			}
			got, err := io.ReadAll(content)
			if err != nil {
				t.Fatal(p, err)
			}
			data, err := io.ReadAll(from)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes of %d, or others", p, len(got), len(data))
			}
		}
		random := rand.New(rand.NewPCG(uint64(round), 1))
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	if err := file.Truncate(1010); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Entries("many"); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of an index that was cut: %v", err)
	}
	// Of a blob that was cut, what lies behind the cut cannot be had.
	last := slices.MaxFunc(all, func(a, b found) int { return int(a.At - b.At) })
	r.Reset(index, bytes.NewReader(blob[:res.Size/2]), res.Size/2)
	content, err := r.Content(last.Entry)
	if err == nil {
		_, err = io.ReadAll(content)
	}
	if err == nil {
		t.Errorf("%s was read out of half a blob", last.Name)
	}
}

// TestOddIndex has no index of what cannot be laid out by folders, nor of zstd.
func TestOddIndex(t *testing.T) {
	file := fstree.Entry{Path: "a", Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes("a")}
	for _, c := range []struct {
		o    Options
		more fstree.Entry
		want bool
	}{
		{Options{}, fstree.Entry{Path: "b", Kind: fstree.Symlink, Link: "a"}, true},
		{Options{}, fstree.Entry{Path: "b", Kind: fstree.Hardlink, Link: "a"}, false},
		{Options{}, fstree.Entry{Path: "b", Kind: fstree.Whiteout}, false},
		{Options{Compression: Zstd}, fstree.Entry{Path: "b", Kind: fstree.Symlink, Link: "a"}, false},
	} {
		c.o.Index = new(seekable.Index)
		write(t, tree(t, file, c.more), c.o)
		if diff := cmp.Diff(c.want, c.o.Index.Whole()); diff != "" {
			t.Errorf("%+v: %s", c.more, diff)
		}
	}
}
