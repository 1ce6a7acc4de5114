package base

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// Kind says how a Source is stored.
type Kind string

// The kinds of source, as they are written before the colon; a registry has no prefix.
const (
	Registry      Kind = "registry"
	Layout        Kind = "oci"
	OCIArchive    Kind = "oci-archive"
	DockerArchive Kind = "docker-archive"
	// Packages is a base that is made of Debian packages alone: debian:trixie.
	Packages Kind = "debian"
)

// Source names an image, wherever it is: the language of --base, push, inspect and verify.
type Source struct {
	Kind Kind
	// Ref is a registry reference as it was written, for Registry.
	Ref string
	// Path is a folder or file, for the others; Tag chooses between several images in it, and may be "". Of Packages it is the
	// suite.
	Path, Tag string
}

// suiteRE matches the suites of `debian:SUITE`, a base made of packages.
var suiteRE = lazyre.New(`^debian:[a-z]+$`)

// ParseSource reads registry/repo:tag, registry/repo@sha256:…, oci:DIR[:TAG], oci-archive:FILE[:TAG],
// docker-archive:FILE[:TAG] or debian:SUITE.
func ParseSource(s string) (Source, error) {
	if s == "" {
		return Source{}, hint.Usage(errors.New("the image's source is empty"))
	}
	if suiteRE().MatchString(s) {
		return Source{Kind: Packages, Path: strings.TrimPrefix(s, "debian:")}, nil
	}
	for _, k := range []Kind{Layout, OCIArchive, DockerArchive} {
		rest, ok := strings.CutPrefix(s, string(k)+":")
		if !ok {
			continue
		}
		// The path ends at the first colon: a tag may hold more of them, and slashes (python.tar:reg/python:3.12-slim).
		src := Source{Kind: k}
		src.Path, src.Tag, _ = strings.Cut(rest, ":")
		if src.Path == "" {
			return Source{}, hint.Usage(fmt.Errorf("%s: the path is missing", s))
		}
		return src, nil
	}
	// docker:27-cli is an image, docker://reg/app is another program's way to write reg/app.
	if k, rest, ok := strings.Cut(s, ":"); ok && (k == "docker" && strings.HasPrefix(rest, "//") || k == "containers-storage" || k == "dir" || k == "docker-daemon") {
		return Source{}, hint.Wrap(hint.Usage(fmt.Errorf("%s: jubako does not know sources of the kind %q", s, k)),
			"write REGISTRY/REPO:TAG, oci:DIR, oci-archive:FILE or docker-archive:FILE")
	}
	return Source{Kind: Registry, Ref: s}, nil
}

// In gives the source with its path, where that is relative, taken from dir.
func (s Source) In(dir string) Source {
	if s.Kind != Registry && s.Kind != Packages && !filepath.IsAbs(s.Path) {
		s.Path = filepath.Join(dir, s.Path)
	}
	return s
}

func (s Source) String() string {
	if s.Kind == Registry {
		return s.Ref
	}
	out := string(s.Kind) + ":" + s.Path
	if s.Tag != "" {
		out += ":" + s.Tag
	}
	return out
}
