package runimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// defaultPath is the PATH of an image that sets none, as with Docker.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// plan is what the image's config and the options make.
type plan struct {
	conf       *imageconf.Config
	argv, env  []string
	dir        string
	folders    []string // to be made where they are missing
	user       accounts.Login
	ports      []Port
	health     *check
	stopSignal syscall.Signal
}

func newPlan(o Options) (*plan, error) {
	conf, err := imageconf.Parse(o.Image.Config)
	if err != nil {
		return nil, err
	}
	if conf.OS != o.Host.OS || conf.Architecture != o.Host.Architecture {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("the image is for %s, and this machine is %s", o.Image.Platform, o.Host)),
			"build it with --platform %s", o.Host)
	}
	p := &plan{conf: conf, dir: conf.Config.WorkingDir}
	if p.argv = commandOf(conf, o); len(p.argv) == 0 {
		return nil, hint.Wrap(hint.Usage(errors.New("the image has neither Entrypoint nor Cmd")), "name a command behind --")
	}
	if p.dir == "" {
		p.dir = "/"
	}
	p.folders = append([]string{p.dir}, slices.Sorted(maps.Keys(conf.Config.Volumes))...)
	if p.stopSignal, err = imageconf.Signal(conf.Config.StopSignal); err != nil {
		return nil, fmt.Errorf("the image's StopSignal: %w", err)
	}
	if p.ports, err = portsOf(conf, o); err != nil {
		return nil, err
	}
	if o.Health {
		if p.health, err = checkOf(conf); err != nil {
			return nil, err
		}
	}
	for _, kv := range o.Env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" || strings.ContainsRune(kv, 0) {
			return nil, hint.Usage(fmt.Errorf("%q is no NAME=VALUE", kv))
		}
	}
	p.env = mergeEnv([]string{"PATH=" + defaultPath, "HOSTNAME=localhost"}, conf.Config.Env, o.Env)
	return p, nil
}

// commandOf puts Entrypoint and Cmd together as `docker run` does: with another entrypoint, the image's Cmd is not meant
// any more.
func commandOf(conf *imageconf.Config, o Options) []string {
	entrypoint, cmd := conf.Config.Entrypoint, conf.Config.Cmd
	if o.Entrypoint != nil {
		entrypoint, cmd = nil, nil
		if *o.Entrypoint != "" {
			entrypoint = []string{*o.Entrypoint}
		}
	}
	if len(o.Args) > 0 {
		cmd = o.Args
	}
	return slices.Concat(entrypoint, cmd)
}

// mergeEnv keeps of each name the last value, at the place of the first.
func mergeEnv(lists ...[]string) (env []string) {
	at := make(map[string]int)
	for _, kv := range slices.Concat(lists...) {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			continue
		}
		if i, there := at[name]; there {
			env[i] = kv
			continue
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	return env
}

// login finds the image's user in its files.
func (p *plan) login(v rootfs.View) error {
	var f accounts.Files
	for name, to := range map[string]*[]byte{"etc/passwd": &f.Passwd, "etc/group": &f.Group} {
		var err error
		if *to, err = readSmall(v, name); err != nil {
			return fmt.Errorf("reading the image's /%s: %w", name, err)
		}
	}
	var err error
	if p.user, err = f.Lookup(p.conf.Config.User); err != nil {
		return err
	}
	p.env = mergeEnv([]string{"HOME=" + p.user.Home}, p.env)
	return nil
}

// readSmall reads a file of an image, nil where it has none.
func readSmall(v rootfs.View, name string) ([]byte, error) {
	const limit = 5 << 20 // above what accounts takes
	n, err := v.Resolve(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !n.Info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(n.Real())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// groupsOf divides the image's layers as a build does, so that what one has unpacked serves the other: the base's are
// one tree, and each that jubako has made is one of its own.
func groupsOf(img *base.Image) ([]rootfs.Group, error) {
	list, err := img.Layers()
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	conf, err := imageconf.Parse(img.Config)
	if err != nil {
		return nil, err
	}
	comments := conf.LayerComments()
	comments = append(comments, make([]string, max(0, len(list)-len(comments)))...)
	var groups []rootfs.Group
	for i, layer := range list {
		diffID, err := layer.DiffID()
		if err != nil {
			return nil, fmt.Errorf("reading the layers of %s: %w", img.Source, err)
		}
		l := rootfs.Layer{DiffID: diffID.Hex, Open: layer.Compressed}
		if own := output.KeyOf(m.Layers[i].Annotations, comments[i]) != ""; own || len(groups) == 0 {
			groups = append(groups, rootfs.Group{l})
		} else {
			groups[len(groups)-1] = append(groups[len(groups)-1], l)
		}
	}
	return groups, nil
}

// owners gives the paths that are not root's.
func (r *running) owners(ctx context.Context) ([]sandbox.Owned, error) {
	facts, err := r.o.Image.Facts(ctx, r.o.Store)
	if err != nil {
		return nil, err
	}
	var all []sandbox.Owned
	for p, st := range facts.Files {
		if st.UID != 0 || st.GID != 0 {
			all = append(all, sandbox.Owned{Path: p, UID: st.UID, GID: st.GID})
		}
	}
	slices.SortFunc(all, func(a, b sandbox.Owned) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}
