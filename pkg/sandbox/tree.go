package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/rootfs"
)

// tree is a step's root as a folder on this machine, for the rungs that cannot make it the root of a process. Image paths
// in it are keys: absolute, clean, without a symlink on the way, and "" for the root.
//
// It may be filled as it is looked at. A directory of the lower trees is made as an empty one when its parent is filled,
// and filled itself when something is first looked for in it: its files by hard links into the lower trees, which are
// copied before anything changes them. A directory that is filled hides those below it (it is marked as opaque), so that
// the folder is at any time the upper part of a view of all trees.
//
// It is not safe for concurrent use, and nobody else may change the folder meanwhile.
type tree struct {
	root     string  // as the kernel names it: absolute, no symlinks
	mounts   []mount // what stands elsewhere on this machine, the longest image path first
	dirs     map[string]*treeDir
	links    map[string]string
	borrowed map[uint64]struct{} // inodes of the lower trees that the folder has links to
	dev      uint64              // the device that they are on
	spare    string              // a folder on the same file system
	procs    processes           // whose /proc/PID can be seen; nil hides none
	saw      func(key string)    // is told what walks come upon; nil is fine
	bringer  *bringer            // of what lies in it; nil where all is there
	viaProc  bool                // the last walk led through /proc, so that it may lead elsewhere for another process, or later
}

// treeDir is a directory that is known to be one.
type treeDir struct {
	lower rootfs.Node // what is to fill it
	full  bool
}

// mount shows a path of this machine at a path of the image.
type mount struct{ image, host string }

// newTree is a tree in a folder that holds all of it.
func newTree(root string) *tree {
	return &tree{root: root, dirs: map[string]*treeDir{"": {full: true}}, links: make(map[string]string),
		borrowed: make(map[uint64]struct{})}
}

// newLazyTree is a tree in an empty folder, to be filled from the view. spare is a folder on the same file system.
func newLazyTree(root, spare string, lower rootfs.View) (*tree, error) {
	n, err := lower.Root()
	if err != nil {
		return nil, err
	}
	t := newTree(root)
	t.spare = spare
	t.dirs[""] = &treeDir{lower: n}
	return t, nil
}

// host is where a key lies on this machine.
func (t *tree) host(key string) string {
	if m := t.mountOf(key); m != nil {
		return m.host + key[len(m.image):]
	}
	return t.root + key
}

func (t *tree) mountOf(key string) *mount {
	for i, m := range t.mounts {
		if within(key, m.image) {
			return &t.mounts[i]
		}
	}
	return nil
}

// apart says whether no name can move from one key to the other, as on two file systems: a borrowed file that came to lie
// in a mount would be taken for the step's own, and what is written to it would be written to the lower tree's.
func (t *tree) apart(key, other string) bool { return t.mountOf(key) != t.mountOf(other) }

// within says whether p is dir or lies below it.
func within(p, dir string) bool {
	return strings.HasPrefix(p, dir) && (len(p) == len(dir) || p[len(dir)] == '/')
}

// key finds the image path of a path of this machine, as the kernel gives it for a descriptor.
func (t *tree) key(host string) (string, bool) {
	for _, m := range t.mounts {
		if within(host, m.host) {
			return m.image + host[len(m.host):], true
		}
	}
	if within(host, t.root) {
		return host[len(t.root):], true
	}
	return "", false
}

// imagePath is a key as the step is to see it.
func imagePath(key string) string {
	if key == "" {
		return "/"
	}
	return key
}

// opaqueMark is how overlayfs and rootfs mark a directory that hides those below it.
const opaqueMark = "user.overlay.opaque"

// fill makes a directory hold what the lower trees have there. Nothing is looked for in one before.
func (t *tree) fill(key string) error {
	t.bringer.bring(key)
	d := t.dirs[key]
	if d == nil || d.full {
		return nil
	}
	children, err := d.lower.Children()
	if err != nil {
		return fmt.Errorf("filling %s: %w", imagePath(key), err)
	}
	for _, c := range children {
		if err := t.borrow(key+"/"+c.Info.Name(), c); err != nil {
			return fmt.Errorf("filling %s: %w", imagePath(key), err)
		}
	}
	host := t.root + key
	if key != "" { // of the root, a view has no use for a mark: hideGone does it
		if err := unix.Setxattr(host, opaqueMark, []byte("y"), 0); err != nil {
			return fmt.Errorf("filling %s: marking it: %w", imagePath(key), err)
		}
	}
	d.full = true
	return os.Chtimes(host, d.lower.Info.ModTime(), d.lower.Info.ModTime())
}

func (t *tree) borrow(key string, n rootfs.Node) error {
	to := t.root + key
	switch mode := n.Info.Mode(); {
	case mode.IsDir():
		if err := unix.Mkdir(to, 0o700); err != nil {
			return err
		}
		t.dirs[key] = &treeDir{lower: n}
		if err := os.Chtimes(to, n.Info.ModTime(), n.Info.ModTime()); err != nil {
			return err
		}
		return os.Chmod(to, mode.Perm()|0o700)
	case mode.IsRegular():
		return t.link(n, to)
	case mode&os.ModeSymlink != 0:
		target, err := os.Readlink(n.Real())
		if err != nil {
			return err
		}
		t.links[key] = target
		return os.Symlink(target, to)
	}
	return nil
}

