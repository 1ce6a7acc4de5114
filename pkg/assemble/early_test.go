package assemble

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"golang.org/x/sync/semaphore"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// stub is a layer of one file.
type stub struct {
	name    string
	content fstree.Content
	tree    func(context.Context) (*fstree.Tree, error)
}

func (s *stub) Name() string                     { return s.name }
func (s *stub) Summary() string                  { return s.name }
func (s *stub) Key() layers.Key                  { return layers.KeyOf("stub", s.name) }
func (s *stub) StepKey() layers.Key              { return layers.KeyOf("stub step", s.name) }
func (s *stub) Looked() ([]observed.Look, error) { return nil, errors.New("nobody watched") }
func (s *stub) Close() error                     { return nil }

func (s *stub) Tree(ctx context.Context) (*fstree.Tree, error) {
	if s.tree != nil {
		return s.tree(ctx)
	}
	var tree fstree.Tree
	return &tree, tree.Add(fstree.Entry{Path: "app/" + s.name, Kind: fstree.File, Mode: 0o644, Content: s.content})
}

// second is content of which every reading but the first waits.
type second struct {
	fstree.Bytes
	opened atomic.Int32
	wait   func() error
}

func (s *second) Open() (io.ReadCloser, error) {
	if s.opened.Add(1) > 1 {
		if err := s.wait(); err != nil {
			return nil, err
		}
	}
	return s.Bytes.Open()
}

// earlyWorld is a builder and a platform of which nothing is true but what the first command needs.
type earlyWorld struct {
	*testing.T
	b *builder
	l *lower
	a *ahead
}

func newEarlyWorld(t *testing.T, store *cas.Store) *earlyWorld {
	t.Helper()
	amd64 := v1.Platform{OS: "linux", Architecture: "amd64"}
	b := &builder{Tools: Tools{Store: store, Host: amd64, Report: func(Event) {}, Now: time.Now}, spec: Spec{Project: &project.Project{Config: &project.Config{}}},
		turns: semaphore.NewWeighted(2)}
	b.ahead = b.lookAhead(t.Context())
	t.Cleanup(b.ahead.close)
	l := &lower{image: &base.Image{Image: empty.Image, Config: []byte("{}"), Platform: amd64}}
	l.maker = &maker{store: store, jobs: 1, report: b.Report, now: b.Now, encoders: tarlayer.NewEncoders(1), compression: tarlayer.Gzip,
		parent: func(_ context.Context, dir string) (fstree.Entry, error) {
			return fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755}, nil
		}}
	return &earlyWorld{t, b, l, b.ahead}
}

// build makes the layers and that of the command upon them, which runs as early would have it where that is not nil, and else late.
func (w *earlyWorld) build(early, late func(context.Context, *stage) (*fstree.Tree, error), list ...layers.Layer) (made []madeLayer, err error) {
	w.Helper()
	command := func(s *stage, run func(context.Context, *stage) (*fstree.Tree, error)) *stub {
		return &stub{name: "command", tree: func(ctx context.Context) (*fstree.Tree, error) { return run(ctx, s) }}
	}
	w.l.early = w.a.newEarly(w.l, list, func(s *stage) (layers.Watched, error) { return command(s, early), nil })
	w.l.maker.early = w.l.early
	if made, err = w.l.maker.makeAll(w.Context(), list); err != nil {
		return nil, err
	}
	s := &stage{b: w.b, at: w.l, host: w.l, made: made, below: made}
	err = s.add(w.Context(), "command", func() (layers.Watched, error) { return command(s, late), nil })
	return s.made, err
}

func oneFile(p, text string) (*fstree.Tree, error) {
	var tree fstree.Tree
	return &tree, tree.Add(fstree.Entry{Path: p, Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes(text)})
}

func earlyStore(t *testing.T) *cas.Store {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// TestEarly: the first command runs before the layers below it are made, in their files, and once; its trees are then the cache's.
// Where its layer is there already, it does not run.
func TestEarly(t *testing.T) {
	store := earlyStore(t)
	never := func(context.Context, *stage) (*fstree.Tree, error) { return nil, errors.New("it ran again") }
	started := make(chan struct{})
	venv := func() *stub {
		return &stub{name: "venv", content: &second{Bytes: fstree.Bytes("wheel"), wait: func() error {
			select {
			case <-started:
				return nil
			case <-time.After(20 * time.Second):
				return errors.New("the layer is being made, and the command has not begun")
			}
		}}}
	}
	other := &stub{name: "passwd", content: fstree.Bytes("root")}
	w := newEarlyWorld(t, store)
	first, err := w.build(func(_ context.Context, s *stage) (*fstree.Tree, error) {
		close(started)
		trees, err := s.lower()(context.Background())
		if err != nil || len(trees) != 3 {
			return nil, errors.Join(err, errors.New("there should be three trees"))
		}
		b, err := os.ReadFile(filepath.Join(trees[2], "app/venv"))
		if err != nil {
			return nil, err
		}
		return oneFile("app/out", "of "+string(b))
	}, never, other, venv())
	if err != nil || len(first) != 3 || first[2].name != "command" || first[2].Files != 1 {
		t.Fatal(err, first)
	}
	// The trees are there: nothing is read to unpack them.
	for _, m := range first[:2] {
		group := rootfs.Group{{DiffID: m.DiffID, Open: func() (io.ReadCloser, error) { return nil, errors.New("it is not in the cache") }}}
		if err := rootfs.UnpackAhead(t.Context(), store, group, false); err != nil {
			t.Error(err)
		}
	}
	w = newEarlyWorld(t, store)
	again, err := w.build(never, never, other, venv())
	if err != nil || len(again) != 3 || again[2].DiffID != first[2].DiffID || again[2].state != Reused {
		t.Fatal(err, again)
	}
}

// TestEarlyFails: a command that fails early has failed. One whose trees cannot be laid out runs late.
func TestEarlyFails(t *testing.T) {
	never := func(context.Context, *stage) (*fstree.Tree, error) { return nil, errors.New("it ran again") }
	w := newEarlyWorld(t, earlyStore(t))
	_, err := w.build(func(context.Context, *stage) (*fstree.Tree, error) { return nil, errors.New("exit code 1") }, never, &stub{name: "venv", content: fstree.Bytes("x")})
	if err == nil || !strings.Contains(err.Error(), "exit code 1") {
		t.Error(err)
	}

	w = newEarlyWorld(t, earlyStore(t))
	broken := &firstFails{Bytes: fstree.Bytes("x")}
	made, err := w.build(never, func(context.Context, *stage) (*fstree.Tree, error) { return oneFile("app/out", "late") }, &stub{name: "venv", content: broken}, &stub{name: "passwd", content: fstree.Bytes("y")})
	if err != nil || len(made) != 3 || made[2].name != "command" {
		t.Error(err, made)
	}

	// A layer that cannot be made ends it all, the command too.
	w = newEarlyWorld(t, earlyStore(t))
	_, err = w.build(func(ctx context.Context, _ *stage) (*fstree.Tree, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, never, &stub{name: "venv", content: &second{Bytes: fstree.Bytes("x"), wait: func() error { return errors.New("the wheel is damaged") }}})
	if err == nil || !strings.Contains(err.Error(), "the wheel is damaged") {
		t.Error(err)
	}
	w.a.close() // and this waits for it
}

// firstFails is content of which the first reading fails.
type firstFails struct {
	fstree.Bytes
	opened atomic.Int32
}

func (f *firstFails) Open() (io.ReadCloser, error) {
	if f.opened.Add(1) == 1 {
		return nil, errors.New("no luck")
	}
	return f.Bytes.Open()
}
