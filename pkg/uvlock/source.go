package uvlock

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jubako/jubako/pkg/locked"
)

func source(raw rawSource) (locked.Source, error) {
	var found []locked.Source
	for kind, at := range map[locked.SourceKind]string{
		locked.Registry: raw.Registry, locked.Git: raw.Git, locked.URL: raw.URL, locked.Path: raw.Path,
		locked.Directory: raw.Directory, locked.Editable: raw.Editable, locked.Virtual: raw.Virtual,
	} {
		if at != "" {
			found = append(found, locked.Source{Kind: kind, Location: at, Subdirectory: raw.Subdirectory})
		}
	}
	if len(found) != 1 {
		return locked.Source{}, fmt.Errorf("its source names %d places, and has to name one", len(found))
	}
	if found[0].Kind == locked.Git {
		return gitSource(found[0].Location)
	}
	return found[0], nil
}

// gitSource takes a git source apart: URL?rev=|tag=|branch=&subdirectory=&path=&lfs=true#COMMIT.
func gitSource(text string) (locked.Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return locked.Source{}, errors.New("its git source is no URL") // it may hold a password
	}
	s := locked.Source{Kind: locked.Git, Git: locked.Commit{ID: strings.ToLower(u.Fragment)}}
	if !locked.FullCommit(s.Git.ID) {
		return s, fmt.Errorf("its git source has %q in place of a full commit", u.Fragment)
	}
	q := u.Query()
	s.Subdirectory, s.Git.Path, s.Git.LFS = q.Get("subdirectory"), q.Get("path"), q.Get("lfs") == "true"
	for _, key := range []string{"rev", "tag", "branch"} {
		if v := q.Get(key); v != "" {
			s.Git.Requested = v
		}
	}
	if rev := strings.ToLower(q.Get("rev")); locked.FullCommit(rev) && rev != s.Git.ID {
		return s, fmt.Errorf("its git source asks for the commit %s, and has locked %s", rev, s.Git.ID)
	}
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	s.Location = u.String()
	return s, nil
}
