// Command jubako assembles OCI images for Python web projects, without a daemon, without root, and without Docker.
//
// This package is the only place that knows cobra, the environment, the clock and exit codes. main.go holds what the
// verbs share; each verb has a file of its own; terminal.go prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/sandbox"
)

// version is set by the linker.
var version = "unknown"

func main() {
	sandbox.Main() // does not return in the process that becomes a step
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
	if os.Getenv("GOGC") == "" {
		collectLate()
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// softMemory is how much the collector lets garbage fill before it works harder, in bytes. The live heap of a build is well below
// it, however large its wheels are; without it a build of many cores or connections takes twice its live heap and more.
const softMemory = 72 << 20

// collectLate lets the collector begin when the heap is latePercent of the 4 MB at which it would. A command that changes little
// ends before that, and has no use for it. Afterwards it works as ever.
func collectLate() {
	const latePercent = 200
	usual := debug.SetGCPercent(latePercent)
	runtime.AddCleanup(new([64]byte), func(percent int) { debug.SetGCPercent(percent) }, usual)
}

// exitInterrupted is what a shell expects of a program that SIGINT ended.
const exitInterrupted = 130

// endingSignals are what ends a command in order. To ask for SIGHUP would bring it back where nohup has it ignored.
func endingSignals() []os.Signal {
	all := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// run is main, as a test can call it.
func run(args []string, stdout io.Writer, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), endingSignals()...)
	defer stop()
	a := &app{stdin: os.Stdin, stdout: stdout, stderr: stderr, now: time.Now, lookupEnv: os.LookupEnv}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if a.term == nil {
		err = a.misused(cmd, args, err)
	}
	a.term.finish()
	status, ranAnother := errors.AsType[exitStatus](err)
	switch {
	case err == nil:
		return 0
	case ranAnother:
		return int(status)
	case ctx.Err() != nil:
		a.term.fail(errors.New("interrupted; nothing was left half-written"), "")
		return exitInterrupted
	default:
		a.term.fail(a.namingVariables(err), hint.Of(err))
		return int(hint.KindOf(err))
	}
}

// app is what the verbs share: the streams, the environment, and the flags that every verb has.
type app struct {
	stdin     *os.File
	stdout    io.Writer
	stderr    *os.File
	now       func() time.Time
	lookupEnv func(string) (string, bool)
	fromEnv   map[string]string // the variables that gave flags their values, by the flags as messages name them: "--tag", "-t"
	term      *terminal

	quiet, verbose   bool
	logFormat, color string
	cacheDir         string
	plainHTTP        []string
	mirrors          []string
}

const longHelp = `jubako assembles container images for Python web projects.

It reads pyproject.toml and uv.lock (or pylock.toml, or requirements.txt with hashes), writes the
layers itself, and pushes the image to a registry or into an archive. It needs no Docker, no daemon, no root and no Python.

Exit codes: 0 done · 1 the build failed · 2 usage or configuration · 3 registry or network ·
4 a verification or a lint with --strict did not hold · 130 interrupted, nothing half-written.

Every flag can be given in the environment: --cache-dir is JUBAKO_CACHE_DIR. The --format of inspect
and diff is JUBAKO_INSPECT_FORMAT and JUBAKO_DIFF_FORMAT, since JUBAKO_FORMAT is that of build.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "jubako",
		Short:         "Container images for Python web projects, without Docker",
		Long:          longHelp,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(a.flagsFromEnv(cmd.Flags()), a.setUpTerminal())
		},
	}
	p := root.PersistentFlags()
	p.BoolVarP(&a.quiet, "quiet", "q", false, "print warnings and errors only")
	p.BoolVarP(&a.verbose, "verbose", "v", false, "print the reasons as well")
	p.StringVar(&a.logFormat, "log-format", "text", "text or json, on stderr")
	p.StringVar(&a.color, "color", "auto", "auto, always or never")
	p.StringVar(&a.cacheDir, "cache-dir", "", "the cache's folder (default $XDG_CACHE_HOME/jubako)")
	p.StringArrayVar(&a.plainHTTP, "plain-http", nil, "a registry `HOST` without TLS, repeatable; loopback needs no flag")
	p.StringArrayVar(&a.mirrors, "registry-mirror", nil, "`REGISTRY=MIRROR`: ask the mirror in place of the registry, repeatable")
	root.AddCommand(a.buildCmd(), a.planCmd(), a.runCmd(), a.pushCmd(), a.inspectCmd(), a.diffCmd(), a.verifyCmd(), a.lockCmd(), a.registryCmd(),
		a.loginCmd(), a.logoutCmd(), a.cacheCmd(), a.versionCmd())
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	refuseUnknownWords(root)
	return root
}

// setUpTerminal makes the terminal, and checks the flags that say how to print.
func (a *app) setUpTerminal() error {
	_, noColor := a.lookupEnv("NO_COLOR")
	a.term = newTerminal(a.stderr, terminalOptions{format: a.logFormat, color: a.color, quiet: a.quiet, detail: a.verbose, noColorEnv: noColor, now: a.now})
	if a.logFormat != "text" && a.logFormat != "json" {
		return hint.Usage(fmt.Errorf("--log-format is text or json, not %q", a.logFormat))
	}
	if a.color != "auto" && a.color != "always" && a.color != "never" {
		return hint.Usage(fmt.Errorf("--color is auto, always or never, not %q", a.color))
	}
	return nil
}

// env gives a variable's value, "" where it is not set.
func (a *app) env(name string) string {
	v, _ := a.lookupEnv(name)
	return v
}

// store opens the cache.
func (a *app) store() (*cas.Store, error) {
	dir, err := a.storeDir()
	if err != nil {
		return nil, err
	}
	s, err := cas.Open(dir)
	return s, hint.Wrap(err, "name another folder with --cache-dir or JUBAKO_CACHE_DIR")
}

// storeDir is $XDG_CACHE_HOME/jubako, or what the person chose.
func (a *app) storeDir() (string, error) {
	if a.cacheDir != "" {
		return filepath.Abs(a.cacheDir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", hint.Usage(hint.Wrap(fmt.Errorf("choosing the cache's folder: %w", err), "set HOME, XDG_CACHE_HOME, or --cache-dir"))
	}
	return filepath.Join(dir, "jubako"), nil
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "jubako %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
