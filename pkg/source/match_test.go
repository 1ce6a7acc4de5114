package source

import (
	"path"
	"testing"

	"github.com/moby/patternmatcher"
)

// TestStanding holds the standing exclusions against the same patterns in .dockerignore's form.
func TestStanding(t *testing.T) {
	patterns := []string{"**/.env.*", "**/*.pyc", "**/*.pyo"}
	for name := range standingNames {
		patterns = append(patterns, "**/"+name)
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{"a", ".git", ".gitignore", "x.pyc", ".pyc", ".env", ".env.prod", ".environ", "node_modules", "__pycache__", "b.py", ".DS_Store", "venv"}
	for _, a := range parts {
		for _, b := range append(parts, "") {
			for _, c := range append(parts, "") {
				rel := path.Join(a, b, c)
				want, err := pm.MatchesOrParentMatches(rel)
				if err != nil {
					t.Fatal(err)
				}
				if inStanding(rel) != want {
					t.Errorf("%s: %t", rel, !want)
				}
			}
		}
	}
}
