// Package checkout brings one commit of a git repository onto this machine, with the git that is there, and keeps it in the
// cache.
//
// It may import pkg/cas, pkg/hint and nothing else of jubako.
package checkout

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
)

// Commit says what is wanted.
type Commit struct {
	Package string // for messages
	URL     string
	ID      string // in full
	LFS     bool   // with the files that git-lfs keeps
}

// Options say how it is had.
type Options struct {
	Store   *cas.Store
	Offline bool
	Log     func(string) // may be nil
}

// Get gives the folder of the commit's source tree, submodules in it, without .git. It is shared: nothing may be changed in
// it. The errors of git itself are network errors of pkg/hint, with what git says.
func Get(ctx context.Context, c Commit, o Options) (string, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%t", c.URL, c.ID, c.LFS))
	key := "git-" + hex.EncodeToString(sum[:])
	if at, ok, err := o.Store.Tree(key); ok || err != nil {
		return at, err
	}
	if o.Offline {
		return "", hint.Wrap(hint.Network(fmt.Errorf("the commit %s of %s (package %s) is not in the cache, and --offline forbids to fetch it", c.ID, redact(c.URL), c.Package)),
			"build once with a network, or lock the package from an index")
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return "", hint.Wrap(hint.Usage(fmt.Errorf("package %s comes from git (%s), and there is no git on the PATH", c.Package, redact(c.URL))),
			"install git on the machine that builds; it is not needed in the image")
	}
	dir, err := o.Store.TempDir("git-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = cas.RemoveTree(dir) }()
	r := &repository{git: git, dir: dir, c: c, log: o.Log}
	if err := r.fetch(ctx); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", hint.Wrap(hint.Network(fmt.Errorf("fetching the commit %s of %s for the package %s: %w", c.ID, redact(c.URL), c.Package, err)),
			"git asks nobody here: give it its credentials by a credential helper, an SSH agent or ~/.netrc")
	}
	if err := withoutGit(dir); err != nil {
		return "", err
	}
	return o.Store.PutTree(key, dir)
}

type repository struct {
	git, dir string
	c        Commit
	log      func(string)
}

// fetch brings the commit: alone where the server gives it, else with everything that branches and tags reach.
func (r *repository) fetch(ctx context.Context) error {
	if err := r.run(ctx, "init", "-q"); err != nil {
		return err
	}
	if err := r.run(ctx, "remote", "add", "origin", "--", r.c.URL); err != nil {
		return err
	}
	if err := r.run(ctx, "fetch", "-q", "--depth", "1", "origin", r.c.ID); err != nil {
		if r.log != nil {
			r.log(fmt.Sprintf("%s gives no single commit (%v): fetching all of it", redact(r.c.URL), err))
		}
		if err := r.run(ctx, "fetch", "-q", "--tags", "origin", "+refs/*:refs/remotes/origin/*"); err != nil {
			return err
		}
	}
	if err := r.run(ctx, "checkout", "-q", "--detach", r.c.ID); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(r.dir, ".gitmodules")); err == nil {
		if err := r.run(ctx, "submodule", "-q", "update", "--init", "--recursive"); err != nil {
			return err
		}
	}
	if r.c.LFS {
		return r.run(ctx, "lfs", "pull")
	}
	return nil
}

// run runs git, which may ask nobody. The error has the last line that it has said.
func (r *repository) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, r.git, args...)
	cmd.Dir = r.dir
	// ext:: and its like would run a program that the URL names. Nothing of the repository that jubako itself is built in
	// may lead git elsewhere.
	cmd.Env = append(withoutGitVariables(os.Environ()), "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(stderr.String())
	if i := strings.LastIndexByte(said, '\n'); i >= 0 {
		said = said[i+1:]
	}
	if said == "" {
		return fmt.Errorf("git %s: %w", args[0], err)
	}
	return fmt.Errorf("git %s: %s", args[0], strings.ReplaceAll(said, r.c.URL, redact(r.c.URL)))
}

func withoutGitVariables(env []string) []string {
	var out []string
	for _, kv := range env {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX":
		default:
			out = append(out, kv)
		}
	}
	return out
}

// withoutGit removes what git keeps for itself: the folder, and in submodules a file.
func withoutGit(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != ".git" {
			return err
		}
		if err := cas.RemoveTree(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// redact takes a password out of a URL.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "a repository"
	}
	return u.Redacted()
}
