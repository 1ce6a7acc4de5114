package fstree

import (
	"errors"
	"path"
	"strings"
)

// MaxLinks bounds the symlinks followed for one path, as Linux does (path_resolution(7)).
const MaxLinks = 40

// Through follows the symlinks of a folder's path inside an image: a leading slash and ".." lead to the image's root at most.
// link gives the target of a symlink, and false for everything else; what is not there yet stays as it is written. An
// error is a loop, or a link after which more than maxParts parts of a path are left to follow.
func Through(dir string, maxParts int, link func(p string) (target string, ok bool)) (string, error) {
	rest, at, links := strings.Split(dir, "/"), "", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
			continue
		}
		here := path.Join(at, part)
		target, ok := link(here)
		if !ok {
			at = here
			continue
		}
		if links++; links > MaxLinks {
			return "", errors.New("its folder is a loop of links")
		}
		if strings.HasPrefix(target, "/") {
			at = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
		if len(rest) > maxParts {
			return "", errors.New("its folder is a link that leads too deep")
		}
	}
	return at, nil
}
