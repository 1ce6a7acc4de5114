package pep517

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/wheel"
)

// maxLinked bounds in bytes a file that is looked into for the libraries that it is linked with.
const maxLinked = 1 << 30

// Needs gives the shared libraries that the wheel's programs and extensions are linked with and that have to come from outside
// of it, sorted: what DT_NEEDED names (System V ABI, "Dynamic Linking"), but for what the wheel holds itself, and for what a
// run path relative to the file may find in another package.
func Needs(w wheel.Source) ([]string, error) {
	own := make(map[string]bool)
	for _, f := range w.Files() {
		own[path.Base(f.Path)] = true
	}
	var all []string
	for _, f := range w.Files() {
		if f.Dir || f.Content.Size() < elf.EI_NIDENT || f.Content.Size() > maxLinked {
			continue
		}
		needed, err := linked(f)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Path, err)
		}
		for _, soname := range needed {
			if !own[path.Base(soname)] {
				all = append(all, soname)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func linked(f wheel.File) (_ []string, err error) {
	r, err := f.Content.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != elf.ELFMAG {
		return nil, err
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return neededOf(append(magic, rest...)), nil
}

// neededOf reads an ELF file. One that cannot be read is no program of this image's, and needs nothing.
func neededOf(b []byte) []string {
	x, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, err := x.DynString(tag)
		if err == nil && slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p, "$ORIGIN") || strings.Contains(p, "${ORIGIN}") }) {
			return nil
		}
	}
	needed, err := x.ImportedLibraries()
	if err != nil {
		return nil
	}
	return needed
}
