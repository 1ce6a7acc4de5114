//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

const stepsOfBento = `
[[tool.jubako.step]]
name = "versions"
command = ["python", "-c", "import os, sys, django; t = os.environ['BUILD_TOKEN']; f = open('/run/secrets/token').read(); print(t, f); os.makedirs('about'); open('about/versions.txt', 'w').write(f'{django.VERSION[0]} {len(t)} {len(f)} {os.path.exists(chr(47) + chr(101) + chr(116) + chr(99))}'); open('/etc/motd', 'w').write('x')"]
output = ["about"]
secret = ["env:BUILD_TOKEN", "file:token"]
`

// TestStepsAndBytecode: a step of the project's own Python, its secrets, and bytecode that the image's Python takes.
func TestStepsAndBytecode(t *testing.T) {
	dir := project(t)
	edit(t, filepath.Join(dir, "pyproject.toml"), "[tool.jubako]\n", "[tool.jubako]\nbytecode = true\n")
	edit(t, filepath.Join(dir, "pyproject.toml"), "[tool.jubako.staticfiles]", stepsOfBento+"\n[tool.jubako.staticfiles]")
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("file-token-4711"), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := must(t, "E2E_REGISTRY") + "/team/steps:1"
	_, log, err := jubako(t, "build", "-v", "--check-steps", "--base", base(t), "-t", ref, "--push", dir).with("BUILD_TOKEN=env-token-0815").try(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	for _, want := range []string{"versions     made     1 file", "$BUILD_TOKEN $token", "step versions: two runs made the same files", "collectstatic: two runs made the same files", "which is dropped: /etc/motd"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "token-4711") || strings.Contains(log, "token-0815") {
		t.Errorf("the log tells a secret:\n%s", log)
	}
	docker("pull", "-q", ref).run(t)
	run := func(args ...string) string {
		t.Helper()
		stdout, stderr, err := docker("run", "--rm", "-e", "SECRET_KEY=e2e", ref).arg(args...).try(t)
		if err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
		return stdout + stderr
	}
	if got := run("sh", "-c", "cat about/versions.txt; ls token /run/secrets 2>&1; env"); !strings.HasPrefix(got, "5 14 15 True") || strings.Contains(got, "token-") || strings.Contains(got, "BUILD_TOKEN") {
		t.Errorf("the image shows:\n%s", got)
	}
	// Every module of the project and the environment comes from its pyc, and that matches.
	said := run("python", "-v", "-c", "import django, django.db.models, rest_framework, bento.settings.production")
	matched, compiled := 0, 0
	for line := range strings.Lines(said) {
		switch {
		case strings.Contains(line, " matches /app/"):
			matched++
		case strings.HasPrefix(line, "# code object from /app/"), strings.HasPrefix(line, "# code object from '/app/") && !strings.Contains(line, ".pyc'"):
			compiled++
			t.Errorf("compiled anew: %s", line)
		}
	}
	if matched < 100 || compiled > 0 {
		t.Errorf("%d modules came from their pyc, and %d were compiled", matched, compiled)
	}
	run("python", "manage.py", "check")
}

// TestBytecodeSameBytes: runs with other numbers of processes and all cores busy give one image: four, one for each number, and twenty with E2E_FULL.
func TestBytecodeSameBytes(t *testing.T) {
	dir := project(t)
	var over atomic.Bool
	defer over.Store(true)
	for range runtime.NumCPU() {
		go func() {
			for !over.Load() { // busy
			}
		}()
	}
	runs := 4
	if os.Getenv("E2E_FULL") != "" {
		runs = 20
	}
	digests := map[string]int{}
	for i := range runs {
		out := filepath.Join(t.TempDir(), "out")
		said := jubako(t, "build", "--no-cache", "--jobs", fmt.Sprint(1+i%4), "--base", base(t), "--set", "bytecode=true", "--set", "staticfiles=false", "-o", "oci:"+out, dir).run(t)
		digests[said[strings.LastIndex(said, "@"):]]++
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
	if len(digests) != 1 {
		t.Errorf("%d runs gave %v", runs, digests)
	}
}
