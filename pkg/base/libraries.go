package base

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/ldcache"
)

// watcher learns from a file's bytes as they go by, whoever reads them, what Dpkg holds of its content.
type watcher struct {
	io.Reader
	done func() (*ldcache.Library, string, error)
}

// watch prepares the reading of a file: a library's ELF headers are looked at, and what lies in /etc, where packages keep
// their configuration, is hashed.
func watch(name string, r io.Reader) *watcher {
	w := &watcher{Reader: r, done: func() (*ldcache.Library, string, error) { return nil, "", nil }}
	switch {
	case ldcache.IsLibrary(path.Base(name)):
		pr, pw := io.Pipe()
		var lib ldcache.Library
		result := make(chan error, 1)
		go func() {
			var err error
			lib, err = ldcache.ReadELF(pr)
			_, drained := io.Copy(io.Discard, pr)
			if err == nil {
				err = drained
			}
			result <- err
		}()
		w.Reader = io.TeeReader(r, pw)
		w.done = func() (*ldcache.Library, string, error) {
			_, err := io.Copy(io.Discard, w.Reader)
			pw.CloseWithError(err)
			elf := <-result
			switch {
			case err != nil:
				return nil, "", err
			case errors.Is(elf, ldcache.ErrNotELF):
				return nil, "", nil
			}
			return &lib, "", elf
		}
	case strings.HasPrefix(name, "etc/"):
		h := md5.New()
		w.Reader = io.TeeReader(r, h)
		w.done = func() (*ldcache.Library, string, error) {
			_, err := io.Copy(io.Discard, w.Reader)
			return nil, sum(h), err
		}
	}
	return w
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// learn reads a file, and notes what there is to know of it.
func (s *scanner) learn(n *node, name string, size int64, content io.Reader) error {
	if of, ok := content.(*treeFile); ok && ldcache.IsLibrary(path.Base(name)) && !s.wants(name) {
		if known, ok := of.Content.(knownLibrary); ok { // whoever made the tree has looked at it
			n.library = known.Library()
			return nil
		}
	}
	w := watch(name, content)
	err := s.read(n, name, size, w)
	lib, md5, watched := w.done()
	if err != nil {
		return err
	}
	if watched != nil {
		return fmt.Errorf("reading it: %w", watched)
	}
	n.library, n.md5 = lib, md5
	return nil
}

// watched gives what was learnt so: libraries, and the MD5 sums of /etc.
func (s *scanner) watched() (map[string]ldcache.Library, map[string]string) {
	libraries, sums := make(map[string]ldcache.Library), make(map[string]string)
	for p, n := range s.nodes {
		if n.Kind != fstree.File {
			continue
		}
		if n.library != nil {
			libraries[p] = *n.library
		}
		if n.md5 != "" && strings.HasPrefix(p, "etc/") {
			sums[p] = n.md5
		}
	}
	return libraries, sums
}
