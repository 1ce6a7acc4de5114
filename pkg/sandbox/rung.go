package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/jubako/jubako/pkg/cas"
)

// Rung names a way of running a step.
type Rung string

// The rungs, in the order in which they are tried.
const (
	Auto   Rung = "auto"   // the first that works
	Userns Rung = "userns" // a user namespace: no privilege needed
	Chroot Rung = "chroot" // root's own mount namespace, or chroot alone
	Ptrace Rung = "ptrace" // paths rewritten as the command makes its system calls
	Loader Rung = "loader" // Python alone, by the tree's own dynamic loader
)

// allRungs are in the order in which Auto tries them. The loader is the quickest to explain and the last to be used: what
// it runs sees this machine's paths, and Run cannot know whether a command looks at them. ptrace is as faithful as the
// rungs above it, needs little more, and costs a few milliseconds at the start where the loader copies the whole tree.
func allRungs() []rung { return []rung{usernsRung{}, chrootRung{}, ptraceRung{}, loaderRung{}} }

// Rungs are the names that Command.Rung takes, besides Auto.
func Rungs() []Rung {
	var names []Rung
	for _, r := range allRungs() {
		names = append(names, r.name())
	}
	return names
}

func rungsFor(want Rung) ([]rung, error) {
	if want == Auto || want == "" {
		return allRungs(), nil
	}
	for _, r := range allRungs() {
		if r.name() == want {
			return []rung{r}, nil
		}
	}
	return nil, fmt.Errorf("there is no sandbox %q; there are %v", want, Rungs())
}

// Choice says how a command was run.
type Choice struct {
	Rung    Rung
	Detail  string     // how the tree was made writable
	Refused []*Refusal // the rungs before it, with the reasons
	Notes   []string   // what the rung does not isolate here
}

// String is one line for the log.
func (c Choice) String() string {
	var b strings.Builder
	b.WriteString(string(c.Rung))
	if c.Detail != "" {
		fmt.Fprintf(&b, " (%s)", c.Detail)
	}
	for _, r := range c.Refused {
		fmt.Fprintf(&b, "; not %s: %s", r.Rung, r.Reason)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "; %s", n)
	}
	return b.String()
}

// Refusal says why the machine does not allow a rung.
type Refusal struct {
	Rung   Rung
	Reason string // "user namespaces: clone refused (EPERM; kernel.apparmor_restrict_unprivileged_userns=1)"

	stage string // what was refused, for the rung itself
}

func (r *Refusal) Error() string { return fmt.Sprintf("sandbox %s: %s", r.Rung, r.Reason) }

// Probed is one rung and whether this machine allows it.
type Probed struct {
	Rung   Rung
	Reason string // why not; empty where it is allowed
	Choice Choice // how a step would run there, where it is allowed
}

// Probe tries each rung with an empty tree and no command. tempDir is as in Command.
func Probe(ctx context.Context, tempDir func(pattern string) (string, error)) (_ []Probed, err error) {
	empty, err := tempDir("probe-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cas.RemoveTree(empty)) }()
	var probed []Probed
	for _, r := range allRungs() {
		res, err := climb(ctx, Command{Trees: []string{empty}, TempDir: tempDir}, []rung{r})
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			probed = append(probed, Probed{Rung: r.name(), Reason: refused.Refused[0].Reason})
			continue
		}
		if err != nil {
			return nil, err
		}
		probed = append(probed, Probed{Rung: r.name(), Choice: res.Choice})
		if err := res.Close(); err != nil {
			return nil, err
		}
	}
	return probed, nil
}

// refusal makes the reason out of what the kernel said and the switches that make it say so.
func refusal(what, stage string, err error, switches ...string) *Refusal {
	why := []string{errnoName(err)}
	for _, name := range switches {
		key, forbids, _ := strings.Cut(name, "=")
		b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
		if err == nil && strings.TrimSpace(string(b)) == forbids {
			why = append(why, name)
		}
	}
	if filtered() {
		why = append(why, "a seccomp filter is in force")
	}
	return &Refusal{stage: stage, Reason: fmt.Sprintf("%s: %s refused (%s)", what, stage, strings.Join(why, "; "))}
}

func errnoName(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errnoNames(errno)
	}
	return err.Error()
}

func filtered() bool {
	b, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(b), "\nSeccomp:\t2")
}
