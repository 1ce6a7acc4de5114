// Package bytecode makes layers of compiled Python: for each .py file of some other layers, what the interpreter would
// write into __pycache__, as a hash-based pyc that it takes without a look at the source (PEP 552). The image's own Python
// compiles, in the sandbox, each file in a process of its own, so that the bytes depend on the file and the interpreter
// alone; compile.py says why.
//
// It imports layers, and of pkg what runs the command: step, with sandbox, rootfs and cas.
package bytecode

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/step"
)

//go:embed compile.py
var script string

// timeout bounds one layer's compilation: sympy, among the largest packages there are, takes a minute of one core.
const timeout = time.Hour

// Options says what is compiled, and by what.
type Options struct {
	// Python is the interpreter's image path, and Version its full version, which the bytes depend on.
	Python, Version string
	// Optimize is what PYTHONOPTIMIZE is in the image: it decides which of the files the interpreter looks for.
	Optimize string
	// Env is what the interpreter needs of the image's environment to start: LD_LIBRARY_PATH, PYTHONHOME.
	Env []string
	// Top is the absolute image path below which files are compiled, but for those in Excluded: folders in which the
	// service may change a source, which the interpreter would not see.
	Top      string
	Excluded []string
	UID, GID int
	Epoch    int64
	// System gives the layers that the interpreter lies in, lowest first, and Sources those that are compiled. They are
	// asked only when something is to be compiled. SourceKeys are the keys or digests of Sources' layers.
	System, Sources func() ([]rootfs.Group, error)
	SourceKeys      []string

	// Of is what the layer is compiled from, and Whole what all layers of the name are, for a person.
	Of, Whole string
	Jobs      int // processes at a time; the number of processors where it is 0
	Store     *cas.Store
	Rung      sandbox.Rung
	// Ran is told how the compiler was run, and Skipped which files do not compile, each with the reason, and how many there
	// are: the list has the first alone.
	Ran     func(sandbox.Choice)
	Skipped func(files []string, count int)
}

// Layer is the bytecode of some layers. It implements layers.Layer.
type Layer struct {
	o       Options
	summary string
	result  *step.Result
}

var _ layers.Part = (*Layer)(nil)

// New describes the layer.
func New(o Options) *Layer {
	if o.Jobs <= 0 {
		o.Jobs = runtime.NumCPU()
	}
	o.Excluded = slices.Sorted(slices.Values(o.Excluded))
	return &Layer{o: o, summary: "of " + o.Of}
}

// Name is "bytecode".
func (l *Layer) Name() string { return "bytecode" }

// Summary says of what it is, and how many files once they are made.
func (l *Layer) Summary() string { return l.summary }

// Whole says what the layers of the name are together.
func (l *Layer) Whole() string { return l.o.Whole }

// Key covers the sources, the interpreter's version and how it is asked. Where two interpreters of one version differ, as
// on two architectures, they compile to the same bytes, which is what the format is for.
func (l *Layer) Key() layers.Key {
	sum := sha256.Sum256([]byte(script))
	return layers.KeyOf("bytecode", struct {
		Script, Version, Optimize, Top string
		Excluded, Sources              []string
		UID, GID                       int
	}{hex.EncodeToString(sum[:]), l.o.Version, l.o.Optimize, l.o.Top, l.o.Excluded, l.o.SourceKeys, l.o.UID, l.o.GID})
}

// Tree compiles.
func (l *Layer) Tree(ctx context.Context) (*fstree.Tree, error) {
	if err := l.Close(); err != nil {
		return nil, err
	}
	tree := new(fstree.Tree)
	sources, err := l.o.Sources()
	if err != nil {
		return nil, err
	}
	system, err := l.o.System()
	if err != nil {
		return nil, err
	}
	trees, err := rootfs.Unpack(ctx, l.o.Store, slices.Concat(system, sources), rootfs.Limits{})
	if err != nil {
		return nil, err
	}
	at, err := rootfs.NewView(trees...).Resolve(l.o.Top)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !at.Info.IsDir() {
		return tree, nil // these layers have nothing there
	}
	if err != nil {
		return nil, err
	}
	if err := l.compile(ctx, trees); err != nil {
		return nil, err
	}
	return tree, l.take(tree)
}

