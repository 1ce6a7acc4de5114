package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers"
	steplayer "github.com/jubako/jubako/layers/step"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/step"
)

// withCommands adds to the layers of a platform those that commands make: each step's, in the order in which they are
// written, the static files, and bytecode.
func (b *builder) withCommands(ctx context.Context, l *lower) ([]madeLayer, error) {
	if l.commanded != nil {
		return l.commanded, nil
	}
	s := &stage{b: b, at: l, host: l, made: slices.Clone(l.made), below: l.made}
	c := b.spec.Project.Config
	if b.runsCommands(l.layout) {
		if err := s.settle(ctx); err != nil {
			return nil, err
		}
	}
	for _, st := range c.Steps {
		if err := s.add(ctx, "step "+st.Name, func() (layers.Watched, error) { return b.stepLayer(s, st) }); err != nil {
			return nil, err
		}
	}
	if b.collects(l.layout) {
		if err := s.add(ctx, "collectstatic", func() (layers.Watched, error) { return b.staticLayer(s) }); err != nil {
			return nil, err
		}
	}
	if c.Bytecode {
		if err := s.bytecode(ctx); err != nil {
			return nil, err
		}
	}
	l.commanded = s.made
	return s.made, nil
}

// collects says whether the static files are collected.
func (b *builder) collects(l project.Layout) bool {
	c := b.spec.Project.Config.Staticfiles
	return !c.Off && (l.Django || c.Set)
}

func (b *builder) runsCommands(l project.Layout) bool {
	c := b.spec.Project.Config
	return len(c.Steps) > 0 || c.Bytecode || b.collects(l)
}

// atHome says whether this machine can run what is in an image.
func (b *builder) atHome(img *base.Image) bool {
	p := img.Platform
	return p.Architecture == b.Host.Architecture && p.OS == b.Host.OS
}

// stage is where the layers that commands make are put upon one another: those of a platform, and those that they run in,
// which are this machine's.
type stage struct {
	b     *builder
	at    *lower // the platform's
	host  *lower // where commands run
	env   []string
	made  []madeLayer // of the platform
	below []madeLayer // of this machine: what the next command runs in
	above []madeLayer // of this machine's own commands, where the platform is another
}

// settle finds where commands run: in the platform's own tree where this machine can run it, else in the same project on the
// base for this machine, since what a step makes does not depend on the architecture.
func (s *stage) settle(ctx context.Context) error {
	b := s.b
	if !b.atHome(s.at.image) {
		host, err := b.lower(ctx, v1.Platform{OS: b.Host.OS, Architecture: b.Host.Architecture})
		if err != nil {
			return hint.Wrap(fmt.Errorf("the commands for %s run on the base for this machine (%s): %w", s.at.image.Platform, b.Host, err),
				"build where the platform is at home, or leave them out: [tool.jubako] staticfiles = false, step = []")
		}
		all, err := b.withCommands(ctx, host)
		if err != nil {
			return err
		}
		s.host, s.below, s.above = host, host.made, all[len(host.made):]
	}
	conf, err := imageconf.Parse(s.host.image.Config)
	if err != nil {
		return err
	}
	s.env = slices.Clone(conf.Config.Env)
	for _, v := range b.env() {
		s.env = append(s.env, v.Name+"="+v.Value)
	}
	return nil
}

// add makes the layer of a command, and puts it on the others. One without a file is left out.
func (s *stage) add(ctx context.Context, what string, layer func() (layers.Watched, error)) error {
	watched, err := layer()
	if err != nil {
		return err
	}
	own := slices.IndexFunc(s.above, func(m madeLayer) bool { return m.name == watched.Name() })
	var made madeLayer
	if own >= 0 && s.above[own].key == s.at.maker.key(watched) { // this build's, also where no cache counts
		if made, err = s.above[own], watched.Close(); made.state == Made {
			made.state, made.took = Reused, 0
		}
	} else {
		made, err = s.make(ctx, what, watched, layer)
	}
	if err != nil {
		return err
	}
	s.at.maker.finished(made)
	if made.Files == 0 {
		s.b.warn(what + " wrote nothing that the source does not hold already")
	} else {
		s.made = append(s.made, made)
	}
	if s.host == s.at {
		s.below = s.made
		return nil
	}
	// What this machine's own command made is what the next one of another platform runs in too.
	if own >= 0 {
		s.below = append(s.below[:len(s.below):len(s.below)], s.above[own])
	}
	return nil
}

