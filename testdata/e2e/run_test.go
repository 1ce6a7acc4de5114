//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ways are the conditions under which an image is started: what root finds on a machine, in a container, and what anybody
// finds.
var ways = map[string]func(c cmd) cmd{
	"root": func(c cmd) cmd { return c },
	"root, without user namespaces": func(c cmd) cmd {
		return c.arg("--sandbox", "chroot")
	},
	"root in a container": func(c cmd) cmd {
		c = c.arg("--sandbox", "chroot")
		return cmd{name: "setpriv", args: append([]string{"--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", c.name}, c.args...), env: c.env}
	},
	"nobody": func(c cmd) cmd {
		return cmd{name: "setpriv", args: append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", c.name}, c.args...), env: c.env}
	},
	lockedDown: func(c cmd) cmd {
		return cmd{name: "setpriv", args: append([]string{"--reuid", "1000", "--regid", "1000", "--clear-groups", filepath.Join(os.Getenv("E2E_WORK"), "lockdown"), c.name}, c.args...), env: c.env}
	},
}

// lockedDown is an ordinary user where namespaces, mounts and changes of root are refused.
const lockedDown = "uid 1000, locked down"

// runs starts the sample image in a way of ways.
func runs(t *testing.T, way string, args ...string) cmd {
	t.Helper()
	dir, err := os.MkdirTemp(must(t, "E2E_WORK"), "run-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	openUp(t, dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
	lockdown(t)
	c := command(must(t, "E2E_JUBAKO"), "run").with("JUBAKO_CACHE_DIR="+dir, "HOME="+dir, "CI=")
	return ways[way](c).arg(args...)
}

// TestRunHealth: the smoke test holds, whoever runs it, with the image that came out of a registry.
func TestRunHealth(t *testing.T) {
	img := pushed(t)
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			out, log, err := runs(t, way, "--health", "--health-timeout", "2m", "-e", "SECRET_KEY=e2e", img.ref()).try(t)
			if err != nil || strings.TrimSpace(out) != img.ref() || !strings.Contains(log, "healthy after") || !strings.Contains(log, "shared with this machine: the kernel") {
				t.Errorf("%v\n%s%s", err, out, log)
			}
			if way == lockedDown && !strings.Contains(log, "ptrace (links to the tree's files); not userns: user namespaces: clone refused") {
				t.Errorf("it did not run on the ptrace rung:\n%s", log)
			}
		})
	}
}

// TestRunUnhealthy: a service that does not come up, and one that is not well, end with 1, and what was printed is shown.
func TestRunUnhealthy(t *testing.T) {
	img := pushed(t)
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"it ends": {[]string{img.ref(), "--", "python", "manage.py", "check"}, []string{"it ended before it was healthy: exit status 1", "Set the SECRET_KEY environment variable"}},
		// uvicorn starts its workers again and again.
		"it does not start": {[]string{"--health-timeout", "45s", img.ref()}, []string{"it was not healthy within 45", "Set the SECRET_KEY environment variable"}},
		"another port": {[]string{"-e", "SECRET_KEY=e2e", "--health-timeout", "45s", img.ref(), "--", "uvicorn", "bento.asgi:application", "--port", "8001"},
			[]string{"it was not healthy within 45", "the health check printed:", "Connection refused", "the service printed last:", "Uvicorn running on http://127.0.0.1:8001"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			out, log, err := runs(t, "root", append([]string{"--health"}, test.args...)...).try(t)
			exit, ok := err.(*exec.ExitError)
			if !ok || exit.ExitCode() != 1 || out != "" {
				t.Errorf("%v\n%s", err, out)
			}
			for _, want := range test.want {
				if !strings.Contains(log, want) {
					t.Errorf("%q is missing in\n%s", want, log)
				}
			}
		})
	}
}

