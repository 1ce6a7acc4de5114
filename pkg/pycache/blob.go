package pycache

import (
	"bufio"
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

// A blob of bytecode is the modules' image paths and pycs in turn, each with its length before it (binary.Uvarint).

// collection is a blob in the making.
type collection struct {
	w       *cas.Writer
	modules []string
	has     map[string]bool
	fresh   int // of the modules, those that were not kept before
}

// collect begins a blob with what there is already.
func (c *Cache) collect(k kept) (_ *collection, err error) {
	w, err := c.Store.NewWriter()
	if err != nil {
		return nil, err
	}
	col := &collection{w: w, has: make(map[string]bool)}
	if k.blob == "" {
		return col, nil
	}
	err = c.each(k.blob, col.add)
	if errors.Is(err, cas.ErrNotFound) {
		err = nil // it is damaged, or gone: nothing of it is here yet
	}
	if err != nil {
		col.w.Abort()
		return nil, err
	}
	return col, nil
}

func (col *collection) add(module string, pyc []byte) error {
	if col.has[module] {
		return nil
	}
	col.has[module] = true
	col.modules = append(col.modules, module)
	var head packed.Writer
	head.Text(module)
	head.Uint(uint64(len(pyc)))
	if _, err := col.w.Write(head); err != nil {
		return err
	}
	_, err := col.w.Write(pyc)
	return err
}

// each reads a blob, after it has been compared with its digest.
func (c *Cache) each(blob string, do func(module string, pyc []byte) error) (err error) {
	f, err := c.Store.Verified(blob)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := readPycs(f, do); err != nil {
		return fmt.Errorf("reading bytecode of sha256:%s: %w", blob, err)
	}
	return nil
}

func readPycs(from io.Reader, do func(module string, pyc []byte) error) error {
	r := bufio.NewReader(from)
	for {
		module, err := readField(r, maxPath)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		pyc, err := readField(r, maxPyc)
		if err != nil {
			return errors.Join(packed.ErrDamaged, err)
		}
		if err := do(string(module), pyc); err != nil {
			return err
		}
	}
}

// readField reads what has its length before it. The error is io.EOF where there is nothing more.
func readField(r *bufio.Reader, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, packed.ErrDamaged
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, packed.ErrDamaged
	}
	return b, nil
}

// unpack lays the pycs of a blob out where Python looks for them below Prefix.
func (c *Cache) unpack(blob, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return c.each(blob, func(module string, pyc []byte) error {
		name := c.Python.pycOf(module)[1:]
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return root.WriteFile(name, pyc, 0o644)
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
