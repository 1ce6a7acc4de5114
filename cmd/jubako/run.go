package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/runimage"
)

// runOptions are the flags of run.
type runOptions struct {
	env, publish         []string
	entrypoint           string
	entrypointGiven      bool
	network, health      bool
	healthTimeout, grace time.Duration
	sandbox              string
	args                 []string
}

// exitStatus is the exit code of a command that was run in the person's place, who has seen what it printed.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

const runHelp = `Start an image on this machine, without an engine, a daemon or root, in the sandbox that builds use: with the image's
Env, User, WorkingDir, Entrypoint and Cmd, in a scratch copy of its files. Nothing that it writes is kept, and when it ends
no process of it is left. What stands behind -- replaces the image's Cmd.

The image has a network of its own, without a way out. The ports that it exposes are opened on 127.0.0.1, under the same
numbers or those of -p; as with an engine, a service that listens on its own loopback alone is not reached. A service that
needs a database or another host takes --network, and shares this machine's network with all that listens in it.

Standard input, output and error are the command's own, and signals are passed on: SIGINT, SIGTERM and SIGHUP as the
image's stop signal, with SIGKILL after --stop-timeout or the second time. There is no terminal in it.

With --health no port is opened but those of -p; jubako asks the image's health check until it holds, and then stops the
image: exit code 0. It is asked about once a second; a failure counts as often as an engine would ask (interval, start
period, retries). When the service is unhealthy, or ends before, the exit code is 1, and what the check and the service
printed last is shown; -v shows all that the service prints.

What is not isolated, and how the image's user was had, one line says: it depends on what this machine allows.

` + sourceHelp + `

Exit codes: the command's own, or 128 and the number of the signal that ended it. With --health, or where the image
could not be started: 0 healthy · 1 unhealthy, or not started · 2 usage or configuration · 3 registry or network ·
130 interrupted; a line that starts with "jubako:" then says why.`

func (a *app) runCmd() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run SOURCE [-- ARG...]",
		Short: "Start an image here, without an engine; --health is a smoke test",
		Long:  runHelp,
		Example: `  jubako run --health -e SECRET_KEY=x registry.example.com/team/app:1.4
  jubako run -p 8080:8000 -e SECRET_KEY oci-archive:app.tar
  jubako run oci:out -- python manage.py check --deploy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.entrypointGiven = cmd.Flags().Changed("entrypoint")
			dash := cmd.ArgsLenAtDash()
			if dash < 0 {
				dash = len(args)
			}
			if dash != 1 {
				return hint.Wrap(hint.Usage(fmt.Errorf("run takes one SOURCE, and has %d", dash)), "arguments for the image stand behind --: jubako run SOURCE -- ARG…")
			}
			o.args = args[1:]
			return a.runImage(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.env, "env", "e", nil, "`NAME=VALUE` for the image, or NAME to take this process's value; repeatable")
	f.StringArrayVarP(&o.publish, "publish", "p", nil, "`HOST:CONTAINER`: a port of 127.0.0.1 for one of the image's, in place of those it exposes; HOST 0 is any free one; repeatable")
	f.StringVar(&o.entrypoint, "entrypoint", "", "a `PROGRAM` in place of the image's Entrypoint and Cmd")
	f.BoolVar(&o.network, "network", false, "share this machine's network")
	f.BoolVar(&o.health, "health", false, "wait until the health check holds, and stop: exit code 0 or 1")
	f.DurationVar(&o.healthTimeout, "health-timeout", 0, "how long to wait at most, such as 60s (default as the check's own retries say)")
	f.DurationVar(&o.grace, "stop-timeout", runimage.DefaultGrace, "how long it may take to stop; 0 kills it at once")
	f.StringVar(&o.sandbox, "sandbox", "auto", "how the image is isolated: auto, userns, chroot, ptrace, or loader (Python alone)")
	return cmd
}

func (a *app) runImage(ctx context.Context, source string, o *runOptions) (err error) {
	opts, err := a.runimageOptions(o)
	if err != nil {
		return err
	}
	if opts.Store, err = a.store(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opts.Store.Close()) }()
	opened, _, err := a.openSource(ctx, source, opts.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if opts.Image, err = imageHere(ctx, opened); err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, append(endingSignals(), syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)...)
	defer signal.Stop(signals)
	opts.Signals = signals
	code, err := runimage.Run(ctx, opts)
	if err != nil {
		return err
	}
	if o.health {
		a.term.finish()
		_, err = fmt.Fprintln(a.stdout, pinned(source, opened))
		return err
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// imageHere is the image for this machine; one for another is given too, and refused where it would be started.
func imageHere(ctx context.Context, opened *base.Opened) (*base.Image, error) {
	if opened.IsIndex() {
		return opened.Image(ctx, host())
	}
	return opened.Image(ctx, v1.Platform{})
}

func (a *app) runimageOptions(o *runOptions) (runimage.Options, error) {
	opts := runimage.Options{
		Host: host(), Args: o.args, Network: o.network, Health: o.health, HealthTimeout: o.healthTimeout, Grace: o.grace,
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		Report: func(name, text string) {
			a.term.report(assemble.Event{Kind: assemble.Note, Text: fmt.Sprintf("%-12s %s", name, text)})
		},
		Warn: func(text string) { a.term.report(assemble.Event{Kind: assemble.Warning, Text: text}) },
	}
	if o.health {
		opts.Stdin = nil
		opts.Stdout, opts.Stderr = nil, nil
		if a.verbose {
			opts.Stderr = a.stderr
		}
	}
	if o.healthTimeout < 0 || o.grace < 0 {
		return opts, hint.Usage(errors.New("--health-timeout and --stop-timeout take a time that is not negative"))
	}
	if o.healthTimeout > 0 && !o.health {
		return opts, hint.Usage(errors.New("--health-timeout says how long --health waits, which is not given"))
	}
	if o.entrypointGiven {
		opts.Entrypoint = &o.entrypoint
	}
	for _, kv := range o.env {
		if strings.Contains(kv, "=") {
			opts.Env = append(opts.Env, kv)
		} else if v, ok := a.lookupEnv(kv); ok {
			opts.Env = append(opts.Env, kv+"="+v)
		} else {
			return opts, hint.Wrap(hint.Usage(fmt.Errorf("-e %s: it is not set in this process's environment", kv)), "write -e %s=VALUE", kv)
		}
	}
	for _, s := range o.publish {
		p, err := runimage.ParsePort(s)
		if err != nil {
			return opts, err
		}
		opts.Ports = append(opts.Ports, p)
	}
	var err error
	opts.Rung, err = rung(o.sandbox)
	return opts, err
}
