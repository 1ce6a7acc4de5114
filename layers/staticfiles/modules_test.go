package staticfiles

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/pycache"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
)

// TestModules gives a command the bytecode of what it has imported before, but for what is the project's own, and leaves no trace of it
// in what the command has looked at.
func TestModules(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("no processor is idle beside a command")
	}
	o := options(t, "import /app/.venv/lib/m.py; import /app/mine.py; write staticfiles/x.css x; sleep 200ms")
	o.StepKeys = []string{"b", "v"}
	o.Python = pycache.Interpreter{Path: "/usr/bin/python3.12", Tag: "cpython-312"}
	o.Lower = func(context.Context) ([]rootfs.Group, error) {
		return []rootfs.Group{sandboxtest.Group(t, map[string]string{"usr/bin/python3.12": string(python)}),
			sandboxtest.Group(t, map[string]string{"app/.venv/bin/python": string(python)}), sandboxtest.Group(t, map[string]string{"app/.venv/lib/m.py": "m"}),
			sandboxtest.Group(t, map[string]string{"app/mine.py": "mine"}), sandboxtest.Group(t, map[string]string{"app/manage.py": "m"})}, nil
	}
	var log bytes.Buffer
	o.Log = &log
	found, compiled := 0, 0
	o.Bytecode = func(f, c int, err error) {
		found, compiled = f, compiled+c
		if err != nil {
			t.Error(err)
		}
	}
	var first []observed.Look
	for run := range 50 { // how long the compiler takes to start is the machine's affair
		log.Reset()
		l, _, err := collect(t, o)
		if err != nil {
			t.Fatal(err)
		}
		looks, err := l.Looked()
		if err != nil {
			t.Skip(err) // then nothing is known of what it reads
		}
		switch {
		case run == 0:
			first = looks
			if found+compiled > 0 || strings.Contains(log.String(), "imported") {
				t.Errorf("the first run found %d, and compiled %d: %s", found, compiled, log.String())
			}
		case found > 0:
			if found != 1 || compiled != 1 || strings.Count(log.String(), "imported") != 1 || !strings.Contains(log.String(), "imported pyc of /app/.venv/lib/m.py: M\n") {
				t.Errorf("run %d found %d, and %d were compiled before: %s", run, found, compiled, log.String())
			}
			if d := cmp.Diff(first, looks, cmpopts.IgnoreSliceElements(func(l observed.Look) bool { return strings.HasPrefix(l.Path, "proc/") })); d != "" {
				t.Error(d) // but for the processes' numbers
			}
			return
		}
	}
	t.Errorf("no run found anything; %d modules were compiled", compiled)
}
