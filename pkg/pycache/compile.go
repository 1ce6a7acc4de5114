package pycache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// Compile compiles, until ctx ends, what the command likely reads and what has no bytecode yet, and says how many modules it has
// compiled. What was compiled until then is kept. It is of use where a processor is idle meanwhile.
func (u *Use) Compile(ctx context.Context) (compiled int, err error) {
	if ctx.Err() != nil || u.whole() {
		return 0, nil
	}
	w, err := u.c.Store.NewWriter()
	if err != nil {
		return 0, fmt.Errorf("compiling modules: %w", err)
	}
	defer w.Abort() // where it is not committed
	c := &compiler{u: u, sources: newSources(rootfs.NewView(u.trees...).With(u.c.Sparse)), asked: make(chan entry, maxAsked), collected: collection{w: w}}
	modules, err := c.reuse(ctx, u.plan(c.sources))
	if ctx.Err() != nil {
		return 0, nil // what there is stays
	}
	if err == nil && len(modules) > 0 {
		err = c.run(ctx, modules)
	}
	err = errors.Join(err, c.failed)
	ended := ctx.Err() != nil
	if ended {
		err = c.failed // else it is that of the end
	}
	if err != nil {
		return 0, fmt.Errorf("compiling modules: %w", err)
	}
	k := kept{modules: c.collected.modules, pycs: c.collected.pycs}
	if !ended {
		k.below = u.c.below()
	}
	if k.blob, err = w.Commit(""); err == nil {
		err = u.keep(k)
	}
	if err != nil {
		return 0, fmt.Errorf("compiling modules: %w", err)
	}
	return c.compiled, nil
}

// whole says whether there is nothing to be compiled.
func (u *Use) whole() bool {
	if len(u.read) == 0 {
		return u.c.Likely == nil
	}
	if u.kept.below != u.c.below() {
		return false
	}
	has := make(map[string]bool, len(u.kept.modules))
	for _, m := range u.kept.modules {
		has[m] = true
	}
	return !slices.ContainsFunc(u.read, func(m string) bool { return !has[m] })
}

// maxAsked is how many sources may be on their way to the compiler: more than fit into a pipe.
const maxAsked = 1 << 12

// compiler sends sources to a process and takes its answers, which come in the same order.
type compiler struct {
	u         *Use
	sources   *sources
	asked     chan entry // without their pycs
	partial   []byte
	collected collection
	absent    []string // what has been asked for, and is not to be compiled here
	compiled  int
	failed    error
}

// reuse takes over what is kept of modules that are the same, and gives the others.
func (c *compiler) reuse(ctx context.Context, modules []string) (others []string, err error) {
	wanted := make(map[string]bool, len(modules))
	for _, m := range modules {
		wanted[m] = true
	}
	if c.u.kept.blob != "" {
		err = c.u.c.each(c.u.kept.blob, func(e entry) error {
			if !wanted[e.module] || ctx.Err() != nil {
				return nil
			}
			if content, ok := c.sources.find(e.module); !ok || sha256.Sum256(content) != e.source {
				return nil
			}
			delete(wanted, e.module)
			return c.collected.add(e)
		})
		if err != nil && !errors.Is(err, cas.ErrNotFound) { // pruned meanwhile: nothing is taken over
			return nil, err
		}
	}
	return slices.DeleteFunc(modules, func(m string) bool { return !wanted[m] }), nil
}

// run starts the base's Python, and has it compile.
func (c *compiler) run(ctx context.Context, modules []string) error {
	in, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		c.feed(ctx, feed, modules)
		_ = feed.Close()
	}()
	python := c.u.c.Python
	env := append([]string{"HOME=/tmp", "LANG=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONOPTIMIZE=" + python.Optimize}, python.Env...)
	res, err := sandbox.Run(ctx, sandbox.Command{Trees: c.u.trees[:1], Argv: []string{python.Path, "-S", "-s", "-B", "-W", "ignore", "-c", script}, Env: env,
		Stdin: in, Stdout: c, Rung: c.u.c.Rung, TempDir: c.u.c.Store.TempDir})
	if err == nil {
		err = res.Close()
	}
	err = errors.Join(err, in.Close()) // so that the feeder ends, for nobody can read any more
	<-fed
	for _, m := range c.absent { // so that it is not asked for again
		if c.u.c.Own(m) {
			continue
		}
		err = errors.Join(err, c.collected.add(entry{module: m}))
	}
	if err == nil && len(c.asked) > 0 && ctx.Err() == nil {
		err = errors.New("it has not answered all requests")
	}
	return err
}

// feed sends the sources, as long as anybody reads them.
func (c *compiler) feed(ctx context.Context, to io.Writer, modules []string) {
	var request []byte
	for _, m := range modules {
		content, ok := c.sources.find(m)
		if !ok {
			c.absent = append(c.absent, m)
			continue
		}
		select {
		case c.asked <- entry{module: m, source: sha256.Sum256(content)}:
		case <-ctx.Done():
			return
		}
		request = frame(frame(request[:0], []byte("/"+m)), content)
		if _, err := to.Write(request); err != nil {
			return
		}
	}
}

func frame(b, data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

// Write takes answers. Its error ends the process.
func (c *compiler) Write(p []byte) (int, error) {
	if c.failed != nil {
		return 0, c.failed
	}
	c.partial = append(c.partial, p...)
	rest := c.partial
	for len(rest) >= 4 {
		n := int(binary.LittleEndian.Uint32(rest))
		if n > maxPyc {
			c.failed = fmt.Errorf("an answer of %d bytes", n)
			return 0, c.failed
		}
		if len(rest) < 4+n {
			break
		}
		if c.failed = c.take(rest[4 : 4+n]); c.failed != nil {
			return 0, c.failed
		}
		rest = rest[4+n:]
	}
	c.partial = append(c.partial[:0], rest...)
	return len(p), nil
}

// take keeps the answer to the oldest request that has none.
func (c *compiler) take(pyc []byte) error {
	select {
	case e := <-c.asked:
		e.pyc = pyc
		if len(pyc) > 0 {
			c.compiled++
			if err := c.u.live.add(c.u.c.Python.pycOf(e.module)[len(Prefix)+1:], pyc); err != nil {
				return err
			}
		}
		if c.u.c.Own(e.module) {
			return nil // it changes too often
		}
		return c.collected.add(e)
	default:
		return errors.New("an answer to no request")
	}
}
