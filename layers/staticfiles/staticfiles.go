// Package staticfiles makes the layer of the files that Django's collectstatic gathers. The project's own command runs
// in a sandbox, in the files of the layers below; what it leaves in STATIC_ROOT becomes the layer, and whatever else it
// writes is dropped.
//
// It imports layers, and of pkg what runs the command: step, with sandbox, rootfs, pycache and cas.
package staticfiles

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/pycache"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/step"
)

// Options says what runs, and in what. Paths are of the image: absolute, or below Workdir.
type Options struct {
	Workdir string   // "/app"
	Venv    string   // whose bin comes first in PATH: ".venv"; empty for none
	Manage  string   // "manage.py" or "src/manage.py"; empty where there is none
	Command []string // python MANAGE collectstatic --noinput when empty
	Dir     string   // where the command starts; Workdir when empty
	Output  string   // what comes back; Django is asked for STATIC_ROOT when empty

	// Env is the image's environment, the base's first, and BuildEnv what this command sees beyond it; "NAME=value" each,
	// the last of a name counts. Values of BuildEnv are struck out of what the command prints.
	Env, BuildEnv []string
	// Writable are folders made for the command.
	Writable []string

	UID, GID int   // the owner of the files
	Epoch    int64 // SOURCE_DATE_EPOCH, in seconds

	// Lower gives the layers below, lowest first, each group with the layers that belong together (rootfs.Unpack). It is
	// asked only when the command runs. LowerKeys are the keys or digests of the same layers, and StepKeys those of all but
	// the source's, in whose place stands what is the same for every source; none where the command is not to be watched.
	Lower               func(ctx context.Context) ([]rootfs.Group, error)
	LowerKeys, StepKeys []string

	// Python is the base's, for which the bytecode of what the command imports is kept; none where it has no path. Project
	// names whose command it is.
	Python  pycache.Interpreter
	Project string

	Store   *cas.Store
	Rung    sandbox.Rung
	Timeout time.Duration // 0 is without bound
	// Log takes what the command prints, line by line; nil drops it. It is shown again, in part, when the command fails.
	Log io.Writer
	// Ran is told how the command was run, when it was; nil is fine.
	Ran func(sandbox.Choice)
	// Bytecode is told of how many modules there was bytecode, of how many more it was compiled beside the command, and what went
	// wrong with it; nil is fine.
	Bytecode func(found, compiled int, err error)
}

// Layer is the staticfiles layer. It implements layers.Layer.
type Layer struct {
	o       Options
	env     []string
	summary string
	sparse  rootfs.Sparses // of the trees that it runs in
	result  *step.Result
	looks   step.Looks
}

var _ layers.Watched = (*Layer)(nil)

// New makes the layer. The error is one of configuration.
func New(o Options) (*Layer, error) {
	if o.Manage == "" && (o.Output == "" || len(o.Command) == 0) {
		err := errors.New("staticfiles: there is no manage.py, so that neither the command nor its output is known")
		return nil, hint.Usage(hint.Wrap(err, "set [tool.jubako] manage = \"…\", or staticfiles = false"))
	}
	if !path.IsAbs(o.Workdir) {
		return nil, fmt.Errorf("staticfiles: workdir %q is not absolute", o.Workdir)
	}
	if len(o.Command) == 0 {
		o.Command = []string{"python", o.Manage, "collectstatic", "--noinput"}
	}
	o.Dir = o.abs(o.Dir)
	if o.Output != "" {
		o.Output = o.abs(o.Output)
		if err := o.checkOutput(o.Output); err != nil {
			return nil, hint.Usage(err)
		}
	}
	for i, dir := range o.Writable {
		if i == 0 {
			o.Writable = slices.Clone(o.Writable)
		}
		o.Writable[i] = o.abs(dir)
	}
	return &Layer{o: o, env: o.environment(), summary: strings.Join(o.Command, " ")}, nil
}

// abs makes an image path absolute.
func (o *Options) abs(p string) string { return step.Abs(o.Workdir, p) }

func (o *Options) checkOutput(p string) error {
	if err := step.CheckOutput(p, o.Workdir, o.Dir); err != nil {
		return fmt.Errorf("staticfiles: %w", err)
	}
	return nil
}

// environment is all that the command sees: nothing of this machine's.
func (o *Options) environment() []string {
	bin := ""
	if o.Venv != "" {
		bin = o.abs(o.Venv) + "/bin"
	}
	return step.Environment(o.Epoch, bin, o.Env, o.BuildEnv)
}

// Name is "staticfiles".
func (l *Layer) Name() string { return "staticfiles" }

