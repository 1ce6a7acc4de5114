package assemble

import (
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/locked"
)

// TestGitDigest: a wheel that was built without the files that git-lfs keeps is not that of a lock that wants them.
func TestGitDigest(t *testing.T) {
	plain := gitDigest(locked.Commit{ID: strings.Repeat("a", 40)})
	if lfs := gitDigest(locked.Commit{ID: strings.Repeat("a", 40), LFS: true}); lfs == plain {
		t.Error("the same digest with and without")
	}
	if plain != "eb5ab312cf45eb28311a1a1ecb73470c8dc78a839dd59440a456dfd9a79dbe1c" { // of wheels that are in caches
		t.Error(plain)
	}
}
