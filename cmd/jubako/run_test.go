package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/registry"
	"github.com/jubako/jubako/pkg/runimage"
)

// runWorld is a world without a project, and an image that runs a script of prog.
func runWorld(t *testing.T, change func(*v1.Config)) (w *world, source string) {
	t.Helper()
	w = &world{t: t}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	return w, "oci:" + runnable(t, runtime.GOARCH, change)
}

func runnable(t *testing.T, arch string, change func(*v1.Config)) string {
	t.Helper()
	data, err := fakeProg()
	if err != nil {
		t.Fatal(err)
	}
	conf := v1.Config{Env: []string{"PATH=/bin", "A=image", "B=image"}, User: "app", WorkingDir: "/app", Volumes: map[string]struct{}{"/data/volume": {}},
		Entrypoint: []string{"prog"}, Cmd: []string{"id"}, ExposedPorts: map[string]struct{}{"8000/tcp": {}, "53/udp": {}}}
	if change != nil {
		change(&conf)
	}
	return makeImage(t, []entry{
		{name: "bin/prog", data: data, mode: 0o755}, {name: "etc/passwd", data: []byte("root:x:0:0::/root:/bin/sh\napp:x:999:998::/home/app:/bin/sh\n"), mode: 0o644},
		{name: "etc/group", data: []byte("app:x:998:\n"), mode: 0o644},
	}, arch, conf)
}

// leftBehind fails the test when the cache's scratch folders hold anything.
func leftBehind(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind: %s", e.Name())
	}
}

func words(s string) []string { return strings.Fields(s) }

// TestRun starts an image with what its config and the command line say.
func TestRun(t *testing.T) {
	w, image := runWorld(t, nil)
	t.Setenv("FROM_HERE", "here")
	t.Setenv("JUBAKO_PUBLISH", "0:8000")
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"its own command":       {nil, 0, "uid 999 gid 998"},
		"another command":       {words("-- pwd ; ls /data"), 0, "/app\nvolume\n"},
		"environment":           {words("-e B=flag -e FROM_HERE -- env"), 0, "HOME=/home/app\nPATH=/bin\nHOSTNAME=localhost\nA=image\nB=flag\nFROM_HERE=here\n"},
		"exit code":             {words("-- exit 7"), 7, ""},
		"ended by a signal":     {words("-- abort ; sleep 9s"), 128 + 15, ""},
		"another entrypoint":    {words("--entrypoint /bin/prog -- pwd"), 0, "/app\n"},
		"no entrypoint":         {words("--entrypoint= -- prog pwd"), 0, "/app\n"},
		"files are writable":    {words("-- write /etc/x y ; write /app/x y ; write /data/volume/x y ; cat /etc/x"), 0, "y"},
		"nothing of it is kept": {words("-- cat /app/x"), 1, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := w.jubako(append([]string{"run", image}, test.args...)...)
			if code != test.code || !strings.HasPrefix(stdout, test.want) {
				t.Errorf("exit code %d\n%s%s\nwant %d and %s", code, stdout, stderr, test.code, test.want)
			}
			if !strings.Contains(stderr, "shared with this machine: the kernel") || strings.Contains(stderr, "jubako:") {
				t.Errorf("stderr:\n%s", stderr)
			}
		})
	}
	leftBehind(t)
}

