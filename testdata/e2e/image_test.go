//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pushed builds the sample project once and pushes it to the real registry; the tests that only look at the result share
// it.
type result struct{ repo, tag, digest, dir string }

var (
	pushedOnce sync.Once
	pushedAs   result
)

func pushed(t *testing.T) result {
	t.Helper()
	pushedOnce.Do(func() {
		dir := projectIn(t, must(t, "E2E_WORK")) // it outlives this test
		repo := must(t, "E2E_REGISTRY") + "/team/bento"
		out := jubako(t, "build", "--base", base(t), "-t", repo+":1.4", "--push", dir).run(t)
		name, digest, ok := strings.Cut(out, "@")
		if !ok || name != repo+":1.4" {
			t.Fatalf("stdout is %q, and repo:tag@digest was to come", out)
		}
		pushedAs = result{repo: repo, tag: repo + ":1.4", digest: digest, dir: dir}
	})
	if pushedAs.digest == "" {
		t.Fatal("the image was not built; see the first test that failed")
	}
	return pushedAs
}

func (r result) ref() string { return r.repo + "@" + r.digest }

// serve runs the image in Docker with a published port, and gives the container and the address.
func serve(t *testing.T, image string, args ...string) (container, address string) {
	t.Helper()
	run := docker("run", "-d", "-p", "127.0.0.1::8000", "-e", "SECRET_KEY=e2e", "-e", "SECURE_SSL_REDIRECT=0").arg(args...).arg(image)
	container = run.run(t)
	t.Cleanup(func() { docker("rm", "-f", "-v", container).run(t) })
	port := docker("port", container, "8000/tcp").run(t)
	return container, "http://" + strings.Split(port, "\n")[0]
}

