package staticfiles

import (
	"context"
	"errors"
	"runtime"
	"strings"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/pycache"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/step"
)

// modules is the bytecode of what the command imports. A command without it takes longer, and does the same: what goes wrong
// with it is told, and ends nothing.
type modules struct {
	use      *pycache.Use // nil for none
	compiled int
	err      error
}

func (l *Layer) modules(trees []string) (m modules) {
	o := &l.o
	if o.Python.Path == "" {
		return m
	}
	venv := ""
	if o.Venv != "" {
		venv = o.abs(o.Venv)
	}
	c := pycache.Cache{Store: o.Store, Rung: o.Rung, Python: o.Python, Below: o.StepKeys,
		Command: string(layers.KeyOf("modules", append([]string{o.Project, o.Dir, l.settings()}, o.Command...))),
		Own: func(p string) bool {
			p = "/" + p
			return step.Within(p, o.Workdir) && (venv == "" || !step.Within(p, venv))
		}}
	m.use, m.err = c.Lay(trees)
	return m
}

// settings is the settings module that the command is told.
func (l *Layer) settings() string {
	for _, kv := range l.env {
		if module, ok := strings.CutPrefix(kv, "DJANGO_SETTINGS_MODULE="); ok {
			return module
		}
	}
	return ""
}

// trees lays the bytecode upon the command's trees.
func (m *modules) trees(trees []string) []string {
	if m.use == nil {
		return trees
	}
	return append(trees[:len(trees):len(trees)], m.use.Tree())
}

// compile compiles, until ctx ends, for the next run, where a processor has nothing else to do.
func (m *modules) compile(ctx context.Context) {
	if m.use == nil || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	var err error
	m.compiled, err = m.use.Compile(ctx)
	m.err = errors.Join(m.err, err)
}

// remember keeps which modules the command has read, if that is known.
func (m *modules) remember(seen *sandbox.Seen) {
	if m.use != nil && seen != nil && seen.Unknown == "" {
		m.err = errors.Join(m.err, m.use.Remember(seen.Looks))
	}
}

// without gives what was seen but for the bytecode.
func without(seen *sandbox.Seen) *sandbox.Seen {
	if seen == nil {
		return nil
	}
	return &sandbox.Seen{Looks: pycache.Without(seen.Looks), Unknown: seen.Unknown}
}

// tell says what there was to find, and what was compiled.
func (m *modules) tell(o *Options) {
	if o.Bytecode == nil || m.use == nil && m.err == nil {
		return
	}
	found := 0
	if m.use != nil {
		found = m.use.Found()
	}
	o.Bytecode(found, m.compiled, m.err)
}
