package pycache

import (
	"errors"
	"io"
	"io/fs"
	"path"

	"github.com/jubako/jubako/pkg/rootfs"
)

// sources finds modules in a view of a command's trees. It is of one goroutine at a time.
type sources struct {
	view    rootfs.View
	folders map[string]*rootfs.Node // those that were asked for, by path; nil for what is no folder
	sizes   map[string]int64        // of what lies in the folders that were read, in bytes
	buf     []byte                  // of the source that was read last
}

func newSources(view rootfs.View) *sources {
	return &sources{view: view, folders: make(map[string]*rootfs.Node), sizes: make(map[string]int64)}
}

// ReadDir reads a folder, for a pyimport.Graph.
func (s *sources) ReadDir(dir string) ([]fs.DirEntry, error) {
	n := s.folder(dir)
	if n == nil {
		return nil, fs.ErrNotExist
	}
	children, err := n.Children()
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, len(children))
	for i, c := range children {
		list[i] = fs.FileInfoToDirEntry(c.Info)
		s.sizes[c.Path] = c.Info.Size()
	}
	return list, nil
}

// ReadFile reads a source, for a pyimport.Graph.
func (s *sources) ReadFile(file string) ([]byte, error) {
	content, ok := s.find(file)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

// size is that of a module's source in bytes, as far as its folder was read.
func (s *sources) size(module string) int64 { return s.sizes[module] }

// folder looks for a folder once: most are asked for many times.
func (s *sources) folder(dir string) *rootfs.Node {
	if n, known := s.folders[dir]; known {
		return n
	}
	var found *rootfs.Node
	if n, err := s.lookup(dir); err == nil && n.Info.IsDir() {
		found = &n
	}
	s.folders[dir] = found
	return found
}

// lookup finds a valid path (fs.ValidPath), and follows no symlink.
func (s *sources) lookup(p string) (rootfs.Node, error) {
	if p == "." {
		return s.view.Root()
	}
	dir := s.folder(path.Dir(p))
	if dir == nil {
		return rootfs.Node{}, fs.ErrNotExist
	}
	return dir.Lookup(path.Base(p))
}

// find reads a module's source, which is there until the next is read; ok is false where there is none to be compiled here.
func (s *sources) find(module string) (content []byte, ok bool) {
	if !fs.ValidPath(module) {
		return nil, false
	}
	n, err := s.lookup(module)
	if err != nil || !n.Info.Mode().IsRegular() || n.Info.Size() > maxSource {
		return nil, false
	}
	f, err := rootfs.FileContent{Path: n.Real(), Len: n.Info.Size()}.Open()
	if err != nil {
		return nil, false
	}
	if n.Info.Size() > int64(len(s.buf)) {
		s.buf = make([]byte, max(n.Info.Size(), 64<<10))
	}
	content = s.buf[:n.Info.Size()]
	_, err = io.ReadFull(f, content)
	return content, errors.Join(err, f.Close()) == nil
}
