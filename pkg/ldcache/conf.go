package ldcache

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// The bounds of ld.so.conf and what it includes.
const (
	maxFolders = 4096
	maxDepth   = 16
)

// ParseConf gives the folders that ld.so.conf (ldconfig(8)) names, in their order, each once. read gives a file by its
// absolute path; glob gives the files that match a pattern, sorted.
func ParseConf(file string, read func(string) ([]byte, bool), glob func(pattern string) []string) ([]string, error) {
	p := confParser{read: read, glob: glob, seen: make(map[string]bool)}
	err := p.file(file, 0)
	return p.folders, err
}

type confParser struct {
	read    func(string) ([]byte, bool)
	glob    func(string) []string
	seen    map[string]bool
	folders []string
}

func (p *confParser) file(name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: includes are nested deeper than %d", name, maxDepth)
	}
	b, ok := p.read(name)
	if !ok {
		return nil
	}
	for l := range bytes.Lines(b) {
		line, _, _ := strings.Cut(string(l), "#")
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "include"); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			for _, pattern := range strings.Fields(rest) {
				if !path.IsAbs(pattern) {
					pattern = path.Join(path.Dir(name), pattern)
				}
				for _, f := range p.glob(pattern) {
					if err := p.file(f, depth+1); err != nil {
						return err
					}
				}
			}
			continue
		}
		if strings.HasPrefix(line, "hwcap") {
			continue // obsolete: glibc passes over it
		}
		for _, dir := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == ':' }) {
			dir, _, _ = strings.Cut(dir, "=") // "=libc6" names a kind of library, and means nothing any more
			if !path.IsAbs(dir) || strings.ContainsRune(dir, 0) {
				continue
			}
			dir = path.Clean(dir)
			if p.seen[dir] {
				continue
			}
			p.seen[dir] = true
			if p.folders = append(p.folders, dir); len(p.folders) > maxFolders {
				return fmt.Errorf("%s: more than %d folders are named", name, maxFolders)
			}
		}
	}
	return nil
}
