package runimage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWait compares when a service is given up with what Docker does, and that nobody waits for its interval in vain.
func TestWait(t *testing.T) {
	c := check{interval: 30 * time.Second, timeout: 30 * time.Second, startInterval: 5 * time.Second, retries: 3}
	never := time.Hour
	for name, test := range map[string]struct {
		change    func(*check)
		healthyAt time.Duration
		takes     time.Duration // of one check
		limit     time.Duration
		want      time.Duration // when it is decided
		err       string
	}{
		"at once":          {healthyAt: 0, want: firstAsk},
		"soon":             {healthyAt: 2 * time.Second, want: firstAsk + 2*time.Second},
		"never":            {healthyAt: never, want: 90 * time.Second, err: "failed 3 times: no"},
		"after two counts": {healthyAt: 80 * time.Second, want: 80 * time.Second},
		"a start period": {change: func(c *check) { c.startPeriod = 2 * time.Minute }, healthyAt: never,
			want: 2*time.Minute + 60*time.Second, err: "failed 3 times"},
		"a short interval": {change: func(c *check) { c.interval, c.retries = 100*time.Millisecond, 2 }, healthyAt: never, want: 200 * time.Millisecond, err: "failed 2 times"},
		"slow checks":      {takes: 10 * time.Second, healthyAt: never, want: 3*40*time.Second + 6*time.Second, err: "failed 3 times"},
		"a limit":          {limit: 5 * time.Second, healthyAt: never, want: 5 * time.Second, err: "not healthy within 5s: no"},
		"a limit at once":  {limit: 100 * time.Millisecond, healthyAt: never, want: 100 * time.Millisecond, err: "no answer yet"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := c
				if test.change != nil {
					test.change(&c)
				}
				ctx, start := t.Context(), time.Now()
				if test.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeoutCause(ctx, test.limit, errImpatient)
					defer cancel()
				}
				err := c.wait(ctx, func(context.Context) (answer, error) {
					time.Sleep(test.takes)
					return answer{ok: time.Since(start) >= test.healthyAt, why: "no", output: []string{"out"}}, nil
				})
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v", err)
				}
				if took := time.Since(start); took < test.want || took > test.want+test.takes+2*time.Second {
					t.Errorf("it was decided after %s, want %s", took, test.want)
				}
			})
		})
	}
}

// TestWaitEnds: the end of the service is the end of the wait, and no verdict.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := check{interval: time.Second, retries: 3}
		err := c.wait(ctx, func(context.Context) (answer, error) {
			cancel()
			return answer{why: "no"}, nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		broken := errors.New("broken")
		if err := c.wait(t.Context(), func(context.Context) (answer, error) { return answer{}, broken }); err != broken {
			t.Errorf("%v", err)
		}
	})
}

func TestTail(t *testing.T) {
	out := &tail{limit: 1000}
	if out.lines() != nil {
		t.Error("lines of nothing")
	}
	for i := range 1000 {
		fmt.Fprintf(out, "line %d\r\n", i)
	}
	fmt.Fprint(out, "\x1b[31mred\x7f\xff\tend\n\n")
	got := out.lines()
	if len(got) != shownLines || cap(out.b) > 8*out.limit {
		t.Errorf("%d lines in %d bytes", len(got), cap(out.b))
	}
	if d := cmp.Diff([]string{"line 998", "line 999", "[31mred�\tend"}, got[len(got)-3:]); d != "" {
		t.Error(d)
	}
}
