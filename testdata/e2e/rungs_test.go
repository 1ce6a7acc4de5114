//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// lockdown builds the program that refuses namespaces, mounts and changes of root to what it starts.
func lockdown(t *testing.T) string {
	t.Helper()
	name := filepath.Join(must(t, "E2E_WORK"), "lockdown")
	buildLockdown.Do(func() {
		command("go", "build", "-o", name, "../../pkg/sandbox/testdata/lockdown").with("CGO_ENABLED=0").run(t)
	})
	return name
}

var buildLockdown sync.Once

// TestEveryRung builds the sample project with collectstatic on every rung, as root, as an ordinary user, and as both
// where namespaces, mounts and changes of root are refused: one digest.
func TestEveryRung(t *testing.T) {
	img := pushed(t)
	work := must(t, "E2E_WORK")
	openUp(t, img.dir)
	lockdown := lockdown(t)
	for _, user := range []string{"0", "1000"} {
		dir, err := os.MkdirTemp(work, "rungs-")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			rung   string
			locked bool
			ran    string // the rung that the log is to name, and why none above it
		}{
			{"userns", false, `userns \(overlayfs\)`},
			{"chroot", false, `chroot \(overlayfs\)`},
			{"ptrace", false, `ptrace \(.*`},
			{"loader", false, `loader \(.*`},
			{"auto", true, `ptrace \(.*; not userns: user namespaces: clone refused \(EPERM; a seccomp filter is in force\); not chroot: .*`},
			{"loader", true, `loader \(.*`},
		} {
			if c.rung == "chroot" && user != "0" {
				continue
			}
			t.Run(fmt.Sprintf("%s, user %s, locked down %v", c.rung, user, c.locked), func(t *testing.T) {
				args := []string{"--reuid", user, "--regid", user, "--clear-groups"}
				if c.locked {
					args = append(args, lockdown)
				}
				out := filepath.Join(dir, fmt.Sprintf("out-%s-%v", c.rung, c.locked))
				args = append(args, must(t, "E2E_JUBAKO"), "build", "-v", "--no-cache", "--base", base(t), "--cache-dir", filepath.Join(dir, "cache"),
					"--sandbox", c.rung, "-t", "example.invalid/x:1", "-o", "oci:"+out, img.dir)
				stdout, stderr, err := command("setpriv", args...).with("HOME="+dir, "CI=").try(t)
				if err != nil {
					t.Fatalf("%v\n%s", err, stderr)
				}
				if !strings.HasSuffix(strings.TrimSpace(stdout), img.digest) {
					t.Errorf("got %s, want %s", stdout, img.digest)
				}
				if !regexp.MustCompile(`staticfiles: ` + c.ran).MatchString(stderr) {
					t.Errorf("the log does not say %q:\n%s", c.ran, stderr)
				}
				left, err := filepath.Glob(filepath.Join(dir, "cache/tmp/*"))
				if err != nil || len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			})
		}
	}
}

// TestCompilerOnEveryRung has a step compile and run a program with Debian's gcc, which goes through many programs, pipes
// and temporary files: one digest, without a namespace too.
func TestCompilerOnEveryRung(t *testing.T) {
	t.Parallel()
	work := must(t, "E2E_WORK")
	dir, err := os.MkdirTemp(work, "compiler-")
	if err != nil {
		t.Fatal(err)
	}
	project := projectIn(t, dir)
	edit(t, filepath.Join(project, "pyproject.toml"), `writable = ["data"]`, `writable = ["data"]
packages = ["gcc", "libc6-dev"]

[[tool.jubako.step]]
name = "hello"
command = ["sh", "-c", "mkdir made && gcc -O2 -o made/hello hello.c && made/hello >made/said"]
output = ["made"]
`)
	if err := os.WriteFile(filepath.Join(project, "hello.c"), []byte("#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lockdown := lockdown(t)
	command("chown", "-R", "1000:1000", dir).run(t)
	digests := make(map[string]string)
	for _, under := range []string{"env", lockdown} {
		out := command("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", under, must(t, "E2E_JUBAKO"), "build", "--no-cache",
			"--base", base(t), "--cache-dir", filepath.Join(dir, "cache"), "--set", "staticfiles=false", "-t", "example.invalid/x:1",
			"-o", "oci:"+filepath.Join(dir, "out"+filepath.Base(under)), project).with("HOME="+dir, "CI=").run(t)
		_, digests[filepath.Base(under)], _ = strings.Cut(out, "@")
	}
	if digests["env"] == "" || digests["env"] != digests["lockdown"] {
		t.Errorf("the digests are %q", digests)
	}
}
