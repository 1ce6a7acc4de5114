// Package pep517 builds a wheel from a source tree by running the project's build backend (PEP 517) in the sandbox, with the
// image's own Python, without a network, in an environment that is the same on every machine. The wheel is then written anew
// in one canonical form, so that what a backend leaves to chance of a zip does not show.
//
// It imports pkg/step and pkg/wheel, and what lies below.
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
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/step"
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

// Time is SOURCE_DATE_EPOCH of every build, in seconds since 1970: the first time that a zip can hold. The image's own would
// build every wheel anew for each image.
const Time = 315532800

// Hooks of a backend.
const (
	hookWheel    = "build_wheel"
	hookEditable = "build_editable"
)

// Build says what is built, and in what.
type Build struct {
	System   System
	Source   string   // image path of the source tree
	Editable bool     // PEP 660: a wheel that points to Source
	Trees    []string // the whole tree, lowest first, Source and EnvPath in it
	// Env is the base's environment, "NAME=value" each; BuildEnv what a build sees beyond it. Values of BuildEnv are struck out
	// of what the backend prints.
	Env, BuildEnv []string
	Settings      map[string]any // config-settings
	Rung          sandbox.Rung
	Timeout       time.Duration // 0 is without bound
	Store         *cas.Store
	Log           io.Writer // takes what the backend prints; nil drops it
	Ran           func(sandbox.Choice)
}

// fixed is what every build sees, over what the base says.
var fixed = []string{
	"LC_ALL=C.UTF-8", "LANG=C.UTF-8", "TZ=UTC", "HOME=/tmp", "PYTHONIOENCODING=utf-8:backslashreplace", "PYTHONNOUSERSITE=1", "VIRTUAL_ENV=" + EnvPath,
}

// hook runs one hook, and hands its result to use while what it wrote is still there.
func (b *Build) hook(ctx context.Context, name string, use func(res *step.Result, result []byte) error) (err error) {
	request, err := json.Marshal(map[string]any{
		"backend": b.System.Backend, "path": append([]string{}, b.System.Path...), "source": b.Source, "hook": name, "settings": b.Settings,
		"out": outDir, "result": resultFile,
	})
	if err != nil {
		return err
	}
	res, err := step.Run(ctx, step.Command{
		Trees: b.Trees, Argv: []string{EnvPath + "/bin/python", "-c", driver, string(request)}, Title: name + " of " + b.System.Backend, Dir: b.Source,
		Env: step.Environment(Time, EnvPath+"/bin", b.Env, fixed, b.BuildEnv), Secrets: b.BuildEnv, Writable: []string{path.Dir(resultFile)},
		Timeout: b.Timeout, Store: b.Store, Rung: b.Rung, Log: b.Log, Advice: advice(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Close()) }()
	if b.Ran != nil {
		b.Ran(res.Choice)
	}
	result, err := read(res.View(), resultFile)
	if err != nil {
		return fmt.Errorf("the backend %s ended without a result: %w", b.System.Backend, err)
	}
	return use(res, result)
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
	err = b.hook(ctx, hook, func(_ *step.Result, result []byte) error {
		if err := json.Unmarshal(result, &all); err != nil {
			return fmt.Errorf("the result of %s: %w", hook, err)
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
	err := b.hook(ctx, hook, func(res *step.Result, result []byte) (err error) {
		if err := b.checkSource(res); err != nil {
			return err
		}
		view := res.View()
		var name string
		if err := json.Unmarshal(result, &name); err != nil {
			return fmt.Errorf("the result of %s: %w", hook, err)
		}
		if filename, err = wheel.ParseFilename(name); err != nil {
			return err
		}
		f, err := open(view, path.Join(outDir, name))
		if err != nil {
			return fmt.Errorf("the backend names a wheel that it has not made: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		archive, err := wheel.Open(f, fi.Size(), name)
		if err != nil {
			return err
		}
		if err := check(archive); err != nil {
			return err
		}
		return wheel.Rewrite(w, archive)
	})
	return filename, err
}

// checkSource refuses an editable build that compiles extensions into the source: of the source, only the wheel comes back.
func (b *Build) checkSource(res *step.Result) error {
	if !b.Editable {
		return nil
	}
	written, err := res.Output(b.Source)
	if err != nil {
		return err
	}
	for _, e := range written {
		if e.Kind == fstree.File && strings.HasSuffix(e.Path, ".so") && !strings.Contains(e.Path, "/build/") {
			return hint.Wrap(fmt.Errorf("its backend compiles /%s into the source, which an image that is editable would lack", e.Path), "build it into the environment with --no-editable")
		}
	}
	return nil
}
