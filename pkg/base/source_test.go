package base

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/decompress"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/regclient"
)

func TestSourcesOfOthers(t *testing.T) {
	for s, want := range map[string]Source{
		"docker:27-cli":       {Kind: Registry, Ref: "docker:27-cli"},
		"oci:a:reg:5000/x:1":  {Kind: Layout, Path: "a", Tag: "reg:5000/x:1"},
		"debian:trixie":       {Kind: Packages, Path: "trixie"},
		"library/debian:sid":  {Kind: Registry, Ref: "library/debian:sid"},
		"reg.example/oci:1.4": {Kind: Registry, Ref: "reg.example/oci:1.4"},
	} {
		if got, err := ParseSource(s); err != nil || got != want || got.String() != s {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"docker://reg/app", "docker-daemon:app:1", "containers-storage:app"} {
		if _, err := ParseSource(s); hint.KindOf(err) != hint.KindUsage || hint.Of(err) == "" {
			t.Errorf("%s: error %v", s, err)
		}
	}
}

// write puts a tar of the files into a folder.
func write(t *testing.T, files ...file) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(name, layer(t, files...), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// configOf is the config of an image of these tars.
func configOf(t *testing.T, tars ...[]byte) string {
	t.Helper()
	conf := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range tars {
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, digestOf(l))
	}
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOldDockerArchive reads what `docker save` of old wrote: layers uncompressed, equal ones linked.
func TestOldDockerArchive(t *testing.T) {
	one, two := string(layer(t, file{name: "etc/passwd", data: "root"})), string(layer(t, file{name: "two", data: "2"}))
	archive := write(t,
		file{name: "a/layer.tar", data: one}, file{name: "b/layer.tar", data: two},
		file{name: "c/layer.tar", link: "../d/layer.tar"}, file{name: "d/layer.tar", link: "../b/layer.tar"},
		file{name: "cfg.json", data: configOf(t, []byte(one), []byte(two), []byte(two))},
		file{name: "other.json", data: `{}`},
		file{name: "manifest.json", data: `[{"Config":"cfg.json","RepoTags":["team/app:1"],"Layers":["a/layer.tar","b/layer.tar","./c/layer.tar"]},{"Config":"other.json","RepoTags":["other:1"],"Layers":[]}]`})
	src := Source{Kind: DockerArchive, Path: archive, Tag: "team/app:1"}
	var digests []v1.Hash
	for range 3 { // maps have another order each time
		o, err := Open(context.Background(), src, Options{})
		if err != nil {
			t.Fatal(err)
		}
		img, err := o.Image(context.Background(), amd64)
		if err != nil {
			t.Fatal(err)
		}
		f, err := img.Facts(context.Background(), nil)
		if err != nil || string(f.Passwd) != "root" || f.Files["two"].Size != 1 {
			t.Errorf("%+v, %v", f, err)
		}
		m, err := img.Manifest()
		if err != nil || len(m.Layers) != 3 || m.Layers[0].MediaType != types.DockerUncompressedLayer {
			t.Errorf("%+v, %v", m, err)
		}
		digests = append(digests, img.Digest)
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	if digests[0] != digests[1] || digests[1] != digests[2] {
		t.Errorf("one archive has several digests: %v", digests)
	}
	src.Tag = ""
	if _, err := Open(context.Background(), src, Options{}); err == nil || !strings.Contains(hint.Of(err), "team/app:1, other:1") {
		t.Errorf("two images and no tag: %v (%s)", err, hint.Of(err))
	}
}

// TestZstdDockerArchive: Docker's format has no media type for zstd, and so one such layer makes the image OCI's.
func TestZstdDockerArchive(t *testing.T) {
	plain, squeezed := layer(t, file{name: "one"}), layer(t, file{name: "etc/passwd", data: "root"})
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(plain); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	archive := write(t,
		file{name: "a", data: string(plain)}, file{name: "b", data: gz.String()}, file{name: "c", data: string(z.EncodeAll(squeezed, nil))}, file{name: "empty"},
		file{name: "cfg.json", data: configOf(t, plain, plain, squeezed, nil)},
		file{name: "manifest.json", data: `[{"Config":"cfg.json","Layers":["a","b","c","empty"]}]`})
	o, img := imageIn(t, Source{Kind: DockerArchive, Path: archive})
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got := []types.MediaType{o.MediaType, m.MediaType, m.Config.MediaType}
	for _, l := range m.Layers {
		got = append(got, l.MediaType)
	}
	want := []types.MediaType{types.OCIManifestSchema1, types.OCIManifestSchema1, types.OCIConfigJSON, types.OCIUncompressedLayer, types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if f, err := img.Facts(context.Background(), nil); err != nil || string(f.Passwd) != "root" {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestDamagedArchives: whatever is wrong with an archive is an error that names it, and no file stays open.
func TestDamagedArchives(t *testing.T) {
	digest := digestOf([]byte("{}")).String()
	index := func(d string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":2}]}`, types.OCIManifestSchema1, d)
	}
	blob := "blobs/sha256/" + digestOf([]byte("{}")).Hex
	for name, tt := range map[string]struct {
		kind  Kind
		files []file
	}{
		"no manifest":             {DockerArchive, []file{{name: "x"}}},
		"broken manifest":         {DockerArchive, []file{{name: "manifest.json", data: "{"}}},
		"no image":                {DockerArchive, []file{{name: "manifest.json", data: "[]"}}},
		"no config":               {DockerArchive, []file{{name: "manifest.json", data: `[{"Config":"c"}]`}}},
		"no layer":                {DockerArchive, []file{{name: "manifest.json", data: `[{"Config":"c","Layers":["l"]}]`}, {name: "c", data: "{}"}}},
		"a layer that leads out":  {DockerArchive, []file{{name: "manifest.json", data: `[{"Config":"c","Layers":["../../etc/passwd"]}]`}, {name: "c", data: "{}"}}},
		"a loop of links":         {DockerArchive, []file{{name: "manifest.json", link: "m"}, {name: "m", link: "manifest.json"}}},
		"broken index":            {OCIArchive, []file{{name: "index.json", data: "{"}}},
		"empty index":             {OCIArchive, []file{{name: "index.json", data: "{}"}}},
		"blob missing":            {OCIArchive, []file{{name: "index.json", data: index(digest)}}},
		"blob damaged":            {OCIArchive, []file{{name: "index.json", data: index(digest)}, {name: blob, data: "[]"}}},
		"manifest without config": {OCIArchive, []file{{name: "index.json", data: index(digest)}, {name: blob, data: "{}"}}},
		"another digest":          {OCIArchive, []file{{name: "index.json", data: index("md5:" + strings.Repeat("a", 32))}}},
		"too large":               {OCIArchive, []file{{name: "index.json", data: strings.Repeat(" ", maxManifest+1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			archive := write(t, tt.files...)
			o, err := Open(context.Background(), Source{Kind: tt.kind, Path: archive}, Options{})
			if err == nil {
				defer o.Close()
				_, err = o.Image(context.Background(), v1.Platform{})
			}
			if err == nil || !strings.Contains(err.Error(), archive) {
				t.Errorf("error %v, want one that names the archive", err)
			}
		})
	}
	// One layer, whose blob and whose diffID may be other ones than they are said to be.
	facts := func(t *testing.T, blob func(l []byte) []byte, tar func(l []byte) []byte) error {
		t.Helper()
		l := layer(t, file{name: "x"})
		config := []byte(configOf(t, tar(l)))
		m, err := json.Marshal(v1.Manifest{SchemaVersion: 2, Config: v1.Descriptor{Digest: digestOf(config), Size: int64(len(config))},
			Layers: []v1.Descriptor{{Digest: digestOf(l), Size: int64(len(l)), MediaType: types.OCIUncompressedLayer}}})
		if err != nil {
			t.Fatal(err)
		}
		archive := write(t, file{name: "index.json", data: index(digestOf(m).String())}, file{name: "blobs/sha256/" + digestOf(m).Hex, data: string(m)},
			file{name: "blobs/sha256/" + digestOf(config).Hex, data: string(config)}, file{name: "blobs/sha256/" + digestOf(l).Hex, data: string(blob(l))})
		_, img := imageIn(t, Source{Kind: OCIArchive, Path: archive})
		_, err = img.Facts(context.Background(), nil)
		return err
	}
	whole := func(l []byte) []byte { return l }
	changed := func(l []byte) []byte {
		bad := bytes.Clone(l)
		bad[len(bad)-1] = 1 // in the padding behind the last entry
		return bad
	}
	if err := facts(t, whole, whole); err != nil {
		t.Errorf("a whole layer: %v", err)
	}
	if err := facts(t, changed, whole); err == nil || !strings.Contains(err.Error(), " is damaged: sha256:") {
		t.Errorf("a damaged layer: %v", err)
	}
	var other *decompress.DiffIDError
	if err := facts(t, whole, changed); !errors.As(err, &other) || other.Got == other.Want || !strings.Contains(err.Error(), "reading layer 1 of the base") {
		t.Errorf("a config that means another layer: %v", err)
	}
}

// serve holds an image in a registry, whose answers alter may change; it gives the requests that came.
func serve(t *testing.T, img v1.Image, alter func(http.ResponseWriter, *http.Request) http.ResponseWriter) (repo string, count func(part string) int, stop func()) {
	t.Helper()
	handler := ggcr.New()
	var mu sync.Mutex
	var seen []string
	live := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.URL.Path)
		on := live
		mu.Unlock()
		if on && alter != nil {
			if w = alter(w, r); w == nil {
				return
			}
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	repo = strings.TrimPrefix(s.URL, "http://") + "/team/base"
	ref, err := name.ParseReference(repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	live, seen = true, nil
	mu.Unlock()
	return repo, func(part string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range seen {
			if strings.Contains(s, part) {
				n++
			}
		}
		return n
	}, s.Close
}

func noWait(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// facts opens a reference and reads the image's files.
func facts(ref string, o Options) (*Image, error) {
	opened, err := Open(context.Background(), Source{Kind: Registry, Ref: ref}, o)
	if err != nil {
		return nil, err
	}
	img, err := opened.Image(context.Background(), amd64)
	if err != nil {
		return nil, err
	}
	_, err = img.Facts(context.Background(), nil)
	return img, err
}

// TestBlobsComeOnce: what the store has is not pulled again, what is damaged in it is, and a gone registry does not matter.
func TestBlobsComeOnce(t *testing.T) {
	repo, count, stop := serve(t, image(t, "amd64"), nil)
	o := Options{Client: regclient.New(regclient.Options{Sleep: noWait}), Store: castest.Open(t)}
	img, err := facts(repo+":1", o)
	if err != nil {
		t.Fatal(err)
	}
	if n := count("/blobs/"); n != 2 {
		t.Errorf("%d blobs came, want config and layer", n)
	}
	if _, err := facts(repo+":1", o); err != nil || count("/blobs/") != 2 {
		t.Errorf("the second time %d blobs in all, %v", count("/blobs/"), err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range []v1.Hash{m.Config.Digest, m.Layers[0].Digest} {
		file := o.Store.BlobPath(d.Hex)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := facts(repo+":1", o); err != nil || count("/blobs/") != 3+i {
			t.Errorf("damaged in the store: %d blobs in all, %v", count("/blobs/"), err)
		}
	}
	stop()
	pinned := repo + "@" + img.Digest.String()
	for _, o.Offline = range []bool{false, true} {
		if _, err := facts(pinned, o); err != nil {
			t.Errorf("without the registry, offline %v: %v", o.Offline, err)
		}
	}
	o.Store.Discard(m.Layers[0].Digest.Hex)
	if _, err := facts(pinned, o); hint.KindOf(err) != hint.KindNetwork || hint.Of(err) == "" {
		t.Errorf("offline without the layer: %v", err)
	}
}

// garbler answers the paths that match with other bytes of the same length.
type garbler struct{ http.ResponseWriter }

func (g garbler) Write(p []byte) (int, error) {
	b := bytes.Clone(p)
	b[len(b)-1] ^= 1
	return g.ResponseWriter.Write(b)
}

// TestWrongBytes: a registry that answers with something else is refused, and the cache keeps none of it.
func TestWrongBytes(t *testing.T) {
	img := image(t, "amd64")
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ part, ref string }{
		"manifest": {"/manifests/", "@" + digest.String()},
		"config":   {m.Config.Digest.Hex, ":1"},
		"layer":    {m.Layers[0].Digest.Hex, ":1"},
	} {
		t.Run(name, func(t *testing.T) {
			repo, _, _ := serve(t, img, func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
				if strings.Contains(r.URL.Path, tt.part) && r.Method == http.MethodGet {
					return garbler{w}
				}
				return w
			})
			o := Options{Client: regclient.New(regclient.Options{Sleep: noWait}), Store: castest.Open(t)}
			if _, err := facts(repo+tt.ref, o); err == nil {
				t.Fatal("no error")
			}
			for _, d := range []v1.Hash{m.Config.Digest, m.Layers[0].Digest, digest} {
				if strings.Contains(tt.part, d.Hex) && o.Store.Has(d.Hex, -1) {
					t.Errorf("the cache keeps %s", d)
				}
			}
			left, err := filepath.Glob(filepath.Join(o.Store.Dir(), "tmp", "*"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if _, err := facts(repo+tt.ref, Options{Client: o.Client}); err == nil {
				t.Error("without a store: no error")
			}
		})
	}
}

// TestRefusals: each answer of a registry is an error of the network's kind, asked for as often as it deserves.
func TestRefusals(t *testing.T) {
	for status, most := range map[int]int{401: 1, 403: 1, 404: 1, 429: 5, 503: 5} {
		repo, count, _ := serve(t, image(t, "amd64"), func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(status)
				return nil
			}
			return w
		})
		o := Options{Client: regclient.New(regclient.Options{Sleep: noWait})}
		_, err := facts(repo+":1", o)
		if hint.KindOf(err) != hint.KindNetwork || hint.Of(err) == "" || !strings.Contains(err.Error(), "pulling "+repo+":1") {
			t.Errorf("%d: %v (%s)", status, err, hint.Of(err))
		}
		if n := count("/manifests/"); n > most {
			t.Errorf("%d was asked for %d times, at most %d are meant", status, n, most)
		}
	}
}

// TestMirror asks the mirror, and says so of the origin nothing.
func TestMirror(t *testing.T) {
	repo, count, _ := serve(t, image(t, "amd64"), nil)
	host, _, _ := strings.Cut(repo, "/")
	o := Options{Client: regclient.New(regclient.Options{Sleep: noWait, Mirrors: map[string]string{"reg.example": host}})}
	img, err := facts("reg.example/team/base:1", o)
	if err != nil || img.Repository.Name() != "reg.example/team/base" || count("/manifests/1") != 1 {
		t.Errorf("%+v, %v", img, err)
	}
}

func TestChoose(t *testing.T) {
	at := func(os, arch, variant string) v1.Descriptor {
		return v1.Descriptor{Digest: digestOf([]byte(os + arch + variant)), Platform: &v1.Platform{OS: os, Architecture: arch, Variant: variant}}
	}
	o := &Opened{MediaType: types.OCIImageIndex, manifests: []v1.Descriptor{
		{Digest: digestOf(nil)}, at("unknown", "unknown", ""), at("linux", "arm", "v6"), at("linux", "arm", "v7"), at("linux", "arm64", ""), at("windows", "amd64", ""), at("linux", "amd64", ""),
	}}
	for _, tt := range []struct {
		want v1.Platform
		got  string
	}{
		{v1.Platform{OS: "linux", Architecture: "amd64"}, "linuxamd64"},
		{v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, "linuxarmv7"},
		{v1.Platform{OS: "linux", Architecture: "arm"}, "linuxarmv6"},
		{v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, "linuxarm64"},
		{v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v9"}, ""},
		{v1.Platform{OS: "linux", Architecture: "riscv64"}, ""},
		{v1.Platform{}, ""},
	} {
		d, err := o.choose(tt.want)
		if tt.got == "" {
			if hint.KindOf(err) != hint.KindUsage || !strings.Contains(hint.Of(err), "linux/arm/v7, linux/arm64, windows/amd64") {
				t.Errorf("%s: %v (%s)", tt.want, err, hint.Of(err))
			}
		} else if err != nil || d.Digest != digestOf([]byte(tt.got)) {
			t.Errorf("%s: %v, %v", tt.want, d.Platform, err)
		}
	}
}

// imageIn opens a file, and the one image in it.
func imageIn(t *testing.T, src Source) (*Opened, *Image) {
	t.Helper()
	o, err := Open(context.Background(), src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	img, err := o.Image(context.Background(), amd64)
	if err != nil {
		t.Fatal(err)
	}
	return o, img
}