func (l *Layer) compile(ctx context.Context, trees []string) error {
	type arguments struct {
		Jobs     int      `json:"jobs"`
		Tops     []string `json:"tops"`
		Excluded []string `json:"excluded"`
	}
	args, err := json.Marshal(arguments{l.o.Jobs, []string{l.o.Top}, append([]string{}, l.o.Excluded...)})
	if err != nil {
		return err
	}
	env := []string{"PYTHONHASHSEED=0", "LANG=C.UTF-8"}
	if l.o.Optimize != "" {
		env = append(env, "PYTHONOPTIMIZE="+l.o.Optimize)
	}
	said := &skips{}
	// No site, no user's site, no pyc of the standard library's: the state that all children begin with is the same everywhere.
	c := step.Command{Trees: trees, Argv: []string{l.o.Python, "-S", "-s", "-B", "-c", script, string(args)}, Title: path.Base(l.o.Python) + " -c compile",
		Env: step.Environment(l.o.Epoch, "", l.o.Env, env), Dir: "/", Timeout: timeout, Store: l.o.Store, Rung: l.o.Rung, Stdout: said,
		Advice: step.Advice{Table: "[tool.jubako]", Without: "leave it out with [tool.jubako] bytecode = false", Workdir: l.o.Top}}
	if l.result, err = step.Run(ctx, c); err != nil {
		return err
	}
	if l.o.Ran != nil {
		l.o.Ran(l.result.Choice)
	}
	if said.count > 0 && l.o.Skipped != nil {
		l.o.Skipped(said.files, said.count)
	}
	return nil
}

// take adds the compiled files to the tree, and nothing else.
func (l *Layer) take(tree *fstree.Tree) error {
	entries, err := l.result.Output(l.o.Top)
	if err != nil {
		return err
	}
	files := 0
	for _, e := range entries {
		if e.Kind != fstree.File || path.Base(path.Dir(e.Path)) != "__pycache__" || !strings.HasSuffix(e.Path, ".pyc") {
			continue
		}
		dir := fstree.Entry{Path: path.Dir(e.Path), Kind: fstree.Dir, Mode: 0o755, UID: l.o.UID, GID: l.o.GID, Producer: "bytecode"}
		e.Mode, e.UID, e.GID, e.Producer = 0o644, l.o.UID, l.o.GID, "bytecode"
		if err := errors.Join(tree.Add(dir), tree.Add(e)); err != nil {
			return err
		}
		files++
	}
	l.summary = fmt.Sprintf("%d files of %s", files, l.o.Of)
	return nil
}

// Close removes what the compiler wrote.
func (l *Layer) Close() error {
	if l.result == nil {
		return nil
	}
	r := l.result
	l.result = nil
	return r.Close()
}

// skips reads the compiler's answers, a JSON list of two strings a line: a file that does not compile, and why.
type skips struct {
	partial []byte
	files   []string
	count   int
}

const (
	shownSkips = 20
	maxAnswer  = 16 << 10 // bytes of a line
)

var _ io.Writer = (*skips)(nil)

// Write never fails: what cannot be understood is passed over.
func (s *skips) Write(p []byte) (int, error) {
	s.partial = append(s.partial, p...)
	for {
		line, rest, ok := strings.Cut(string(s.partial), "\n")
		if !ok {
			if len(s.partial) > maxAnswer {
				s.partial = nil
			}
			return len(p), nil
		}
		s.partial = []byte(rest)
		var answer [2]string
		if json.Unmarshal([]byte(line), &answer) != nil {
			continue
		}
		if s.count++; len(s.files) < shownSkips {
			s.files = append(s.files, answer[0]+": "+answer[1])
		}
	}
}
