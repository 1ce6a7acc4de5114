package checkout

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/checkout/checkouttest"
	"github.com/jubako/jubako/pkg/hint"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// repo makes a repository with two commits and gives the first.
func repo(t *testing.T) (dir, first string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git on the PATH")
	}
	dir = t.TempDir()
	checkouttest.Git(t, dir, "init", "-q")
	write(t, dir, "a.py", "first = 1\n")
	checkouttest.Git(t, dir, "add", ".")
	checkouttest.Git(t, dir, "commit", "-q", "-m", "first")
	first = checkouttest.Git(t, dir, "rev-parse", "HEAD")
	write(t, dir, "a.py", "second = 2\n")
	checkouttest.Git(t, dir, "commit", "-q", "-a", "-m", "second")
	return dir, first
}

func TestGet(t *testing.T) {
	t.Setenv("GIT_DIR", "/nowhere") // as in a hook of another repository
	if err := os.Unsetenv("GIT_DIR"); err != nil {
		t.Fatal(err)
	}
	dir, first := repo(t)
	t.Setenv("GIT_DIR", "/nowhere")
	s := castest.Open(t)
	c := Commit{Package: "a", URL: "file://" + dir, ID: first}
	if _, err := Get(t.Context(), c, Options{Store: s, Offline: true}); hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("offline: %v", err)
	}
	at, err := Get(t.Context(), c, Options{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(at, "a.py")); err != nil || string(b) != "first = 1\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
		t.Error(".git is there")
	}
	again, err := Get(t.Context(), c, Options{Store: s, Offline: true})
	if err != nil || again != at {
		t.Errorf("from the cache: %s, %v", again, err)
	}
}

func TestSubmodule(t *testing.T) {
	inner, _ := repo(t)
	outer, _ := repo(t)
	checkouttest.Git(t, outer, "submodule", "-q", "add", "file://"+inner, "sub")
	checkouttest.Git(t, outer, "commit", "-q", "-m", "with a submodule")
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "protocol.file.allow")
	t.Setenv("GIT_CONFIG_VALUE_0", "always")
	at, err := Get(t.Context(), Commit{Package: "a", URL: "file://" + outer, ID: checkouttest.Git(t, outer, "rev-parse", "HEAD")}, Options{Store: castest.Open(t)})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(at, "sub", "a.py")); err != nil || string(b) != "second = 2\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(at, "sub", ".git")); err == nil {
		t.Error("sub/.git is there")
	}
}

func TestRefused(t *testing.T) {
	dir, first := repo(t)
	for name, c := range map[string]Commit{
		"no such commit":     {Package: "a", URL: "file://" + dir, ID: strings.Repeat("a", 40)},
		"no such repository": {Package: "a", URL: "file:///nowhere/at/all", ID: first},
		"a program":          {Package: "a", URL: "ext::sh -c true", ID: first},
		"an option":          {Package: "a", URL: "--upload-pack=true", ID: first},
		"a password":         {Package: "a", URL: "http://user:secret@127.0.0.1:1/x", ID: first},
	} {
		t.Run(name, func(t *testing.T) {
			s := castest.Open(t)
			at, err := Get(t.Context(), c, Options{Store: s})
			if err == nil || hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "git ") || hint.Of(err) == "" {
				t.Errorf("%q, %v", at, err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the password is in %q", err)
			}
			left, _ := filepath.Glob(filepath.Join(s.Dir(), "*", "git-*"))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	t.Run("no git", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := Get(t.Context(), Commit{Package: "a", URL: "file://" + dir, ID: first}, Options{Store: castest.Open(t)})
		if err == nil || hint.KindOf(err) != hint.KindUsage || !strings.Contains(err.Error(), "no git") {
			t.Errorf("%v", err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		srv := httptest.NewServer(nil)
		defer srv.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Get(ctx, Commit{Package: "a", URL: srv.URL, ID: first}, Options{Store: castest.Open(t)}); err == nil {
			t.Error("no error")
		}
	})
}

// TestArchival describes a commit as git does: with and without a tag, changed and not; nothing where there is no repository.
func TestArchival(t *testing.T) {
	dir, first := repo(t)
	checkouttest.Git(t, dir, "checkout", "-q", first)
	if got := Archival(t.Context(), dir); !strings.Contains(got, "node: "+first+"\n") || !strings.Contains(got, "describe-name: 0.0-1-g"+first+"\n") {
		t.Errorf("without a tag: %q", got)
	}
	checkouttest.Git(t, dir, "tag", "v1.2")
	if got := Archival(t.Context(), dir); !strings.Contains(got, "describe-name: v1.2-0-g"+first+"\n") {
		t.Errorf("with a tag: %q", got)
	}
	list, err := filepath.Glob(filepath.Join(dir, "[a-zA-Z]*"))
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	write(t, dir, filepath.Base(list[0]), "changed")
	if got := Archival(t.Context(), dir); !strings.Contains(got, "-dirty\n") {
		t.Errorf("changed: %q", got)
	}
	if got := Archival(t.Context(), t.TempDir()); got != "" {
		t.Errorf("no repository: %q", got)
	}
}
