package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/sandbox"
)

const (
	shownLines       = 15
	settingsVariable = "DJANGO_SETTINGS_MODULE"
)

// Error says that a command of the project failed, with what it printed last.
type Error struct {
	Command string
	Dir     string
	Err     error    // *sandbox.ExitError, *sandbox.StartError or another of sandbox.Run's
	Output  []string // its last lines
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "running %q in %s: %v", e.Command, e.Dir, e.Err)
	for _, line := range e.Output {
		b.WriteString("\n  | " + line)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Advice says how the remedies for a command's failure are spelt in its project's configuration.
type Advice struct {
	Table   string  // the table of the command: "[tool.jubako.staticfiles]"
	Without string  // how to do without the command: "leave the layer out with [tool.jubako] staticfiles = false"
	Timeout string  // what to do about one that takes too long; empty for the usual
	Else    string  // what to try where nothing is known; empty for nothing
	More    []Cause // what commands of this kind fail for beyond what all do
	Workdir string  // below which the project's files lie
}

// explain makes an *Error out of a command's failure, with the remedy where the cause is known.
func (c *Command) explain(ctx context.Context, err error, rec *Recorder) error {
	if ctx.Err() != nil {
		return err
	}
	e := &Error{Command: cmp.Or(c.Title, strings.Join(c.Argv, " ")), Dir: c.Dir, Err: err, Output: telling(rec.LastLines(keptLines))}
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		return hint.Wrap(e, "allow user namespaces on this machine, or build as root in a container, or %s", c.Advice.Without)
	}
	if start, ok := errors.AsType[*sandbox.StartError](err); ok && start.Command == c.Argv[0] {
		return hint.Wrap(e, "is %q in the base or among the locked packages? %s command says what runs", c.Argv[0], c.Advice.Table)
	}
	if errors.Is(err, sandbox.ErrTimeout) {
		return hint.Wrap(e, "%s", cmp.Or(c.Advice.Timeout, "does it wait for a network that it does not have, or for an answer?"))
	}
	if remedy := cmp.Or(c.Advice.Diagnose(rec.LastLines(keptLines)), c.Advice.Else); remedy != "" {
		return hint.Wrap(e, "%s", remedy)
	}
	return e
}

// telling leaves out of a traceback's end the frames of Python's own import machinery and the marks below the code, so
// that the lines shown are the project's.
func telling(lines []string) []string {
	var kept []string
	for _, line := range lines {
		trimmed := strings.TrimSpace(line)
		frozen := strings.HasPrefix(trimmed, `File "<frozen importlib.`)
		if frozen || trimmed != "" && strings.Trim(trimmed, "~^") == "" {
			continue
		}
		kept = append(kept, line)
	}
	return kept[max(0, len(kept)-shownLines):]
}
