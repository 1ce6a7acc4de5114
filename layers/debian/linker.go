package debian

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
)

// triplets are the folders' names by architecture (Debian's multiarch tuples).
var triplets = map[string]string{
	"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "armhf": "arm-linux-gnueabihf", "i386": "i386-linux-gnu",
	"ppc64el": "powerpc64le-linux-gnu", "riscv64": "riscv64-linux-gnu", "loong64": "loongarch64-linux-gnu",
}

// linkerCache makes /etc/ld.so.cache anew where libraries have come or gone: programs that ask it which libraries there
// are (ctypes.util.find_library) would not find the new ones.
func (b *builder) linkerCache() error {
	touched := len(b.libraries) > 0
	for p := range b.gone {
		touched = touched || ldcache.IsLibrary(path.Base(p))
	}
	if _, ok := triplets[b.o.Arch]; !touched || !ok || b.base.Libc.Kind == "musl" {
		return nil
	}
	dirs, err := b.linkerDirs()
	if err != nil {
		return err
	}
	inDir := b.libraryFiles()
	var entries []ldcache.Entry
	seen := make(map[string]bool)
	for _, dir := range dirs {
		at, s, ok := b.resolve(strings.TrimPrefix(dir, "/"))
		if !ok || s.Kind != fstree.Dir || seen[at] {
			continue
		}
		seen[at] = true
		slices.SortFunc(inDir[at], func(x, y ldcache.File) int { return strings.Compare(x.Name, y.Name) })
		more, links := ldcache.Folder(dir, inDir[at])
		entries = append(entries, more...)
		for _, l := range links {
			err := b.tree.Replace(fstree.Entry{Path: path.Join(at, l.Name), Kind: fstree.Symlink, Link: l.Target, Producer: "ldconfig's links"})
			if err != nil {
				return err
			}
		}
	}
	return b.file("etc/ld.so.cache", 0o644, ldcache.Bytes(entries, b.generator()))
}

// generator names the ldconfig that would have made the cache.
func (b *builder) generator() string {
	version, _ := b.versionOf("libc6")
	if version == "" {
		return "ldconfig"
	}
	return fmt.Sprintf("ldconfig (Debian GLIBC %s) stable release version %s", version, upstream(version))
}

// linkerDirs are the folders that ldconfig goes through.
func (b *builder) linkerDirs() ([]string, error) {
	read := func(p string) ([]byte, bool) {
		at, _, ok := b.resolve(strings.TrimPrefix(p, "/"))
		if !ok {
			return nil, false
		}
		if x, ours := b.tree.Lookup(at); ours {
			data, err := contentOf(x)
			return data, err == nil
		}
		if data, ok := b.dpkg.Read(p); ok {
			return data, true
		}
		data, ok := b.dpkg.Read(at)
		return data, ok
	}
	glob := func(pattern string) []string {
		var found []string
		for p := range b.every() {
			if ok, err := path.Match(pattern, "/"+p); ok && err == nil {
				found = append(found, "/"+p)
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	dirs, err := ldcache.ParseConf("/etc/ld.so.conf", read, glob)
	if err != nil {
		return nil, fmt.Errorf("reading what /etc/ld.so.conf names: %w", err)
	}
	t := triplets[b.o.Arch]
	for _, dir := range []string{"/lib/" + t, "/usr/lib/" + t, "/lib", "/usr/lib"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// libraryFiles are the files and links that look like libraries, by the folder that they lie in.
func (b *builder) libraryFiles() map[string][]ldcache.File {
	found := make(map[string][]ldcache.File)
	for p := range b.every() {
		name := path.Base(p)
		if !ldcache.IsLibrary(name) {
			continue
		}
		s, ok := b.look(p)
		if !ok || s.Kind == fstree.Dir {
			continue
		}
		at, target, ok := b.resolve(p)
		if !ok || target.Kind != fstree.File {
			continue
		}
		lib, ok := b.libraries[at]
		if !ok {
			if _, ours := b.tree.Lookup(at); ours {
				continue
			}
			if lib, ok = b.dpkg.Libraries[at]; !ok {
				continue
			}
		}
		f := ldcache.File{Name: name, Library: lib, Link: s.Kind == fstree.Symlink}
		dir := strings.TrimSuffix(strings.TrimSuffix(p, name), "/")
		found[dir] = append(found[dir], f)
	}
	return found
}
