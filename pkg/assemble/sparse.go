package assemble

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/venv"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/seekable"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// A command looks at few of an environment's files. Of the environment's layers that this build makes, so that no tree of them can be
// at hand, those files are laid out, when the command comes to them: see rootfs.Sparse. They are read out of the layers' blobs.

// sparseTrees are the trees of one build that are laid out so.
type sparseTrees struct {
	mu      sync.Mutex
	trees   map[string]*rootfs.Sparse // by their layers' diffIDs
	indexes *os.File                  // what the layers' indexes have moved there; it has no name
	size    int64
}

// keep takes an index's entries out of memory, which commands need.
func (t *sparseTrees) keep(store *cas.Store, index *seekable.Index) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.indexes == nil {
		dir, err := store.TempDir("index-")
		if err != nil {
			return err
		}
		t.indexes, err = os.Create(filepath.Join(dir, "index"))
		if err := errors.Join(err, cas.RemoveTree(dir)); err != nil {
			return err
		}
	}
	n, err := index.Move(t.indexes, t.size)
	t.size += n
	return err
}

// sparse says whether the files of a layer that is about to be written are laid out as commands come to them. Where all of them will be
// compiled, or copied, they are wanted whole.
func (a *beside) sparse(l layers.Layer, c tarlayer.Compression) bool {
	if a == nil || !a.wanted(l.Name()) {
		return false
	}
	_, ok := l.(*venv.Layer)
	spec := &a.b.spec
	if !ok || c == tarlayer.Zstd || spec.Project.Config.Bytecode || spec.Rung == sandbox.Loader {
		return false
	}
	a.unpackBase()
	return true
}

// lowerGroups gives layers of ours as commands are to find them: each a tree of its own, but for those next to each other that are laid out as
// far as is looked at them, which are one.
func (b *builder) lowerGroups(made []madeLayer) (groups []rootfs.Group, err error) {
	for len(made) > 0 {
		n := 0
		for n < len(made) && made[n].index != nil {
			n++
		}
		switch s, err := b.sparse(made[:n]); {
		case n == 0 || errors.Is(err, rootfs.ErrNotSparse):
			n = max(n, 1)
			groups = append(groups, b.groups(made[:n])...)
		case err != nil:
			return nil, err
		default:
			groups = append(groups, rootfs.Group{{Sparse: s}})
		}
		made = made[n:]
	}
	return groups, nil
}

// sparse gives the tree of layers of which there is an index, always the same of the same; nil of none.
func (b *builder) sparse(made []madeLayer) (*rootfs.Sparse, error) {
	if len(made) == 0 {
		return nil, nil
	}
	key := ""
	var list []rootfs.Indexed
	for _, m := range made {
		key += m.DiffID
		list = append(list, rootfs.Indexed{Index: m.index, Open: func() (*os.File, error) { return os.Open(b.Store.BlobPath(m.Digest)) }, Time: time.Unix(b.spec.Epoch, 0)})
	}
	t := &b.sparses
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.trees[key]; ok {
		return s, nil
	}
	c := b.spec.Project.Config
	s, err := rootfs.NewSparse(b.Store, path.Join(strings.TrimPrefix(c.Workdir, "/"), c.Venv), list)
	if err != nil {
		return nil, err
	}
	if t.trees == nil {
		t.trees = make(map[string]*rootfs.Sparse)
	}
	t.trees[key] = s
	return s, nil
}

// close removes them. It may be called more than once.
func (t *sparseTrees) close() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.trees {
		err = errors.Join(err, s.Close())
	}
	if t.indexes != nil {
		err = errors.Join(err, t.indexes.Close())
	}
	t.trees, t.indexes = nil, nil
	return err
}
