//go:build e2e

package e2e

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDockerfileTwin builds the sample project with Docker and BuildKit from a Dockerfile as mission.md has it, and
// compares every path, mode, owner, link and content, and the config. What may differ stands in twin/differences.txt,
// each with its reason; a line there that matches nothing any more fails the test too.
func TestDockerfileTwin(t *testing.T) {
	img := pushed(t)
	docker("pull", "-q", img.ref()).run(t)
	command("skopeo", "copy", "-q", base(t), "docker-daemon:python:3.12-slim", "--dest-daemon-host", must(t, "DOCKER_HOST")).run(t)
	ctx := project(t)
	for from, to := range map[string]string{must(t, "E2E_UV"): "uv", "/etc/ssl/certs/ca-certificates.crt": "ca.crt"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(ctx, to), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	twin := "jubako-e2e-twin"
	command(must(t, "E2E_DOCKER_BUILD"), "build", "-q", "--network", "host", "-f", "twin/Dockerfile", "-t", twin, ctx).with("DOCKER_BUILDKIT=1").run(t)

	theirs, ours := contents(t, twin), contents(t, img.ref())
	var diffs []string
	for _, p := range slices.Sorted(maps.Keys(union(theirs, ours))) {
		if a, b := theirs[p], ours[p]; a != b {
			diffs = append(diffs, fmt.Sprintf("%s: docker %s, jubako %s", p, or(a, "nothing"), or(b, "nothing")))
		}
	}
	checkDifferences(t, diffs)
	if len(theirs) < 5000 {
		t.Errorf("only %d paths were compared", len(theirs))
	}

	var a, b map[string]any
	for image, into := range map[string]*map[string]any{twin: &a, img.ref(): &b} {
		if err := json.Unmarshal([]byte(docker("inspect", "-f", "{{json .Config}}", image).run(t)), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []map[string]any{a, b} {
		// A container's fields that docker inspect adds, and two that only the classic builder set.
		for _, k := range []string{"Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image", "OnBuild", "ArgsEscaped", "Volumes", "Labels"} {
			delete(m, k)
		}
		env := m["Env"].([]any)
		slices.SortFunc(env, func(x, y any) int { return strings.Compare(x.(string), y.(string)) })
		// The health check is compared by its parts: its program is worded by each.
		delete(m["Healthcheck"].(map[string]any), "Test")
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("the config differs (- docker, + jubako):\n%s", d)
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func union(a, b map[string]string) map[string]string {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// contents gives what every path of an image is.
func contents(t *testing.T, image string) map[string]string {
	t.Helper()
	id := docker("create", image).run(t)
	defer docker("rm", id).run(t)
	x := docker("export", id).exec(context.Background())
	pipe, err := x.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Start(); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(bufio.NewReaderSize(pipe, 1<<20)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			t.Fatal(err)
		}
		desc := fmt.Sprintf("%c %04o %d:%d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname)
		if h.Typeflag == tar.TypeReg {
			desc += fmt.Sprintf("%x", sum.Sum(nil)[:8])
		}
		all[path.Clean(h.Name)] = desc
	}
	if err := x.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

// checkDifferences holds differences against the golden file: a regular expression a line, and its reason after a tab.
func checkDifferences(t *testing.T, diffs []string) {
	t.Helper()
	b, err := os.ReadFile("twin/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]int{}
	var patterns []string
	for line := range strings.Lines(string(b)) {
		pattern, reason, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") || pattern == "" {
			continue
		}
		if !ok || strings.TrimSpace(reason) == "" {
			t.Fatalf("differences.txt: %q has no reason", pattern)
		}
		patterns = append(patterns, pattern)
	}
	for _, d := range diffs {
		known := false
		for _, p := range patterns {
			if regexp.MustCompile("^(?:" + p + ")$").MatchString(d) {
				used[p]++
				known = true
				break
			}
		}
		if !known {
			t.Errorf("not in differences.txt: %s", d)
		}
	}
	for _, p := range patterns {
		if used[p] == 0 {
			t.Errorf("differences.txt has %q, and nothing differs so any more", p)
		}
	}
	t.Logf("%d differences, all listed", len(diffs))
}
