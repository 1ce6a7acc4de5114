package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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
	at    int64 // nanoseconds since 1970
	files map[string]knownFile
}

type knownFile struct {
	mark cas.Mark
	sum  string
}

// marshal puts the time first, and then each file's path and what is known of it, every field with a zero byte behind it.
func (k known) marshal() []byte {
	b := append(strconv.AppendInt(nil, k.at, 10), 0)
	for p, f := range k.files {
		b = append(append(b, p...), 0)
		for _, n := range []int64{f.mark.Size, f.mark.MTime, f.mark.CTime} {
			b = append(strconv.AppendInt(b, n, 10), 0)
		}
		b = append(strconv.AppendUint(b, f.mark.Inode, 10), 0)
		b = append(append(b, f.sum...), 0)
	}
	return b
}

// parseKnown reads what marshal has written. It is read in every build of a source of any size, and so is no JSON.
func parseKnown(record []byte) (known, error) {
	k := known{files: make(map[string]knownFile)}
	rest, damaged := string(record), false
	field := func() (s string) {
		var ok bool
		s, rest, ok = strings.Cut(rest, "\x00")
		damaged = damaged || !ok
		return s
	}
	number := func() int64 {
		n, err := strconv.ParseInt(field(), 10, 64)
		damaged = damaged || err != nil
		return n
	}
	k.at = number()
	for rest != "" && !damaged {
		p := field()
		f := knownFile{mark: cas.Mark{Size: number(), MTime: number(), CTime: number()}}
		inode, err := strconv.ParseUint(field(), 10, 64)
		damaged = damaged || err != nil
		f.mark.Inode, f.sum = inode, field()
		k.files[p] = f
	}
	if damaged {
		return known{}, errors.New("the record of a folder's files is damaged")
	}
	return k, nil
}

// Digest gives the SHA-256 of the tree's canonical form: path, kind, mode, link and content of every file, in order of
// their paths. Files that have not changed since they were last hashed are told by stat, where a store, which may be nil,
// remembers them. now is the time of day. It is not safe for concurrent use; asked again, it answers from memory.
func (t *Tree) Digest(ctx context.Context, store *cas.Store, now time.Time) (string, error) {
	if t.digest != "" {
		return t.digest, nil
	}
	before := t.remembered(store)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	read := false
	for i := range t.Files {
		f := &t.Files[i]
		if f.Kind != fstree.File {
			continue
		}
		if k, ok := before.files[f.Path]; ok && k.mark == f.mark && max(f.mark.MTime, f.mark.CTime)+int64(racy) < before.at {
			f.sum = k.sum
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
	t.digest = hex.EncodeToString(h.Sum(nil))
	return t.digest, nil
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
	if err != nil {
		return k
	}
	k, _ = parseKnown(b) // of a damaged one nothing is known
	return k
}

func (t *Tree) remember(store *cas.Store, now time.Time) error {
	k := known{at: now.UnixNano(), files: make(map[string]knownFile, len(t.Files))}
	for _, f := range t.Files {
		if f.Kind == fstree.File {
			k.files[f.Path] = knownFile{f.mark, f.sum}
		}
	}
	return store.PutRecord(statRecords, t.key(), k.marshal())
}

func (t *Tree) key() string {
	abs, err := filepath.Abs(t.Root)
	if err != nil {
		abs = t.Root
	}
	host, _ := os.Hostname() // a cache on a shared disk: the same path elsewhere is another folder
	return host + ":" + abs
}
