// Package observed says what a command has looked at in a tree of files, and whether that is still the same in another
// tree: a step runs again only when something that it looked at has changed.
//
// A command runs in several layers laid over one another, of which one, the source's, changes from build to build while
// the others are the same. A Look names a path of the whole that the command has asked something about. What it saw there
// is a function of the layers that do not change and of what the source has at that path, so that the latter alone is
// held on to: see Tree. A Record so says nothing of what lies in the other layers, and is small.
//
// It imports fstree alone.
package observed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// Kind says how much of what stands at a path a command has seen. A greater one holds all that a lesser one does.
type Kind uint8

// The kinds of look.
const (
	Stat  Kind = iota // whether there is anything, its type, mode and size; the target of a symlink
	Read              // and a file's content, or the names and types of what lies in a directory
	Whole             // and all below a directory
)

// kindNames are those of a Record, in the order of the kinds.
const kindNames = "srw"

// Look is one path that a command has asked something about. Symlinks on the way to it are looks of their own.
type Look struct {
	Path string // of the image, clean and without leading slash; "." is the root
	Kind Kind
}

// Hashed is content whose digest is known without reading it.
type Hashed interface {
	fstree.Content
	// SHA256 is the digest in hex; "" where it is not known after all.
	SHA256() string
}

// Tree is what one layer has at each path. Owners and times are no part of it: a sandbox shows everything as root's, and
// the times of a layer's files are those that the whole image has.
type Tree struct {
	nodes map[string]node
}

// node is what stands at a path. Whiteouts and hard links are taken for kinds of file of their own.
type node struct {
	fstree.Entry
	children []string
}

// NewTree takes the entries of a layer. The directories that lead to them count as its own.
func NewTree(t *fstree.Tree) *Tree {
	tree := &Tree{nodes: map[string]node{".": {Entry: fstree.Entry{Path: ".", Kind: fstree.Dir, Mode: 0o755}}}}
	for e := range t.All() { // parents first
		tree.parent(path.Dir(e.Path))
		n := tree.nodes[e.Path]
		n.Entry = e
		tree.add(n)
	}
	return tree
}

func (t *Tree) parent(dir string) {
	if _, ok := t.nodes[dir]; ok {
		return
	}
	t.parent(path.Dir(dir))
	t.add(node{Entry: fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755}})
}

func (t *Tree) add(n node) {
	if _, ok := t.nodes[n.Path]; !ok {
		dir := path.Dir(n.Path)
		up := t.nodes[dir]
		up.children = append(up.children, path.Base(n.Path))
		t.nodes[dir] = up
	}
	t.nodes[n.Path] = n
}

// absent is the value of a path at which the layer has nothing.
const absent = "-"

// value is what the layer has at a path, as far as a look of that kind sees it.
func (t *Tree) value(l Look) (string, error) {
	n, ok := t.nodes[l.Path]
	if !ok {
		return absent, nil
	}
	switch n.Kind {
	case fstree.Symlink:
		return "link " + n.Link, nil
	case fstree.File:
		if l.Kind == Stat {
			return fmt.Sprintf("file %o %d", n.Mode, n.Content.Size()), nil
		}
		sum, err := sumOf(n.Entry)
		return fmt.Sprintf("file %o %s", n.Mode, sum), err
	case fstree.Dir:
		return t.dirValue(n, l.Kind)
	}
	return fmt.Sprintf("%s %s", n.Kind, n.Link), nil
}

func (t *Tree) dirValue(n node, kind Kind) (string, error) {
	v := fmt.Sprintf("directory %o", n.Mode)
	if kind == Stat {
		return v, nil
	}
	h := sha256.New()
	children := slices.Clone(n.children)
	slices.Sort(children)
	for _, name := range children {
		child := Look{Path: path.Join(n.Path, name), Kind: kind}
		what := t.nodes[child.Path].Kind.String()
		if kind == Whole {
			var err error
			if what, err = t.value(child); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(h, "%q %q\n", name, what)
	}
	return v + " " + hex.EncodeToString(h.Sum(nil)), nil
}

func sumOf(e fstree.Entry) (string, error) {
	if h, ok := e.Content.(Hashed); ok {
		if sum := h.SHA256(); sum != "" {
			return sum, nil
		}
	}
	r, err := e.Content.Open()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, r.Close())
}

// settle makes of a look those that are held on to. Where the layer has nothing at a path, it is enough that it has
// nothing at the first directory on the way which it lacks, and that the one before is a directory: all that a command
// looks for in other layers, and its own output, comes down to a few paths.
func (t *Tree) settle(l Look, into map[string]Kind) {
	if _, ok := t.nodes[l.Path]; ok {
		into[l.Path] = max(into[l.Path], l.Kind)
		return
	}
	for {
		dir := path.Dir(l.Path)
		if _, ok := t.nodes[dir]; ok {
			into[l.Path] = max(into[l.Path], Stat)
			into[dir] = max(into[dir], Stat)
			return
		}
		l.Path = dir
	}
}

// checkPath says whether p can be the path of a look.
func checkPath(p string) error {
	if p == "." {
		return nil
	}
	if len(p) > maxPath || strings.ContainsAny(p, "\n") {
		return fmt.Errorf("path %.100q is too long, or has a line's end in it", p)
	}
	return fstree.CheckPath(p)
}