// make makes the layer of a command, or finds it where that is allowed; again describes it once more.
func (s *stage) make(ctx context.Context, what string, watched layers.Watched, again func() (layers.Watched, error)) (madeLayer, error) {
	var l layers.Layer = watched
	switch {
	case s.b.spec.CheckSteps && s.host == s.at && !s.b.dry: // made anew as well
		l = &twice{Layer: watched, again: again, differ: func(files []string) { s.b.differ(what, files) }, stale: func() { s.b.stale(what) }}
	case s.b.spec.NoReuse:
		l = &anew{l}
	}
	return s.at.maker.makeOver(ctx, l, &overSource{step: watched, source: s.host.observed})
}

// lowerKeys are the keys of what the next command runs in.
func (s *stage) lowerKeys() []string {
	keys := []string{s.host.image.Digest.String()}
	for _, m := range s.below {
		keys = append(keys, string(m.key))
	}
	return keys
}

// stepKeys are lowerKeys but for the source, in whose place they say the same for every source. Layers are named by what
// they hold, where that is known: a command below that ran again and made the same is the same.
func (s *stage) stepKeys() []string {
	keys := []string{s.host.image.Digest.String()}
	for _, m := range s.below {
		if m.name == sourceLayer {
			keys = append(keys, "the source")
		} else {
			keys = append(keys, cmp.Or(m.DiffID, string(m.key)))
		}
	}
	return keys
}

// lower gives what the next command runs in, as it is now.
func (s *stage) lower() func(context.Context) ([]rootfs.Group, error) {
	host, below := s.host, s.below
	return func(context.Context) ([]rootfs.Group, error) { return s.b.trees(host.image, below) }
}

// stepLayer describes the layer of a step.
func (b *builder) stepLayer(s *stage, st project.Step) (layers.Watched, error) {
	c := b.spec.Project.Config
	o := steplayer.Options{
		Name: st.Name, Workdir: c.Workdir, Venv: c.Venv, Command: st.Command, Dir: c.ManageDir(), Output: st.Output, Env: s.env, StepEnv: assignments(st.Env),
		Network: st.Network, Writable: c.Writable, Epoch: b.spec.Epoch, Lower: s.lower(), System: 1, LowerKeys: s.lowerKeys(), StepKeys: s.stepKeys(),
		Store: b.Store, Rung: b.spec.Rung, Timeout: st.Timeout, Memory: st.Memory, Log: b.StepLog,
		Ran:         func(choice sandbox.Choice) { b.debug("step %s: %s", st.Name, choice) },
		Dropped:     func(paths []string) { b.dropped(st.Name, paths) },
		ReadSecrets: func() ([]step.Secret, error) { return b.readSecrets(st) },
	}
	if st.Network && b.spec.Offline {
		o.Lower = func(context.Context) ([]rootfs.Group, error) { return nil, needsNetwork(st) }
	}
	o.UID, o.GID = b.owner(s.at.user)
	for _, m := range s.below {
		if !isSystem(m) {
			break
		}
		o.System++
	}
	for _, secret := range st.Secrets {
		o.Secrets = append(o.Secrets, secret.Kind+":"+secret.Name)
	}
	return steplayer.New(o)
}

// needsNetwork is the error for a step that has to run where it may not do so. One whose layer is there is reused like any other.
func needsNetwork(st project.Step) error {
	return hint.Wrap(hint.Usage(fmt.Errorf("step %s has network = true and has to run, and --offline forbids the network", st.Name)),
		"build once with a network, so that the cache holds its layer, or leave network out")
}

