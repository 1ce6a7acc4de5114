package sandbox

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// rootFilter passes on what is written to it, with image paths in place of those below the tree's root.
type rootFilter struct {
	w    io.Writer
	root []byte // with a slash behind it
	held []byte // an end that may be the beginning of root
}

// withoutRoot is nil for a nil writer.
func withoutRoot(w io.Writer, root string) *rootFilter {
	if w == nil {
		return nil
	}
	return &rootFilter{w: w, root: []byte(root + "/")}
}

func (f *rootFilter) orNil() io.Writer {
	if f == nil {
		return nil
	}
	return f
}

func (f *rootFilter) Write(p []byte) (int, error) {
	b := bytes.ReplaceAll(append(f.held, p...), f.root, []byte("/"))
	keep := min(len(f.root)-1, len(b))
	for ; keep > 0; keep-- {
		if bytes.HasSuffix(b, f.root[:keep]) {
			break
		}
	}
	f.held = bytes.Clone(b[len(b)-keep:])
	if _, err := f.w.Write(b[:len(b)-keep]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *rootFilter) flush() error {
	if f == nil || len(f.held) == 0 {
		return nil
	}
	held := f.held
	f.held = nil
	_, err := f.w.Write(held)
	return err
}

// changedLinks are the symlinks of a tree that were made relative, by their path below its root.
type changedLinks map[string]string

// relativeLinks makes every absolute symlink of a tree relative, so that it leads to the same place without the tree being
// anyone's root.
func relativeLinks(root string) (changedLinks, error) {
	changed := make(changedLinks)
	err := eachLink(root, func(p, target string) error {
		if !strings.HasPrefix(target, "/") {
			return nil
		}
		relative, err := filepath.Rel(filepath.Dir(p), filepath.Join(root, target))
		if err != nil {
			return err
		}
		changed[p] = target
		return relink(p, relative)
	})
	return changed, err
}

// restore makes them as they were, and makes absolute in the image what the step has linked to by the tree's own path.
func (c changedLinks) restore(root string) error {
	return eachLink(root, func(p, target string) error {
		if was, ok := c[p]; ok {
			relative, err := filepath.Rel(filepath.Dir(p), filepath.Join(root, was))
			if err != nil || relative != target {
				return err // the step's own
			}
			return relink(p, was)
		}
		if within(target, root) {
			return relink(p, imagePath(target[len(root):]))
		}
		return nil
	})
}

func relink(p, target string) error {
	return errors.Join(os.Remove(p), os.Symlink(target, p))
}

func eachLink(root string, do func(p, target string) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		target, err := os.Readlink(p)
		if err != nil {
			return err
		}
		return do(p, target)
	})
}

// mentions says whether a file holds the bytes of s.
func mentions(r io.Reader, s string) (bool, error) {
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if bytes.Contains(buf, []byte(s)) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if len(buf) > len(s) {
			buf = buf[:copy(buf, buf[len(buf)-len(s):])]
		}
	}
}
