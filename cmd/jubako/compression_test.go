package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen is what inspect says of an image.
type seen struct {
	digests, diffIDs, mediaTypes, keys []string
	config                             string
}

func (w *world) inspect(source string) seen {
	w.t.Helper()
	code, stdout, log := w.jubako("inspect", "--format", "json", source)
	var v struct {
		Images []struct {
			Config json.RawMessage
			Layers []inspectedLayer
		}
	}
	if err := json.Unmarshal([]byte(stdout), &v); code != 0 || err != nil || len(v.Images) != 1 {
		w.t.Fatalf("inspect: %d %v\n%s", code, err, log)
	}
	s := seen{config: string(v.Images[0].Config)}
	for _, l := range v.Images[0].Layers {
		s.digests = append(s.digests, l.Digest)
		s.diffIDs, s.mediaTypes, s.keys = append(s.diffIDs, l.DiffID), append(s.mediaTypes, l.MediaType), append(s.keys, l.Key)
	}
	return s
}

const asGzip, asZstd = "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"

// TestZstd: another compression makes another blob of each layer, with another key, and changes nothing else. It is made of
// the gzip blob that is there, and no command runs for it.
func TestZstd(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	_, log := w.build("-v", "-o", "oci:"+out+"/gzip")
	if !strings.Contains(log, "staticfiles: ") {
		t.Fatalf("the log does not say how the step ran:\n%s", log)
	}
	_, log = w.build("-v", "-o", "oci:"+out+"/zstd", "--compression", "zstd")
	if strings.Contains(log, "staticfiles: ") || !regexp.MustCompile(`venv +made`).MatchString(log) {
		t.Errorf("the blobs were not made of those that were there:\n%s", log)
	}
	g, z := w.inspect("oci:"+out+"/gzip"), w.inspect("oci:"+out+"/zstd")
	if d := cmp.Diff(g.diffIDs, z.diffIDs); d != "" || g.config != z.config {
		t.Errorf("the image is another one: %s", d)
	}
	for i := range z.mediaTypes {
		if want := asZstd; i > 0 && (z.mediaTypes[i] != want || g.mediaTypes[i] != asGzip || z.keys[i] == g.keys[i]) {
			t.Errorf("layer %d: %s %s, and as gzip %s %s", i, z.mediaTypes[i], z.keys[i], g.mediaTypes[i], g.keys[i])
		}
	}
	_, log = w.build("-o", "oci:"+out+"/again", "--compression", "zstd")
	if strings.Contains(log, " made ") {
		t.Errorf("nothing has changed, and:\n%s", log)
	}
	if code, _, log := w.jubako("verify", "--base", w.base, "oci:"+out+"/zstd", w.dir); code != 0 {
		t.Errorf("verify: %d\n%s", code, log)
	}

	// Made of the files, the bytes are the same.
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	t.Setenv("JUBAKO_COMPRESSION", "zstd")
	anew, _ := w.build("-o", "oci:"+out+"/anew")
	same, _ := w.build("-o", "oci:"+out+"/zstd")
	if digestIn(anew) != digestIn(same) {
		t.Errorf("%s, and out of gzip %s", anew, same)
	}
	if d := cmp.Diff(z, w.inspect("oci:"+out+"/anew"), cmp.AllowUnexported(seen{})); d != "" {
		t.Error(d)
	}
}

func digestIn(line string) string { return line[strings.LastIndex(line, "@")+1:] }

// TestCompressionPerPlace: one build pushes zstd, and writes what any docker load takes.
func TestCompressionPerPlace(t *testing.T) {
	w := newWorld(t)
	out, tag := t.TempDir(), w.host()+"/team/site:1"
	got, log := w.build("-t", tag, "--push", "-o", "docker-archive:"+out+"/d.tar", "-o", "oci:"+out+"/l", "-o", "oci-archive:"+out+"/o.tar", "--compression", "zstd", "--compression", "oci=gzip")
	lines := strings.Split(got, "\n")
	if len(lines) != 4 || digestIn(lines[0]) != digestIn(lines[3]) || digestIn(lines[1]) != digestIn(lines[2]) || digestIn(lines[0]) == digestIn(lines[1]) {
		t.Errorf("the digests:\n%s", got)
	}
	if !strings.Contains(log, "which every docker load takes") {
		t.Errorf("nothing is said of the docker-archive:\n%s", log)
	}
	for source, want := range map[string]string{tag: asZstd, "oci:" + out + "/l": asGzip, "oci-archive:" + out + "/o.tar": asZstd} {
		if s := w.inspect(source); s.mediaTypes[1] != want || s.config != w.inspect(tag).config {
			t.Errorf("%s: %v", source, s.mediaTypes)
		}
		if code, _, log := w.jubako("verify", source); code != 0 {
			t.Errorf("verify %s: %d\n%s", source, code, log)
		}
	}
	layers := 0
	f, err := os.Open(out + "/d.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(r); strings.HasSuffix(h.Name, ".tar.gz") {
			layers++
			if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
				t.Errorf("%s is no gzip", h.Name)
			}
		}
	}
	if layers < 4 {
		t.Errorf("only %d layers in the docker-archive", layers)
	}

	// The registry's layers are for those who want zstd.
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	if _, log := w.build("-t", tag, "--push", "--compression", "push=zstd"); strings.Contains(log, " made ") || !strings.Contains(log, "from the registry") {
		t.Errorf("zstd was to be reused:\n%s", log)
	}
	if _, log := w.build("-t", tag, "--push"); !regexp.MustCompile(`venv +made`).MatchString(log) || w.inspect(tag).mediaTypes[1] != asGzip {
		t.Errorf("gzip was to be made:\n%s", log)
	}
}

// TestDamagedGzip: a blob of the cache that is damaged is not what another is made of.
func TestDamagedGzip(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	want, _ := w.build("-o", "oci:"+out+"/z", "--compression", "zstd", "--cache-dir", t.TempDir())
	w.build()
	blobs, err := filepath.Glob(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "blobs/sha256/*/*"))
	if err != nil || len(blobs) < 4 {
		t.Fatal(blobs, err)
	}
	for _, name := range blobs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
			b[len(b)/2] ^= 0xff
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := w.build("-o", "oci:"+out+"/z", "--compression", "zstd"); got != want {
		t.Errorf("%s, and with a damaged cache %s", want, got)
	}
}

func TestCompressionRefused(t *testing.T) {
	w := newWorld(t)
	for args, want := range map[string]string{
		"--compression lz4":                                    "gzip or zstd",
		"--compression attic=zstd":                             "the places are push",
		"--compression docker-archive=zstd":                    "leave docker-archive at gzip",
		"--compression zstd --format docker":                   "--format oci",
		"--compression oci=zstd --format docker -o oci:" + "x": "--format oci",
	} {
		code, _, log := w.jubako(append([]string{"build", "--base", w.base, w.dir}, strings.Fields(args)...)...)
		if code != 2 || !strings.Contains(log, want) {
			t.Errorf("%s: %d\n%s", args, code, log)
		}
	}
}