// dropped says what a step wrote that does not come back: with -v all of it.
func (b *builder) dropped(name string, paths []string) {
	const shown = 3
	for _, p := range paths {
		b.debug("step %s: %s is dropped", name, p)
	}
	list := strings.Join(paths[:min(shown, len(paths))], ", ")
	if more := len(paths) - shown; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	b.warn(fmt.Sprintf("step %s wrote outside of its outputs, which is dropped: %s", name, list))
}

// readSecrets reads what a step is told and nobody else.
func (b *builder) readSecrets(st project.Step) ([]step.Secret, error) {
	var all []step.Secret
	for _, from := range st.Secrets {
		s, err := b.readSecret(from)
		if err == nil {
			err = s.Check()
		}
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("step %s: secret %s: %w", st.Name, from, err))
		}
		all = append(all, s)
	}
	return all, nil
}

func (b *builder) readSecret(from project.Secret) (step.Secret, error) {
	s := step.Secret{Name: from.Name}
	if from.Kind == "env" {
		var ok bool
		if b.LookupEnv != nil {
			s.Value, ok = b.LookupEnv(from.Name)
		}
		if !ok {
			return s, hint.Wrap(errors.New("there is no such variable"), "set %s in the environment of jubako", from.Name)
		}
		return s, nil
	}
	s.File = true
	f, err := os.Open(b.secretPath(from))
	if errors.Is(err, fs.ErrNotExist) {
		return s, hint.Wrap(err, "the path is relative to pyproject.toml")
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	value, err := io.ReadAll(io.LimitReader(f, step.MaxSecret+1))
	s.Value = string(value)
	return s, err
}

func (b *builder) secretPath(s project.Secret) string {
	if filepath.IsAbs(s.Path) {
		return s.Path
	}
	return filepath.Join(b.spec.Project.Dir, filepath.FromSlash(s.Path))
}

// secretPaths are the steps' secrets that are files of this machine.
func (b *builder) secretPaths() (paths []string) {
	for _, st := range b.spec.Project.Config.Steps {
		for _, s := range st.Secrets {
			if s.Kind == "file" {
				paths = append(paths, b.secretPath(s))
			}
		}
	}
	return paths
}

// secretsIn says which paths of a folder, or of a single file as ".", are secrets, whatever links lead to either.
func (b *builder) secretsIn(root string) func(rel string) bool {
	real := func(p string) string {
		if to, err := filepath.EvalSymlinks(p); err == nil {
			return to
		}
		return p
	}
	root = real(root)
	var rels []string
	for _, p := range b.secretPaths() {
		for _, at := range []string{real(p), filepath.Join(real(filepath.Dir(p)), filepath.Base(p))} {
			if rel, err := filepath.Rel(root, at); err == nil {
				rels = append(rels, filepath.ToSlash(rel))
			}
		}
	}
	return func(rel string) bool { return slices.Contains(rels, rel) }
}

// trees gives the layers that a command runs in: the base's as one, and ours upon it.
func (b *builder) trees(img *base.Image, made []madeLayer) ([]rootfs.Group, error) {
	group, err := groupOf(img)
	if err != nil {
		return nil, err
	}
	upper, err := b.lowerGroups(made)
	if err != nil {
		return nil, err
	}
	return append([]rootfs.Group{group}, upper...), nil
}

// groups gives layers of ours, each as a tree of its own.
func (b *builder) groups(made []madeLayer) (groups []rootfs.Group) {
	for _, m := range made {
		blob := b.blob(m)
		groups = append(groups, rootfs.Group{{DiffID: m.DiffID, Open: func() (io.ReadCloser, error) { return blob.Open(context.Background()) }}})
	}
	return groups
}

// groupOf gives an image's layers as one tree.
func groupOf(img *base.Image) (rootfs.Group, error) {
	list, err := img.Layers()
	if err != nil {
		return nil, err
	}
	var group rootfs.Group
	for _, layer := range list {
		diffID, err := layer.DiffID()
		if err != nil {
			return nil, fmt.Errorf("reading the layers of %s: %w", img.Source, err)
		}
		group = append(group, rootfs.Layer{DiffID: diffID.Hex, Open: layer.Compressed})
	}
	return group, nil
}
