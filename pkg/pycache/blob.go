package pycache

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/packed"
)

// entry is what a blob holds of a module: its image path without leading slash, what its source was, and its pyc, which is
// empty where the source does not compile.
type entry struct {
	module string
	source [sha256.Size]byte
	pyc    []byte
}

// write adds an entry to a blob: the path with its length before it (binary.Uvarint), the source's SHA-256, and the pyc with its length.
func (e entry) write(to io.Writer) error {
	var head packed.Writer
	head.Text(e.module)
	head = append(head, e.source[:]...)
	head.Uint(uint64(len(e.pyc)))
	if _, err := to.Write(head); err != nil {
		return err
	}
	_, err := to.Write(e.pyc)
	return err
}

// readEntries reads a blob. An entry's pyc is its own.
func readEntries(from io.Reader, do func(entry) error) error {
	r := bufio.NewReader(from)
	for {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
		var e entry
		module, err := readText(r, maxPath)
		if err == nil {
			_, err = io.ReadFull(r, e.source[:])
		}
		if err == nil {
			e.module = string(module)
			e.pyc, err = readText(r, maxPyc)
		}
		if err != nil {
			return errors.Join(packed.ErrDamaged, err)
		}
		if err := do(e); err != nil {
			return err
		}
	}
}

func readText(r *bufio.Reader, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, packed.ErrDamaged
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// each reads a blob of the cache, after it has been compared with its digest.
func (c *Cache) each(blob string, do func(entry) error) (err error) {
	f, err := c.Store.Verified(blob)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := readEntries(f, do); err != nil {
		return fmt.Errorf("reading bytecode of sha256:%s: %w", blob, err)
	}
	return nil
}

// unpack lays the pycs of a blob out where Python looks for them below Prefix.
func (c *Cache) unpack(blob, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return c.each(blob, func(e entry) error {
		if len(e.pyc) == 0 {
			return nil
		}
		name := c.Python.pycOf(e.module)[1:]
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return root.WriteFile(name, e.pyc, 0o644)
	})
}

// pycOf is the absolute image path of a module's bytecode, as importlib.util.cache_from_source has it.
func (p Interpreter) pycOf(module string) string {
	optimize := ""
	if p.Optimize != "" && p.Optimize != "0" {
		optimize = ".opt-" + p.Optimize
	}
	return path.Join(Prefix, path.Clean("/"+strings.TrimSuffix(module, ".py")+"."+p.Tag+optimize+".pyc"))
}

// collection is a blob in the making.
type collection struct {
	w       *cas.Writer
	modules []string
	pycs    int // how many of the modules have one
}

func (col *collection) add(e entry) error {
	if len(e.pyc) > 0 {
		col.pycs++
	}
	col.modules = append(col.modules, e.module)
	return e.write(col.w)
}
