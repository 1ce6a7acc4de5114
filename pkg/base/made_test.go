package base

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// counted is content that counts how often it is opened, and may know what library it is.
type counted struct {
	fstree.Content
	opened *int
}

func (c counted) Open() (io.ReadCloser, error) {
	*c.opened++
	return c.Content.Open()
}

type known struct {
	counted
	library *ldcache.Library
}

func (k known) Library() *ldcache.Library { return k.library }

// TestScanTree: a tree says what its blob says, and no file of it is opened that says nothing.
func TestScanTree(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe") // an ELF file, though no library
	if err != nil {
		t.Skip(err)
	}
	self = self[:min(len(self), 1<<20)]
	tree, never := &fstree.Tree{}, 0
	add := func(e fstree.Entry) {
		t.Helper()
		e.Producer = "a test"
		if e.Kind != fstree.Symlink && e.Mode == 0 {
			e.Mode = 0o644
		}
		if err := tree.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	file := func(p, data string) {
		add(fstree.Entry{Path: p, Kind: fstree.File, Content: fstree.Bytes(data), GID: 7})
	}
	file("etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n")
	file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	file("etc/some/conf", "x")
	file("var/lib/dpkg/status", "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n")
	file("var/lib/dpkg/info/a.list", "/.\n/usr\n")
	file("usr/lib/libc.so.6", string(self)+"GNU C Library stable release version 2.41.")
	file("usr/bin/python3.13", string(self)+"\x003.13.5\x00")
	file("usr/lib/libodd.so.1", "INPUT(libodd.so.2)"+strings.Repeat(" ", 64))
	plain := counted{fstree.Bytes(strings.Repeat("nothing ", 1000)), &never}
	add(fstree.Entry{Path: "usr/share/doc/a/copyright", Kind: fstree.File, Content: plain})
	add(fstree.Entry{Path: "usr/lib/libnone.so.1", Kind: fstree.File, Content: known{counted: plain}})
	add(fstree.Entry{Path: "usr/bin/python3", Kind: fstree.Symlink, Link: "python3.13"})
	add(fstree.Entry{Path: "usr/share/doc/b", Kind: fstree.Hardlink, Link: "usr/share/doc/a/copyright", Mode: 0o644})
	if err := tree.AddParents(func(dir string) fstree.Entry {
		return fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755, Producer: "a test"}
	}); err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"config":{"Env":["PATH=/usr/bin"]}}`)

	scan, err := ScanTree(context.Background(), tree)
	if err != nil {
		t.Fatal(err)
	}
	if never != 0 {
		t.Errorf("what says nothing was opened %d times", never)
	}
	store := castest.Open(t)
	if err := scan.Keep(store, []byte("{}"), config); err != nil {
		t.Fatal(err)
	}

	var blob bytes.Buffer
	if _, err := tarlayer.Write(context.Background(), &blob, tree, tarlayer.Options{}); err != nil {
		t.Fatal(err)
	}
	s := newScanner()
	r, err := gzip.NewReader(&blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.layer(r); err != nil {
		t.Fatal(err)
	}
	facts, dpkg, err := s.conclude(nil, &Image{Digest: digestOf([]byte("{}")), Config: config})
	if err != nil {
		t.Fatal(err)
	}
	img := &Image{Digest: digestOf([]byte("{}")), Config: config}
	gotFacts, err := img.Facts(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	gotDpkg, err := img.Dpkg(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(facts, gotFacts, cmpopts.IgnoreUnexported(Facts{})); d != "" || facts.OS.Codename != "trixie" || len(facts.Passwd) == 0 {
		t.Error(d)
	}
	if d := cmp.Diff(dpkg, gotDpkg); d != "" || len(dpkg.Files) == 0 {
		t.Error(d)
	}
}

// TestMadeDamaged: a blob of a base that was made, which is damaged in the store, is gone once that was seen.
func TestMadeDamaged(t *testing.T) {
	img, err := random.Image(4000, 1)
	if err != nil {
		t.Fatal(err)
	}
	store := castest.Open(t)
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []io.Reader{bytes.NewReader(config), blob} {
		if _, _, err := store.Put(r, ""); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Made(Source{Kind: Packages, Path: "trixie"}, store, raw, m.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	read := func() error {
		from, err := opened.Image(t.Context(), v1.Platform{})
		if err != nil {
			t.Fatal(err)
		}
		layers, err := from.Layers()
		if err != nil {
			t.Fatal(err)
		}
		r, err := layers[0].Compressed()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	d := m.Layers[0]
	b, err := os.ReadFile(store.BlobPath(d.Digest.Hex))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(store.BlobPath(d.Digest.Hex), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil || !strings.Contains(err.Error(), "is damaged") || store.Has(d.Digest.Hex, d.Size) {
		t.Errorf("%v, and the store still has it", err)
	}
}
