//go:build e2e

package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tidy insists that a failed build has left nothing behind: no tag, no archive, nothing half-written in the cache.
func tidy(t *testing.T, cache, repo, archive string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(cache, "tmp", "*")); len(left) != 0 {
		t.Errorf("left in the cache: %v", left)
	}
	if archive != "" {
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(archive), "*")); len(left) != 0 {
			t.Errorf("left beside the archive: %v", left)
		}
	}
	if out, _, err := command("skopeo", "list-tags", "--tls-verify=false", "docker://"+repo).try(t); err == nil {
		t.Errorf("the registry holds %s: %s", repo, out)
	}
}

// TestFullDisk builds on file systems that are too small: for the cache, and for the archive.
func TestFullDisk(t *testing.T) {
	dir := project(t)
	for name, small := range map[string]string{"cache": "20m", "archive": "10m"} {
		t.Run(name, func(t *testing.T) {
			disk := t.TempDir()
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size="+small); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) }()
			repo := must(t, "E2E_REGISTRY") + "/team/full-" + name
			cache, out := filepath.Join(disk, "cache"), t.TempDir()
			if name == "archive" {
				cache, out = t.TempDir(), filepath.Join(disk, "out")
				if err := os.Mkdir(out, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			archive := filepath.Join(out, "app.tar")
			stdout, log, err := jubako(t, "build", "--base", base(t), "-t", repo+":1", "--push", "-o", "oci-archive:"+archive, "--cache-dir", cache, dir).try(t)
			if err == nil || stdout != "" || !strings.Contains(log, "no space left on device") {
				t.Errorf("%v: %s\n%s", err, stdout, log)
			}
			tidy(t, cache, repo, archive)
		})
	}
}

// TestInterrupted sends SIGINT in the middle of collectstatic.
func TestInterrupted(t *testing.T) {
	dir := project(t)
	edit(t, filepath.Join(dir, "bento/settings/production.py"), "SECRET_KEY = ", "import time\ntime.sleep(300)\nSECRET_KEY = ")
	repo, cache, archive := must(t, "E2E_REGISTRY")+"/team/interrupted", t.TempDir(), filepath.Join(t.TempDir(), "app.tar")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var log strings.Builder
	x := jubako(t, "build", "--base", base(t), "-t", repo+":1", "--push", "-o", "oci-archive:"+archive, "--cache-dir", cache, dir).exec(ctx)
	x.Stderr = &log
	if err := x.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "collectstatic is running", time.Minute, func() error {
		_, _, err := command("pgrep", "-f", "manage.py collectstatic").try(t)
		return err
	})
	if err := x.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = x.Wait()
	if code := x.ProcessState.ExitCode(); code != 130 || !strings.Contains(log.String(), "interrupted; nothing was left half-written") {
		t.Errorf("exit code %d\n%s", code, log.String())
	}
	if out, _, err := command("pgrep", "-f", "manage.py collectstatic").try(t); err == nil {
		t.Errorf("still running: %s", out)
	}
	tidy(t, cache, repo, archive)
}

// TestMissingSetting is the mistake that most Dockerfiles of Django projects begin with.
func TestMissingSetting(t *testing.T) {
	dir := project(t)
	edit(t, filepath.Join(dir, "pyproject.toml"), `env = { SECRET_KEY = "only-while-building" }`, "")
	_, log, err := jubako(t, "build", "--base", base(t), dir).try(t)
	if err == nil {
		t.Fatal("it was built without SECRET_KEY")
	}
	for _, want := range []string{"SECRET_KEY", "[tool.jubako.staticfiles]", "hint:"} {
		if !strings.Contains(log, want) {
			t.Errorf("the message lacks %q:\n%s", want, log)
		}
	}
}

// TestRegistryGone pushes to a registry that dies once the first blob is there.
func TestRegistryGone(t *testing.T) {
	t.Parallel()
	dir := project(t)
	target, err := url.Parse("http://" + must(t, "E2E_REGISTRY"))
	if err != nil {
		t.Fatal(err)
	}
	var dead atomic.Bool
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dead.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
		if r.Method == http.MethodPut {
			dead.Store(true)
		}
	}))
	defer s.Close()
	repo := strings.TrimPrefix(s.URL, "http://") + "/team/gone"
	cache := t.TempDir()
	_, log, err := jubako(t, "build", "--base", base(t), "-t", repo+":1", "--push", "--jobs", "1", "--cache-dir", cache, dir).try(t)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(log, "pushing to "+repo) {
		t.Errorf("%v\n%s", err, log)
	}
	tidy(t, cache, must(t, "E2E_REGISTRY")+"/team/gone", "")
}

// TestDockerFormat: the health check survives podman.
func TestDockerFormat(t *testing.T) {
	dir := project(t)
	out := t.TempDir()
	_, log, err := jubako(t, "build", "--base", base(t), "--format", "docker", "-t", "localhost/bento:docker", "-o", "docker-archive:"+out+"/d.tar", dir).try(t)
	if err != nil || strings.Contains(log, "podman ignores") {
		t.Fatalf("%v\n%s", err, log)
	}
	podman := func(args ...string) cmd {
		return command("podman", "--root", filepath.Join(out, "podman"), "--runroot", filepath.Join(out, "podman-run"), "--storage-driver", "overlay").arg(args...)
	}
	podman("load", "-q", "-i", out+"/d.tar").run(t)
	if got := podman("image", "inspect", "localhost/bento:docker").run(t); !strings.Contains(got, `"Healthcheck"`) {
		t.Errorf("podman has %q", got)
	}
}

// TestUnreadableFile builds as an ordinary user who may not read a file of the source.
func TestUnreadableFile(t *testing.T) {
	work, err := os.MkdirTemp(must(t, "E2E_WORK"), "unreadable-")
	if err != nil {
		t.Fatal(err)
	}
	dir := projectIn(t, work)
	if err := os.WriteFile(filepath.Join(dir, "menu/secret.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(work, 0o777); err != nil {
		t.Fatal(err)
	}
	openUp(t, work)
	_, log, err := command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", must(t, "E2E_JUBAKO"), "build", "--base", base(t), "--cache-dir", work+"/cache", dir).
		with("HOME="+work, "CI=").try(t)
	if err == nil || !strings.Contains(log, "menu/secret.txt") || !strings.Contains(log, "cannot be read") || !strings.Contains(log, "exclude") {
		t.Errorf("%v\n%s", err, log)
	}
}
