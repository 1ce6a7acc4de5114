// Package pycache keeps the bytecode of the modules that a command of a project imports, so that Python compiles each of them
// once, and not at every run.
//
// Which modules a command reads is known once it has been watched, and can be told from its sources before. Those of them that have
// no bytecode are compiled beside its run, on a processor that is idle meanwhile: for that run, which finds what is there before it
// comes to the module itself, and for those after it. They are compiled by a process of their own, in which nothing but the base's
// Python runs; sources are data to it. So what a project executes reaches no bytecode.
//
// A command finds it by PYTHONPYCACHEPREFIX, apart from the sources, so that it sees the same files with and without. Python
// compares each source's hash with its bytecode's (a checked hash-based pyc, PEP 552), and compiles what is not the same: bytecode
// that belongs to something else costs time, and no more.
//
// It imports cas, rootfs, observed, packed, pyimport and sandbox.
package pycache

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/packed"
	"github.com/jubako/jubako/pkg/pyimport"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

//go:embed compile.py
var script string

const (
	// Prefix is the image path below which a command finds the bytecode. There is no such folder in an image.
	Prefix = "/run/jubako/pycache"

	keptRecords = "pycache" // of a command and an interpreter: see kept
	readRecords = "modules" // of a command: the modules that it has read

	format     = "1"     // of blobs and records; it is part of their keys
	maxModules = 1 << 14 // of one command
	maxPath    = 4096    // bytes
	maxSource  = 1 << 19 // bytes; Python takes some 50 times as much to compile it
	maxPyc     = 1 << 24 // bytes
)

// Interpreter is the Python that compiles, and that is to find the bytecode.
type Interpreter struct {
	Path     string   // absolute, in the base
	Tag      string   // as in the names of its files: "cpython-312"
	Optimize string   // what PYTHONOPTIMIZE is for the command
	Env      []string // what it needs to start: LD_LIBRARY_PATH, PYTHONHOME; "NAME=value" each
}

// Library is where a Python of that version keeps its modules, below its prefix: "lib/python3.12".
func (i Interpreter) Library() string {
	version, _ := strings.CutPrefix(i.Tag, "cpython-")
	if len(version) > 1 {
		version = version[:1] + "." + version[1:]
	}
	return "lib/python" + version
}

// Cache is the bytecode for one command of one project.
type Cache struct {
	Store *cas.Store
	// Sparse are those of the command's trees that are laid out as far as anybody looks at them.
	Sparse rootfs.Sparses
	// Python lies in the lowest tree of the command.
	Python Interpreter
	// Command names what is alike in all runs of the command, so that what one has read is likely read by the next.
	Command string
	// Below names the layers that the modules lie in: while they are the same, so are the modules.
	Below []string
	// Own says of an image path, without leading slash, that it is the project's, and changes too often for its bytecode to be kept.
	Own func(path string) bool
	// Likely visits the modules that the command likely imports, in the order in which it does. Nil is for a command of which nothing
	// is known before it has run once.
	Likely func(*pyimport.Graph)
	// Roots are the folders in which it looks for modules, as in sys.path, without leading slash.
	Roots []string
	Rung  sandbox.Rung
}

// Use is the bytecode for one run.
type Use struct {
	c     *Cache
	trees []string
	read  []string // the modules that an earlier run has read, sorted
	kept  kept
	dir   string // the tree that it is laid out in
	live  *live  // what comes to it while the command runs; nil where nothing is to be compiled
}

// kept is what the cache has for a command.
type kept struct {
	blob    string   // the digest; empty for none
	below   string   // for which layers it is whole: a digest of Cache.Below; empty for none
	modules []string // of which it has the bytecode, or that they have none
	pycs    int      // how many of them have it
}

