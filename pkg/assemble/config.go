package assemble

import (
	"maps"
	"path"
	"slices"
	"strconv"

	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/output"
)

// Labels that the OCI image-spec defines (annotations.md).
const labelPrefix = "org.opencontainers.image."

// env is the image's own environment, sorted by name.
func (b *builder) env() []imageconf.Var {
	var all []imageconf.Var
	for _, name := range slices.Sorted(maps.Keys(b.spec.Project.Config.Env)) {
		all = append(all, imageconf.Var{Name: name, Value: b.spec.Project.Config.Env[name]})
	}
	return all
}

func assignments(env map[string]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all
}

// config makes the image's config of the base's, the project's and the layers'.
func (b *builder) config(l *lower, made []madeLayer) ([]byte, error) {
	c := b.spec.Project.Config
	s := imageconf.Settings{
		PathPrepend: path.Join(c.Workdir, c.Venv, "bin"), Env: b.env(), WorkingDir: c.ManageDir(), User: l.user.Name, Ports: c.Expose,
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Labels: b.labels(), Volumes: c.Volumes, StopSignal: c.StopSignal, Created: b.spec.Epoch,
	}
	if c.NumericUser || s.User == "" {
		s.User = strconv.Itoa(l.user.UID) + ":" + strconv.Itoa(l.user.GID)
	}
	if h := c.Healthcheck; h != nil {
		s.Healthcheck = &imageconf.Healthcheck{Test: h.Test(), Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartIntvl, Retries: h.Retries}
	}
	for _, m := range made {
		layer := imageconf.Layer{Name: m.name, DiffID: "sha256:" + m.DiffID}
		if b.spec.Format == output.Docker {
			layer.Comment = output.KeyComment + string(m.key)
		}
		s.Layers = append(s.Layers, layer)
	}
	return imageconf.Build(l.image.Config, s)
}

// labels are the project's, in the words of the image-spec; the configuration's own win.
func (b *builder) labels() map[string]string {
	p := b.spec.Project
	all := make(map[string]string)
	for key, value := range map[string]string{
		"title": p.Name, "version": p.Version, "description": p.Description, "licenses": p.License, "source": p.Repository, "revision": b.begun.revision.wait(),
	} {
		if value != "" {
			all[labelPrefix+key] = value
		}
	}
	maps.Copy(all, p.Config.Labels)
	return all
}
