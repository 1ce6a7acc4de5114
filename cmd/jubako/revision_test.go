package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// commitAll makes a folder a repository of one commit, and gives that.
func commitAll(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git on the PATH")
	}
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "x")
	return git("rev-parse", "HEAD")
}

// TestRevision: the image says which commit it was built of, and when that is not the whole truth.
func TestRevision(t *testing.T) {
	w := newWorld(t)
	revision := func() string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		w.build("-o", "oci:"+out)
		var conf struct {
			Config struct{ Labels map[string]string }
		}
		if err := json.Unmarshal([]byte(w.inspect("oci:"+out).config), &conf); err != nil {
			t.Fatal(err)
		}
		return conf.Config.Labels["org.opencontainers.image.revision"]
	}
	if got := revision(); got != "" {
		t.Errorf("%q, where there is no repository", got)
	}
	commit := commitAll(t, w.dir)
	if got := revision(); got != commit {
		t.Errorf("%q, not %s", got, commit)
	}
	w.write("mysite/asgi.py", "application = 1\n")
	if got := revision(); got != commit+"-dirty" {
		t.Errorf("%q, not %s-dirty", got, commit)
	}
}
