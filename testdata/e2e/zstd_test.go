//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// tree lists a folder's paths with their kinds, modes, owners and links, and every file's digest.
const tree = `set -e; cd "$0"; find app etc -printf '%p %M %U:%G %l\n' | LC_ALL=C sort; find app etc -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`

// TestZstd: clients that take zstd find the tree in it that they find in gzip. Those that do not are named in README.md; a
// newer one that does fails the test, so that the page can be corrected.
func TestZstd(t *testing.T) {
	img := pushed(t)
	out := t.TempDir()
	zstd := img
	zstd.tag = img.repo + ":zstd"
	got := jubako(t, "build", "--base", base(t), "-t", zstd.tag, "--push", "--compression", "zstd", "-o", "oci:"+out+"/layout:1.4",
		"-o", "oci-archive:"+out+"/oci.tar", "-o", "docker-archive:"+out+"/docker.tar", img.dir).run(t)
	zstd.digest = strings.Split(strings.Split(got, "\n")[0], "@")[1]
	jubako(t, "build", "--base", base(t), "-t", img.tag, "-o", "oci:"+out+"/gzip:1.4", img.dir).run(t)
	g, z := manifest(t, img), manifest(t, zstd)
	if g.Config.Digest != z.Config.Digest || len(g.Layers) != len(z.Layers) {
		t.Fatalf("the config is %s, and for gzip %s", z.Config.Digest, g.Config.Digest)
	}
	var gzipBytes, zstdBytes int64
	for i := range g.Layers {
		if g.Layers[i].Annotations != nil {
			gzipBytes += g.Layers[i].Size
			zstdBytes += z.Layers[i].Size
		}
	}
	t.Logf("jubako's layers: %d bytes as gzip, %d as zstd", gzipBytes, zstdBytes)
	if zstdBytes >= gzipBytes {
		t.Error("zstd was to be smaller")
	}
	same := func(t *testing.T, a, b string) {
		t.Helper()
		if a != b || !strings.Contains(a, "app/manage.py") {
			t.Errorf("the trees differ: %d and %d bytes of listing", len(a), len(b))
		}
	}
	t.Run("docker-archive", func(t *testing.T) {
		_, _, _ = docker("rmi", "-f", zstd.tag).try(t)
		docker("load", "-i", out+"/docker.tar").run(t)
		if got := docker("inspect", "-f", "{{.Id}}", zstd.tag).run(t); got != z.Config.Digest {
			t.Errorf("the image is %s", got)
		}
	})
	t.Run("containerd", func(t *testing.T) {
		ctr := command("ctr", "-a", must(t, "E2E_CONTAINERD"), "-n", "e2e")
		listed := func(ref, name string) string {
			ctr.arg("images", "pull", "--plain-http", ref).run(t)
			at := filepath.Join(out, name)
			command("mkdir", at).run(t)
			ctr.arg("images", "mount", ref, at).run(t)
			defer func() { ctr.arg("images", "unmount", "--rm", at).run(t) }()
			return command("bash", "-c", tree, at).run(t)
		}
		same(t, listed(img.ref(), "ctr-gzip"), listed(zstd.ref(), "ctr-zstd"))
		ctr.arg("images", "import", out+"/oci.tar").run(t)
	})
	t.Run("podman", func(t *testing.T) {
		podman := command("podman", "--root", out+"/podman", "--runroot", out+"/podman-run", "--storage-driver", "overlay")
		listed := func(ref string) string {
			podman.arg("pull", "-q", "--tls-verify=false", ref).run(t)
			at := podman.arg("image", "mount", ref).run(t)
			defer podman.arg("image", "unmount", ref).run(t)
			return command("bash", "-c", tree, at).run(t)
		}
		a := listed(img.ref())
		podman.arg("rmi", "-f", img.ref()).run(t) // else the layers are not read again: their diffIDs are the same
		same(t, a, listed(zstd.ref()))
		podman.arg("load", "-q", "-i", out+"/oci.tar").run(t)
	})
	t.Run("skopeo", func(t *testing.T) {
		command("skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+zstd.ref(), "dir:"+out+"/copied").run(t)
		command("skopeo", "inspect", "oci-archive:"+out+"/oci.tar").run(t)
	})
	t.Run("zstd and tar read every layer", func(t *testing.T) {
		for i, l := range z.Layers {
			if l.Annotations == nil {
				continue
			}
			a := command("bash", "-c", "set -o pipefail; gzip -dc "+out+"/gzip/blobs/sha256/"+strings.TrimPrefix(g.Layers[i].Digest, "sha256:")+" | sha256sum").run(t)
			b := command("bash", "-c", "set -o pipefail; zstd -dc "+out+"/layout/blobs/sha256/"+strings.TrimPrefix(l.Digest, "sha256:")+" | sha256sum").run(t)
			if a != b {
				t.Errorf("layer %d: %s, and as gzip %s", i, b, a)
			}
		}
	})
	t.Run("crane", func(t *testing.T) {
		crane := command("go", "run", "github.com/google/go-containerregistry/cmd/crane@v0.22.1").in("/")
		crane.arg("copy", "--insecure", zstd.ref(), img.repo+":zstd-copied").run(t)
		names := command("bash", "-c", "set -o pipefail; cd /; \"$@\" | tar -tf -", "-", "go").arg(crane.args...).arg("export", "--insecure", zstd.ref(), "-").run(t)
		if !strings.Contains(names, "app/manage.py") {
			t.Errorf("crane export gave %d bytes of names", len(names))
		}
	})
	t.Run("buildah", func(t *testing.T) {
		buildah := command("buildah", "--root", out+"/buildah", "--runroot", out+"/buildah-run", "--storage-driver", "overlay")
		buildah.arg("from", "-q", "--tls-verify=false", zstd.ref()).run(t)
	})
	t.Run("jubako", func(t *testing.T) {
		jubako(t, "verify", "--base", base(t), zstd.tag, img.dir).run(t)
	})
	for name, refusing := range map[string]cmd{
		"Docker 20.10 does not pull": docker("pull", "-q", zstd.ref()),
		"Docker 20.10 does not load": docker("load", "-i", out+"/oci.tar"),
		"umoci 0.4 does not unpack":  command("umoci", "unpack", "--image", out+"/layout:1.4", out+"/bundle"),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _ = docker("rmi", "-f", img.tag, img.ref(), zstd.tag).try(t)
			if stdout, stderr, err := refusing.try(t); err == nil {
				t.Errorf("it takes zstd: correct README.md\n%s%s", stdout, stderr)
			}
		})
	}
}
