package rootfs

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Whiteouts in a layer's tar (OCI image-spec layer.md, "Whiteouts").
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh." // AUFS's own records, which mean nothing here

	// opaqueAttr marks a directory that hides those below it, in the form that every user may set (overlayfs's
	// userxattr mount option).
	opaqueAttr = "user.overlay.opaque"

	// whiteoutAttr marks an empty file that stands for a whiteout, and the root of a tree that holds such files.
	whiteoutAttr = "user.jubako.whiteout"

	maxLinks = 40   // symlinks followed in the place of one component
	maxDepth = 200  // components of a path; each costs a system call or two
	maxMemo  = 4096 // directories whose resolution is remembered
)

// unpacker writes tars into one tree.
//
// It is safe against hostile tars for three reasons. A parent directory is found by walking the tree itself, component
// by component, with symlinks followed as they would be with the tree as the root. What that yields has no symlink in
// it, and is opened through os.Root, so that a mistake in the walk would still not lead outside. And the last component
// is always made anew, never written through. The tree lies in a folder that no other process uses meanwhile.
type unpacker struct {
	root   *os.Root
	lowest bool // nothing lies below: whiteouts need no mark
	marked bool // the root has whiteoutAttr

	dir     *os.Root // the directory of the last entry, kept open since the next entry is likely to lie there too
	dirPath string
	memo    map[string]string // directory as written in a tar → where it is; emptied when a link or directory goes

	made        map[string]bool // resolved paths that the current layer has put something at, or below
	first       bool
	entriesLeft int
	bytesLeft   int64 // of the tars
	contentLeft int64 // of the files
	buf         []byte
}

func newUnpacker(dir string, lowest bool, limits Limits) (*unpacker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &unpacker{root: root, lowest: lowest, first: true, memo: make(map[string]string), buf: make([]byte, 256<<10),
		entriesLeft: limits.Entries, bytesLeft: limits.Bytes, contentLeft: limits.Bytes}, nil
}

func (u *unpacker) close() error {
	u.leaveDir()
	return u.root.Close()
}

func (u *unpacker) leaveDir() {
	if u.dir != nil {
		_ = u.dir.Close() // it was only read
		u.dir, u.dirPath = nil, ""
	}
}

// layer unpacks one tar over what is there.
func (u *unpacker) layer(r io.Reader) error {
	u.made = make(map[string]bool)
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if err == io.EOF {
			u.first = false
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the header of entry %d: %w", n, err)
		}
		if u.entriesLeft--; u.entriesLeft < 0 {
			return errors.New("it holds more entries than any image should")
		}
		if err := u.entry(hdr, tr); err != nil {
			return fmt.Errorf("entry %d, %q: %w", n, hdr.Name, err)
		}
	}
}

func (u *unpacker) entry(hdr *tar.Header, content io.Reader) error {
	switch hdr.Typeflag {
	case tar.TypeXGlobalHeader, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil // the sandbox brings the devices that a step may use
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
	default:
		return fmt.Errorf("tar type %q is not known", hdr.Typeflag)
	}
	p, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if p == "." {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("the root must be a directory")
		}
		return nil
	}
	dir, name := path.Dir(p), path.Base(p)
	if dir, err = u.enter(dir); err != nil {
		return err
	}
	if strings.HasPrefix(name, whiteoutPrefix) {
		return u.whiteout(dir, name)
	}
	at := path.Join(dir, name)
	for p := at; p != "." && !u.made[p]; p = path.Dir(p) {
		u.made[p] = true
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return u.mkdir(at, name, hdr)
	case tar.TypeSymlink:
		return u.symlink(name, hdr)
	case tar.TypeLink:
		return u.link(at, hdr)
	default:
		return u.file(name, hdr, content)
	}
}

// cleanName makes a path relative to the root out of a tar's name. Names that start at the root are meant to start at
// the image's; those that climb out of it are refused.
func cleanName(name string) (string, error) {
	p := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case name == "":
		return "", errors.New("an entry without a name")
	case strings.ContainsRune(name, 0):
		return "", errors.New("the name holds a NUL")
	case p == ".." || strings.HasPrefix(p, "../"):
		return "", errors.New("the name leads out of the image")
	case len(name) > unix.PathMax || strings.Count(p, "/") >= maxDepth:
		return "", errors.New("the name is too long")
	}
	return p, nil
}

// enter makes dir the current directory, with those above it where they are missing, and gives its path without
// symlinks.
func (u *unpacker) enter(dir string) (string, error) {
	resolved, err := u.resolve(dir)
	if err != nil {
		return "", err
	}
	if u.dir != nil && u.dirPath == resolved {
		return resolved, nil
	}
	u.leaveDir()
	d, err := u.root.OpenRoot(resolved)
	if err != nil {
		return "", err
	}
	u.dir, u.dirPath = d, resolved
	return resolved, nil
}

// resolve walks to a directory with the tree as the root, and makes what is missing. A walk begins where an earlier one has
// led: most directories lie in one that was just resolved.
func (u *unpacker) resolve(dir string) (string, error) {
	if resolved, ok := u.memo[dir]; ok || dir == "." {
		return cmp.Or(resolved, dir), nil
	}
	above, err := u.resolve(path.Dir(dir))
	if err != nil {
		return "", err
	}
	resolved, err := u.walk(above, dir)
	if err != nil {
		return "", err
	}
	if len(u.memo) >= maxMemo {
		clear(u.memo)
	}
	u.memo[dir] = resolved
	return resolved, nil
}