// TestRunRefuses: what cannot be started is refused with its reason, before anything of it runs.
func TestRunRefuses(t *testing.T) {
	w, image := runWorld(t, nil)
	_, empty := runWorld(t, func(c *v1.Config) { c.Entrypoint, c.Cmd = nil, nil })
	_, unchecked := runWorld(t, func(c *v1.Config) { c.Healthcheck = &v1.HealthConfig{Test: []string{"NONE"}} })
	_, nobody := runWorld(t, func(c *v1.Config) { c.User = "nobody" })
	foreign := "oci:" + runnable(t, "s390x", nil)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"no source":         {nil, 2, "run takes one SOURCE, and has 0"},
		"no dash":           {[]string{image, "id"}, 2, "stand behind --"},
		"unknown source":    {[]string{"oci:/nowhere"}, 2, "opening oci:/nowhere"},
		"another machine":   {[]string{foreign}, 2, "the image is for linux/s390x, and this machine is linux/" + runtime.GOARCH},
		"no command":        {[]string{empty}, 2, "neither Entrypoint nor Cmd"},
		"no health check":   {[]string{"--health", image}, 2, "the image has no health check"},
		"NONE":              {[]string{"--health", unchecked}, 2, "the image has no health check"},
		"unknown user":      {[]string{nobody}, 2, `the image's user "nobody" is not in its /etc/passwd`},
		"unknown program":   {[]string{"--entrypoint", "none", "-p", "0:1", image}, 1, `starting "none": it is in no folder of PATH (/bin)`},
		"unset variable":    {[]string{"-e", "NOT_SET", image}, 2, "-e NOT_SET: it is not set"},
		"bad variable":      {[]string{"-e", "=x", image}, 2, `"=x" is no NAME=VALUE`},
		"bad port":          {[]string{"-p", "x:1", image}, 2, `the port "x:1" is not understood`},
		"UDP":               {[]string{"-p", "53:53/udp", image}, 2, "is not TCP's"},
		"port in use":       {[]string{"-p", fmt.Sprintf("%d:8000", busy.Addr().(*net.TCPAddr).Port), image, "--", "sleep", "60s"}, 1, "address already in use"},
		"timeout alone":     {[]string{"--health-timeout", "1s", image}, 2, "which is not given"},
		"negative":          {[]string{"--stop-timeout", "-1s", image}, 2, "not negative"},
		"unknown isolation": {[]string{"--sandbox", "none", image}, 2, "--sandbox is"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := w.jubako(append([]string{"run"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.want) || stdout != "" {
				t.Errorf("exit code %d\n%s%s\nwant %d and %s", code, stdout, stderr, test.code, test.want)
			}
		})
	}
	leftBehind(t)
}

// serving makes the image a service with a health check.
func serving(script, test string) func(*v1.Config) {
	return func(c *v1.Config) {
		c.Cmd = words(script)
		c.Healthcheck = &v1.HealthConfig{Test: append([]string{"CMD", "prog"}, words(test)...), Interval: 300 * time.Millisecond, Retries: 2, Timeout: time.Second}
	}
}

// TestRunHealth is the smoke test: healthy, unhealthy, hanging, ended, and not healthy in time.
func TestRunHealth(t *testing.T) {
	tests := map[string]struct {
		script, check string
		args          []string
		code          int
		want          []string
	}{
		"healthy":    {"serve 0.0.0.0:8000", "probe 127.0.0.1:8000", nil, 0, []string{"healthy after"}},
		"unhealthy":  {"serve 0.0.0.0:8000", "probe 127.0.0.1:8001", nil, 1, []string{"its health check failed 2 times: exit status 1", "  | prog: dial tcp 127.0.0.1:8001", "  | listening"}},
		"hanging":    {"serve 0.0.0.0:8000", "sleep 60s", nil, 1, []string{"failed 2 times: it took longer than 1s"}},
		"ended":      {"cat /none", "probe 127.0.0.1:8001", nil, 1, []string{"it ended before it was healthy: exit status 1", "  | prog: open /none"}},
		"ended well": {"pwd", "probe 127.0.0.1:8001", nil, 1, []string{"it ended before it was healthy", "  | /app"}},
		"in time":    {"serve 0.0.0.0:8000", "sleep 60s", words("--health-timeout 200ms"), 1, []string{"it was not healthy within 2", "no answer yet"}},
		"deaf":       {"deaf ; serve 0.0.0.0:8000", "probe 127.0.0.1:8000", words("--stop-timeout 10ms"), 0, []string{"healthy after"}},
		"killed":     {"serve 0.0.0.0:8000", "probe 127.0.0.1:8000", words("--stop-timeout 0"), 0, []string{"healthy after"}},
		"loopback":   {"serve 127.0.0.1:8000", "probe 127.0.0.1:8000", nil, 0, []string{"warning: the image exposes port 8000, and nothing listens there"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, image := runWorld(t, serving(test.script, test.check))
			code, stdout, stderr := w.jubako(append(append([]string{"run", "--health"}, test.args...), image)...)
			if code != test.code || (code == 0) != strings.HasPrefix(stdout, image+"@sha256:") {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is missing in\n%s", want, stderr)
				}
			}
			if strings.Contains(stderr, " leads to ") {
				t.Errorf("a port was opened:\n%s", stderr)
			}
			leftBehind(t)
		})
	}
	t.Run("a check that is not in the image", func(t *testing.T) {
		w, image := runWorld(t, serving("serve 0.0.0.0:8000", ""))
		_, shell := runWorld(t, func(c *v1.Config) {
			serving("serve 0.0.0.0:8000", "")(c)
			c.Healthcheck.Test = []string{"CMD-SHELL", "curl -f http://localhost:8000"}
		})
		code, _, stderr := w.jubako("run", "--health", shell)
		if code != 1 || !strings.Contains(stderr, `starting "/bin/sh": ENOENT`) {
			t.Errorf("exit code %d\n%s", code, stderr)
		}
		if code, _, stderr := w.jubako("run", "--health", image); code != 0 { // prog without a verb ends well
			t.Errorf("exit code %d\n%s", code, stderr)
		}
	})
}

