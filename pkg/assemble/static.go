package assemble

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/staticfiles"
	"github.com/jubako/jubako/pkg/pycache"
	"github.com/jubako/jubako/pkg/sandbox"
)

// staticLayer describes the layer of the static files.
func (b *builder) staticLayer(s *stage) (layers.Watched, error) {
	c := b.spec.Project.Config
	o := staticfiles.Options{
		Workdir: c.Workdir, Venv: c.Venv, Dir: c.ManageDir(), Command: c.Staticfiles.Command, Output: c.Staticfiles.Output, Env: s.env,
		BuildEnv: assignments(c.Staticfiles.Env), Writable: c.Writable, Epoch: b.spec.Epoch, Store: b.Store, Rung: b.spec.Rung, Log: b.StepLog,
		Lower: s.lower(), LowerKeys: s.lowerKeys(), StepKeys: s.stepKeys(),
		Python: s.host.interpreter(s.env), Project: b.spec.Project.Name,
		Ran: func(choice sandbox.Choice) { b.debug("staticfiles: %s", choice) },
		Bytecode: func(found, compiled int, err error) {
			b.debug("staticfiles: bytecode of %s was there, and was made of %d more", count(found, "module"), compiled)
			if err != nil {
				b.debug("staticfiles: without bytecode: %v", err)
			}
		},
	}
	o.UID, o.GID = b.owner(s.at.user)
	if s.at.layout.Manage != "" {
		o.Manage = path.Join(s.at.layout.Manage, path.Base(cmp.Or(c.Manage, "manage.py")))
		if len(o.Command) == 0 {
			o.Command = []string{"python", path.Base(o.Manage), "collectstatic", "--noinput"}
		}
	}
	return staticfiles.New(o)
}

// interpreter is the base's Python as it runs with an image's environment.
func (l *lower) interpreter(env []string) pycache.Interpreter {
	py := l.facts.Python
	i := pycache.Interpreter{Path: py.Path, Tag: fmt.Sprintf("cpython-%d%d", py.Major, py.Minor)}
	if py.FreeThreaded {
		i.Tag += "t"
	}
	for _, kv := range env {
		switch name, value, _ := strings.Cut(kv, "="); name {
		case "LD_LIBRARY_PATH", "PYTHONHOME":
			i.Env = append(i.Env, kv)
		case "PYTHONOPTIMIZE":
			i.Optimize = value
		}
	}
	return i
}
