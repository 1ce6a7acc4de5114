package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// statRecords is the namespace of the store where a folder's path leads to what was known of its files.
const statRecords = "stat"

// racy is how close to the time of a record a file's times may lie for the file to be read again: a change in the same
// tick of a coarse clock would not show, as git knows ("racy git").
const racy = 2 * time.Second

// known is a record: the files of a folder, at a time.
type known struct {
	At    int64 // nanoseconds since 1970
	Files map[string]knownFile
}

type knownFile struct {
	Stat stat
	Sum  string
}

// Digest gives the SHA-256 of the tree's canonical form: path, kind, mode, link and content of every file, in order of
// their paths. Files that have not changed since they were last hashed are told by stat, where a store, which may be nil,
// remembers them. now is the time of day.
func (t *Tree) Digest(ctx context.Context, store *cas.Store, now time.Time) (string, error) {
	before := t.remembered(store)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	read := false
	for i := range t.Files {
		f := &t.Files[i]
		if f.Kind != fstree.File {
			continue
		}
		if k, ok := before.Files[f.Path]; ok && k.Stat == f.stat && max(f.stat.MTime, f.stat.CTime)+int64(racy) < before.At {
			f.sum = k.Sum
			continue
		}
		read = true
		g.Go(func() (err error) {
			if err := gctx.Err(); err != nil {
				return err
			}
			f.sum, err = t.hash(*f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	if read && store != nil {
		if err := t.remember(store, now); err != nil {
			return "", err
		}
	}
	sorted := slices.Clone(t.Files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	for _, f := range sorted {
		fmt.Fprintf(h, "%q %s %o %q %s\n", f.Path, f.Kind, f.Mode, f.Link, f.sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (t *Tree) hash(f File) (string, error) {
	r, err := t.Content(f).Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", unreadable(f.Path, err)
	}
	if n != f.Size {
		return "", hint.Wrap(fmt.Errorf("reading the source: %s changed while it was read", f.Path), "build again when nothing writes there")
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// remembered reads the record of this folder; an empty one where there is none.
func (t *Tree) remembered(store *cas.Store) (k known) {
	if store == nil {
		return k
	}
	b, err := store.Record(statRecords, t.key())
	if err != nil || json.Unmarshal(b, &k) != nil {
		return known{}
	}
	return k
}

func (t *Tree) remember(store *cas.Store, now time.Time) error {
	k := known{At: now.UnixNano(), Files: make(map[string]knownFile, len(t.Files))}
	for _, f := range t.Files {
		if f.Kind == fstree.File {
			k.Files[f.Path] = knownFile{f.stat, f.sum}
		}
	}
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return store.PutRecord(statRecords, t.key(), b)
}

func (t *Tree) key() string {
	abs, err := filepath.Abs(t.Root)
	if err != nil {
		abs = t.Root
	}
	host, _ := os.Hostname() // a cache on a shared disk: the same path elsewhere is another folder
	return host + ":" + abs
}
