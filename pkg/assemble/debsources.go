package assemble

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/archive"
	"github.com/jubako/jubako/pkg/deb/keys"
	"github.com/jubako/jubako/pkg/hint"
)

// debSource is a suite of an archive, and how it is reached.
type debSource struct {
	deb.Source
	at    string // URL that is asked, in place of the source's own
	trust archive.Trust
}

// debSources are the archives that packages come from: those that the configuration names, else those of the base's apt,
// else Debian's own by way of the configured mirror.
func (b *builder) debSources(o base.OS, d *base.Dpkg) ([]debSource, error) {
	c := b.spec.Project.Config.Debian
	var list []deb.Source
	var err error
	own := len(c.DebSources) > 0
	if own {
		list, err = deb.ParseList([]byte(strings.Join(c.DebSources, "\n")), "deb-sources")
	} else if list, err = deb.Sources(d.Files); err == nil && len(list) == 0 {
		list, err = b.mirrorSources(o)
	}
	if err != nil {
		return nil, hint.Usage(err)
	}
	all := make([]debSource, 0, len(list))
	for _, s := range list {
		ds := debSource{Source: s, at: s.URI, trust: archive.Trust{Unsigned: own && s.Trusted}}
		if ds.trust.Keys, err = b.keyrings(s, d, own); err != nil {
			return nil, hint.Usage(err)
		}
		all = append(all, ds)
	}
	if err := mirrored(all, b.spec.debMirror()); err != nil {
		return nil, err
	}
	return all, atSnapshot(all, b.spec.snapshot())
}

// debMirror and snapshot are what flags say, else the configuration.
func (s *Spec) debMirror() string {
	if s.DebMirror != "" {
		return s.DebMirror
	}
	return s.Project.Config.DebMirror
}

func (s *Spec) snapshot() string {
	if s.Snapshot != "" {
		return s.Snapshot
	}
	return s.Project.Config.Snapshot
}

// mirrorSources are Debian's suites on the mirror, for a base without apt.
func (b *builder) mirrorSources(o base.OS) ([]deb.Source, error) {
	mirror := strings.TrimRight(cmp.Or(b.spec.debMirror(), b.hostMirror), "/")
	remedy := `name the archive with --deb-mirror URL, or every suite with deb-sources = ["deb URL SUITE main"]`
	if mirror == "" {
		return nil, hint.Wrap(errors.New("the base has no apt sources, and so nothing says where Debian packages come from"), "%s", remedy)
	}
	if o.ID != "debian" || o.Codename == "" {
		return nil, hint.Wrap(fmt.Errorf("the base has no apt sources, and its os-release does not say of which Debian it is (%s %s)", o.ID, o.VersionID), "%s", remedy)
	}
	main := deb.Source{URI: mirror, Suite: o.Codename, Components: []string{"main"}, From: "deb-mirror"}
	if o.Codename == "sid" || o.Codename == "unstable" {
		return []deb.Source{main}, nil // which has neither updates nor fixes of its own
	}
	return []deb.Source{
		main,
		{URI: mirror, Suite: o.Codename + "-updates", Components: []string{"main"}, From: "deb-mirror"},
		{URI: mirror + "-security", Suite: o.Codename + "-security", Components: []string{"main"}, From: "deb-mirror"},
	}, nil
}

// keyrings are the keys that a source may be signed with. Relative paths are the configuration's, and lie beside it.
func (b *builder) keyrings(s deb.Source, d *base.Dpkg, own bool) (map[string][]byte, error) {
	files := d.Files
	if own && len(s.SignedBy.Files) > 0 {
		files = make(map[string][]byte)
		for _, p := range s.SignedBy.Files {
			if path.IsAbs(p) {
				if k, ok := d.Read(p); ok {
					files[strings.TrimLeft(path.Clean(p), "/")] = k
				}
				continue
			}
			k, err := os.ReadFile(filepath.Join(b.spec.Project.Dir, filepath.FromSlash(p)))
			if err != nil {
				return nil, fmt.Errorf("reading the keyring of deb-sources: %w", err)
			}
			files[path.Clean(p)] = k
		}
	}
	rings, err := s.Keyrings(files)
	if err != nil {
		return nil, err
	}
	if len(rings) == 0 {
		rings[keys.Name] = keys.Debian()
	}
	return rings, nil
}

// mirrored leads sources to a mirror: http://m/debian stands in for every archive named debian, and http://m/debian-security
// beside it for every debian-security.
func mirrored(all []debSource, mirror string) error {
	if mirror == "" {
		return nil
	}
	mirror = strings.TrimRight(mirror, "/")
	name := path.Base(mirror)
	found := false
	var names []string
	for i, s := range all {
		names = append(names, s.URI)
		switch rest, ok := strings.CutPrefix(path.Base(s.URI), name); {
		case ok && (rest == "" || rest == "-security"):
			all[i].at, found = mirror+rest, true
		}
	}
	if !found {
		return hint.Wrap(hint.Usage(fmt.Errorf("the mirror %s stands in for none of the archives %s", mirror, strings.Join(names, ", "))),
			"a mirror's path ends as the archive's does: …/debian; [tool.jubako] mirrors replaces any URL")
	}
	return nil
}

// atSnapshot leads sources to their state at a time.
func atSnapshot(all []debSource, at string) error {
	if at == "" {
		return nil
	}
	if err := deb.CheckSnapshot(at); err != nil {
		return hint.Usage(err)
	}
	for i, s := range all {
		u := s.AtTime(at)
		if u == "" {
			return hint.Wrap(hint.Usage(fmt.Errorf("snapshot = %q: nothing says where snapshots of %s are", at, s.Source)),
				"the comment in its apt sources that names one is missing in this base; name the snapshot's URL with deb-sources")
		}
		all[i].at, all[i].Snapshot, all[i].trust.Pinned = u, u, true
	}
	return nil
}

// fallback is the snapshot in which packages are looked for that the archive has no more: a day after the release, so that
// it has come into the snapshots.
func (s debSource) fallback(release time.Time) string {
	if s.trust.Pinned || s.Snapshot == "" {
		return s.Snapshot
	}
	return s.AtTime(release.Add(24 * time.Hour).UTC().Format("20060102T150405Z"))
}
