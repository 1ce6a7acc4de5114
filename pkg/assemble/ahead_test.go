package assemble

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/rootfs"
)

// TestTreeOfTheBase: who reads a base for its facts makes the tree that commands run in meanwhile, where commands run on this machine.
func TestTreeOfTheBase(t *testing.T) {
	img, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	host := v1.Platform{OS: "linux", Architecture: "amd64"}
	config.OS, config.Architecture = host.OS, host.Architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "base")
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		host  v1.Platform
		steps []project.Step
		tree  bool
	}{
		"with a command":        {host, []project.Step{{Name: "x"}}, true},
		"without one":           {host, nil, false},
		"for another's machine": {v1.Platform{OS: "linux", Architecture: "arm64"}, []project.Step{{Name: "x"}}, false},
	} {
		store, other := castest.Open(t), castest.Open(t)
		opened, err := base.Open(t.Context(), base.Source{Kind: base.Layout, Path: dir}, base.Options{})
		if err != nil {
			t.Fatal(name, err)
		}
		from, err := opened.Image(t.Context(), host)
		if err != nil {
			t.Fatal(name, err)
		}
		p := &project.Project{Dir: t.TempDir(), Config: &project.Config{Steps: c.steps}}
		b := newBuilder(Tools{Store: store, Host: c.host}, Spec{Project: p})
		b.ahead = b.lookAhead(t.Context())
		facts, err := b.readFacts(t.Context(), from)
		if err != nil || len(facts.Files) < 3 {
			t.Errorf("%s: %v, %v", name, facts, err)
		}
		group, err := groupOf(from)
		if err != nil {
			t.Fatal(name, err)
		}
		want, err := rootfs.Unpack(t.Context(), other, []rootfs.Group{group}, rootfs.Limits{})
		if err != nil {
			t.Fatal(name, err)
		}
		opens := errors.New("a layer is opened again")
		for i := range group {
			group[i].Open = func() (io.ReadCloser, error) { return nil, opens }
		}
		got, err := rootfs.Unpack(t.Context(), store, []rootfs.Group{group}, rootfs.Limits{})
		if c.tree && err != nil || !c.tree && !errors.Is(err, opens) {
			t.Errorf("%s: %v", name, err)
		}
		if c.tree {
			if changes, err := rootfs.Changes(rootfs.NewView(want...), rootfs.NewView(got...), "."); err != nil || len(changes) > 0 {
				t.Errorf("%s: another tree than that of the blobs: %v, %v", name, changes, err)
			}
		}
		b.ahead.close()
		if err := opened.Close(); err != nil {
			t.Error(name, err)
		}
	}
}

// TestSmallWithLarge: what is small goes up ahead once there is something large.
func TestSmallWithLarge(t *testing.T) {
	a := &ahead{b: &builder{}, uploads: output.NewAhead(t.Context(), output.PushOptions{}, nil)}
	waiting := func() (sizes []int64) {
		for _, b := range a.small {
			sizes = append(sizes, b.Size)
		}
		return sizes
	}
	for _, c := range []struct {
		size int64
		want []int64
	}{{1, []int64{1}}, {worthwhile - 1, []int64{1, worthwhile - 1}}, {worthwhile, nil}, {2, nil}} {
		a.upload(output.Blob{Size: c.size}, nil)
		if got := waiting(); !slices.Equal(got, c.want) {
			t.Errorf("after one of %d bytes, %v wait", c.size, got)
		}
	}
	// One that has gone up while it was written is large.
	a = &ahead{b: &builder{}, uploads: a.uploads}
	a.upload(output.Blob{Size: 1}, nil)
	up := a.uploads.Stream(nil)
	defer up.Drop()
	if a.upload(output.Blob{Size: 5 << 20}, up); len(waiting()) > 0 {
		t.Errorf("after a stream, %v wait", waiting())
	}
}
