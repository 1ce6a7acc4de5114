// Package step runs one command of a project in the files of its image, and takes what it made: it puts together the
// environment that a command sees, strikes secrets out of what it prints and keeps the end of it, explains a failure, and
// turns what stands at an output into a layer's tree, normalised, so that two runs give the same bytes.
//
// collectstatic, the steps of [[tool.jubako.step]], bytecode and the building of sdists all run by it. It knows nothing of
// layers and their keys. It imports sandbox and rootfs, fstree, cas and hint.
package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// Command is one command, and what it runs in.
type Command struct {
	// Trees are unpacked layers, lowest first, as rootfs.Unpack gives them. They are never written to.
	Trees []string
	// Sparse are those of them that are laid out as far as the command looks at them (rootfs.SparseOf).
	Sparse rootfs.Sparses
	Argv   []string
	Title  string   // what an error calls the command; Argv's words when empty
	Dir    string   // an absolute image path; "/" when empty
	Env    []string // all that the command sees, as Environment makes it
	// Secrets are "NAME=value" each; the values are struck out of what the command prints, and their names put there.
	Secrets []string
	// Files are there for the command's time alone.
	Files []File
	// Writable are absolute image paths of folders made for the command.
	Writable    []string
	Network     bool
	Watch       bool          // asks for what the command looks at: see sandbox.Command
	Timeout     time.Duration // 0 is without bound
	MemoryLimit int64         // bytes for each process; 0 is without bound, see sandbox.Command

	Store *cas.Store
	Rung  sandbox.Rung
	// Log takes what the command prints, line by line; nil drops it. It is shown again, in part, when the command fails.
	Log io.Writer
	// Stdout takes standard output in its place, with nothing struck out; nil leaves it to Log.
	Stdout io.Writer
	// Heard takes all that the command prints beside Log, with nothing struck out; nil is fine. It does not see what Stdout takes.
	Heard io.Writer
	// Shown is a folder of this machine that it finds: see sandbox.Command.
	Shown  sandbox.Shown
	Advice Advice
}

// Result is a command that ended with exit code 0. Close frees what it wrote.
type Result struct {
	*sandbox.Result
	lower rootfs.View
	argv  []string
	files *laidOut // of Command.Files; nil for none
}

// Run runs the command to its end. A failure of the command itself is an *Error, with the remedy where the cause is
// known; the end of ctx is ctx's error.
func Run(ctx context.Context, c Command) (_ *Result, err error) {
	r := &Result{argv: c.Argv}
	trees := slices.Clone(c.Trees)
	if len(c.Files) > 0 {
		if r.files, err = layOut(c.Store, c.Files); err != nil {
			return nil, err
		}
		trees = append(trees, r.files.tree())
	}
	r.lower = rootfs.NewView(trees...).With(c.Sparse)
	rec := NewRecorder(c.Log, c.Secrets)
	var out io.Writer = rec
	if c.Heard != nil {
		out = io.MultiWriter(rec, c.Heard)
	}
	sc := sandbox.Command{Trees: trees, Sparse: c.Sparse, Shown: c.Shown, Argv: c.Argv, Env: c.Env, Dir: c.Dir, Writable: c.Writable, Network: c.Network, Timeout: c.Timeout,
		MemoryLimit: c.MemoryLimit, Watch: c.Watch, Stdout: out, Stderr: out, Rung: c.Rung, TempDir: c.Store.TempDir}
	if c.Stdout != nil {
		sc.Stdout = c.Stdout
	}
	r.Result, err = sandbox.Run(ctx, sc)
	rec.LastLines(0) // the line that was being written is logged, however the command ends
	if err != nil {
		return nil, errors.Join(c.explain(ctx, err, rec), r.removeFiles())
	}
	return r, nil
}

// Close removes what the command wrote. It may be called more than once.
func (r *Result) Close() error {
	return errors.Join(r.Result.Close(), r.removeFiles())
}

// Abs makes an image path absolute: p itself, or below workdir.
func Abs(workdir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(workdir, p)
}

// Within says whether p is dir or lies below it; both are clean and absolute.
func Within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// CheckOutput refuses what cannot come back of a command: a folder that holds the project itself, which stands at workdir
// and where the command starts, or one that exists only for the command's time. All are absolute.
func CheckOutput(output, workdir, dir string) error {
	if Within(dir, output) || Within(workdir, output) {
		return fmt.Errorf("the output %s holds the project itself", output)
	}
	for _, dir := range []string{"/proc", "/dev", "/sys", "/tmp", SecretsDir} {
		if Within(output, dir) {
			return fmt.Errorf("the output %s lies in %s, which is no part of an image", output, dir)
		}
	}
	return nil
}

// Environment is all that a command sees, sorted: nothing of this machine's. Of the lists, "NAME=value" each, the last of
// a name counts. bin, unless empty, is the folder of the venv's programs, which comes first in PATH.
func Environment(epoch int64, bin string, lists ...[]string) []string {
	env := map[string]string{
		"HOME":                    "/tmp",
		"LANG":                    "C.UTF-8",
		"PATH":                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"PYTHONDONTWRITEBYTECODE": "1",
		"PYTHONHASHSEED":          "0",
		"SOURCE_DATE_EPOCH":       strconv.FormatInt(epoch, 10),
	}
	for _, kv := range slices.Concat(lists...) {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	if bin != "" && env["PATH"] != bin && !strings.HasPrefix(env["PATH"], bin+":") {
		env["PATH"] = bin + ":" + env["PATH"]
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