// link gives the tree a file of the lower ones, or a copy where the file system has no more links for it.
func (t *tree) link(n rootfs.Node, to string) error {
	err := unix.Link(n.Real(), to)
	if errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EXDEV) {
		return copyRegular(n.Real(), to, n.Info.Size())
	}
	if err != nil {
		return err
	}
	st, ok := n.Info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("a file without an inode") // cannot be on Linux
	}
	t.borrowed[st.Ino] = struct{}{}
	t.dev = st.Dev // a link cannot lead to another
	return nil
}

// fillAll fills a directory and all below it, before it moves.
func (t *tree) fillAll(key string) error {
	if err := t.fill(key); err != nil {
		return err
	}
	for k, d := range t.dirs {
		if !d.full && within(k, key) && k != key {
			if err := t.fillAll(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// isBorrowed says whether a file is one of the lower trees' own.
func (t *tree) isBorrowed(st *unix.Stat_t) bool {
	if _, ok := t.borrowed[st.Ino]; !ok || st.Dev != t.dev {
		return false
	}
	// Not by the number of its names: one whose name here was given to a copy has none but its own.
	return st.Mode&unix.S_IFMT == unix.S_IFREG
}

// own makes a file the step's own before something changes it: its content, unless all of that is about to go, its mode
// and its time.
func (t *tree) own(key string, st *unix.Stat_t, truncate bool) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG || !t.isBorrowed(st) || t.mountOf(key) != nil {
		return nil
	}
	host := t.root + key
	tmp := filepath.Join(t.spare, "own")
	size := st.Size
	if truncate {
		size = 0
	}
	if err := copyRegular(host, tmp, size); err != nil {
		return err
	}
	return unix.Rename(tmp, host)
}

// copyRegular copies the first size bytes of a file, its mode and its time.
func copyRegular(from, to string, size int64) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if size > 0 {
		_, err = io.Copy(out, in)
	}
	err = errors.Join(err, out.Chmod(fi.Mode().Perm()), out.Close())
	if err == nil {
		err = os.Chtimes(to, fi.ModTime(), fi.ModTime())
	}
	if err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// made notes a directory that the step has made: it hides whatever the lower trees have there.
func (t *tree) made(key string) error {
	t.dirs[key] = &treeDir{full: true}
	if t.spare == "" || t.mountOf(key) != nil {
		return nil
	}
	return unix.Setxattr(t.root+key, opaqueMark, []byte("y"), 0)
}

// forget drops what is known of a path, and of all below it, when something there goes or moves.
func (t *tree) forget(key string) {
	delete(t.links, key)
	if t.dirs[key] == nil {
		return
	}
	for k := range t.dirs {
		if within(k, key) {
			delete(t.dirs, k)
		}
	}
	for k := range t.links {
		if within(k, key) {
			delete(t.links, k)
		}
	}
}

// settle makes the folder the upper part of a view of all trees for good: where it is filled, whiteouts hide what has gone,
// in place of the mark that hides everything, since what lies below it may be there only by name; and that is taken away.
func (t *tree) settle() error {
	for key, d := range t.dirs {
		if !d.full || d.lower.Path == "" { // it is the step's own
			continue
		}
		if err := t.hideGone(key, d.lower); err != nil {
			return fmt.Errorf("settling %s: %w", imagePath(key), err)
		}
	}
	for key, d := range t.dirs {
		if d.full {
			continue
		}
		if err := unix.Rmdir(t.root + key); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("settling %s: %w", imagePath(key), err)
		}
	}
	return nil
}

// hideGone leaves whiteouts for what a directory has no more, and takes its mark away.
func (t *tree) hideGone(key string, lower rootfs.Node) error {
	host := t.root + key
	fi, err := os.Lstat(host)
	if err == nil && fi.Mode().Perm()&0o700 != 0o700 { // whatever the step has made of it
		err = os.Chmod(host, fi.Mode().Perm()|0o700)
	}
	if err != nil {
		return err
	}
	children, err := lower.Children()
	if err != nil {
		return err
	}
	for _, c := range children {
		to := host + "/" + c.Info.Name()
		var st unix.Stat_t
		if err := unix.Lstat(to, &st); !errors.Is(err, unix.ENOENT) {
			continue
		}
		if _, err := rootfs.Whiteout(unix.AT_FDCWD, to); err != nil {
			return fmt.Errorf("marking %s as removed: %w", c.Info.Name(), err)
		}
	}
	if err := unix.Removexattr(host, opaqueMark); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	return nil
}

// mkdirAll makes a directory and those above it, with symlinks followed inside the tree.
func (t *tree) mkdirAll(p string) error {
	at := ""
	for _, name := range strings.Split(p, "/") {
		if name == "" {
			continue
		}
		next, err := t.walk(at, name, true)
		if err != nil {
			return err
		}
		if next.exists && !next.dir {
			return unix.ENOTDIR
		}
		if !next.exists {
			if err := unix.Mkdir(next.host, 0o755); err != nil {
				return err
			}
			if err := t.made(next.key); err != nil {
				return err
			}
		}
		at = next.key
	}
	return nil
}

// writeFile makes or replaces the content of a file.
func (t *tree) writeFile(p string, content []byte) error {
	at, err := t.walk("", p, true)
	if err != nil {
		return err
	}
	if at.exists {
		if err := t.own(at.key, &at.st, true); err != nil {
			return err
		}
	}
	return os.WriteFile(at.host, content, 0o644)
}

// processes are the step's own, and what its /proc shows of them.
type processes interface {
	tgid(pid int) int        // the process of a thread; 0 for what is not the step's
	program(pid int) string  // the image path of what it executes
	caller() (tgid, tid int) // who is looking
}

// number reads a decimal number as /proc writes it; 0 is none.
func number(s string) int {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
