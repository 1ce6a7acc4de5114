package project

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/deb"
)

// debian checks the keys that are about Debian packages. Requests are sorted: their order says nothing.
func (r *rawConfig) debian() (Debian, error) {
	d := Debian{DebSources: r.DebSources, DebMirror: strings.TrimRight(r.DebMirror, "/"), Snapshot: r.Snapshot}
	for _, x := range []struct {
		key  string
		from []string
		to   *[]string
	}{{"packages", r.Packages, &d.Packages}, {"build-packages", r.BuildPackages, &d.BuildPackages}} {
		names := make(map[string]string)
		for _, text := range x.from {
			q, err := deb.ParseRequest(text)
			if err != nil {
				return d, badKey(x.key, "%w", err)
			}
			if before, twice := names[q.Name]; twice && before != text {
				return d, badKey(x.key, "%s is wanted as %q and as %q", q.Name, before, text)
			}
			names[q.Name] = text
			*x.to = append(*x.to, text)
		}
		slices.Sort(*x.to)
		*x.to = slices.Compact(*x.to)
	}
	for _, name := range r.Without {
		if err := deb.CheckName(name); err != nil {
			return d, badKey("exclude-packages", "%w", err)
		}
		d.ExcludePackages = append(d.ExcludePackages, name)
	}
	slices.Sort(d.ExcludePackages)
	d.ExcludePackages = slices.Compact(d.ExcludePackages)
	if _, err := deb.ParseList([]byte(strings.Join(d.DebSources, "\n")), "deb-sources"); err != nil {
		return d, badKey("deb-sources", "%w", err)
	}
	if d.DebMirror != "" {
		if err := CheckDebMirror(d.DebMirror); err != nil {
			return d, badKey("deb-mirror", "%w", err)
		}
	}
	if d.Snapshot != "" {
		if err := deb.CheckSnapshot(d.Snapshot); err != nil {
			return d, badKey("snapshot", "%w", err)
		}
	}
	return d, nil
}

// CheckDebMirror says what is wrong with the URL of an archive.
func CheckDebMirror(u string) error {
	p, err := url.Parse(u)
	if err == nil && (p.Scheme == "http" || p.Scheme == "https") && p.Host != "" || err == nil && p.Scheme == "file" && p.Path != "" {
		return nil
	}
	return fmt.Errorf("%q is no URL of an archive, such as https://mirror.example/debian", u)
}
