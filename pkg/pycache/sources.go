package pycache

import (
	"errors"
	"io"
	"os"
	"path"
)

// sources finds modules in trees. It is of one goroutine at a time.
type sources struct {
	roots []*os.Root       // lowest first; nil for one that cannot be opened
	in    map[string][]int // which of them have a folder, uppermost first
}

func newSources(trees []string) *sources {
	s := &sources{in: make(map[string][]int)}
	for i, tree := range trees {
		root, err := os.OpenRoot(tree)
		if err != nil {
			root = nil
		} else {
			s.in["."] = append([]int{i}, s.in["."]...)
		}
		s.roots = append(s.roots, root)
	}
	return s
}

func (s *sources) close() {
	for _, r := range s.roots {
		if r != nil {
			_ = r.Close() // nothing was written
		}
	}
}

// having gives the trees that have a folder. Of many trees few have it, and most folders are asked for many times.
func (s *sources) having(dir string) []int {
	if all, ok := s.in[dir]; ok {
		return all
	}
	var all []int
	for _, i := range s.having(path.Dir(dir)) {
		if fi, err := s.roots[i].Stat(dir); err == nil && fi.IsDir() {
			all = append(all, i)
		}
	}
	s.in[dir] = all
	return all
}

// find reads a module's source where it stands in the uppermost of the trees that has it.
func (s *sources) find(module string) (content []byte, ok bool) {
	if path.IsAbs(module) {
		return nil, false
	}
	for _, i := range s.having(path.Dir(module)) {
		f, err := s.roots[i].Open(module)
		if err != nil {
			continue
		}
		content, err := readSource(f)
		return content, errors.Join(err, f.Close()) == nil
	}
	return nil, false
}

func readSource(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxSource {
		return nil, errors.New("no source to be compiled here")
	}
	b := make([]byte, fi.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}