// Summary is the command, and the number of files once it has run.
func (l *Layer) Summary() string { return l.summary }

// Key covers the command, its environment, what it runs in, and what of it comes back. It does not cover the sandbox's
// rung: all give the same files.
func (l *Layer) Key() layers.Key { return l.key("staticfiles", l.o.LowerKeys) }

// StepKey is Key but for the source.
func (l *Layer) StepKey() layers.Key { return l.key("staticfiles of any source", l.o.StepKeys) }

// Looked gives what the command and the question for its output have looked at.
func (l *Layer) Looked() ([]observed.Look, error) { return l.looks.All() }

func (l *Layer) key(kind string, lower []string) layers.Key {
	env := sha256.Sum256([]byte(strings.Join(l.env, "\x00")))
	return layers.KeyOf(kind, struct {
		Command         []string
		Dir, Env        string
		Manage, Output  string
		Writable, Lower []string
		UID, GID        int
	}{l.o.Command, l.o.Dir, hex.EncodeToString(env[:]), l.o.Manage, l.o.Output, l.o.Writable, lower, l.o.UID, l.o.GID})
}

// Tree runs the command. What it printed last, and what to do about it, is in the error when it fails: see *Error.
func (l *Layer) Tree(ctx context.Context) (*fstree.Tree, error) {
	if err := l.Close(); err != nil {
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
	l.sparse = rootfs.SparseOf(groups)
	output, err := l.run(ctx, trees)
	if err != nil {
		return nil, err
	}
	tree, err := l.collect(output)
	if err != nil {
		return nil, fmt.Errorf("taking what %q wrote: %w", strings.Join(l.o.Command, " "), err)
	}
	files, _ := tree.Files()
	l.summary = fmt.Sprintf("%d files", files)
	return tree, nil
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

// run runs the command, and compiles modules beside it, on another core. Where the files go is what the command says, or what Django
// answers when it is asked.
func (l *Layer) run(ctx context.Context, trees []string) (output string, err error) {
	m := l.modules(trees)
	defer m.close()
	lower := m.trees(trees)
	beside, enough := context.WithCancel(ctx)
	var compiling sync.WaitGroup
	compiling.Go(func() { m.compile(beside) })
	c := l.command(lower, l.o.Command)
	c.Shown = m.shown()
	said := step.NewRecorder(nil, nil) // nothing is struck out of it: it may well be a value of the environment
	c.Heard = said
	l.result, err = step.Run(ctx, c)
	enough()
	compiling.Wait()
	if err != nil {
		return "", err
	}
	if l.o.Ran != nil {
		l.o.Ran(l.result.Choice)
	}
	l.looks = step.Looks{}
	m.remember(l.result.Seen)
	l.looks.Ran(without(l.result.Seen))
	if output = cmp.Or(l.o.Output, destination(said.LastLines(answerLines))); output == "" {
		c := l.command(lower, nil)
		c.Shown = m.shown()
		if output, err = l.askStaticRoot(ctx, c); err != nil {
			return "", err
		}
	}
	m.close()
	m.tell(&l.o)
	return output, l.o.checkOutput(output)
}

func (l *Layer) command(trees, argv []string) step.Command {
	env := l.env
	if l.o.Python.Path != "" {
		env = pycache.Env(env)
	}
	return step.Command{Trees: trees, Sparse: l.sparse, Argv: argv, Env: env, Dir: l.o.Dir, Secrets: l.o.BuildEnv, Writable: l.o.Writable, Timeout: l.o.Timeout,
		Watch: len(l.o.StepKeys) > 0, Store: l.o.Store, Rung: l.o.Rung, Log: l.o.Log, Advice: advice(l.o.Workdir)}
}

// collect makes the layer's tree of what the command left at the output.
func (l *Layer) collect(output string) (*fstree.Tree, error) {
	tree := new(fstree.Tree)
	err := l.result.Take(tree, output, step.Taking{UID: l.o.UID, GID: l.o.GID, Producer: "collectstatic"})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(fmt.Errorf("there is nothing at %s", output),
			"set [tool.jubako.staticfiles] output to the folder that the command fills, or staticfiles = false")
	}
	if err != nil {
		return nil, err
	}
	if err := l.looks.Took(l.result, output, tree); err != nil {
		return nil, err
	}
	if files, _ := tree.Files(); files == 0 {
		if any, err := l.result.HoldsFile(output); err != nil || !any {
			return nil, errors.Join(err, hint.Wrap(fmt.Errorf("%s holds no file", output),
				"is \"django.contrib.staticfiles\" among INSTALLED_APPS? Set [tool.jubako] staticfiles = false if there are none"))
		}
	}
	return tree, nil
}
