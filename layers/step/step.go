// Package step makes the layer of one [[tool.jubako.step]]: a command of the project runs in a sandbox, in the files of
// the layers below, and what it leaves at its outputs, beyond what it found there, becomes the layer.
//
// It imports layers, and of pkg what runs the command: step, with sandbox, rootfs and cas.
package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	run "github.com/jubako/jubako/pkg/step"
)

// Options says what runs, and in what. Paths are of the image: absolute, or below Workdir.
type Options struct {
	Name    string // also the layer's
	Workdir string // "/app"
	Venv    string // whose bin comes first in PATH; empty for none
	Command []string
	Dir     string   // where the command starts; Workdir when empty
	Output  []string // what comes back

	// Env is the image's environment, the base's first, and StepEnv what this command sees beyond it; "NAME=value" each, the
	// last of a name counts. Values of StepEnv are struck out of what the command prints.
	Env, StepEnv []string
	// Secrets names what the command sees and nothing else does; ReadSecrets gives the values, and is asked only when the
	// command runs.
	Secrets     []string
	ReadSecrets func() ([]run.Secret, error)
	Network     bool
	Writable    []string // folders made for the command

	UID, GID int   // the owner of what lies below Workdir; all else is root's
	Epoch    int64 // SOURCE_DATE_EPOCH, in seconds

	// Lower gives the layers below, lowest first, each group with the layers that belong together (rootfs.Unpack). It is
	// asked only when the command runs. The first System of them are the system's, which no step may change. LowerKeys are
	// the keys or digests of the same layers, and StepKeys those of all but the source's, in whose place stands what is the
	// same for every source; none where the command is not to be watched.
	Lower               func(ctx context.Context) ([]rootfs.Group, error)
	System              int
	LowerKeys, StepKeys []string

	Store   *cas.Store
	Rung    sandbox.Rung
	Timeout time.Duration // 0 is without bound
	Memory  int64         // bytes for each process; 0 is nine tenths of the machine's, or of its control group's
	// Log takes what the command prints, line by line; nil drops it. It is shown again, in part, when the command fails.
	Log io.Writer
	// Ran is told how the command was run, and Dropped what it wrote that does not come back, as absolute paths; either may
	// be nil.
	Ran     func(sandbox.Choice)
	Dropped func(paths []string)
}

// Layer is the layer of a step. It implements layers.Layer.
type Layer struct {
	o       Options
	env     []string
	summary string
	result  *run.Result
	looks   run.Looks
}

var _ layers.Watched = (*Layer)(nil)

// New makes the layer. The error is one of configuration.
func New(o Options) (*Layer, error) {
	o.Dir = run.Abs(o.Workdir, o.Dir)
	var outputs []string
	for _, out := range o.Output {
		out = run.Abs(o.Workdir, out)
		if err := run.CheckOutput(out, o.Workdir, o.Dir); err != nil {
			return nil, hint.Usage(fmt.Errorf("step %s: %w", o.Name, err))
		}
		outputs = append(outputs, out)
	}
	slices.Sort(outputs)
	o.Output = nil
	for _, out := range outputs { // each after those that it may lie in
		if !slices.ContainsFunc(o.Output, func(dir string) bool { return run.Within(out, dir) }) {
			o.Output = append(o.Output, out)
		}
	}
	writable := make([]string, len(o.Writable))
	for i, dir := range o.Writable {
		writable[i] = run.Abs(o.Workdir, dir)
	}
	o.Writable = writable
	bin := ""
	if o.Venv != "" {
		bin = run.Abs(o.Workdir, o.Venv) + "/bin"
	}
	return &Layer{o: o, env: run.Environment(o.Epoch, bin, o.Env, o.StepEnv), summary: strings.Join(o.Command, " ")}, nil
}

// Name is the step's.
func (l *Layer) Name() string { return l.o.Name }

// Summary is the command, and the number of files once it has run.
func (l *Layer) Summary() string { return l.summary }

// Key covers the command, its environment, what it runs in, and what of it comes back. Of secrets it covers the names
// alone: a digest of a value that may be short would let anybody who reads the image's annotations try values until one
// fits, and a salted one would make the keys of two machines differ. It covers neither the sandbox's rung nor the bounds of
// time and memory: all give the same files.
func (l *Layer) Key() layers.Key { return l.key("step", l.o.LowerKeys) }

// StepKey is Key but for the source.
func (l *Layer) StepKey() layers.Key { return l.key("step of any source", l.o.StepKeys) }

// Looked gives what the command has looked at.
func (l *Layer) Looked() ([]observed.Look, error) { return l.looks.All() }

