// Package checkouttest gives tests a git repository.
package checkouttest

import (
	"os/exec"
	"strings"
	"testing"
)

// Git runs git in a folder, as nobody in particular, and gives what it prints. The test is skipped where there is no git.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git on the PATH")
	}
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit makes a folder a repository of one commit, and gives that.
func Commit(t testing.TB, dir string) string {
	t.Helper()
	Git(t, dir, "init", "-q")
	Git(t, dir, "add", ".")
	Git(t, dir, "commit", "-q", "-m", "x")
	return Git(t, dir, "rev-parse", "HEAD")
}
