package deb

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ParseIndex reads a Packages file of an archive, without the fields that no resolver needs. The packages share one
// copy of the text.
func ParseIndex(text []byte) ([]Package, error) {
	all := make([]Package, 0, len(text)/820) // the mean length of a stanza
	sc := scanner{data: string(text)}
	for {
		p := Package{}
		more, err := sc.stanza(p.set)
		if err != nil {
			return nil, err
		}
		if !more {
			return all, nil
		}
		err = p.finish()
		if err == nil {
			err = p.checkFile()
		}
		if err != nil {
			return nil, fmt.Errorf("stanza %d: %w", sc.count, err)
		}
		all = append(all, p)
	}
}

// checkFile checks what only a package in an archive has.
func (p *Package) checkFile() error {
	fail := func(err error) error { return fmt.Errorf("package %s: %w", p.Name, err) }
	if err := CheckPath(p.Filename); err != nil {
		return fail(err)
	}
	if len(p.SHA256) != 64 || strings.Trim(p.SHA256, "0123456789abcdef") != "" {
		return fail(errors.New("it has no SHA256"))
	}
	if !archName(p.Arch) {
		return fail(fmt.Errorf("%.40q is no architecture", p.Arch))
	}
	return nil
}

// CheckPath says what is wrong with a path below an archive's root: it is relative and clean, and does not lead out.
func CheckPath(p string) error {
	if p == "" || strings.HasPrefix(p, "/") || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsAny(p, "\x00\\?#%\n") {
		return fmt.Errorf("the path %.120q does not lie in the archive", p)
	}
	return nil
}
