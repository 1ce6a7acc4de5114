package checkout

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ArchivalName is the file in which `git archive` leaves what it knew of a commit, where a project asks for it by
// export-subst; setuptools-scm and what builds on it read it in place of a repository.
const ArchivalName = ".git_archival.txt"

// Archival gives such a file's text for the commit that a folder is at, as `git describe` tells it; "" where the folder is in
// no repository, or there is no git. A repository without tags is described as being so many commits from version 0.0, which
// is what setuptools-scm makes of one.
func Archival(ctx context.Context, dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = append(withoutGitVariables(os.Environ()), "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	node, ok := git("rev-parse", "HEAD")
	if !ok {
		return ""
	}
	described, ok := git("describe", "--dirty", "--tags", "--long", "--abbrev=40", "--match", "*[0-9]*")
	if !ok {
		count, ok := git("rev-list", "--count", "HEAD")
		if !ok {
			return ""
		}
		described = "0.0-" + count + "-g" + node
		if changes, ok := git("status", "--porcelain", "--untracked-files=no"); ok && changes != "" {
			described += "-dirty"
		}
	}
	date, _ := git("log", "-1", "--format=%cI")
	return fmt.Sprintf("node: %s\nnode-date: %s\ndescribe-name: %s\nref-names: HEAD\n", node, date, described)
}