// walk takes the last step to dir, from where the one above it is.
func (u *unpacker) walk(at, dir string) (string, error) {
	rest := []string{path.Base(dir)}
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at) // the root's parent is the root
			continue
		}
		next := path.Join(at, name)
		if strings.Count(next, "/") >= maxDepth {
			return "", fmt.Errorf("/%s leads too deep", next)
		}
		fi, err := u.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := u.makeDir(u.root, next, next); err != nil {
				return "", err
			}
			u.made[next] = true
			at = next
		case err != nil:
			return "", err
		case fi.IsDir():
			at = next
		case fi.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", fmt.Errorf("too many symlinks on the way to /%s", dir)
			}
			target, err := u.root.Readlink(next)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(target, "/") {
				at = "."
			}
			rest = append(strings.Split(target, "/"), rest...)
			if len(rest) > 2*maxDepth {
				return "", fmt.Errorf("too many symlinks on the way to /%s", dir)
			}
		case isWhiteout(fi, u.host(next)):
			// The layer removes what lies below, and then puts something of its own there.
			if err := u.root.Remove(next); err != nil {
				return "", err
			}
			if err := u.makeDir(u.root, next, next); err != nil {
				return "", err
			}
			if err := u.setOpaque(next); err != nil {
				return "", err
			}
			u.made[next] = true
			at = next
		default:
			return "", fmt.Errorf("/%s is no directory", next)
		}
	}
	return at, nil
}

// host is where a resolved path stands on this machine.
func (u *unpacker) host(p string) string { return filepath.Join(u.root.Name(), p) }

func (u *unpacker) makeDir(in *os.Root, name, at string) error {
	if err := in.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("making directory /%s: %w", at, err)
	}
	return in.Chmod(name, 0o755) // whatever the umask is
}

// vacate removes what stands at a name of the current directory, so that something else can be made there. It says
// whether that was a whiteout.
func (u *unpacker) vacate(name string) (whiteout bool, err error) {
	fi, err := u.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !fi.IsDir() {
		if fi.Mode()&fs.ModeSymlink != 0 {
			clear(u.memo)
		}
		return isWhiteout(fi, u.host(path.Join(u.dirPath, name))), u.dir.Remove(name)
	}
	clear(u.memo)
	return false, u.dir.RemoveAll(name)
}

func (u *unpacker) mkdir(at, name string, hdr *tar.Header) error {
	// The owner may always write, so that what follows can be unpacked there and the tree be removed again.
	mode := fs.FileMode(hdr.Mode)&fs.ModePerm | 0o700
	if fi, err := u.dir.Lstat(name); err == nil && fi.IsDir() {
		return u.dir.Chmod(name, mode)
	}
	wasWhiteout, err := u.vacate(name)
	if err != nil {
		return err
	}
	if err := u.dir.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := u.dir.Chmod(name, mode); err != nil {
		return err
	}
	if wasWhiteout {
		return u.setOpaque(at)
	}
	return nil
}

func (u *unpacker) symlink(name string, hdr *tar.Header) error {
	if hdr.Linkname == "" || strings.ContainsRune(hdr.Linkname, 0) || len(hdr.Linkname) > unix.PathMax {
		return fmt.Errorf("%.100q is no target for a symlink", hdr.Linkname)
	}
	if _, err := u.vacate(name); err != nil {
		return err
	}
	return u.dir.Symlink(hdr.Linkname, name)
}

func (u *unpacker) link(at string, hdr *tar.Header) error {
	target, err := cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	dir, err := u.resolve(path.Dir(target))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	target = path.Join(dir, path.Base(target))
	if target == at {
		return nil
	}
	fi, err := u.root.Lstat(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	if !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0 || isWhiteout(fi, u.host(target)) {
		return fmt.Errorf("hard link to %q, which is no file", hdr.Linkname)
	}
	if strings.HasPrefix(target, at+"/") {
		return fmt.Errorf("hard link to %q, which lies below it", hdr.Linkname)
	}
	if _, err := u.vacate(path.Base(at)); err != nil {
		return err
	}
	return u.root.Link(target, at)
}

func (u *unpacker) file(name string, hdr *tar.Header, content io.Reader) error {
	// A sparse file may say that it is far larger than the tar that holds it.
	if u.contentLeft -= hdr.Size; u.contentLeft < 0 {
		return errors.New("its layers hold more bytes than any image should")
	}
	f, err := u.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if _, err = u.vacate(name); err == nil {
			f, err = u.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err != nil {
		return err
	}
	if err := errors.Join(u.fill(f, hdr, content), f.Close()); err != nil {
		return err
	}
	// Compiled Python is valid only for a source of the very time that it names.
	t := hdr.ModTime
	if t.Before(time.Unix(0, 0)) || t.Year() > 2200 {
		t = time.Unix(0, 0)
	}
	return u.dir.Chtimes(name, t, t)
}

func (u *unpacker) fill(f *os.File, hdr *tar.Header, content io.Reader) error {
	if _, err := io.CopyBuffer(onlyWriter{f}, content, u.buf); err != nil {
		return err
	}
	// setuid means nothing in a sandbox, and is not left lying about in a cache.
	return f.Chmod(fs.FileMode(hdr.Mode)&fs.ModePerm | 0o400)
}

// onlyWriter hides ReadFrom, which would bring a buffer of its own.
type onlyWriter struct{ io.Writer }
