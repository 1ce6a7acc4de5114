package source

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// maxHops is how many links one path may lead through, as in Linux.
const maxHops = 40

// checkLinks refuses links that lead out of the source: in the image they would lead nowhere, or to something else. A link
// to what is not there is kept, and so is one that goes round in a circle, as Docker does.
func (t *Tree) checkLinks() error {
	links := make(map[string]string)
	for _, f := range t.Files {
		if f.Kind == fstree.Symlink {
			links[f.Path] = f.Link
		}
	}
	for _, f := range t.Files {
		if f.Kind == fstree.Symlink && leaves(links, f.Path) {
			return hint.Wrap(hint.Usage(fmt.Errorf("reading the source: the link %s leads out of it, to %s", f.Path, f.Link)),
				"leave it out (exclude = [%q]), or bring the files in with [[tool.jubako.copy]]", f.Path)
		}
	}
	return nil
}

// LeadsOut says whether a path that is written as one below a folder leads out of it by links. What is not there leads nowhere.
func LeadsOut(dir, p string) bool {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return false
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return true
	}
	rel, err := filepath.Rel(dir, real)
	return err != nil || !filepath.IsLocal(rel)
}

// leaves follows a link name by name, through the tree's other links, as the kernel would: ".." after a link to a folder is
// the parent of that folder, not of the link.
func leaves(links map[string]string, link string) bool {
	at, rest, hops := path.Dir(link), []string{path.Base(link)}, 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			if at == "." {
				return true
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		target, ok := links[next]
		if !ok {
			at = next
			continue
		}
		if path.IsAbs(target) {
			return true
		}
		if hops++; hops > maxHops {
			return false
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return false
}