// TestPathWithAt: a path that holds "@" is printed whole.
func TestPathWithAt(t *testing.T) {
	w, image := runWorld(t, serving("serve 0.0.0.0:8000", "")) // prog without a verb ends well
	path := strings.TrimPrefix(image, "oci:")
	if err := os.Rename(path, path+"@home"); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"verify", "run --health"} {
		code, stdout, stderr := w.jubako(append(words(verb), image+"@home")...)
		if code != 0 || !strings.HasPrefix(stdout, image+"@home@sha256:") {
			t.Errorf("%s: exit code %d\n%s%s", verb, code, stdout, stderr)
		}
	}
}

// background is the program while the test goes on.
type background struct {
	t      *testing.T
	stdout string // files
	stderr string
	code   chan int
}

func inBackground(t *testing.T, args ...string) *background {
	t.Helper()
	dir := t.TempDir()
	b := &background{t: t, stdout: filepath.Join(dir, "stdout"), stderr: filepath.Join(dir, "stderr"), code: make(chan int, 1)}
	out, err := os.Create(b.stdout)
	if err != nil {
		t.Fatal(err)
	}
	errs, err := os.Create(b.stderr)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		code := run(args, out, errs)
		_, _ = out.Close(), errs.Close()
		b.code <- code
	}()
	return b
}

func (b *background) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// says waits until a stream holds a match, and gives its first group.
func (b *background) says(name, pattern string) string {
	b.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(b.read(name)); m != nil {
			return m[1]
		}
	}
	b.t.Fatalf("no %q in\n%s", pattern, b.read(name))
	return ""
}

// interrupt sends this process, and so the program, a signal. Nobody else must be running then.
func interrupt(t *testing.T) {
	t.Helper()
	kill(t, syscall.SIGTERM)
}

func kill(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// TestRunServes: the service is reached at the loopback, and a signal stops it.
func TestRunServes(t *testing.T) {
	_, image := runWorld(t, serving("serve 0.0.0.0:8000", "probe 127.0.0.1:8000"))
	b := inBackground(t, "run", "-p", "0:8000", image)
	address := b.says(b.stderr, `http://(127\.0\.0\.1:\d+) leads to the image's port 8000`)
	var got []byte
	for end := time.Now().Add(20 * time.Second); string(got) != "hello" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err == nil && c.(*net.TCPConn).CloseWrite() == nil {
			got, _ = io.ReadAll(c) // reset while nothing listens yet
		}
		_ = c.Close()
	}
	if string(got) != "hello" {
		t.Errorf("it answers %q", got)
	}
	stay, err := net.Dial("tcp", address) // a connection that stays open does not keep it
	if err != nil {
		t.Fatal(err)
	}
	defer stay.Close()
	interrupt(t)
	if code, out := <-b.code, b.read(b.stdout); code != 0 || out != "listening\nstopped by terminated\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the port is still open")
	}
	leftBehind(t)
}

