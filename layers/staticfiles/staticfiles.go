// Package staticfiles makes the layer of the files that Django's collectstatic gathers. The project's own command runs
// in a sandbox, in the files of the layers below; what it leaves in STATIC_ROOT becomes the layer, and whatever else it
// writes is dropped.
//
// It imports layers, and of pkg what runs the command: sandbox, rootfs, cas.
package staticfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
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
	// asked only when the command runs. LowerKeys are the keys or digests of the same layers.
	Lower     func(ctx context.Context) ([]rootfs.Group, error)
	LowerKeys []string

	Store   *cas.Store
	Rung    sandbox.Rung
	Timeout time.Duration // 0 is without bound
	// Log takes what the command prints, line by line; nil drops it. It is shown again, in part, when the command fails.
	Log io.Writer
	// Ran is told how the command was run, when it was; nil is fine.
	Ran func(sandbox.Choice)
}

// Layer is the staticfiles layer. It implements layers.Layer.
type Layer struct {
	o       Options
	env     []string
	summary string
	result  *sandbox.Result
}

var _ layers.Layer = (*Layer)(nil)

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
func (o *Options) abs(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(o.Workdir, p)
}

// checkOutput refuses what cannot come back: a folder that holds the project itself, or one that exists only for the
// command's time.
func (o *Options) checkOutput(p string) error {
	if within(o.Dir, p) || within(o.Workdir, p) {
		return fmt.Errorf("staticfiles: the output %s holds the project itself", p)
	}
	for _, dir := range []string{"/proc", "/dev", "/sys", "/tmp"} {
		if within(p, dir) {
			return fmt.Errorf("staticfiles: the output %s lies in %s, which is no part of an image", p, dir)
		}
	}
	return nil
}

// within says whether p is dir or lies below it; both are clean.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// environment is all that the command sees: nothing of this machine's.
func (o *Options) environment() []string {
	env := map[string]string{
		"HOME":                    "/tmp",
		"LANG":                    "C.UTF-8",
		"PATH":                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"PYTHONDONTWRITEBYTECODE": "1",
		"PYTHONHASHSEED":          "0",
		"SOURCE_DATE_EPOCH":       strconv.FormatInt(o.Epoch, 10),
	}
	for _, kv := range slices.Concat(o.Env, o.BuildEnv) {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	if o.Venv != "" {
		if bin := o.abs(o.Venv) + "/bin"; env["PATH"] != bin && !strings.HasPrefix(env["PATH"], bin+":") {
			env["PATH"] = bin + ":" + env["PATH"]
		}
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// Name is "staticfiles".
func (l *Layer) Name() string { return "staticfiles" }

// Summary is the command, and the number of files once it has run.
func (l *Layer) Summary() string { return l.summary }

// Key covers the command, its environment, what it runs in, and what of it comes back. It does not cover the sandbox's
// rung: all give the same files.
func (l *Layer) Key() layers.Key {
	env := sha256.Sum256([]byte(strings.Join(l.env, "\x00")))
	return layers.KeyOf("staticfiles", struct {
		Command         []string
		Dir, Env        string
		Manage, Output  string
		Writable, Lower []string
		UID, GID        int
	}{l.o.Command, l.o.Dir, hex.EncodeToString(env[:]), l.o.Manage, l.o.Output, l.o.Writable, l.o.LowerKeys, l.o.UID, l.o.GID})
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
	output, err := l.run(ctx, trees)
	if err != nil {
		return nil, err
	}
	tree, err := l.collect(rootfs.NewView(trees...), output)
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

// run runs the command, and beside it, on the other core, asks Django where the files go, if that is not known.
func (l *Layer) run(ctx context.Context, trees []string) (output string, err error) {
	var askErr error
	both, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	if output = l.o.Output; output == "" {
		g.Go(func() error {
			output, askErr = l.askStaticRoot(both, trees)
			return nil
		})
	}
	rec := newRecorder(l.o.Log, l.o.BuildEnv)
	l.result, err = sandbox.Run(ctx, l.command(trees, l.o.Command, rec))
	if err != nil {
		stop() // the command's own words say more
	}
	_ = g.Wait()
	if err != nil {
		return "", l.explain(ctx, l.o.Command, err, rec)
	}
	if l.o.Ran != nil {
		l.o.Ran(l.result.Choice)
	}
	if askErr != nil {
		return "", askErr
	}
	return output, l.o.checkOutput(output)
}

func (l *Layer) command(trees, argv []string, out io.Writer) sandbox.Command {
	return sandbox.Command{Trees: trees, Argv: argv, Env: l.env, Dir: l.o.Dir, Writable: l.o.Writable, Timeout: l.o.Timeout,
		Stdout: out, Stderr: out, Rung: l.o.Rung, TempDir: l.o.Store.TempDir}
}

// collect makes the layer's tree of what the command left at the output.
func (l *Layer) collect(lower rootfs.View, output string) (*fstree.Tree, error) {
	entries, err := l.result.Output(output)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(fmt.Errorf("there is nothing at %s", output),
			"set [tool.jubako.staticfiles] output to the folder that the command fills, or staticfiles = false")
	}
	if err != nil {
		return nil, err
	}
	after := l.result.View()
	at, err := after.Resolve(output)
	if err != nil {
		return nil, err
	}
	tree := new(fstree.Tree)
	for _, e := range entries {
		e.UID, e.GID, e.Producer = l.o.UID, l.o.GID, "collectstatic"
		switch e.Kind {
		case fstree.Dir:
			e.Mode = 0o755
		case fstree.File:
			e.Mode = 0o644
			if e.Content, err = normalise(e.Path, e.Content); err != nil {
				return nil, err
			}
		case fstree.Symlink:
			if err := checkLink(lower, after, at.Path, e); err != nil {
				return nil, err
			}
		}
		if err := tree.Add(e); err != nil {
			return nil, err
		}
	}
	if files, _ := tree.Files(); files == 0 {
		if any, err := holdsFile(at); err != nil || !any {
			return nil, errors.Join(err, hint.Wrap(fmt.Errorf("%s holds no file", output),
				"is \"django.contrib.staticfiles\" among INSTALLED_APPS? Set [tool.jubako] staticfiles = false if there are none"))
		}
	}
	return tree, nil
}

// checkLink refuses a symlink whose target the image will not hold.
func checkLink(lower, after rootfs.View, output string, e fstree.Entry) error {
	target, err := after.Resolve(e.Path)
	if err == nil && !within("/"+target.Path, "/"+output) {
		_, err = lower.Resolve(target.Path) // what was written elsewhere is dropped
	}
	if err != nil {
		return fmt.Errorf("/%s is a symlink to %s, which the image does not hold", e.Path, e.Link)
	}
	return nil
}

func holdsFile(n rootfs.Node) (bool, error) {
	if !n.Info.IsDir() {
		return true, nil
	}
	children, err := n.Children()
	if err != nil {
		return false, err
	}
	for _, c := range children {
		if any, err := holdsFile(c); any || err != nil {
			return any, err
		}
	}
	return false, nil
}