func get(url string) (string, error) {
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func answers(t *testing.T, container, url, want string) {
	t.Helper()
	eventually(t, url, 60*time.Second, func() error {
		got, err := get(url)
		if err != nil {
			logs, errs, _ := docker("logs", "--tail", "20", container).try(t)
			return fmt.Errorf("%w\n%s%s", err, logs, errs)
		}
		if !strings.Contains(got, want) {
			return fmt.Errorf("%s answers %q", url, got)
		}
		return nil
	})
}

func TestRunsInDocker(t *testing.T) {
	img := pushed(t)
	docker("pull", "-q", img.ref()).run(t)
	container, address := serve(t, img.ref())
	answers(t, container, address+"/health/", `"status": "ok"`)
	inside := func(args ...string) string { return docker("exec", container).arg(args...).run(t) }

	if got := inside("id"); !strings.Contains(got, "uid=999(app) gid=999(app)") {
		t.Errorf("id says %s", got)
	}
	if got := inside("sh", "-c", "command -v python && command -v uvicorn && pwd"); got != "/app/.venv/bin/python\n/app/.venv/bin/uvicorn\n/app" {
		t.Errorf("PATH leads to %q", got)
	}
	inside("python", "manage.py", "migrate", "--noinput")
	inside("python", "manage.py", "check", "--deploy", "--fail-level", "ERROR")
	answers(t, container, address+"/api/dishes/?format=json", "[]")
	answers(t, container, address+"/admin/login/", "csrfmiddlewaretoken")
	page, err := get(address + "/")
	if err != nil {
		t.Fatal(err)
	}
	_, css, _ := strings.Cut(page, `href="`)
	css, _, _ = strings.Cut(css, `"`)
	if !strings.HasPrefix(css, "/static/menu/menu.") {
		t.Fatalf("the page links %q", css)
	}
	answers(t, container, address+css, "system-ui")
	if got := inside("sh", "-c", "touch data/x && ls -d data/.imported 2>&1; stat -c %U:%G . data staticfiles manage.py .venv"); !strings.HasPrefix(got, "data/.imported") ||
		strings.Count(got, "app:app") != 5 {
		t.Errorf("writable folders and owners: %q", got)
	}
	healthy(t, container)
}

// healthy waits for what Docker says of the container by its image's Healthcheck.
func healthy(t *testing.T, container string) {
	t.Helper()
	eventually(t, "health status", 90*time.Second, func() error {
		if got := docker("inspect", "-f", "{{.State.Health.Status}}", container).run(t); got != "healthy" {
			return errors.New(got)
		}
		return nil
	})
}

// TestNothingOfTheStepStays: what collectstatic wrote elsewhere, and its environment, are not in the image.
func TestNothingOfTheStepStays(t *testing.T) {
	img := pushed(t)
	docker("pull", "-q", img.ref()).run(t)
	got := docker("run", "--rm", img.ref(), "sh", "-c", "ls -A data; find / -xdev -name __pycache__ -path '/app/*' | head; env; ls staticfiles").run(t)
	for _, banned := range []string{".imported", "__pycache__", "only-while-building"} {
		if strings.Contains(got, banned) {
			t.Errorf("the image shows %s:\n%s", banned, got)
		}
	}
	if !strings.Contains(got, "staticfiles.json") || !strings.Contains(got, "admin") {
		t.Errorf("staticfiles is not complete:\n%s", got)
	}
	config := docker("inspect", "-f", "{{json .Config}}", img.ref()).run(t)
	if strings.Contains(config, "SECRET_KEY") {
		t.Errorf("the build-only variable is in the config: %s", config)
	}
}

// TestEveryOutputLoads: the archives and the layout carry the image that was pushed, and every client takes them.
func TestEveryOutputLoads(t *testing.T) {
	img := pushed(t)
	out := t.TempDir()
	jubako(t, "build", "--base", base(t), "-t", img.tag, "-o", "oci:"+out+"/layout:1.4", "-o", "oci-archive:"+out+"/oci.tar",
		"-o", "docker-archive:"+out+"/docker.tar", img.dir).run(t)
	configDigest := manifest(t, img).Config.Digest

	for _, archive := range []string{"docker.tar", "oci.tar"} {
		t.Run("docker load "+archive, func(t *testing.T) {
			_, _, _ = docker("rmi", "-f", img.tag).try(t)
			docker("load", "-i", filepath.Join(out, archive)).run(t)
			if got := docker("inspect", "-f", "{{.Id}}", img.tag).run(t); got != configDigest {
				t.Errorf("the image is %s, want %s", got, configDigest)
			}
			container, address := serve(t, img.tag)
			answers(t, container, address+"/health/", "ok")
		})
	}
	podman := func(args ...string) cmd {
		return command("podman", "--root", filepath.Join(out, "podman"), "--runroot", filepath.Join(out, "podman-run"), "--storage-driver", "overlay").arg(args...)
	}
	t.Run("podman", func(t *testing.T) {
		podman("pull", "-q", "--tls-verify=false", img.ref()).run(t)
		for _, archive := range []string{"docker.tar", "oci.tar"} {
			podman("load", "-q", "-i", filepath.Join(out, archive)).run(t)
		}
		ids := podman("images", "-q", "--no-trunc").run(t)
		for _, id := range strings.Fields(ids) {
			if id != configDigest {
				t.Errorf("podman holds %s, and every way was to give %s", id, configDigest)
			}
		}
	})
	t.Run("buildah", func(t *testing.T) {
		buildah := command("buildah", "--root", filepath.Join(out, "buildah"), "--runroot", filepath.Join(out, "buildah-run"), "--storage-driver", "overlay")
		container := buildah.arg("from", "-q", "--tls-verify=false", img.ref()).run(t)
		if got := buildah.arg("inspect", "-f", "{{.OCIv1.Config.User}}", container).run(t); got != "app" {
			t.Errorf("buildah has the user %q", got)
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		for _, source := range []string{"docker://" + img.ref(), "oci:" + out + "/layout:1.4", "oci-archive:" + out + "/oci.tar", "docker-archive:" + out + "/docker.tar"} {
			var got struct{ Layers []string }
			if err := json.Unmarshal([]byte(command("skopeo", "inspect", "--tls-verify=false", source).run(t)), &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Layers) < 6 {
				t.Errorf("%s: %d layers", source, len(got.Layers))
			}
		}
		command("skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+img.ref(), "dir:"+filepath.Join(out, "copied")).run(t)
	})
	t.Run("umoci", func(t *testing.T) {
		command("umoci", "unpack", "--image", filepath.Join(out, "layout")+":1.4", filepath.Join(out, "bundle")).run(t)
		if _, err := os.Stat(filepath.Join(out, "bundle/rootfs/app/manage.py")); err != nil {
			t.Error(err)
		}
	})
	ctr := func(args ...string) cmd {
		return command("ctr", "-a", must(t, "E2E_CONTAINERD"), "-n", "e2e").arg(args...)
	}
	t.Run("containerd", func(t *testing.T) {
		ctr("images", "pull", "--plain-http", img.ref()).run(t)
		ctr("images", "import", filepath.Join(out, "oci.tar")).run(t)
		got := ctr("images", "ls").run(t)
		if strings.Count(got, img.digest) < 2 {
			t.Errorf("pulled and imported were to be %s:\n%s", img.digest, got)
		}
		got = ctr("run", "--rm", img.ref(), "e2e-once", "/app/.venv/bin/python", "-c", "import django; print(django.__name__)").run(t)
		if got != "django" {
			t.Errorf("ctr run printed %q", got)
		}
	})
	t.Run("crane", func(t *testing.T) {
		crane := command("go", "run", "github.com/google/go-containerregistry/cmd/crane@v0.22.1").in("/")
		crane.arg("validate", "--insecure", "--remote", img.ref()).run(t)
		if got := crane.arg("digest", "--insecure", img.tag).run(t); got != img.digest {
			t.Errorf("crane digest: %s", got)
		}
	})
	t.Run("GNU gzip, pigz, Python and tar read every layer", func(t *testing.T) {
		for _, l := range manifest(t, img).Layers {
			blob := filepath.Join(out, "layout/blobs/sha256", strings.TrimPrefix(l.Digest, "sha256:"))
			for _, reader := range []string{"gzip -dc", "pigz -dc", "python3 -c 'import gzip,sys,shutil; shutil.copyfileobj(gzip.open(sys.argv[1]), sys.stdout.buffer)'"} {
				command("bash", "-c", "set -o pipefail; "+reader+" "+blob+" | tar -tvf - >/dev/null").run(t)
			}
		}
	})
	t.Run("the far side of an air gap", func(t *testing.T) {
		far := must(t, "E2E_REGISTRY") + "/far/bento:1.4"
		got := jubako(t, "push", "oci-archive:"+out+"/oci.tar", far).run(t)
		if got != far+"@"+img.digest {
			t.Errorf("push printed %q", got)
		}
		jubako(t, "verify", far).run(t)
	})
}

type imageManifest struct {
	Config struct{ Digest string }
	Layers []struct {
		Digest      string
		Size        int64
		Annotations map[string]string
	}
}

func manifest(t *testing.T, img result) (m imageManifest) {
	t.Helper()
	raw := command("skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+img.ref()).run(t)
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSameBytes builds in other folders, as other users, with another umask, locale, time zone, cache and number of jobs.
func TestSameBytes(t *testing.T) {
	img := pushed(t)
	work := must(t, "E2E_WORK")
	for name, c := range map[string]struct {
		jobs, umask, user, locale, zone string
	}{
		"root, one job":     {"1", "022", "0", "C", "UTC"},
		"nobody, umask 077": {"7", "077", "65534", "tr_TR.UTF-8", "Asia/Tokyo"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(work, "same-")
			if err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf(`set -e; umask %s; cp -r %s %s/bento; cd %s/bento; exec %s build --base %s --cache-dir %s/cache --jobs %s -t example.invalid/x:1 -o oci:%s/out .`,
				c.umask, img.dir, dir, dir, must(t, "E2E_JUBAKO"), base(t), dir, c.jobs, dir)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			openUp(t, img.dir)
			out := command("setpriv", "--reuid", c.user, "--regid", c.user, "--clear-groups", "bash", "-c", script).
				with("HOME="+dir, "TZ="+c.zone, "LC_ALL="+c.locale, "CI=").run(t)
			if !strings.HasSuffix(out, img.digest) {
				t.Errorf("got %s, want %s", out, img.digest)
			}
		})
	}
}

// openUp lets every user reach a folder of the test's.
func openUp(t *testing.T, dir string) {
	t.Helper()
	for d := dir; d != "/" && d != "."; d = filepath.Dir(d) {
		fi, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); st.Mode&0o005 != 0o005 {
			if err := os.Chmod(d, fi.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSecondBuildMovesNothing: with nothing changed no layer is made and no blob moved; with one line changed, one layer.
func TestSecondBuildMovesNothing(t *testing.T) {
	dir := project(t)
	repo := must(t, "E2E_REGISTRY") + "/team/again"
	build := jubako(t, "build", "--base", base(t), "-t", repo+":1", "--push", dir)
	first := build.run(t)
	out, log, err := build.try(t)
	if err != nil || strings.TrimSpace(out) != first {
		t.Fatalf("%v: %s after %s\n%s", err, out, first, log)
	}
	if strings.Contains(log, " made ") || !strings.Contains(log, "0 blobs") {
		t.Errorf("the second build was to make and push nothing:\n%s", log)
	}
	edit(t, filepath.Join(dir, "menu/views.py"), "def index(request):", "def index(request):  # changed")
	_, log, err = build.try(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	for layer, state := range map[string]string{"passwd": "reused", "venv": "reused", "app": "made"} {
		if !strings.Contains(strings.Join(strings.Fields(log), " "), layer+" "+state) {
			t.Errorf("%s was to be %s:\n%s", layer, state, log)
		}
	}
}

// TestDevProfile: the development image has the development group, no static files, and runserver.
func TestDevProfile(t *testing.T) {
	dir := project(t)
	tag := must(t, "E2E_REGISTRY") + "/team/bento:dev"
	ref := jubako(t, "build", "--base", base(t), "-p", "dev", "-t", tag, "--push", dir).run(t)
	docker("pull", "-q", tag).run(t)
	container, address := serve(t, tag)
	answers(t, container, address+"/health/", "ok")
	got := docker("exec", container, "sh", "-c", "ls; python -c 'import debug_toolbar, pytest'").run(t)
	if strings.Contains(got, "staticfiles") {
		t.Errorf("%s holds static files: %s", ref, got)
	}
	healthy(t, container)
}
