package assemble

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/bytecode"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// bytecode adds what the Python of the image compiles: a layer of bytecode for each layer that holds sources, so that a change
// of one is a change of one. Where that makes too many, one is for several.
func (s *stage) bytecode(ctx context.Context) error {
	if a, h := s.at.facts.Python, s.host.facts.Python; a.ABI != h.ABI {
		return hint.Wrap(fmt.Errorf("bytecode for %s is compiled on the base for this machine, which has Python %s and not %s", s.at.image.Platform, h.Version, a.Version),
			"take a base with one Python for all platforms, or leave it out: [tool.jubako] bytecode = false")
	}
	o, err := s.bytecodeOptions()
	if err != nil {
		return err
	}
	var sources []madeLayer
	for _, m := range s.made {
		if !isSystem(m) && m.name != "staticfiles" {
			sources = append(sources, m)
		}
	}
	base, err := s.at.image.Layers()
	if err != nil {
		return err
	}
	// How many each layer of bytecode is for.
	room := max(1, mostLayers-len(base)-len(s.made))
	each := (len(sources) + room - 1) / room
	var list []layers.Layer
	for part := range slices.Chunk(sources, max(1, each)) {
		list = append(list, s.bytecodeOf(o, part))
	}
	made, err := s.at.maker.makeAll(ctx, list)
	if err != nil {
		return err
	}
	for _, m := range made {
		if m.Files > 0 {
			s.made = append(s.made, m)
		}
	}
	return nil
}

// bytecodeOptions is what all layers of bytecode share.
func (s *stage) bytecodeOptions() (bytecode.Options, error) {
	b := s.b
	c := b.spec.Project.Config
	py, i := s.host.facts.Python, s.host.interpreter(s.env)
	o := bytecode.Options{Python: i.Path, Version: py.ABI + " " + py.Version, Optimize: i.Optimize, Env: i.Env, Top: c.Workdir, Epoch: b.spec.Epoch, Jobs: b.spec.Jobs, Store: b.Store, Rung: b.spec.Rung,
		Whole: "compiled by Python " + py.Version}
	o.UID, o.GID = b.owner(s.at.user)
	for _, dir := range c.Writable {
		o.Excluded = append(o.Excluded, path.Join(c.Workdir, dir))
	}
	for _, v := range c.Volumes {
		if v = path.Clean(v); v != c.Workdir {
			o.Excluded = append(o.Excluded, v)
		}
	}
	if slices.ContainsFunc(s.env, func(kv string) bool { return strings.HasPrefix(kv, "PYTHONPYCACHEPREFIX=") }) {
		b.warn("PYTHONPYCACHEPREFIX is set in the image, so that its Python looks for bytecode elsewhere than beside the sources")
	}
	o.System = func() ([]rootfs.Group, error) {
		return b.trees(s.host.image, slices.DeleteFunc(slices.Clone(s.host.made), func(m madeLayer) bool { return !isSystem(m) }))
	}
	return o, nil
}

// bytecodeOf describes the bytecode of some of the platform's layers.
func (s *stage) bytecodeOf(o bytecode.Options, part []madeLayer) layers.Layer {
	b := s.b
	var names []string
	for _, m := range part {
		// The bytes themselves, where they are known: a step that ran again and made the same compiles to the same.
		o.SourceKeys = append(o.SourceKeys, cmp.Or(m.DiffID, string(m.key)))
		name := m.name
		if m.whole != "" {
			name += " (" + m.Summary + ")"
		}
		names = append(names, name)
	}
	o.Of = strings.Join(names, ", ")
	o.Sources = func() ([]rootfs.Group, error) { return b.groups(part), nil }
	o.Ran = func(choice sandbox.Choice) { b.debug("bytecode: %s", choice) }
	o.Skipped = func(files []string, count int) {
		b.debug("bytecode of %s: %d files do not compile, and have none: %s", o.Of, count, strings.Join(files, "; "))
	}
	return bytecode.New(o)
}

// isSystem says whether a layer of ours is part of the system that commands run in.
func isSystem(m madeLayer) bool { return m.name == "debian" || m.name == "passwd" }
