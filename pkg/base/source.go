package base

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// Kind says how a Source is stored.
type Kind string

// The kinds of source, as they are written before the colon; a registry has no prefix.
const (
	Registry      Kind = "registry"
	Layout        Kind = "oci"
	OCIArchive    Kind = "oci-archive"
	DockerArchive Kind = "docker-archive"
)

// Source names an image, wherever it is: the language of --base, push, inspect and verify.
type Source struct {
	Kind Kind
	// Ref is a registry reference as it was written, for Registry.
	Ref string
	// Path is a folder or file, for the others; Tag chooses between several images in it, and may be "".
	Path, Tag string
}

// suiteRE matches the suites of `debian:SUITE`, a base made of packages.
var suiteRE = regexp.MustCompile(`^debian:[a-z]+$`)

// ParseSource reads registry/repo:tag, registry/repo@sha256:…, oci:DIR[:TAG], oci-archive:FILE[:TAG] or
// docker-archive:FILE[:TAG].
func ParseSource(s string) (Source, error) {
	if s == "" {
		return Source{}, hint.Usage(errors.New("the image's source is empty"))
	}
	if suiteRE.MatchString(s) {
		return Source{}, hint.Wrap(hint.Usage(fmt.Errorf("%s means a base made of Debian packages, which this version cannot make", s)),
			"for the image of that name write library/%s", s)
	}
	for _, k := range []Kind{Layout, OCIArchive, DockerArchive} {
		rest, ok := strings.CutPrefix(s, string(k)+":")
		if !ok {
			continue
		}
		src := Source{Kind: k, Path: rest}
		// The path may hold colons only before its last slash; python.tar:python:3.12-slim has a tag with one.
		dir, base := "", rest
		if i := strings.LastIndexByte(pathPart(rest), '/'); i >= 0 {
			dir, base = rest[:i+1], rest[i+1:]
		}
		if file, tag, ok := strings.Cut(base, ":"); ok {
			src.Path, src.Tag = dir+file, tag
		}
		if src.Path == "" {
			return Source{}, hint.Usage(fmt.Errorf("%s: the path is missing", s))
		}
		return src, nil
	}
	if k, _, ok := strings.Cut(s, ":"); ok && (k == "docker" || k == "containers-storage" || k == "dir" || k == "docker-daemon") {
		return Source{}, hint.Wrap(hint.Usage(fmt.Errorf("%s: jubako does not know sources of the kind %q", s, k)),
			"write REGISTRY/REPO:TAG, oci:DIR, oci-archive:FILE or docker-archive:FILE")
	}
	return Source{Kind: Registry, Ref: s}, nil
}

// pathPart is what can be a path: a tag may hold slashes (registry/repo:tag), after the first colon.
func pathPart(s string) string {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i]
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
