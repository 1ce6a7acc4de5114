package output

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/jubako/jubako/pkg/hint"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// layerBlob makes a blob of a gzip stream whose content is text.
func layerBlob(t testing.TB, what, text string) Blob {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := bytesBlob(what, buf.Bytes())
	b.MediaType = types.OCILayer
	return b
}

// testImage makes an image of two layers for a platform, with a config that names the diffIDs.
func testImage(t testing.TB, format Format, p v1.Platform, texts ...string) Image {
	t.Helper()
	if len(texts) == 0 {
		texts = []string{"base of " + p.Architecture, "app of " + p.Architecture}
	}
	var layers []Blob
	var ids []string
	for i, text := range texts {
		layers = append(layers, layerBlob(t, fmt.Sprintf("layer%d", i), text))
		ids = append(ids, fmt.Sprintf("%q", digestOf([]byte(text))))
	}
	config := fmt.Sprintf(`{"architecture":%q,"os":%q,"config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}`, p.Architecture, p.OS, strings.Join(ids, ","))
	img, err := Assemble(Base{Layers: layers[:1]}, layers[1:], []byte(config), p, format)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func ref(t testing.TB, s string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAssemble(t *testing.T) {
	one := Blob{Digest: digestOf([]byte("one")), Size: 3, MediaType: types.DockerLayer}
	two := Blob{Digest: digestOf([]byte("two")), Size: 4, MediaType: types.OCILayer, Annotations: map[string]string{KeyAnnotation: "<k>"}}
	base := Base{Layers: []Blob{one}, Name: "team/base:1", Digest: digestOf([]byte("base"))}
	tests := []struct {
		format Format
		want   string
	}{
		{OCI, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
			`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed","size":3},` +
			`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3","size":4,"annotations":{"dev.jubako.key":"<k>"}}],` +
			`"annotations":{"org.opencontainers.image.base.digest":"sha256:20e1da5cc29b0a21a76ad51c7d6ff62af8ecae6e4e5b5b9f4a2efde02eb1d33e","org.opencontainers.image.base.name":"team/base:1"}}`},
		{Docker, `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",` +
			`"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
			`"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed","size":3},` +
			`{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3","size":4}]}`},
	}
	for _, tt := range tests {
		img, err := Assemble(base, []Blob{two}, []byte("{}"), amd64, tt.format)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(tt.want, "sha256:20e1da5cc29b0a21a76ad51c7d6ff62af8ecae6e4e5b5b9f4a2efde02eb1d33e", digestOf([]byte("base")).String(), 1)
		if diff := cmp.Diff(want, string(img.Manifest)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.format, diff)
		}
		if img.Digest != digestOf(img.Manifest) {
			t.Errorf("digest %s is not the manifest's", img.Digest)
		}
	}
	zero, err := Assemble(base, []Blob{two}, []byte("{}"), amd64, "")
	oci, _ := Assemble(base, []Blob{two}, []byte("{}"), amd64, OCI)
	if err != nil || zero.Digest != oci.Digest {
		t.Errorf("the zero format is not OCI: %v", err)
	}
	if base.Layers[0].MediaType != types.DockerLayer || two.Annotations == nil {
		t.Error("Assemble changed what it was given")
	}
}

func TestLayerTypes(t *testing.T) {
	tests := []struct {
		in     types.MediaType
		format Format
		want   types.MediaType // "" for an error
	}{
		{types.OCILayer, Docker, types.DockerLayer},
		{types.DockerLayer, OCI, types.OCILayer},
		{types.DockerLayer, Docker, types.DockerLayer},
		{types.OCIUncompressedLayer, Docker, types.DockerUncompressedLayer},
		{types.DockerUncompressedLayer, OCI, types.OCIUncompressedLayer},
		{types.DockerForeignLayer, OCI, types.OCIRestrictedLayer},
		{types.OCILayerZStd, OCI, types.OCILayerZStd},
		{types.OCILayerZStd, Docker, ""},
		{"application/x-lzma", OCI, ""},
		{"", OCI, ""},
	}
	for _, tt := range tests {
		img, err := Assemble(Base{}, []Blob{{Digest: digestOf(nil), MediaType: tt.in}}, nil, amd64, tt.format)
		if tt.want == "" {
			if err == nil || hint.Of(err) == "" {
				t.Errorf("%s in %s: error %v, want one with a hint", tt.in, tt.format, err)
			}
			continue
		}
		if err != nil || img.Layers[0].MediaType != tt.want {
			t.Errorf("%s in %s: got %v, %v; want %s", tt.in, tt.format, img.Layers, err, tt.want)
		}
	}
}

func TestPodmanWarning(t *testing.T) {
	tests := []struct {
		config string
		format Format
		warns  bool
	}{
		{`{"config":{"Healthcheck":{"Test":["CMD","true"]}}}`, OCI, true},
		{`{ "config": { "Healthcheck": { "Test": [ "CMD-SHELL", "true" ] } } }`, OCI, true},
		{`{"config":{"Healthcheck":{"Test":["CMD","true"]}}}`, Docker, false},
		{`{"config":{"Healthcheck":{"Test":["NONE"]}}}`, OCI, false},
		{`{"config":{"Healthcheck":{}}}`, OCI, false},
		{`{"config":{"Labels":{"x":"\"Healthcheck\":{"}}}`, OCI, false},
		{`{}`, OCI, false},
		{`no JSON`, OCI, false},
	}
	for _, tt := range tests {
		if got := PodmanWarning([]byte(tt.config), tt.format); (got != "") != tt.warns {
			t.Errorf("%s %s: %q", tt.config, tt.format, got)
		}
	}
}

func TestNames(t *testing.T) {
	hub := name.DefaultRegistry
	tests := []struct{ ref, repoTag, full string }{
		{"python:3.12", "python:3.12", strings.TrimPrefix(hub, "index.") + "/library/python:3.12"},
		{"team/app", "team/app:latest", strings.TrimPrefix(hub, "index.") + "/team/app:latest"},
		{"reg.example:5000/team/app:1", "reg.example:5000/team/app:1", "reg.example:5000/team/app:1"},
		{"index.corp.example/app:1", "index.corp.example/app:1", "index.corp.example/app:1"},
	}
	for _, tt := range tests {
		r := ref(t, tt.ref)
		if got := repoTag(r); got != tt.repoTag {
			t.Errorf("repoTag(%s) = %s, want %s", tt.ref, got, tt.repoTag)
		}
		if got := fullName(r); got != tt.full {
			t.Errorf("fullName(%s) = %s, want %s", tt.ref, got, tt.full)
		}
	}
}

func TestFromElsewhere(t *testing.T) {
	src, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	img, err := FromImage(src, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := src.Digest()
	if img.Digest != want || len(img.Layers) != 3 {
		t.Errorf("got %s with %d layers, want %s with 3", img.Digest, len(img.Layers), want)
	}
	for _, b := range img.Layers {
		readAll(t, b)
	}
}

func readAll(t *testing.T, b Blob) []byte {
	t.Helper()
	r, err := b.verified(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// damaged gives blobs that are not what their descriptors say, by what is wrong.
func damaged(t testing.TB) map[string]Blob {
	whole := layerBlob(t, "venv", strings.Repeat("text", 1000))
	content := func(open func() io.Reader, err error) Blob {
		b := whole
		b.Open = func(context.Context) (io.ReadCloser, error) {
			if err != nil {
				return nil, err
			}
			return io.NopCloser(open()), nil
		}
		return b
	}
	raw, _ := whole.Open(context.Background())
	good, _ := io.ReadAll(raw)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	return map[string]Blob{
		"flipped": content(func() io.Reader { return bytes.NewReader(flipped) }, nil),
		"cut":     content(func() io.Reader { return bytes.NewReader(good[:len(good)-1]) }, nil),
		"longer":  content(func() io.Reader { return bytes.NewReader(append(bytes.Clone(good), 0)) }, nil),
		"failing": content(func() io.Reader { return io.MultiReader(bytes.NewReader(good[:10]), failing{}) }, nil),
		"missing": content(nil, errors.New("no such blob")),
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk has a fault") }

// damagedArtifact is an image with one good and one damaged layer.
func damagedArtifact(t testing.TB, b Blob) Artifact {
	t.Helper()
	img, err := Assemble(Base{Layers: []Blob{layerBlob(t, "base", "base")}}, []Blob{b}, []byte("{}"), amd64, OCI)
	if err != nil {
		t.Fatal(err)
	}
	return Single(img)
}
