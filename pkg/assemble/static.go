package assemble

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers/staticfiles"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// withStatic adds the staticfiles layer, where there is one, to the layers of a platform.
func (b *builder) withStatic(ctx context.Context, l *lower) ([]madeLayer, error) {
	c := b.spec.Project.Config
	if c.Staticfiles.Off || !l.layout.Django && !c.Staticfiles.Set {
		return l.made, nil
	}
	host, err := b.hostLower(ctx, l)
	if err != nil {
		return nil, err
	}
	conf, err := imageconf.Parse(host.image.Config)
	if err != nil {
		return nil, err
	}
	env := slices.Clone(conf.Config.Env)
	for _, v := range b.env() {
		env = append(env, v.Name+"="+v.Value)
	}
	o := staticfiles.Options{
		Workdir: c.Workdir, Venv: c.Venv, Dir: c.ManageDir(), Command: c.Staticfiles.Command, Output: c.Staticfiles.Output, Env: env,
		BuildEnv: assignments(c.Staticfiles.Env), Writable: c.Writable, Epoch: b.spec.Epoch, Store: b.Store, Rung: b.spec.Rung, Log: b.StepLog,
		Lower:     func(context.Context) ([]rootfs.Group, error) { return b.trees(host) },
		LowerKeys: []string{host.image.Digest.String()},
		Ran:       func(choice sandbox.Choice) { b.debug("staticfiles: %s", choice) },
	}
	o.UID, o.GID = b.owner(l.user)
	if l.layout.Manage != "" {
		o.Manage = path.Join(l.layout.Manage, path.Base(cmp.Or(c.Manage, "manage.py")))
		if len(o.Command) == 0 {
			o.Command = []string{"python", path.Base(o.Manage), "collectstatic", "--noinput"}
		}
	}
	for _, m := range host.made {
		o.LowerKeys = append(o.LowerKeys, string(m.key))
	}
	layer, err := staticfiles.New(o)
	if err != nil {
		return nil, err
	}
	made, err := l.maker.make(ctx, layer)
	if err != nil {
		return nil, err
	}
	l.maker.finished(made)
	if made.Files == 0 {
		b.warn("collectstatic wrote nothing that the source does not hold already")
		return l.made, nil
	}
	return append(slices.Clone(l.made), made), nil
}

// hostLower gives the tree in which commands run: the platform's own where this machine can run it, else the same project
// on the base for this machine, since what a step makes does not depend on the architecture.
func (b *builder) hostLower(ctx context.Context, l *lower) (*lower, error) {
	if l.image.Platform.Architecture == b.Host.Architecture && l.image.Platform.OS == b.Host.OS {
		return l, nil
	}
	host, err := b.lower(ctx, v1.Platform{OS: b.Host.OS, Architecture: b.Host.Architecture})
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("collectstatic for %s runs on the base for this machine (%s): %w", l.image.Platform, b.Host, err),
			"build where the platform is at home, or leave the step out: [tool.jubako] staticfiles = false")
	}
	return host, nil
}

// trees gives the layers that a command runs in: the base's as one, and each of ours.
func (b *builder) trees(l *lower) ([]rootfs.Group, error) {
	group, err := groupOf(l.image)
	if err != nil {
		return nil, err
	}
	groups := []rootfs.Group{group}
	for _, m := range l.made {
		blob := b.blob(m)
		groups = append(groups, rootfs.Group{{DiffID: m.DiffID, Open: func() (io.ReadCloser, error) { return blob.Open(context.Background()) }}})
	}
	return groups, nil
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