// TestRunInterrupted: a smoke test that is interrupted is no success, and a service that does not listen is killed.
func TestRunInterrupted(t *testing.T) {
	_, image := runWorld(t, serving("deaf ; sleep 300s", "probe 127.0.0.1:8000"))
	b := inBackground(t, "run", "--health", "--stop-timeout", "10ms", image)
	b.says(b.stderr, "(shared with this machine)")
	interrupt(t)
	if code := <-b.code; code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	b = inBackground(t, "run", "--stop-timeout", "5m", "-p", "0:8000", image)
	b.says(b.stdout, "(deaf)")
	interrupt(t)
	time.Sleep(50 * time.Millisecond)
	select {
	case code := <-b.code:
		t.Fatalf("it did not wait: exit code %d", code)
	default:
	}
	interrupt(t)
	if code := <-b.code; code != 128+9 {
		t.Errorf("exit code %d", code)
	}
	_, image = runWorld(t, serving("serve 0.0.0.0:8000", ""))
	b = inBackground(t, "run", "--stop-timeout", "0", "-p", "0:8000", image)
	b.says(b.stdout, "(listening)")
	interrupt(t)
	if code, out := <-b.code, b.read(b.stdout); code != 128+9 || out != "listening\n" {
		t.Errorf("no time to stop: exit code %d, %q", code, out)
	}
	leftBehind(t)
}

// TestRunHangup: a terminal that is gone ends a smoke test as an interrupt does, and nothing where nohup has it ignored.
func TestRunHangup(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("the tests themselves run under nohup")
	}
	_, image := runWorld(t, serving("serve 0.0.0.0:8000", "sleep 60s"))
	b := inBackground(t, "run", "--health", image)
	b.says(b.stderr, "(shared with this machine)")
	kill(t, syscall.SIGHUP)
	if code := <-b.code; code != exitInterrupted || b.read(b.stdout) != "" {
		t.Errorf("exit code %d, %q", code, b.read(b.stdout))
	}
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	b = inBackground(t, "run", "-p", "0:8000", image)
	b.says(b.stdout, "(listening)")
	kill(t, syscall.SIGHUP)
	select {
	case code := <-b.code:
		t.Fatalf("it did not go on: exit code %d", code)
	case <-time.After(100 * time.Millisecond):
	}
	interrupt(t)
	if code, out := <-b.code, b.read(b.stdout); code != 0 || out != "listening\nstopped by terminated\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
	leftBehind(t)
}

// TestHealthOfStopped: a service that was stopped before it was healthy is not healthy, whoever stopped it.
func TestHealthOfStopped(t *testing.T) {
	for script, grace := range map[string]time.Duration{"serve 0.0.0.0:8000": time.Minute, "deaf ; sleep 300s": time.Millisecond} {
		_, image := runWorld(t, serving(script, "sleep 60s"))
		a := &app{lookupEnv: os.LookupEnv}
		store := must(a.store())
		opened := must(base.Open(t.Context(), must(base.ParseSource(image)), base.Options{}))
		signals := make(chan os.Signal, 1)
		_, err := runimage.Run(t.Context(), runimage.Options{Image: must(imageHere(t.Context(), opened)), Store: store, Host: host(), Health: true, Grace: grace,
			Signals: signals, Report: func(string, string) { signals <- syscall.SIGHUP }, Warn: func(string) {}})
		if unhealthy, ok := errors.AsType[*runimage.UnhealthyError](err); !ok || !strings.Contains(unhealthy.Reason, "it ended before it was healthy") {
			t.Errorf("%s: %v", script, err)
		}
		if err := errors.Join(opened.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestRunFromRegistry takes the image that a push brought there, and its index's entry for this machine.
func TestRunFromRegistry(t *testing.T) {
	w, image := runWorld(t, nil)
	g, err := registry.New(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.Handler(g))
	t.Cleanup(server.Close)
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/x:1"
	if code, _, stderr := w.jubako("push", image, ref); code != 0 {
		t.Fatal(stderr)
	}
	if code, stdout, stderr := w.jubako("verify", ref); code != 0 || !strings.HasPrefix(stdout, ref+"@sha256:") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	} else if code, again, stderr := w.jubako("verify", strings.TrimSpace(stdout)); code != 0 || again != stdout {
		t.Errorf("pinned: %d %s%s", code, again, stderr)
	}
	if code, stdout, stderr := w.jubako("run", "-p", "0:1", ref); code != 0 || !strings.HasPrefix(stdout, "uid 999 gid 998") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
	if code, _, stderr := w.jubako("run", strings.Replace(ref, ":1", ":none", -1)); code == 0 || code == 1 {
		t.Errorf("%d %s", code, stderr)
	}
}