func (l *Layer) key(kind string, lower []string) layers.Key {
	env := sha256.Sum256([]byte(strings.Join(l.env, "\x00")))
	return layers.KeyOf(kind, struct {
		Command         []string
		Dir, Env        string
		Output, Secrets []string
		Network         bool
		Writable, Lower []string
		UID, GID        int
	}{l.o.Command, l.o.Dir, hex.EncodeToString(env[:]), l.o.Output, l.o.Secrets, l.o.Network, l.o.Writable, lower, l.o.UID, l.o.GID})
}

// Tree runs the command. What it printed last, and what to do about it, is in the error when it fails: see step.Error of pkg.
func (l *Layer) Tree(ctx context.Context) (*fstree.Tree, error) {
	if err := l.Close(); err != nil {
		return nil, err
	}
	secrets, err := l.secrets()
	if err != nil {
		return nil, err
	}
	groups, err := l.o.Lower(ctx)
	if err != nil {
		return nil, err
	}
	trees, err := rootfs.Unpack(ctx, l.o.Store, groups, rootfs.Limits{})
	if err != nil {
		return nil, err
	}
	c := l.command(trees, secrets)
	c.Sparse = rootfs.SparseOf(groups)
	if l.result, err = run.Run(ctx, c); err != nil {
		return nil, err
	}
	if l.o.Ran != nil {
		l.o.Ran(l.result.Choice)
	}
	l.looks = run.Looks{}
	l.looks.Ran(l.result.Seen)
	tree := new(fstree.Tree)
	for _, out := range l.o.Output {
		if err := l.take(tree, out, trees[:min(l.o.System, len(trees))], secrets); err != nil {
			return nil, fmt.Errorf("taking what step %s wrote: %w", l.o.Name, err)
		}
	}
	for _, out := range l.o.Output {
		if err := l.looks.Took(l.result, out, tree); err != nil {
			return nil, fmt.Errorf("taking what step %s wrote: %w", l.o.Name, err)
		}
	}
	if l.o.Dropped != nil {
		dropped, err := l.result.Dropped(slices.Concat(l.o.Output, l.o.Writable))
		if err != nil {
			return nil, fmt.Errorf("looking what step %s wrote: %w", l.o.Name, err)
		}
		if len(dropped) > 0 {
			l.o.Dropped(dropped)
		}
	}
	files, _ := tree.Files()
	l.summary = fmt.Sprintf("%d files", files)
	if files == 1 {
		l.summary = "1 file"
	}
	return tree, nil
}

func (l *Layer) secrets() ([]run.Secret, error) {
	if len(l.o.Secrets) == 0 {
		return nil, nil
	}
	return l.o.ReadSecrets()
}

func (l *Layer) command(trees []string, secrets []run.Secret) run.Command {
	memory := l.memory()
	c := run.Command{Trees: trees, Argv: l.o.Command, Env: l.env, Dir: l.o.Dir, Secrets: slices.Clone(l.o.StepEnv), Writable: l.o.Writable, Network: l.o.Network, Watch: len(l.o.StepKeys) > 0,
		Timeout: l.o.Timeout, MemoryLimit: memory, Store: l.o.Store, Rung: l.o.Rung, Log: l.o.Log, Advice: l.advice(memory)}
	var env []string
	for _, s := range secrets {
		c.Secrets = append(c.Secrets, s.Name+"="+s.Value)
		if s.File {
			c.Files = append(c.Files, run.File{Path: run.SecretsDir + "/" + s.Name, Content: []byte(s.Value)})
		} else {
			env = append(env, s.Name+"="+s.Value)
		}
	}
	if len(env) > 0 {
		c.Env = run.Environment(l.o.Epoch, "", l.env, env)
	}
	return c
}

// take adds what stands at an output to the tree.
func (l *Layer) take(tree *fstree.Tree, out string, system []string, secrets []run.Secret) error {
	at, err := l.result.View().Resolve(out)
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Wrap(fmt.Errorf("there is nothing at %s", out), "let output name what the command makes: paths are below workdir, or absolute")
	}
	if err != nil {
		return err
	}
	if err := run.CheckOutput("/"+at.Path, l.o.Workdir, l.o.Dir); err != nil { // where symlinks lead
		return err
	}
	o := run.Taking{Producer: "step " + l.o.Name, Executables: true, System: system, Secrets: secrets}
	if run.Within("/"+at.Path, l.o.Workdir) {
		o.UID, o.GID = l.o.UID, l.o.GID
	}
	return l.result.Take(tree, out, o)
}

// Close removes what the command wrote.
func (l *Layer) Close() error {
	if l.result == nil {
		return nil
	}
	r := l.result
	l.result = nil
	return r.Close()
}
