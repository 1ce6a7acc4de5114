package rootfs

import (
	"errors"
	"os"
	"path"
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
	// Any user may make this one device (Linux 5.8).
	return errors.Join(unix.Mknodat(int(d.Fd()), name, unix.S_IFCHR, 0), d.Close())
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
	d, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fsetxattr(int(d.Fd()), opaqueAttr, []byte("y"), 0), d.Close())
}

func readNames(root *os.Root, dir string) ([]string, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}