// Lay finds the bytecode for a command that is to run in these trees, the base's first. It is to be closed after that.
func (c *Cache) Lay(trees []string) (_ *Use, err error) {
	u := &Use{c: c, trees: trees, read: c.lastRead()}
	u.kept = u.lastKept()
	if u.dir, err = u.lay(); errors.Is(err, cas.ErrNotFound) { // it is damaged, or gone
		u.kept = kept{}
		u.dir, err = u.lay()
	}
	if err == nil && !u.whole() {
		u.live, err = u.newLive()
	}
	if err != nil {
		return nil, fmt.Errorf("laying out bytecode: %w", err)
	}
	return u, nil
}

// lay makes the tree, with the folder Prefix at least: a command is to find that in any case, so that what it looks at does not
// depend on what is in it.
func (u *Use) lay() (dir string, err error) {
	return rootfs.Place(u.c.Store, strings.Join([]string{"pycache", u.c.Python.Tag, u.c.Python.Optimize, u.kept.blob}, " "), func(dir string) error {
		if err := os.MkdirAll(dir+Prefix, 0o755); err != nil || u.kept.blob == "" {
			return err
		}
		return u.c.unpack(u.kept.blob, dir)
	})
}

// Tree is what lies upon the command's trees for its time.
func (u *Use) Tree() string { return u.dir }

// Found is the number of modules whose bytecode is there.
func (u *Use) Found() int { return u.kept.pycs }

// Env adds to a command's environment where the bytecode is, unless it says so itself.
func Env(env []string) []string {
	const name = "PYTHONPYCACHEPREFIX="
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name) }) {
		return env
	}
	return append(slices.Clone(env), name+Prefix)
}

// Remember keeps which modules the command has read, among all that it has looked at.
func (u *Use) Remember(looks []observed.Look) error {
	var read []string
	for _, l := range looks {
		if l.Kind != observed.Stat && strings.HasSuffix(l.Path, ".py") && len(l.Path) <= maxPath && !u.c.Own(l.Path) {
			read = append(read, l.Path)
		}
	}
	slices.Sort(read)
	read = slices.Compact(read)
	read = read[:min(len(read), maxModules)]
	if slices.Equal(read, u.read) {
		return nil
	}
	var w packed.Writer
	w.Texts(read)
	return u.c.Store.PutRecord(readRecords, format+"\x00"+u.c.Command, w)
}

// Without gives what a command has looked at but for the bytecode, on which nothing depends.
func Without(looks []observed.Look) []observed.Look {
	return slices.DeleteFunc(slices.Clone(looks), func(l observed.Look) bool { return strings.HasPrefix("/"+l.Path+"/", Prefix+"/") })
}

func (c *Cache) lastRead() []string {
	b, err := c.Store.Record(readRecords, format+"\x00"+c.Command)
	if err != nil {
		return nil
	}
	r := packed.Reader{Rest: b}
	read := r.Texts()
	if r.End() != nil || len(read) > maxModules {
		return nil
	}
	return read
}

// key names the bytecode by the command and by who has compiled it. The name of a tree's folder says what it was made of.
func (u *Use) key() string {
	sum := sha256.Sum256([]byte(script))
	p := u.c.Python
	return strings.Join(append([]string{format, hex.EncodeToString(sum[:]), filepath.Base(u.trees[0]), p.Path, p.Optimize, u.c.Command}, p.Env...), "\x00")
}

func (u *Use) lastKept() kept {
	b, err := u.c.Store.Record(keptRecords, u.key())
	if err != nil {
		return kept{}
	}
	r := packed.Reader{Rest: b}
	k := kept{r.Text(), r.Text(), r.Texts(), int(r.Uint(maxModules))}
	if r.End() != nil || !cas.ValidDigest(k.blob) {
		return kept{}
	}
	return k
}

func (u *Use) keep(k kept) error {
	var w packed.Writer
	w.Text(k.blob)
	w.Text(k.below)
	w.Texts(k.modules)
	w.Uint(uint64(k.pycs))
	return u.c.Store.PutRecord(keptRecords, u.key(), w)
}

// below is a digest of the layers that the modules lie in.
func (c *Cache) below() string {
	sum := sha256.Sum256([]byte(strings.Join(c.Below, "\x00")))
	return hex.EncodeToString(sum[:])
}
