package assemble

import (
	"cmp"
	"path"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/staticfiles"
	"github.com/jubako/jubako/pkg/sandbox"
)

// staticLayer describes the layer of the static files.
func (b *builder) staticLayer(s *stage) (layers.Watched, error) {
	c := b.spec.Project.Config
	o := staticfiles.Options{
		Workdir: c.Workdir, Venv: c.Venv, Dir: c.ManageDir(), Command: c.Staticfiles.Command, Output: c.Staticfiles.Output, Env: s.env,
		BuildEnv: assignments(c.Staticfiles.Env), Writable: c.Writable, Epoch: b.spec.Epoch, Store: b.Store, Rung: b.spec.Rung, Log: b.StepLog,
		Lower: s.lower(), LowerKeys: s.lowerKeys(), StepKeys: s.stepKeys(),
		Ran: func(choice sandbox.Choice) { b.debug("staticfiles: %s", choice) },
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
