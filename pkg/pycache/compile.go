package pycache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/step"
)

// Compile compiles, until ctx ends, what the command likely reads and what has no bytecode yet, for the runs to come, and says how many
// modules it has compiled. What was compiled until then is kept. It is of use where a processor is idle meanwhile.
func (u *Use) Compile(ctx context.Context) (done int, err error) {
	missing := u.missing()
	if len(missing) == 0 || ctx.Err() != nil {
		return 0, nil
	}
	in, feed, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("compiling modules: %w", err)
	}
	c := &compiler{u: u, asked: make(chan source, maxAsked), collected: make(map[string]*collection)}
	fed := make(chan error, 1)
	go func() {
		err := c.feed(ctx, feed, missing)
		fed <- errors.Join(err, feed.Close())
	}()
	env := step.Environment(0, "", u.c.Python.Env, []string{"PYTHONOPTIMIZE=" + u.c.Python.Optimize})
	res, err := sandbox.Run(ctx, sandbox.Command{Trees: u.trees[:1], Argv: []string{u.c.Python.Path, "-S", "-s", "-B", "-W", "ignore", "-c", script}, Env: env,
		Stdin: in, Stdout: c, Rung: u.c.Rung, TempDir: u.c.Store.TempDir})
	if err == nil {
		err = res.Close()
	}
	err = errors.Join(err, in.Close()) // the feeder ends, at the latest, when nobody can read
	<-fed
	if ctx.Err() != nil {
		err = nil
	}
	done, keepErr := c.keep()
	if err = errors.Join(err, keepErr); err != nil {
		return done, fmt.Errorf("compiling modules: %w", err)
	}
	return done, nil
}

// maxAsked is how many sources may be on their way to the compiler: more than fit into a pipe.
const maxAsked = 1 << 12

// source is a module of one of the command's trees.
type source struct {
	module, tree string
}

// compiler sends sources to a process and takes its answers, which come in the same order.
type compiler struct {
	u         *Use
	asked     chan source
	partial   []byte
	collected map[string]*collection // by tree
	failed    error
}

// feed sends the sources. Its error says only that nobody reads them any more.
func (c *compiler) feed(ctx context.Context, to io.Writer, modules []string) error {
	defer close(c.asked)
	for _, m := range modules {
		tree, content, ok := c.u.find(m)
		if !ok {
			continue
		}
		select {
		case c.asked <- source{m, tree}:
		case <-ctx.Done():
			return nil
		}
		request := frame(frame(nil, []byte("/"+m)), content)
		if _, err := to.Write(request); err != nil {
			return err
		}
	}
	return nil
}

func frame(b, data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

// find reads a module's source where it stands in the uppermost of the trees that has it.
func (u *Use) find(module string) (tree string, content []byte, ok bool) {
	for i := len(u.trees) - 1; i >= 0; i-- {
		f, err := os.OpenInRoot(u.trees[i], module)
		if err != nil {
			continue
		}
		content, err := readSource(f)
		return u.trees[i], content, errors.Join(err, f.Close()) == nil
	}
	return "", nil, false
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

// Write takes answers. Its error ends the process.
func (c *compiler) Write(p []byte) (int, error) {
	if c.failed != nil {
		return 0, c.failed
	}
	c.partial = append(c.partial, p...)
	for len(c.partial) >= 4 {
		n := int(binary.LittleEndian.Uint32(c.partial))
		if n > maxPyc {
			c.failed = fmt.Errorf("an answer of %d bytes", n)
			return 0, c.failed
		}
		if len(c.partial) < 4+n {
			break
		}
		if c.failed = c.take(c.partial[4 : 4+n]); c.failed != nil {
			return 0, c.failed
		}
		c.partial = c.partial[4+n:]
	}
	return len(p), nil
}

// take keeps the answer to the oldest request that has none.
func (c *compiler) take(pyc []byte) error {
	var s source
	select {
	case s = <-c.asked:
	default:
	}
	if s.tree == "" {
		return errors.New("an answer to no request")
	}
	if len(pyc) == 0 {
		return nil
	}
	col := c.collected[s.tree]
	if col == nil {
		var err error
		if col, err = c.u.c.collect(c.u.kept(s.tree)); err != nil {
			return err
		}
		c.collected[s.tree] = col
	}
	col.fresh++
	return col.add(s.module, pyc)
}

// keep puts what was compiled into the cache, and says how much that is.
func (c *compiler) keep() (done int, err error) {
	for tree, col := range c.collected {
		if c.failed != nil {
			col.w.Abort()
			continue
		}
		blob, commitErr := col.w.Commit("")
		if commitErr == nil {
			commitErr = c.u.keep(tree, kept{blob, col.modules})
		}
		if err = errors.Join(err, commitErr); commitErr == nil {
			done += col.fresh
		}
	}
	return done, errors.Join(err, c.failed)
}
