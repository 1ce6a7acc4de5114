package output

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/jubako/jubako/pkg/hint"
)

var arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}

func several(t testing.TB) Artifact {
	t.Helper()
	a, err := Several([]Image{testImage(t, OCI, amd64), testImage(t, OCI, arm64)}, OCI)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tags lists a layout's tags in the order of its index, each with the digest it leads to.
func tags(t testing.TB, dir string) []string {
	t.Helper()
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range m.Manifests {
		all = append(all, d.Annotations[refNameAnnotation]+" "+d.Digest.String())
	}
	return all
}

// assertNothing fails where a folder holds a temporary file.
func assertNoTemp(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(p), ".jubako") {
			t.Errorf("%s was left behind", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLayout(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "deep", "layout")
	one, two, many := Single(testImage(t, OCI, amd64, "1")), Single(testImage(t, Docker, amd64, "2")), several(t)
	write := func(tag string, a Artifact) {
		t.Helper()
		if err := WriteLayout(ctx, dir, tag, a); err != nil {
			t.Fatal(err)
		}
	}
	write("1", one)
	write("2", two)
	write("", many)
	write("", many)
	if diff := cmp.Diff([]string{"1 " + one.Digest.String(), "2 " + two.Digest.String(), " " + many.Digest.String()}, tags(t, dir)); diff != "" {
		t.Errorf("after three (-want +got):\n%s", diff)
	}
	write("1", two)
	if diff := cmp.Diff([]string{"2 " + two.Digest.String(), " " + many.Digest.String(), "1 " + two.Digest.String()}, tags(t, dir)); diff != "" {
		t.Errorf("after replacing (-want +got):\n%s", diff)
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx, validate.Fast); err != nil { // the layers of these images are no tars
		t.Error(err)
	}
	img, err := idx.Image(one.Digest)
	if err == nil {
		t.Errorf("image %v is in the index still", img)
	}
	assertNoTemp(t, dir)
}

// TestLayoutKeepsOthers shows that entries of other programs stay as they are.
func TestLayoutKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	entry := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"artifactType":"application/x","data":"e30=","x":1}`
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[`+entry+`],"annotations":{"a":"b"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteLayout(context.Background(), dir, "1", Single(testImage(t, OCI, amd64))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !strings.Contains(s, entry) || !strings.Contains(s, `"annotations":{"a":"b"}`) {
		t.Errorf("the index has lost something: %s", s)
	}
}

func TestLayoutRefusals(t *testing.T) {
	for what, b := range damaged(t) {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			good := Single(testImage(t, OCI, amd64))
			if err := WriteLayout(context.Background(), dir, "1", good); err != nil {
				t.Fatal(err)
			}
			if err := WriteLayout(context.Background(), dir, "1", damagedArtifact(t, b)); err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff([]string{"1 " + good.Digest.String()}, tags(t, dir)); diff != "" {
				t.Errorf("the index has changed (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", b.Digest.Hex)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the damaged blob is there: %v", err)
			}
			assertNoTemp(t, dir)
		})
	}
	t.Run("not a layout", func(t *testing.T) {
		for _, index := range []string{"no JSON", "[]", `{"manifests":[1]}`} {
			dir := t.TempDir()
			file := filepath.Join(dir, "index.json")
			if err := os.WriteFile(file, []byte(index), 0o644); err != nil {
				t.Fatal(err)
			}
			err := WriteLayout(context.Background(), dir, "", Single(testImage(t, OCI, amd64)))
			if err == nil || hint.Of(err) == "" {
				t.Errorf("%s: error %v, want one with a hint", index, err)
			}
			if b, _ := os.ReadFile(file); string(b) != index {
				t.Errorf("%s was overwritten with %s", index, b)
			}
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		why := errors.New("the user has had enough")
		cancel(why)
		if err := WriteLayout(ctx, t.TempDir(), "", Single(testImage(t, OCI, amd64))); !errors.Is(err, why) {
			t.Errorf("error %v, want %v", err, why)
		}
	})
}

// TestLayoutTogether writes many tags at once into one layout.
func TestLayoutTogether(t *testing.T) {
	dir := t.TempDir()
	a := Single(testImage(t, OCI, amd64))
	var wg sync.WaitGroup
	for _, tag := range strings.Split("abcdefgh", "") {
		wg.Go(func() {
			if err := WriteLayout(context.Background(), dir, tag, a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := tags(t, dir); len(got) != 8 {
		t.Errorf("of 8 tags %d are left: %v", len(got), got)
	}
}

func readTar(t testing.TB, b []byte) (names []string, content map[string][]byte) {
	t.Helper()
	content = make(map[string][]byte)
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, content
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 || h.Mode != 0o644 || content[h.Name] != nil {
			t.Errorf("entry %+v", h)
		}
		names = append(names, h.Name)
		if content[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOCIArchive(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name   string
		a      Artifact
		tags   []name.Reference
		docker bool
		want   []string
	}{
		{"one", Single(testImage(t, OCI, amd64, "same", "same")), []name.Reference{ref(t, "reg.example/app:1"), ref(t, "app:2")}, true, []string{"1", "2"}},
		{"no tag", Single(testImage(t, OCI, amd64)), nil, true, []string{""}},
		{"several", several(t), []name.Reference{ref(t, "reg.example/app:1")}, false, []string{"1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.tar")
			if err := WriteOCIArchive(ctx, file, tt.a, tt.tags); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var again bytes.Buffer
			if err := WriteOCIArchiveTo(ctx, &again, tt.a, tt.tags); err != nil || !bytes.Equal(again.Bytes(), b) {
				t.Errorf("the second archive differs: %v", err)
			}
			names, content := readTar(t, b)
			if slices.Contains(names, "manifest.json") != tt.docker {
				t.Errorf("entries %v", names)
			}
			var idx v1.IndexManifest
			if err := json.Unmarshal(content["index.json"], &idx); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range idx.Manifests {
				got = append(got, d.Annotations[refNameAnnotation])
				if d.Digest != tt.a.Digest || digestOf(content["blobs/sha256/"+d.Digest.Hex]) != tt.a.Digest {
					t.Errorf("the index leads to %s, want %s", d.Digest, tt.a.Digest)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			for n, c := range content {
				if hex, ok := strings.CutPrefix(n, "blobs/sha256/"); ok && digestOf(c).Hex != hex {
					t.Errorf("%s has another digest", n)
				}
			}
			if tt.docker {
				tag := (*name.Tag)(nil)
				if len(tt.tags) > 0 {
					first := tt.tags[0].(name.Tag)
					tag = &first
				}
				img, err := tarball.ImageFromPath(file, tag)
				if err != nil {
					t.Fatal(err)
				}
				config, err := img.RawConfigFile()
				if err != nil || !bytes.Equal(config, tt.a.Images[0].Config) {
					t.Errorf("Docker's manifest.json leads to another config: %v", err)
				}
			}
		})
	}
}

func TestDockerArchive(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	file := filepath.Join(dir, "x.tar")
	a := Single(testImage(t, Docker, amd64, "one", "two", "one"))
	app := ref(t, "reg.example/team/app:1").(name.Tag)
	if err := WriteDockerArchive(ctx, file, a, []name.Reference{app, ref(t, "python:3")}); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := WriteDockerArchiveTo(ctx, &again, a, []name.Reference{app, ref(t, "python:3")}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(b, again.Bytes()) {
		t.Errorf("the second archive differs: %v", err)
	}
	names, content := readTar(t, b)
	if len(names) != 4 || !strings.Contains(string(content["manifest.json"]), `"RepoTags":["reg.example/team/app:1","python:3"]`) {
		t.Errorf("entries %v: %s", names, content["manifest.json"])
	}
	img, err := tarball.ImageFromPath(file, &app)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	for i, want := range []string{"one", "two", "one"} {
		r, err := layers[i].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("layer %d holds %q, %v; want %q", i, got, err, want)
		}
	}
	if err := WriteDockerArchive(ctx, filepath.Join(dir, "many.tar"), several(t), nil); hint.KindOf(err) != hint.KindUsage || hint.Of(err) == "" {
		t.Errorf("several platforms: error %v", err)
	}
}

func TestArchiveLeavesNothing(t *testing.T) {
	for what, b := range damaged(t) {
		for kind, write := range map[string]func(context.Context, string, Artifact, []name.Reference) error{"oci": WriteOCIArchive, "docker": WriteDockerArchive} {
			dir := t.TempDir()
			file := filepath.Join(dir, "x.tar")
			if err := os.WriteFile(file, []byte("the last one"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := write(context.Background(), file, damagedArtifact(t, b), nil); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s %s: error %v", kind, what, err)
			}
			if got, _ := os.ReadFile(file); string(got) != "the last one" {
				t.Errorf("%s %s: the file was touched", kind, what)
			}
			assertNoTemp(t, dir)
		}
	}
	if err := WriteOCIArchive(context.Background(), filepath.Join(t.TempDir(), "no", "x.tar"), Single(testImage(t, OCI, amd64)), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: error %v", err)
	}
	if err := WriteOCIArchiveTo(context.Background(), full{}, Single(testImage(t, OCI, amd64)), nil); err == nil {
		t.Error("full disk: no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }
