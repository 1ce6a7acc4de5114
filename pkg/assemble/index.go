package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/requirements"
	"github.com/jubako/jubako/pkg/wheel"
)

// listings is the namespace of the cache where the files of a requirement are kept: what an index has said of hashes does
// not change.
const listings = "listing"

// indexed is a file that an index has, as it is kept.
type indexed struct {
	Filename string
	URL      string
	Hashes   []string // those of them that the requirement lists; none where the index does not say
}

// listed gives a package that is locked by its hashes alone the wheels that an index has under them.
func (b *builder) listed(ctx context.Context, s locked.Selected) (locked.Selected, error) {
	if len(s.Hashes) == 0 || s.Source.Kind != locked.Registry {
		return s, nil
	}
	files, err := b.listing(ctx, s.Package)
	if err != nil {
		return s, err
	}
	p := *s.Package
	p.Wheels, p.Sdist = nil, nil
	for _, f := range files {
		name, err := wheel.ParseFilename(f.Filename)
		if err != nil {
			if p.Sdist == nil {
				p.Sdist = &locked.File{URL: f.URL, Hashes: f.Hashes}
			}
			continue
		}
		if p.CheckWheel(name) == nil {
			p.Wheels = append(p.Wheels, locked.Wheel{File: locked.File{URL: f.URL, Hashes: f.Hashes}, Filename: name})
		}
	}
	s.Package = &p
	return s, nil
}

// listing asks the cache, and then the indexes one after the other: the first that has a file with one of the hashes.
func (b *builder) listing(ctx context.Context, p *locked.Package) ([]indexed, error) {
	if files, err := b.linked(p); len(files) > 0 || err != nil {
		return files, err
	}
	hashes := slices.Sorted(slices.Values(p.Hashes))
	sum := sha256.Sum256([]byte(p.Name + "\n" + p.Version + "\n" + strings.Join(hashes, "\n")))
	key := hex.EncodeToString(sum[:])
	if raw, err := b.Store.Record(listings, key); err == nil && !b.spec.NoCache {
		var files []indexed
		if json.Unmarshal(raw, &files) == nil && len(files) > 0 {
			return files, nil
		}
	}
	indexes := b.indexes()
	if len(indexes) == 0 {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s names no index, and none is configured: the files of %s cannot be found", b.in.lock.File(), p.Name)),
			"name the index: --index-url in the file, index under [tool.jubako], UV_DEFAULT_INDEX, or PIP_INDEX_URL")
	}
	for _, index := range indexes {
		there, err := b.Fetch.Files(ctx, index, p.Name)
		if err != nil {
			return nil, err
		}
		var files []indexed
		for _, f := range there {
			if kept, ok := match(f.Filename, f.URL, f.Hashes, p); ok {
				files = append(files, kept)
			}
		}
		if len(files) == 0 {
			continue
		}
		slices.SortFunc(files, func(x, y indexed) int { return strings.Compare(x.Filename, y.Filename) })
		if raw, err := json.Marshal(files); err == nil {
			if err := b.Store.PutRecord(listings, key, raw); err != nil {
				return nil, err
			}
		}
		return files, nil
	}
	return nil, hint.Wrap(hint.Usage(fmt.Errorf("no index has a file of %s %s with one of the %d hashes of %s", p.Name, p.Version, len(p.Hashes), b.in.lock.File())),
		"compile the requirements anew, or name the index that they were compiled from")
}

// linked finds a package's files in the folders that the requirements name. A folder that is not there was on another
// machine.
func (b *builder) linked(p *locked.Package) ([]indexed, error) {
	f, ok := b.in.lock.(*requirements.File)
	if !ok {
		return nil, nil
	}
	var files []indexed
	for _, dir := range f.FindLinks {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(abs)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("--find-links of %s: %w", f.File(), err))
		}
		for _, e := range entries {
			name, err := wheel.ParseFilename(e.Name())
			if err != nil || p.CheckWheel(name) != nil {
				continue
			}
			sum, err := hashFile(filepath.Join(abs, e.Name()))
			if err != nil {
				return nil, err
			}
			if h := "sha256:" + sum; slices.Contains(p.Hashes, h) {
				files = append(files, indexed{e.Name(), (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(abs, e.Name()))}).String(), []string{h}})
			}
		}
	}
	return files, nil
}

// match says whether a file may be one of the requirement's. An index that gives no hash of a wheel leaves it to the
// download to show.
func match(name, at string, has []filehash.Hash, p *locked.Package) (indexed, bool) {
	f := indexed{Filename: name, URL: at}
	comparable := false
	for _, h := range has {
		if slices.Contains(p.Hashes, h.String()) {
			f.Hashes = append(f.Hashes, h.String())
		}
		comparable = comparable || slices.ContainsFunc(p.Hashes, func(s string) bool { return strings.HasPrefix(s, h.Algorithm+":") })
	}
	if len(f.Hashes) > 0 {
		return f, true
	}
	if comparable {
		return f, false
	}
	w, err := wheel.ParseFilename(name)
	return f, err == nil && p.CheckWheel(w) == nil
}

// indexes are where files are looked for by name: what the requirements themselves say, or else the configuration.
func (b *builder) indexes() []string {
	if f, ok := b.in.lock.(*requirements.File); ok && (f.NoIndex || len(f.Indexes) > 0) {
		return f.Indexes
	}
	return b.spec.Indexes
}
