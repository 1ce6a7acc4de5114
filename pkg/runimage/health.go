package runimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/sandbox"
)

// check is a health check with Docker's defaults filled in.
type check struct {
	argv                                          []string
	interval, timeout, startPeriod, startInterval time.Duration
	retries                                       int
}

// Docker's defaults, and how often a service is asked beyond what counts, so that nobody waits half a minute for the
// first answer of one that is up in a second.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
	eagerInterval        = time.Second
	firstAsk             = 200 * time.Millisecond
)

func checkOf(conf *imageconf.Config) (*check, error) {
	h := conf.Config.Healthcheck
	var argv []string
	if h != nil && len(h.Test) > 1 {
		switch h.Test[0] {
		case "CMD":
			argv = h.Test[1:]
		case "CMD-SHELL":
			shell := conf.Config.Shell
			if len(shell) == 0 {
				shell = []string{"/bin/sh", "-c"}
			}
			argv = append(shell[:len(shell):len(shell)], h.Test[1:]...)
		}
	}
	if len(argv) == 0 {
		return nil, hint.Wrap(hint.Usage(errors.New("the image has no health check")),
			`give it one with [tool.jubako] healthcheck = { url = "http://localhost:8000/health/" }`)
	}
	c := &check{argv: argv, interval: h.Interval, timeout: h.Timeout, startPeriod: h.StartPeriod, startInterval: h.StartInterval, retries: h.Retries}
	for at, otherwise := range map[*time.Duration]time.Duration{&c.interval: defaultInterval, &c.timeout: defaultTimeout, &c.startInterval: defaultStartInterval} {
		if *at <= 0 {
			*at = otherwise
		}
	}
	if c.retries <= 0 {
		c.retries = defaultRetries
	}
	return c, nil
}

// answer is one run of the check.
type answer struct {
	ok     bool
	why    string // where it is not: "exit status 1"
	output []string
}

// wait asks until the check holds. A failure counts when Docker would have asked, and not within the start period; as
// many in a row as there are retries are the end. The error is the context's, or a *UnhealthyError.
func (c *check) wait(ctx context.Context, ask func(context.Context) (answer, error)) error {
	started := time.Now()
	next := func() time.Duration { // Docker's
		if time.Since(started) < c.startPeriod {
			return c.startInterval
		}
		return c.interval
	}
	due := started.Add(next())
	at := started.Add(min(firstAsk, c.interval))
	failures := 0
	var last answer
	for {
		select {
		case <-ctx.Done():
			return c.cut(ctx, started, last)
		case <-time.After(time.Until(at)):
		}
		asked := time.Now()
		a, err := ask(ctx)
		if ctx.Err() != nil {
			return c.cut(ctx, started, last)
		}
		if err != nil {
			return err
		}
		if a.ok {
			return nil
		}
		last = a
		if !asked.Before(due) {
			if asked.Sub(started) >= c.startPeriod {
				failures++
			}
			due = time.Now().Add(next())
		}
		if failures >= c.retries {
			return &UnhealthyError{Reason: fmt.Sprintf("its health check failed %d times: %s", failures, last.why), Check: last.output}
		}
		at = time.Now().Add(eagerInterval)
		if at.After(due) {
			at = due
		}
	}
}

// errImpatient says that Options.HealthTimeout is over.
var errImpatient = errors.New("not healthy in time")

func (c *check) cut(ctx context.Context, started time.Time, last answer) error {
	if !errors.Is(context.Cause(ctx), errImpatient) {
		return context.Cause(ctx)
	}
	why := last.why
	if why == "" {
		why = "no answer yet"
	}
	return &UnhealthyError{Reason: fmt.Sprintf("it was not healthy within %s: %s", time.Since(started).Round(time.Millisecond), why), Check: last.output}
}

// waitHealthy waits for the service to be healthy. The error is the context's when the service has ended.
func (r *running) waitHealthy(ctx context.Context) error {
	c := r.plan.health
	limited := ctx
	if r.o.HealthTimeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, r.o.HealthTimeout, errImpatient)
		defer cancel()
	}
	started := time.Now()
	err := c.wait(limited, func(ctx context.Context) (answer, error) { return r.ask(ctx, c) })
	if unhealthy, ok := errors.AsType[*UnhealthyError](err); ok {
		unhealthy.Service = r.output.lines()
	}
	if err != nil {
		return err
	}
	r.o.Report("health", fmt.Sprintf("healthy after %.1f s", time.Since(started).Seconds()))
	for _, port := range r.unreachable(ctx) {
		r.o.Warn(fmt.Sprintf("the image exposes port %d, and nothing listens there but on the container's own loopback, if at all", port))
	}
	return nil
}

// ask runs the check once.
func (r *running) ask(ctx context.Context, c *check) (answer, error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	out := &tail{limit: maxCheckOutput}
	code, err := r.service.Exec(bounded, c.argv, out)
	start, notStarted := errors.AsType[*sandbox.StartError](err)
	a := answer{output: out.lines()}
	switch {
	case notStarted:
		a.why = start.Error()
	case bounded.Err() != nil && ctx.Err() == nil:
		a.why = fmt.Sprintf("it took longer than %s", c.timeout)
	case err != nil:
		return answer{}, err
	case code != 0:
		a.why = fmt.Sprintf("exit status %d", code)
	default:
		a.ok = true
	}
	return a, nil
}

// UnhealthyError says that a service did not become healthy, with what its check and the service itself printed last.
type UnhealthyError struct {
	Reason         string
	Check, Service []string
}

func (e *UnhealthyError) Error() string {
	var b strings.Builder
	b.WriteString(e.Reason)
	for _, part := range []struct {
		title string
		lines []string
	}{{"the health check printed", e.Check}, {"the service printed last", e.Service}} {
		if len(part.lines) == 0 {
			continue
		}
		b.WriteString("\n" + part.title + ":")
		for _, line := range part.lines {
			b.WriteString("\n  | " + line)
		}
	}
	return b.String()
}

// What is kept of an output: Docker's bytes of a health check's, and enough of a service's to see a traceback.
const (
	maxCheckOutput   = 4 << 10
	maxServiceOutput = 16 << 10
	shownLines       = 30
)

// tail keeps the end of what is written to it.
type tail struct {
	limit int

	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.limit {
		t.b = append([]byte(nil), t.b[len(t.b)-t.limit:]...)
	}
	return len(p), nil
}

// lines are the last ones, without control characters that would do something to a terminal.
func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := bytes.TrimRight(t.b[max(0, len(t.b)-t.limit):], "\r\n")
	if len(b) == 0 {
		return nil
	}
	var all []string
	for line := range strings.SplitSeq(strings.ToValidUTF8(string(b), "�"), "\n") {
		all = append(all, strings.Map(func(c rune) rune {
			if c < ' ' && c != '\t' || c == 0x7f {
				return -1
			}
			return c
		}, line))
	}
	return all[max(0, len(all)-shownLines):]
}
