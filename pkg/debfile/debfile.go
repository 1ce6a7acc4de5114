// Package debfile reads Debian's binary packages (deb(5)). A package is decoded once: what it holds then lies in the
// cache, in the form in which it goes into a layer, and its bytes are not decompressed again.
//
// Packages come from strangers. Sizes, counts and names are checked; nothing is written but into the cache. The package
// imports pkg/cas, pkg/fstree, pkg/ldcache and pkg/xz.
package debfile

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
)

// Format is raised whenever a package is read, or its content kept, in another way. It is part of what a layer's bytes
// depend on, since content goes into layers as it is kept.
const Format = 1

// records is the namespace in the cache.
const records = "deb"

// Limits bounds what a package may hold. The zero value stands for limits far above any package of an archive.
type Limits struct {
	Bytes   int64 // of the data archive, unpacked
	Ratio   int64 // bytes that may come out for each that goes in, beyond the first 64 MiB
	Base    int64 // those first bytes
	Entries int   // files, folders and links
}

func (l Limits) base() int64 { return l.Base }

func (l Limits) orDefault() Limits {
	return Limits{Bytes: cmp.Or(l.Bytes, 16<<30), Ratio: cmp.Or(l.Ratio, 400), Base: cmp.Or(l.Base, 64<<20), Entries: cmp.Or(l.Entries, 500_000)}
}

// Contents is what a package holds.
type Contents struct {
	// Control is the control file, whole.
	Control []byte `json:"control"`
	// Members are the other files of the control archive, in its order: md5sums, conffiles, postinst.
	Members []ControlMember `json:"members"`
	// Entries are those of the data archive, in its order.
	Entries []Entry `json:"entries"`
	// Blob is the digest of the contents of all files, in the cache.
	Blob string `json:"blob"`
	// Packed is Blob's size in bytes.
	Packed int64 `json:"packed"`
}

// ControlMember is a file of the control archive.
type ControlMember struct {
	Name string `json:"name"`
	Mode uint32 `json:"mode"`
	Data []byte `json:"data"`
}

// Member gives a file of the control archive, whole; nil where there is none.
func (c *Contents) Member(name string) []byte {
	for _, m := range c.Members {
		if m.Name == name {
			return m.Data
		}
	}
	return nil
}

// Entry is one path of the package.
type Entry struct {
	// Name is absolute, as dpkg notes it: "/usr/bin/curl"; "/." is the root.
	Name string      `json:"n"`
	Kind fstree.Kind `json:"k"`
	Mode uint32      `json:"m"`
	UID  int         `json:"u,omitempty"`
	GID  int         `json:"g,omitempty"`
	// Link is a symlink's target, or of a hard link the Name of the file that it is.
	Link string `json:"l,omitempty"`
	Size int64  `json:"s,omitempty"`
	// MD5 and SHA256 are of a file's content, in hex.
	MD5    string `json:"md5,omitempty"`
	SHA256 string `json:"sha,omitempty"`
	// Library is set for a shared object of a name that ldconfig looks at.
	Library *ldcache.Library `json:"lib,omitempty"`

	// Where the content lies in the blob: Packed bytes from Offset on, with that CRC-32 once they are plain.
	Offset   int64  `json:"o,omitempty"`
	Packed   int64  `json:"p,omitempty"`
	CRC      uint32 `json:"c,omitempty"`
	Deflated bool   `json:"d,omitempty"`
}

// Path is the entry's image path as the package names it: no symlink is followed. "" is the root.
func (e Entry) Path() string {
	if e.Name == "/." {
		return ""
	}
	return strings.TrimPrefix(e.Name, "/")
}

// Package is a package whose content can be read until Close.
type Package struct {
	Contents
	blob *os.File
}

// Close releases the content.
func (p *Package) Close() error { return p.blob.Close() }

// Source is where a package comes from.
type Source struct {
	Name   string // for messages: "curl_8.14.1-2_amd64.deb"
	SHA256 string // 64 hex digits
	// Tools, where they are set, are used again from package to package.
	Tools *Tools
	// Open yields the package's bytes. They are compared with SHA256, and nothing is kept where they differ.
	Open func(context.Context) (io.ReadCloser, error)
}

// Open gives a package's content, out of the cache where it has been read before.
func Open(ctx context.Context, store *cas.Store, src Source, l Limits) (*Package, error) {
	if p, ok := cached(store, src.SHA256); ok {
		return p, nil
	}
	p, err := unpack(ctx, store, src, l.orDefault())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", src.Name, err)
	}
	return p, nil
}

func key(sha256 string) string { return fmt.Sprintf("%d %s", Format, sha256) }

func cached(store *cas.Store, sha256 string) (*Package, bool) {
	b, err := store.Record(records, key(sha256))
	if err != nil {
		return nil, false
	}
	p := &Package{}
	if json.Unmarshal(b, &p.Contents) != nil || !store.Has(p.Blob, p.Packed) {
		return nil, false
	}
	if p.blob, err = store.Open(p.Blob); err != nil {
		return nil, false
	}
	return p, true
}

// unpack reads a package into the cache.
func unpack(ctx context.Context, store *cas.Store, src Source, l Limits) (_ *Package, err error) {
	r, err := src.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := store.NewWriter()
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	p := &Package{}
	t := src.Tools.take()
	defer src.Tools.giveBack(t)
	u := unpacker{ctx: ctx, limits: l, contents: &p.Contents, w: w, tools: t}
	v := newVerifier(r)
	if err := u.archive(v); err != nil {
		return nil, err
	}
	if err := v.verdict(src.SHA256); err != nil {
		return nil, err
	}
	p.Packed = w.Size()
	if p.Blob, err = w.Commit(""); err != nil {
		return nil, err
	}
	record, err := json.Marshal(p.Contents)
	if err != nil {
		return nil, err
	}
	if err := store.PutRecord(records, key(src.SHA256), record); err != nil {
		return nil, err
	}
	p.blob, err = store.Open(p.Blob)
	return p, err
}
