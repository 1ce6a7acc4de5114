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
	c := pycache.Cache{Store: o.Store, Sparse: l.sparse, Rung: o.Rung, Python: o.Python, Below: o.StepKeys, Own: l.own,
		Command: string(layers.KeyOf("modules", append([]string{o.Project, o.Dir, l.settings()}, o.Command...)))}
	if o.Manage != "" {
		c.Likely, c.Roots = l.likely, l.roots()
	}
	m.use, m.err = c.Lay(trees)
	return m
}

// own says of an image path, without leading slash, that it is the project's.
func (l *Layer) own(p string) bool {
	o := &l.o
	p = "/" + p
	return step.Within(p, o.Workdir) && (o.Venv == "" || !step.Within(p, o.abs(o.Venv)))
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

// shown is what the command is to be shown.
func (m *modules) shown() sandbox.Shown {
	if m.use == nil {
		return sandbox.Shown{}
	}
	return m.use.Shown()
}

// close removes what was for this run alone.
func (m *modules) close() {
	if m.use != nil {
		m.err = errors.Join(m.err, m.use.Close())
	}
}

// compile compiles, until ctx ends, for the command that runs and for the next, where a processor has nothing else to do.
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
