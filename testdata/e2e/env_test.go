//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// must gives a variable that run.sh sets.
func must(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run testdata/e2e/run.sh", name)
	}
	return v
}

// cmd is a command in the making.
type cmd struct {
	name string
	args []string
	dir  string
	env  []string
}

// command starts the description of a command.
func command(name string, args ...string) cmd { return cmd{name: name, args: args} }

func (c cmd) in(dir string) cmd      { c.dir = dir; return c }
func (c cmd) with(env ...string) cmd { c.env = append(c.env[:len(c.env):len(c.env)], env...); return c }
func (c cmd) arg(more ...string) cmd {
	c.args = append(c.args[:len(c.args):len(c.args)], more...)
	return c
}
func (c cmd) String() string { return c.name + " " + strings.Join(c.args, " ") }
func (c cmd) exec(ctx context.Context) *exec.Cmd {
	x := exec.CommandContext(ctx, c.name, c.args...)
	x.Dir = c.dir
	x.Env = append(os.Environ(), c.env...)
	return x
}

// try runs the command and gives what it printed on each stream.
func (c cmd) try(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	x := c.exec(ctx)
	var out, errs bytes.Buffer
	x.Stdout, x.Stderr = &out, &errs
	err = x.Run()
	return out.String(), errs.String(), err
}

// run runs a command that has to succeed, and gives its standard output without the last newline.
func (c cmd) run(t *testing.T) string {
	t.Helper()
	stdout, stderr, err := c.try(t)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", c, err, stdout, stderr)
	}
	return strings.TrimRight(stdout, "\n")
}

// eventually tries something until it holds, and fails the test after a while.
func eventually(t *testing.T, what string, within time.Duration, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func jubako(t *testing.T, args ...string) cmd {
	return command(must(t, "E2E_JUBAKO"), args...).with("JUBAKO_CACHE_DIR="+filepath.Join(must(t, "E2E_WORK"), "cache"), "CI=")
}

func docker(args ...string) cmd { return command("docker", args...) }

// base is the base as a jubako SOURCE.
func base(t *testing.T) string { return "oci-archive:" + must(t, "E2E_BASE") }

// lockOnce makes uv.lock of the sample project once for all tests.
var lockOnce = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp(os.Getenv("E2E_WORK"), "lock-")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, os.DirFS("../bento")); err != nil {
		return nil, err
	}
	x := exec.Command(os.Getenv("E2E_UV"), "lock", "-q", "--no-python-downloads")
	x.Dir = dir
	if out, err := x.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("uv lock: %w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "uv.lock"))
})

// project copies the sample project into a folder of the test's, with its lock.
func project(t *testing.T) string { return projectIn(t, t.TempDir()) }

func projectIn(t *testing.T, parent string) string {
	t.Helper()
	lock, err := lockOnce()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "bento")
	if err := os.CopyFS(dir, os.DirFS("../bento")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "uv.lock"), lock, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit replaces one text by another in a file, and insists that it is there.
func edit(t *testing.T, file, old, new string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s does not hold %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
