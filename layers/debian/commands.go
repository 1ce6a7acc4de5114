package debian

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// diversion enters in dpkg's list a diversion that guards the move to a merged /usr: one by which no file is moved. It is
// false for any other.
func (s *scriptRun) diversion(args []string) bool {
	d := diversion{pkg: s.p.Name}
	for i := 1; i < len(args); i++ {
		switch {
		case args[i] == "--package" && i+1 < len(args):
			i++
			d.pkg = args[i]
		case args[i] == "--divert" && i+1 < len(args):
			i++
			d.to = args[i]
		case strings.HasPrefix(args[i], "/"):
			d.from = args[i]
		}
	}
	for _, p := range []string{d.from, d.to} {
		if path.Clean(p) != p || !path.IsAbs(p) || strings.Contains(p, "\n") {
			return false
		}
	}
	if !strings.HasSuffix(d.to, ".usr-is-merged") || strings.ContainsAny(d.pkg, "\n/") {
		return false
	}
	s.handled()
	record := d.from + "\n" + d.to + "\n" + d.pkg + "\n"
	if at := "var/lib/dpkg/diversions"; !strings.Contains("\n"+string(s.b.dpkg.Files[at])+string(s.b.guards), "\n"+record) {
		s.b.guards = append(s.b.guards, record...)
	}
	return true
}

// remove is rm of files and links.
func (s *scriptRun) remove(paths []string) error {
	for _, p := range paths {
		if strings.HasPrefix(p, "-") {
			continue
		}
		at, err := s.b.canonical(strings.TrimPrefix(path.Clean(p), "/"))
		if err != nil || !path.IsAbs(p) || at == "" {
			s.unhandled("it runs rm %s", p)
			continue
		}
		st, there := s.b.look(at)
		if there && st.Kind == fstree.Dir {
			s.unhandled("it runs rm %s, which is a folder", p)
			continue
		}
		if _, base := s.b.base.Files[at]; there && base {
			if err := s.b.whiteout(at, s.p.String()); err != nil {
				return err
			}
		} else if there {
			s.b.tree.Remove(at)
		}
	}
	s.handled()
	return nil
}

// fileCommand does mkdir, install -d, ln -s, touch, chmod and chown, where they are simple.
func (s *scriptRun) fileCommand(name string, args []string) (bool, error) {
	var paths, flags []string
	mode, hasMode := uint32(0o755), false
	for i := 1; i < len(args); i++ {
		switch a := args[i]; {
		case (a == "-m" || a == "-o" || a == "-g") && i+1 < len(args) && (name == "mkdir" || name == "install"):
			i++
			if a == "-m" {
				n, err := strconv.ParseUint(args[i], 8, 12)
				if err != nil {
					return false, nil
				}
				mode, hasMode = uint32(n), true
			} else if args[i] != "root" && args[i] != "0" {
				return false, nil
			}
		case strings.HasPrefix(a, "-") && len(a) > 1:
			flags = append(flags, a)
		default:
			paths = append(paths, a)
		}
	}
	for _, p := range paths {
		if !path.IsAbs(p) && !(name == "ln" && p == paths[0]) && !(name == "chmod" || name == "chown") {
			return false, nil
		}
	}
	switch {
	case name == "mkdir", name == "install" && slices.Contains(flags, "-d"):
		s.handled()
		for _, p := range paths {
			if err := s.b.makeDir(p, mode, hasMode && len(paths) > 0, s.p.String()); err != nil {
				return false, err
			}
		}
		return true, nil
	case name == "ln" && len(paths) == 2 && slices.ContainsFunc(flags, func(f string) bool { return strings.Contains(f, "s") }):
		s.handled()
		return true, s.b.makeLink(paths[0], paths[1], s.p.String())
	case name == "touch" && len(flags) == 0:
		s.handled()
		for _, p := range paths {
			if s.b.test('e', p) {
				continue
			}
			if err := s.b.file(strings.TrimPrefix(p, "/"), 0o644, nil); err != nil {
				return false, err
			}
		}
		return true, nil
	case (name == "chmod" || name == "chown" || name == "chgrp") && len(flags) == 0 && len(paths) > 1:
		return s.changeMode(name, paths[0], paths[1:])
	}
	return false, nil
}

// changeMode does chmod, chown and chgrp for files of the layer, and passes over what is as it should be.
func (s *scriptRun) changeMode(name, value string, paths []string) (bool, error) {
	for _, p := range paths {
		at, st, ok := s.b.resolve(strings.TrimPrefix(p, "/"))
		if !ok || at == "" {
			return false, nil
		}
		mode, uid, gid := st.Mode, st.UID, st.GID
		switch name {
		case "chmod":
			n, err := strconv.ParseUint(value, 8, 12)
			if err != nil {
				return false, nil
			}
			mode = uint32(n)
		default:
			user, group, both := strings.Cut(strings.Replace(value, ".", ":", 1), ":")
			if name == "chgrp" {
				user, group, both = "", value, true
			}
			var err error
			if user != "" {
				if uid, err = idOf(s.b.accounts.Passwd, user); err != nil {
					return false, nil
				}
			}
			if both && group != "" {
				if gid, err = idOf(s.b.accounts.Group, group); err != nil {
					return false, nil
				}
			}
		}
		if mode == st.Mode && uid == st.UID && gid == st.GID {
			continue
		}
		x, ours := s.b.tree.Lookup(at)
		if !ours {
			if st.Kind != fstree.Dir {
				return false, nil // a file of the base: its content is not at hand
			}
			x = fstree.Entry{Path: at, Kind: fstree.Dir, Producer: s.p.String()}
		}
		x.Mode, x.UID, x.GID = mode, uid, gid
		if err := s.b.tree.Replace(x); err != nil {
			return false, err
		}
	}
	s.handled()
	return true, nil
}

// makeDir is mkdir -p.
func (b *builder) makeDir(p string, mode uint32, hasMode bool, producer string) error {
	at, err := b.through(strings.TrimPrefix(path.Clean(p), "/"))
	if err != nil || at == "" {
		return err
	}
	if _, there := b.look(at); there {
		return nil
	}
	if !hasMode {
		mode = 0o755
	}
	if err := b.revive(at, mode, producer); err != nil {
		return err
	}
	return b.tree.Add(fstree.Entry{Path: at, Kind: fstree.Dir, Mode: mode, Producer: producer})
}

// makeLink is ln -s, where nothing is in its way.
func (b *builder) makeLink(target, p, producer string) error {
	if b.test('d', p) {
		p = path.Join(p, path.Base(target))
	}
	at, err := b.canonical(strings.TrimPrefix(path.Clean(p), "/"))
	if err != nil {
		return err
	}
	if s, there := b.look(at); there && s.Kind != fstree.Symlink {
		return nil
	}
	return b.write(fstree.Entry{Path: at, Kind: fstree.Symlink, Link: target, Producer: producer})
}
