// Package pep517 builds a wheel from a source tree by running the project's build backend (PEP 517) in the sandbox, with the
// image's own Python, without a network, in an environment that is the same on every machine. The wheel is then written anew
// in one canonical form, so that what a backend leaves to chance of a zip does not show.
//
// It imports pkg/hint, pkg/sandbox, pkg/rootfs and pkg/wheel, and what lies below.
package pep517

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/wheel"
)

//go:embed driver.py
var driver string

// Format is part of every build's key. It changes with anything here that changes a wheel's bytes.
const Format = 1

// The places of a build in its tree. They are the same everywhere, since compilers and backends write paths into what they
// make.
const (
	SourceRoot = "/build"               // a source lies in a folder below it
	EnvPath    = "/opt/jubako-build"    // the environment of build requirements
	outDir     = "/build/.jubako/wheel" // where the backend leaves the wheel
	resultFile = "/build/.jubako/result.json"
)

// buildTime is SOURCE_DATE_EPOCH of every build: the first time that a zip can hold. The image's own would build every wheel
// anew for each image.
const buildTime = 315532800

// Hooks of a backend.
const (
	hookWheel    = "build_wheel"
	hookEditable = "build_editable"
)

// Build says what is built, and in what.
type Build struct {
	Project  string // name and version, for messages
	System   System
	Source   string   // image path of the source tree, below SourceRoot for what is not editable
	Editable bool     // PEP 660: a wheel that points to Source
	Trees    []string // the whole tree, lowest first, Source and EnvPath in it
	// Env is the base's environment, "NAME=value" each; BuildEnv what a build sees beyond it. Values of BuildEnv are struck out
	// of what the backend prints.
	Env, BuildEnv []string
	Settings      map[string]any // config-settings
	Rung          sandbox.Rung
	Timeout       time.Duration // 0 is without bound
	TempDir       func(pattern string) (string, error)
	Log           io.Writer // takes what the backend prints; nil drops it
	Ran           func(sandbox.Choice)
}

// environment is all that the backend sees.
func (b *Build) environment() []string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kv := range b.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	for name, value := range map[string]string{
		"HOME": "/tmp", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC",
		"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8:backslashreplace", "PYTHONNOUSERSITE": "1",
		"SOURCE_DATE_EPOCH": strconv.Itoa(buildTime), "VIRTUAL_ENV": EnvPath, "PATH": EnvPath + "/bin:" + env["PATH"],
	} {
		env[name] = value
	}
	for _, kv := range b.BuildEnv {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// hook runs one hook, and hands its result to use while what it wrote is still there.
func (b *Build) hook(ctx context.Context, name string, use func(view rootfs.View, result []byte) error) (err error) {
	path0 := b.System.Path
	if path0 == nil {
		path0 = []string{}
	}
	request, err := json.Marshal(map[string]any{
		"backend": b.System.Backend, "path": path0, "source": b.Source, "hook": name, "settings": b.Settings, "out": outDir, "result": resultFile,
	})
	if err != nil {
		return err
	}
	rec := newRecorder(b.Log, b.BuildEnv)
	res, err := sandbox.Run(ctx, sandbox.Command{
		Trees: b.Trees, Argv: []string{EnvPath + "/bin/python", "-c", driver, string(request)}, Env: b.environment(), Dir: b.Source,
		Writable: []string{path.Dir(resultFile)}, Timeout: b.Timeout, Stdout: rec, Stderr: rec, Rung: b.Rung, TempDir: b.TempDir,
	})
	if err != nil {
		return b.explain(ctx, name, err, rec)
	}
	defer func() { err = errors.Join(err, res.Close()) }()
	if b.Ran != nil {
		b.Ran(res.Choice)
	}
	result, err := read(res.View(), resultFile)
	if err != nil {
		return fmt.Errorf("building %s: the backend %s ended without a result: %w", b.Project, b.System.Backend, err)
	}
	return use(res.View(), result)
}

// maxResult bounds a hook's result in bytes.
const maxResult = 1 << 20

func read(view rootfs.View, file string) ([]byte, error) {
	f, err := open(view, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxResult+1))
	if err == nil && len(b) > maxResult {
		err = fmt.Errorf("it has more than %d bytes", maxResult)
	}
	return b, err
}

// open opens a file that the backend has written. What it has put there is its own affair: links are followed within the
// tree, and nothing but a file is opened.
func open(view rootfs.View, file string) (*os.File, error) {
	n, err := view.Resolve(file)
	if err != nil {
		return nil, err
	}
	if !n.Info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: file, Err: errors.New("it is no file")}
	}
	return os.Open(n.Real())
}

// Requires asks the backend what else it needs to build this project (get_requires_for_build_wheel).
func (b *Build) Requires(ctx context.Context) (all []string, err error) {
	hook := "get_requires_for_" + hookWheel
	if b.Editable {
		hook = "get_requires_for_" + hookEditable
	}
	err = b.hook(ctx, hook, func(_ rootfs.View, result []byte) error {
		if err := json.Unmarshal(result, &all); err != nil {
			return fmt.Errorf("building %s: the result of %s: %w", b.Project, hook, err)
		}
		return nil
	})
	return all, err
}

// Wheel builds the wheel and writes it to w in its canonical form. check looks at the wheel first.
func (b *Build) Wheel(ctx context.Context, w io.Writer, check func(*wheel.Archive) error) (wheel.Filename, error) {
	hook := hookWheel
	if b.Editable {
		hook = hookEditable
	}
	var filename wheel.Filename
	err := b.hook(ctx, hook, func(view rootfs.View, result []byte) (err error) {
		var name string
		if err := json.Unmarshal(result, &name); err != nil {
			return fmt.Errorf("building %s: the result of %s: %w", b.Project, hook, err)
		}
		if filename, err = wheel.ParseFilename(name); err != nil {
			return fmt.Errorf("building %s: %w", b.Project, err)
		}
		f, err := open(view, path.Join(outDir, name))
		if err != nil {
			return fmt.Errorf("building %s: the backend names a wheel that it has not made: %w", b.Project, err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		archive, err := wheel.Open(f, fi.Size(), name)
		if err != nil {
			return fmt.Errorf("building %s: %w", b.Project, err)
		}
		if err := check(archive); err != nil {
			return fmt.Errorf("building %s: %w", b.Project, err)
		}
		return wheel.Rewrite(w, archive)
	})
	return filename, err
}

// Error says that a backend failed, with what it printed last.
type Error struct {
	Project, Backend, Hook string
	Err                    error
	Output                 []string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "building %s: its backend %s failed in %s: %v", e.Project, e.Backend, e.Hook, e.Err)
	for _, line := range e.Output {
		b.WriteString("\n  | " + line)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// explain makes an *Error of a backend's failure, with the remedy where the cause is known.
func (b *Build) explain(ctx context.Context, hook string, err error, rec *recorder) error {
	if ctx.Err() != nil {
		return err
	}
	lines := rec.lastLines(keptLines)
	e := &Error{Project: b.Project, Backend: b.System.Backend, Hook: hook, Err: err, Output: lines[max(0, len(lines)-shownLines):]}
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		return hint.Wrap(e, "allow user namespaces on this machine, or build as root in a container, or build the wheel elsewhere and name its folder with --find-links")
	}
	if errors.Is(err, sandbox.ErrTimeout) {
		return hint.Wrap(e, "does it wait for a network that it does not have, or for an answer?")
	}
	if remedy := diagnose(lines); remedy != "" {
		return hint.Wrap(e, "%s", remedy)
	}
	return hint.Wrap(e, "-v shows all that it printed; a wheel built elsewhere can be taken from a folder with --find-links")
}
