package debian

import (
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// skeleton begins a base that is made of packages alone: the folders and links that no package brings, or only by its
// scripts.
func (b *builder) skeleton() error {
	if !b.scratch() {
		return nil
	}
	const producer = "the debian layer"
	for _, dir := range mergedDirs(b.o.Arch) {
		for _, e := range []fstree.Entry{{Path: "usr/" + dir, Kind: fstree.Dir, Mode: 0o755}, {Path: dir, Kind: fstree.Symlink, Link: "usr/" + dir}} {
			e.Producer = producer
			if err := b.tree.Add(e); err != nil {
				return err
			}
		}
	}
	dirs := map[string]uint32{"tmp": 0o1777, "var/tmp": 0o1777, "run": 0o755, "run/lock": 0o1777, "proc": 0o555, "sys": 0o555, "dev": 0o755,
		"root": 0o700, "home": 0o755, "etc": 0o755, "usr": 0o755, "var": 0o755, "var/lib": 0o755, "var/log": 0o755, "var/cache": 0o755, "usr/local": 0o755}
	for _, dir := range slices.Sorted(mapKeys(dirs)) {
		if err := b.tree.Add(fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: dirs[dir], Producer: producer}); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{"var/run": "/run", "var/lock": "/run/lock", "etc/mtab": "../proc/self/mounts"} {
		if err := b.tree.Add(fstree.Entry{Path: link, Kind: fstree.Symlink, Link: target, Producer: producer}); err != nil {
			return err
		}
	}
	b.accounts.Passwd = []byte("root:*:0:0:root:/root:" + b.rootShell() + "\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
	b.accounts.Group = []byte("root:x:0:\ntty:x:5:\nmail:x:8:\nshadow:x:42:\nutmp:x:43:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\n")
	b.accounted = true
	return b.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n"))
}

// rootShell is a shell where some package brings one.
func (b *builder) rootShell() string {
	for _, p := range b.pkgs {
		if p.Name == "bash" {
			return "/bin/bash"
		}
	}
	for _, p := range b.pkgs {
		if p.Name == "dash" {
			return "/bin/sh"
		}
	}
	return noLogin
}

// mergedDirs are the folders that are links into /usr: exactly those that the architecture's base-files has.
func mergedDirs(arch string) []string {
	dirs := []string{"bin", "lib", "sbin"}
	switch arch {
	case "amd64", "loong64", "ppc64el":
		dirs = append(dirs, "lib64")
	}
	return dirs
}

// ghostscript makes the lists of fonts that update-gsfontmap makes of the pieces in /etc.
func (b *builder) ghostscript() error {
	for list, dir := range map[string]string{"cidfmap": "etc/ghostscript/cidfmap.d/", "Fontmap": "etc/ghostscript/fontmap.d/"} {
		var content []byte
		found := false
		for x := range b.tree.All() {
			if !strings.HasPrefix(x.Path, dir) || !strings.HasSuffix(x.Path, ".conf") || x.Kind != fstree.File {
				continue
			}
			data, err := contentOf(x)
			if err != nil {
				return err
			}
			found, content = true, append(content, data...)
		}
		if found && b.test('d', "/var/lib/ghostscript/fonts") {
			if err := b.file("var/lib/ghostscript/fonts/"+list, 0o644, content); err != nil {
				return err
			}
		}
	}
	return nil
}
