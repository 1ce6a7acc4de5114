// Package runimage starts an image in pkg/sandbox as an engine would start a container of it: with its environment, user,
// folder and command, its ports on this machine's loopback, and its health check. Nothing of what it writes is kept.
//
// It imports base, imageconf, output (for the name of an annotation), accounts, rootfs and sandbox.
package runimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// DefaultGrace is how long a service may take to stop, as with Docker.
const DefaultGrace = 10 * time.Second

// Options says what to start, and how.
type Options struct {
	Image *base.Image
	Store *cas.Store // where its layers are unpacked
	// Host is this machine's platform: an image for another is refused.
	Host v1.Platform

	Env        []string // "NAME=value", beyond the image's
	Entrypoint *string  // in place of the image's, whose Cmd is then left out; "" is none at all
	Args       []string // in place of the image's Cmd
	// Ports are opened on 127.0.0.1. Nil stands for every TCP port that the image exposes, under its own number.
	Ports   []Port
	Network bool // it shares this machine's network
	Rung    sandbox.Rung

	// Health waits for the image's health check, and then stops the service; no port is opened but those of Ports.
	Health bool
	// HealthTimeout bounds the wait; 0 leaves it to the check's own periods and retries.
	HealthTimeout time.Duration

	Stdin          *os.File
	Stdout, Stderr io.Writer
	// Signals are passed on. The first SIGINT, SIGTERM or SIGHUP, or the end of the context, asks for an orderly stop: the image's
	// stop signal, and after Grace SIGKILL. The second one kills at once.
	Signals <-chan os.Signal
	Grace   time.Duration // 0 is none: SIGKILL at once
	// Report takes a line for the person: how the image runs, and where its ports are.
	Report func(name, text string)
	Warn   func(text string)
}

// Run starts the image and waits for its end. Without Health it gives the exit code of the image's command, or 128 and
// the signal's number. An error is one of sandbox.Run's, a *UnhealthyError, or says what is wrong with the image or its
// ports; in each case nothing of the image runs any more, and nothing that it wrote is there.
func Run(ctx context.Context, o Options) (code int, err error) {
	p, err := newPlan(o)
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", o.Image.Source, err)
	}
	groups, err := groupsOf(o.Image)
	if err != nil {
		return 0, err
	}
	trees, err := rootfs.Unpack(ctx, o.Store, groups, rootfs.Limits{})
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", o.Image.Source, err)
	}
	if err := p.login(rootfs.NewView(trees...)); err != nil {
		return 0, fmt.Errorf("running %s: %w", o.Image.Source, err)
	}
	r := &running{o: o, plan: p, output: &tail{limit: maxServiceOutput}}
	if o.Health {
		r.keepOutput()
	}
	code, err = r.run(ctx, trees)
	if err != nil {
		return code, explain(fmt.Errorf("running %s: %w", o.Image.Source, err))
	}
	return code, nil
}

// errStopped is why the sandbox ends when the service does not stop by itself.
var errStopped = errors.New("stopped")

// running is an image while it runs.
type running struct {
	o       Options
	plan    *plan
	output  *tail // with Health: what the service prints
	service *sandbox.Service
	kill    context.CancelCauseFunc

	mu       sync.Mutex
	stopping bool
	healthy  bool
	verdict  error // why it was stopped, where that is a failure
}

