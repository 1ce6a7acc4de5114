//go:build oracle

package oracle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jubako/jubako/pkg/pep508"
)

// setting gives a variable that run.sh sets.
func setting(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run make oracle", name)
	}
	return v
}

// python is an interpreter of this machine.
type python struct {
	path    string // as found: a Python's own folder may be reached over links
	version string // in full: "3.12.1"
}

func (p python) minor() string { return strings.Join(strings.Split(p.version, ".")[:2], ".") }

// pythons are those that run.sh has found.
func pythons(t testing.TB) []python {
	t.Helper()
	var all []python
	for _, p := range strings.Fields(setting(t, "ORACLE_PYTHONS")) {
		out, err := exec.Command(p, "-I", "-c", "import platform; print(platform.python_version())").Output()
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		all = append(all, python{p, strings.TrimSpace(string(out))})
	}
	return all
}

// pythonOf gives the interpreter of a minor version, "3.12", or skips the test.
func pythonOf(t testing.TB, minor string) python {
	t.Helper()
	for _, p := range pythons(t) {
		if p.minor() == minor {
			return p
		}
	}
	t.Skipf("no Python %s on this machine", minor)
	return python{}
}

func (p python) env(t testing.TB, machine string) pep508.Env {
	t.Helper()
	env, err := pep508.LinuxEnv(p.version, machine)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// output is what a command has said.
type output struct {
	stdout, stderr string
	err            error
}

func (o output) String() string { return strings.TrimSpace(o.stdout + o.stderr) }

// run runs a command in a folder, with further environment.
func run(dir string, env []string, args ...string) output {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return output{stdout.String(), stderr.String(), err}
}

// at runs a command where a folder stands at /app.
func at(t testing.TB, app string, args ...string) output {
	t.Helper()
	root, err := os.MkdirTemp(setting(t, "ORACLE_WORK"), "root-")
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("enter.sh")
	if err != nil {
		t.Fatal(err)
	}
	return run(".", []string{"UV_PROJECT_ENVIRONMENT=.venv"}, append([]string{script, app, root}, args...)...)
}

var hostRE = regexp.MustCompile(`https://[^/"' ]+/`)

// workDir makes a folder that the test's end removes.
func workDir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp(setting(t, "ORACLE_WORK"), name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// counts are what a test has compared; it says so at its end.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]int)
	}
	c.of[what] += n
}

func (c *counts) report(t testing.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for _, k := range []string{"equal", "refused by both", "to be built from source", "installs", "paths", "modules", "programs"} {
		if n := c.of[k]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k))
		}
	}
	t.Log(strings.Join(parts, ", "))
}
