package rootfs

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// whiteout does what a whiteout entry of the current directory, dir, asks for. It never touches what its own layer has
// put there, wherever in the tar it stands.
func (u *unpacker) whiteout(dir, name string) error {
	switch {
	case name == opaqueName:
		return u.opaque(dir)
	case strings.HasPrefix(name, aufsPrefix):
		return nil
	}
	name = strings.TrimPrefix(name, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("a whiteout without a name")
	}
	at := path.Join(dir, name)
	if u.made[at] {
		if fi, err := u.dir.Lstat(name); err == nil && fi.IsDir() {
			return u.opaque(at)
		}
		return nil
	}
	if _, err := u.vacate(name); err != nil {
		return err
	}
	if u.lowest {
		return nil
	}
	d, err := u.dir.Open(".")
	if err != nil {
		return err
	}
	marked, err := Whiteout(int(d.Fd()), name)
	if marked && !u.marked {
		u.marked = true
		err = errors.Join(err, u.mark(".", whiteoutAttr))
	}
	return errors.Join(err, d.Close())
}

// Whiteout makes a whiteout at a name, relative to a directory's descriptor: the device that overlayfs takes for one, or an empty file
// that is marked, which only a View takes for one. On overlayfs itself nobody may make that device (EPERM).
func Whiteout(dir int, name string) (marked bool, err error) {
	err = unix.Mknodat(dir, name, unix.S_IFCHR, 0) // any user may make this one device (Linux 5.8)
	if !errors.Is(err, unix.EPERM) {
		return false, err
	}
	f, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return true, err
	}
	return true, errors.Join(unix.Fsetxattr(f, whiteoutAttr, []byte("y"), 0), unix.Close(f))
}

// Mountable says whether overlayfs shows trees as a View does: not those in which files stand for whiteouts.
func Mountable(trees ...string) bool {
	return !slices.ContainsFunc(trees, func(tree string) bool { return hasMark(tree, whiteoutAttr) })
}

// opaque hides everything that lower layers have in a directory.
func (u *unpacker) opaque(dir string) error {
	if !u.first {
		if err := u.removeOlder(dir); err != nil {
			return err
		}
	}
	return u.setOpaque(dir)
}

func (u *unpacker) removeOlder(dir string) error {
	names, err := readNames(u.root, dir)
	if err != nil {
		return err
	}
	clear(u.memo)
	for _, name := range names {
		at := path.Join(dir, name)
		if !u.made[at] {
			if err := u.root.RemoveAll(at); err != nil {
				return err
			}
		} else if fi, err := u.root.Lstat(at); err == nil && fi.IsDir() {
			if err := u.removeOlder(at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *unpacker) setOpaque(dir string) error {
	if u.lowest {
		return nil
	}
	return u.mark(dir, opaqueAttr)
}

func (u *unpacker) mark(dir, attr string) error {
	d, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fsetxattr(int(d.Fd()), attr, []byte("y"), 0), d.Close())
}

func readNames(root *os.Root, dir string) ([]string, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}