// printed is where a process's output goes while the test goes on.
type printed struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *printed) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *printed) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestRunServes: the service is reached at a port of the loopback, and Ctrl-C leaves nothing.
func TestRunServes(t *testing.T) {
	img := pushed(t)
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			mark := fmt.Sprintf("E2E_MARK=%d", time.Now().UnixNano())
			x := runs(t, way, "-p", "0:8000", "-e", "SECRET_KEY=e2e", "-e", mark, img.ref(), "--", "sh", "-c",
				"python manage.py migrate --noinput >&2 && exec uvicorn bento.asgi:application --host 0.0.0.0 --port 8000 --workers 2").exec(t.Context())
			x.Cancel = func() error { return x.Process.Signal(syscall.SIGTERM) }
			var log printed
			x.Stdout, x.Stderr = &log, &log
			if err := x.Start(); err != nil {
				t.Fatal(err)
			}
			ended := sync.OnceValue(x.Wait)
			t.Cleanup(func() { _ = ended() })  // before what it leaves behind is looked for
			address := "http://127.0.0.1:8000" // where it shares this machine's network
			eventually(t, "the service", 5*time.Minute, func() error {
				if m := regexp.MustCompile(`(http://127\.0\.0\.1:\d+) leads to the image's port 8000`).FindStringSubmatch(log.String()); m != nil {
					address = m[1]
				}
				got, err := get(address + "/health/")
				if err == nil && !strings.Contains(got, `"status": "ok"`) {
					err = fmt.Errorf("it answers %q", got)
				}
				return err
			})
			if page, err := get(address + "/"); err != nil || !strings.Contains(page, "/static/menu/menu.") {
				t.Errorf("%v\n%s", err, page)
			}
			if len(marked(t, mark)) == 0 {
				t.Error("no process of the image was found while it ran")
			}
			if err := x.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if err := ended(); err != nil {
				t.Errorf("%v\n%s", err, &log)
			}
			if left := marked(t, mark); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			if c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://")); err == nil {
				_ = c.Close()
				t.Error("its port is still open")
			}
		})
	}
}

// marked are the processes whose environment holds a variable, but for jubako's own arguments.
func marked(t *testing.T, variable string) (pids []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(variable)) {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}

// TestRunIsLikeDocker: the same command sees the same user, folder and environment, and may write to the same places.
func TestRunIsLikeDocker(t *testing.T) {
	img := pushed(t)
	docker("pull", "-q", img.ref()).run(t)
	script := `id; pwd; echo $HOME; env | grep -v -e HOSTNAME -e PWD -e SHLVL -e '^_=' | sort; touch data/x && echo writable; python -c 'import django, socket; print(django.__name__, socket.gethostbyname("localhost"))'; ls /app /app/data; exit 3`
	want, log, err := docker("run", "--rm", "-e", "SECRET_KEY=e2e", img.ref(), "sh", "-c", script).try(t)
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
		t.Fatalf("%v\n%s", err, log)
	}
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			got, log, err := runs(t, way, "-e", "SECRET_KEY=e2e", "-p", "0:8000", img.ref(), "--", "sh", "-c", script).try(t)
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
				t.Errorf("%v\n%s", err, log)
			}
			// Groups of whoever started it, which a user namespace does not let go.
			got = regexp.MustCompile(` groups=.*`).ReplaceAllString(got, "")
			if want := regexp.MustCompile(` groups=.*`).ReplaceAllString(want, ""); got != want {
				t.Errorf("got\n%s\nDocker has\n%s", got, want)
			}
		})
	}
}

// TestDiff says of two images that differ in one line what differs.
func TestDiff(t *testing.T) {
	img := pushed(t)
	dir := project(t)
	edit(t, filepath.Join(dir, "menu/views.py"), "def index(request):", "def index(request):  # changed")
	out := t.TempDir()
	jubako(t, "build", "--base", base(t), "-t", img.tag, "-o", "oci:"+out+"/x", dir).run(t)
	got := jubako(t, "diff", img.ref(), "oci:"+out+"/x").run(t)
	for _, want := range []string{"/app/menu/views.py"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	for _, banned := range []string{"/app/menu/models.py", ".venv", "package", "env "} {
		if strings.Contains(got, banned) {
			t.Errorf("%q is said to differ in\n%s", banned, got)
		}
	}
	if _, _, err := jubako(t, "diff", "--exit-code", img.ref(), img.tag).try(t); err != nil {
		t.Errorf("an image differs from itself: %v", err)
	}
	if _, _, err := jubako(t, "diff", "--exit-code", img.ref(), "oci:"+out+"/x").try(t); err == nil {
		t.Error("--exit-code is 0 where two images differ")
	}
}

// TestRunOnTheLoader: where even ptrace is refused, what is Python's own can still be started.
func TestRunOnTheLoader(t *testing.T) {
	img := pushed(t)
	out, log, err := runs(t, lockedDown, "--sandbox", "loader", "-e", "SECRET_KEY=e2e", img.ref(), "--", "python", "-c", "import django, os; print(django.__name__, os.getuid())").try(t)
	if err != nil || out != "django 1000\n" || !strings.Contains(log, "loader (a copy of the tree)") {
		t.Errorf("%v\n%s%s", err, out, log)
	}
}
