// Package pyimport tells which modules a Python program likely imports, and in which order, without running it: from the import
// statements of its sources. What a program imports by other means, or not at all, it does not know; so what it says is a guess, of
// use to whoever prepares for what comes.
//
// It imports nothing of jubako.
package pyimport

import (
	"io/fs"
	"path"
	"strings"
)

// Tree is the files in which modules are found, as of an fs.FS. What is no folder and no regular file is left alone, symlinks too.
type Tree interface {
	ReadDir(dir string) ([]fs.DirEntry, error)
	// ReadFile gives what is used until the next call.
	ReadFile(file string) ([]byte, error)
}

// The bounds of a Graph.
const (
	maxFiles  = 1 << 13
	maxBytes  = 1 << 26 // of sources
	maxDotted = 50      // parts of a module's name
)

// builtin are the modules of the standard library that are there before a program's first statement, or that the interpreter has
// frozen: their sources are not read.
var builtin = map[string]bool{
	"abc": true, "codecs": true, "io": true, "os": true, "site": true, "stat": true, "runpy": true, "zipimport": true, "genericpath": true,
	"posixpath": true, "ntpath": true, "_collections_abc": true, "_sitebuiltins": true, "importlib._bootstrap": true,
	"importlib._bootstrap_external": true, "importlib.util": true, "importlib.machinery": true, "encodings": true, "__future__": true,
}

// Graph is the modules that were visited, and what they import.
type Graph struct {
	tree    Tree
	roots   []string
	modules map[string]module
	visited map[string]bool
	folders map[string]map[string]fs.FileMode // what lies in those that were asked for
	files   []string
	bytes   int
}

// module is where a module is found.
type module struct {
	file  string // empty for none, as of a folder without __init__.py
	there bool
	pkg   bool
}

// NewGraph makes a graph without modules. They are looked for in the folders roots of the tree, in this order, as in sys.path.
func NewGraph(tree Tree, roots ...string) *Graph {
	return &Graph{tree: tree, roots: roots, modules: make(map[string]module), visited: make(map[string]bool), folders: make(map[string]map[string]fs.FileMode)}
}

// Files are the sources of all modules that were visited, in the order in which they are read.
func (g *Graph) Files() []string { return g.files }

// Find gives the file of a module's source; ok is false where it has none.
func (g *Graph) Find(name string) (file string, isPackage, ok bool) {
	m := g.find(name)
	return m.file, m.pkg, m.file != ""
}

func (g *Graph) find(name string) module {
	m, known := g.modules[name]
	if !known {
		m = g.search(name)
		g.modules[name] = m
	}
	return m
}

func (g *Graph) search(name string) (m module) {
	above, last, dotted := cutLast(name)
	if last == "" || strings.Count(name, ".") > maxDotted {
		return m
	}
	if dotted {
		if m := g.find(above); !m.pkg {
			return module{}
		}
	}
	inner := strings.ReplaceAll(above, ".", "/")
	for _, root := range g.roots {
		dir := path.Join(root, inner)
		entries := g.entries(dir)
		if entries[last].IsDir() {
			if mode, ok := g.entries(path.Join(dir, last))["__init__.py"]; ok && mode.IsRegular() {
				return module{file: path.Join(dir, last, "__init__.py"), there: true, pkg: true}
			}
			m.there, m.pkg = true, true // unless a later root has it with a source
		}
		if mode, ok := entries[last+".py"]; ok && mode.IsRegular() {
			return module{file: path.Join(dir, last+".py"), there: true}
		}
	}
	return m
}

// entries reads a folder once.
func (g *Graph) entries(dir string) map[string]fs.FileMode {
	all, known := g.folders[dir]
	if !known {
		list, _ := g.tree.ReadDir(dir) // where there is none, there is nothing
		all = make(map[string]fs.FileMode, len(list))
		for _, e := range list {
			all[e.Name()] = e.Type()
		}
		g.folders[dir] = all
	}
	return all
}

func cutLast(name string) (above, last string, dotted bool) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:], true
	}
	return "", name, false
}

// Visit adds a module, the packages that it lies in, and all that they import.
func (g *Graph) Visit(name string) {
	for i := range len(name) {
		if name[i] == '.' {
			g.visit(name[:i])
		}
	}
	g.visit(name)
}

func (g *Graph) visit(name string) {
	if g.visited[name] || builtin[name] || len(g.files) >= maxFiles || g.bytes >= maxBytes {
		return
	}
	g.visited[name] = true
	m := g.find(name)
	if m.file == "" {
		return
	}
	source, err := g.tree.ReadFile(m.file)
	if err != nil {
		return
	}
	g.files = append(g.files, m.file)
	g.bytes += len(source)
	for _, i := range Scan(source).Imports {
		from, ok := i.absolute(name, m.pkg)
		if !ok {
			continue
		}
		g.Visit(from)
		for _, n := range i.Names {
			if sub := from + "." + n; g.find(sub).there {
				g.Visit(sub)
			}
		}
	}
}

// absolute is the module that an import in another means.
func (i Import) absolute(in string, isPackage bool) (name string, ok bool) {
	if i.Level == 0 {
		return i.Module, i.Module != ""
	}
	up := i.Level
	if isPackage {
		up--
	}
	for ; up > 0; up-- {
		if in, _, ok = cutLast(in); !ok {
			return "", false
		}
	}
	if i.Module == "" {
		return in, true
	}
	return in + "." + i.Module, true
}

// Strings are the literals in a source that could name a module.
func (g *Graph) Strings(file string) []string {
	source, _ := g.tree.ReadFile(file)
	return Scan(source).Strings
}
