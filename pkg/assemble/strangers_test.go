package assemble

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	projectlayer "github.com/jubako/jubako/layers/project"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/checkout/checkouttest"
	"github.com/jubako/jubako/pkg/locked"
)

// TestRepositoryLinks: what a repository has at a path is not another place of this machine.
func TestRepositoryLinks(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git on the PATH")
	}
	secret, repo := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(secret, "pyproject.toml"), []byte("s3cret"), 0o644), os.Mkdir(filepath.Join(repo, "sub"), 0o755), os.Mkdir(filepath.Join(repo, "bad"), 0o755),
		os.WriteFile(filepath.Join(repo, "pyproject.toml"), []byte("own"), 0o644), os.Symlink("../pyproject.toml", filepath.Join(repo, "sub", "pyproject.toml")),
		os.Symlink(filepath.Join(secret, "pyproject.toml"), filepath.Join(repo, "bad", "pyproject.toml")), os.Symlink(secret, filepath.Join(repo, "out")),
		os.WriteFile(filepath.Join(repo, "bad", "empty"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	commit := locked.Commit{ID: checkouttest.Commit(t, repo)}
	b := &builder{Tools: Tools{Store: castest.Open(t), Report: func(Event) {}}}
	for sub, want := range map[string]string{"": "own", "sub": "own", "bad": "", "out": ""} {
		s := locked.Selected{Package: &locked.Package{Name: "x", Source: locked.Source{Kind: locked.Git, Location: "file://" + repo, Subdirectory: sub, Git: commit}}}
		o, err := b.tree(t.Context(), s)
		var text []byte
		if err == nil {
			text, err = readPyproject(o)
		}
		if string(text) != want || (want == "") != (err != nil) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %q, %v", sub, text, err)
		}
	}
	if at, err := b.checkout(t.Context(), &locked.Package{Name: "x", Source: locked.Source{Kind: locked.Git, Location: "file://" + repo, Git: commit}}, "out/pyproject.toml"); err == nil {
		t.Errorf("a file beyond the repository: %s", at)
	}
	if own, err := readPyproject(projectlayer.Options{Dir: filepath.Join(repo, "bad")}); err != nil || string(own) != "s3cret" {
		t.Errorf("the user's own link: %q, %v", own, err)
	}
}