func (r *running) run(ctx context.Context, trees []string) (code int, err error) {
	// The context's end asks for an orderly stop, which the service must live to see.
	runCtx, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	r.kill = kill
	p := r.plan
	c := sandbox.Command{
		Trees: trees, Argv: p.argv, Env: p.env, Dir: p.dir, Writable: p.folders, Network: r.o.Network, Rung: r.o.Rung,
		User: &sandbox.User{UID: p.user.UID, GID: p.user.GID, Groups: p.user.Groups}, Owners: r.owners,
		Stdin: r.o.Stdin, Stdout: r.o.Stdout, Stderr: r.o.Stderr, TempDir: r.o.Store.TempDir,
		Started: func(serviceCtx context.Context, s *sandbox.Service) {
			r.service = s
			stop := context.AfterFunc(ctx, r.stop)
			defer stop()
			r.started(serviceCtx)
		},
	}
	res, err := sandbox.Run(runCtx, c)
	if res != nil {
		if err := res.Close(); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	exit, ended := errors.AsType[*sandbox.ExitError](err)
	switch {
	case r.service == nil:
		return 0, err
	case r.verdict != nil:
		return 0, r.verdict
	case ctx.Err() != nil && r.o.Health:
		return 0, context.Cause(ctx)
	case r.healthy:
		return 0, nil
	case r.o.Health && (err == nil || ended || r.stopping):
		reason := "it ended before it was healthy"
		if ended {
			reason += ": " + exit.Error()
		}
		return 0, &UnhealthyError{Reason: reason, Service: r.output.lines()}
	case errors.Is(err, errStopped):
		return 128 + int(syscall.SIGKILL), nil
	case ended:
		return exit.Status(), nil
	}
	return 0, err
}

// keepOutput keeps the end of what the service prints, in one stream.
func (r *running) keepOutput() {
	var all io.Writer = r.output
	if r.o.Stderr != nil {
		all = io.MultiWriter(r.output, r.o.Stderr)
	}
	r.o.Stdout, r.o.Stderr = all, all
}

// started is what goes on while the service runs.
func (r *running) started(ctx context.Context) {
	r.o.Report("sandbox", r.describe())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.passSignals(ctx) })
	closePorts, err := r.openPorts(ctx, &wg)
	if err != nil {
		r.fail(err)
		return
	}
	defer closePorts()
	if r.o.Health {
		switch err := r.waitHealthy(ctx); {
		case ctx.Err() != nil: // it has ended, or was stopped
		case err != nil:
			r.fail(err)
		default:
			r.mu.Lock()
			r.healthy = !r.stopping
			r.mu.Unlock()
			r.stop()
		}
	}
	<-ctx.Done()
}

// fail stops the service for a reason.
func (r *running) fail(err error) {
	r.mu.Lock()
	if r.verdict == nil && !r.stopping {
		r.verdict = err
	}
	r.mu.Unlock()
	r.stop()
}

// stop asks the service to stop, and ends it when it has not after a while.
func (r *running) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return
	}
	r.stopping = true
	if r.o.Grace == 0 || r.service.Signal(r.plan.stopSignal) != nil {
		r.kill(errStopped) // which does nothing where it has ended already
		return
	}
	time.AfterFunc(r.o.Grace, func() { r.kill(errStopped) })
}

func (r *running) passSignals(ctx context.Context) {
	interrupts := 0
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-r.o.Signals:
			switch sig {
			case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP:
				if interrupts++; interrupts > 1 {
					r.kill(errStopped)
				} else {
					r.stop()
				}
			default:
				if s, ok := sig.(syscall.Signal); ok {
					_ = r.service.Signal(s) // it may have ended
				}
			}
		}
	}
}

// describe says how the image runs, and what is not isolated.
func (r *running) describe() string {
	s := r.service
	shared := []string{"the kernel", "CPU time and memory (no limit)"}
	if s.HostNetwork {
		shared = append(shared, "the network: what listens in it may be reached from elsewhere")
	}
	text := fmt.Sprintf("%s; shared with this machine: %s", s.Choice, strings.Join(shared, ", "))
	if !s.HostNetwork {
		text += "; it reaches no network (--network shares this machine's)"
	}
	return text
}

// explain adds what can be done.
func explain(err error) error {
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		return hint.Wrap(err, "allow user namespaces on this machine, or ptrace of one's own processes, or run as root in a container")
	}
	if start, ok := errors.AsType[*sandbox.StartError](err); ok {
		return hint.Wrap(err, "is %q in the image? what runs is --entrypoint, and what stands behind --", start.Command)
	}
	return err
}
