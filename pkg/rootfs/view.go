package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// View reads several trees as one, as overlayfs would show them: the upper before the lower, whiteouts and opaque
// directories respected. The trees must not change meanwhile.
type View struct {
	trees  []string // uppermost first
	sparse Sparses
}

// NewView makes a view of trees, lowest first, as Unpack gives them.
func NewView(trees ...string) View {
	v := View{trees: slices.Clone(trees)}
	slices.Reverse(v.trees)
	return v
}

// With gives the view of trees among which some are sparse: it brings what is looked for.
func (v View) With(sparse Sparses) View {
	v.sparse = sparse
	return v
}

// Node is one path of a view.
type Node struct {
	// Path is the image path, without leading slash; "." for the root.
	Path string
	Info fs.FileInfo
	// real holds the paths on this machine, uppermost first: one of a file, and of a directory each that is merged.
	real   []string
	sparse Sparses
}

// Real is where the node stands on this machine; of a merged directory, the uppermost part.
func (n Node) Real() string { return n.real[0] }

// Root is the view's root directory.
func (v View) Root() (Node, error) {
	if len(v.trees) == 0 {
		return Node{}, errors.New("a view without trees")
	}
	fi, err := os.Stat(v.trees[0])
	if err != nil {
		return Node{}, err
	}
	return Node{Path: ".", Info: fi, real: v.trees, sparse: v.sparse}, nil
}

// Lookup finds a name in a directory, without following what it finds. The error is fs.ErrNotExist where there is none.
func (n Node) Lookup(name string) (Node, error) {
	if err := n.sparse.Bring(n.Path); err != nil {
		return Node{}, err
	}
	found := Node{Path: path.Join(n.Path, name), sparse: n.sparse}
	for _, dir := range n.real {
		p := filepath.Join(dir, name)
		fi, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return Node{}, err
		}
		if isWhiteout(fi, p) || (!fi.IsDir() && found.Info != nil) {
			break
		}
		if found.Info == nil {
			found.Info = fi
		}
		found.real = append(found.real, p)
		if !fi.IsDir() || isOpaque(p) {
			break
		}
	}
	if found.Info == nil {
		return Node{}, &fs.PathError{Op: "lookup", Path: "/" + found.Path, Err: fs.ErrNotExist}
	}
	return found, nil
}

// Children are the nodes in a directory, sorted by name.
func (n Node) Children() ([]Node, error) {
	if err := n.sparse.Bring(n.Path); err != nil {
		return nil, err
	}
	var names []string
	for _, dir := range n.real {
		d, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		more, err := d.Readdirnames(-1)
		if err := errors.Join(err, d.Close()); err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	var nodes []Node
	for _, name := range slices.Compact(names) {
		c, err := n.Lookup(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // whited out
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

// Resolve finds an image path, symlinks followed with the view's root as the root; the node's Path has no symlinks left
// in it. The error is fs.ErrNotExist where there is none.
func (v View) Resolve(p string) (Node, error) {
	root, err := v.Root()
	if err != nil {
		return Node{}, err
	}
	way := []Node{root} // the root, and every directory down to where we are
	rest := strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			way = way[:max(1, len(way)-1)]
			continue
		}
		at := way[len(way)-1]
		if !at.Info.IsDir() {
			return Node{}, &fs.PathError{Op: "lookup", Path: "/" + at.Path + "/" + name, Err: fs.ErrNotExist}
		}
		next, err := at.Lookup(name)
		if err != nil {
			return Node{}, err
		}
		if next.Info.Mode()&fs.ModeSymlink == 0 {
			way = append(way, next)
			continue
		}
		if links++; links > maxLinks {
			return Node{}, fmt.Errorf("too many symlinks on the way to /%s", p)
		}
		target, err := os.Readlink(next.Real())
		if err != nil {
			return Node{}, err
		}
		if strings.HasPrefix(target, "/") {
			way = way[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return way[len(way)-1], nil
}

// isWhiteout takes what stands at a path of this machine.
func isWhiteout(fi fs.FileInfo, p string) bool {
	if fi.Mode()&fs.ModeCharDevice != 0 {
		st, ok := fi.Sys().(*syscall.Stat_t)
		return ok && st.Rdev == 0
	}
	return fi.Mode().IsRegular() && fi.Size() == 0 && hasMark(p, whiteoutAttr)
}

func isOpaque(dir string) bool { return hasMark(dir, opaqueAttr) }

func hasMark(p, attr string) bool {
	var b [2]byte
	n, err := unix.Lgetxattr(p, attr, b[:])
	return err == nil && n == 1 && b[0] == 'y'
}
