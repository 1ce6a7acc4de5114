package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/rootfs"
)

// The stages of the set-up that may be refused, as refusals name them.
const (
	stageClone   = "clone"
	stageOverlay = "overlayfs"
)

func errnoNames(errno syscall.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return errno.Error()
}

// namespaceFlags isolate a step as far as the kernel can.
func namespaceFlags(network bool) uintptr {
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS)
	if !network {
		flags |= syscall.CLONE_NEWNET
	}
	return flags
}

// usernsRung needs no privilege: the kernel gives whoever asks a user namespace in which they are root, and with it
// mounts, process ids and a network of their own.
type usernsRung struct{}

func (usernsRung) name() Rung { return Userns }

var usernsSwitches = []string{"kernel.unprivileged_userns_clone=0", "kernel.apparmor_restrict_unprivileged_userns=1",
	"user.max_user_namespaces=0"}

func (usernsRung) run(ctx context.Context, s *step) (outcome, error) {
	attr := func() *syscall.SysProcAttr {
		attr := &syscall.SysProcAttr{
			Cloneflags:  namespaceFlags(s.Network) | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
			Setsid:      true,
			Pdeathsig:   syscall.SIGKILL, // of the first process of a pid namespace: all end with it
		}
		s.mapUser(attr)
		return attr
	}
	s.notes = s.User.oneUserNote()
	out, err := runMounted(ctx, s, attr, s.config)
	if r, ok := errors.AsType[*setupError](err); ok {
		return out, refusal("user namespaces", r.Stage, r.err(), usernsSwitches...)
	}
	return out, err
}

// chrootRung is for a build that is root already, as in a container's: a mount namespace where root may make one, and
// else chroot and a private copy of the tree.
type chrootRung struct{}

func (chrootRung) name() Rung { return Chroot }

func (chrootRung) run(ctx context.Context, s *step) (outcome, error) {
	if os.Geteuid() != 0 {
		return outcome{}, &Refusal{stage: stageClone, Reason: "chroot: needs root"}
	}
	attr := func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Cloneflags: namespaceFlags(s.Network), Setsid: true, Pdeathsig: syscall.SIGKILL}
	}
	s.notes = nil
	var switched config
	if err := s.switchUser(ctx, &switched); err != nil {
		return outcome{}, err
	}
	conf := func(root string) config {
		cfg := s.config(root)
		cfg.Switch, cfg.Owners = switched.Switch, switched.Owners
		return cfg
	}
	out, err := runMounted(ctx, s, attr, conf)
	first, ok := errors.AsType[*setupError](err)
	if !ok {
		return out, err
	}
	s.notes = append(s.notes, "no mount namespace ("+first.Stage+": "+errnoName(first.err())+
		"), so that the command shares this container's processes")
	out, err = runPlain(ctx, s, conf)
	if r, ok := errors.AsType[*setupError](err); ok {
		return out, refusal("chroot", r.Stage, r.err())
	}
	return out, err
}

// runMounted runs the step in namespaces of its own: over the trees with overlayfs where it is allowed, and else in a
// private copy of them.
func runMounted(ctx context.Context, s *step, attr func() *syscall.SysProcAttr, conf func(root string) config) (outcome, error) {
	dir := s.attemptDir()
	upper := filepath.Join(dir, "upper")
	root := filepath.Join(dir, "root")
	for _, d := range []string{root, upper, filepath.Join(dir, "work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return outcome{}, err
		}
	}
	cfg := conf(root)
	cfg.Mounts, cfg.OwnNetwork, cfg.Upper, cfg.Work = true, !s.Network, upper, filepath.Join(dir, "work")
	s.detail = "overlayfs"
	why := "files in it stand for whiteouts"
	if rootfs.Mountable(s.Trees...) {
		err := launch(ctx, s, attr(), cfg)
		refused, ok := errors.AsType[*setupError](err)
		if !ok || refused.Stage != stageOverlay {
			return outcome{after: s.view(upper), detail: s.detail, notes: s.notes}, err
		}
		why = "overlayfs was refused: " + errnoName(refused.err())
	}
	root, err := s.copyTrees(ctx)
	if err != nil {
		return outcome{}, err
	}
	cfg = conf(root)
	cfg.Mounts, cfg.OwnNetwork = true, !s.Network
	s.detail = "a copy of the tree, since " + why
	err = launch(ctx, s, attr(), cfg)
	return outcome{after: rootfs.NewView(root), detail: s.detail, notes: s.notes}, err
}

// runPlain runs the step with chroot alone.
func runPlain(ctx context.Context, s *step, conf func(root string) config) (outcome, error) {
	root, err := s.copyTrees(ctx)
	if err != nil {
		return outcome{}, err
	}
	cfg := conf(root)
	// A service has to listen, and this machine allows it no network but its own: Service.HostNetwork says so.
	cfg.RefuseSockets = !s.Network && s.Started == nil
	s.detail = "a copy of the tree"
	// Where root may still have a network namespace made, it is the better cut; here it may not, or runMounted would
	// have worked. The helper ends its descendants itself, so it must live to do so.
	err = launch(ctx, s, &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}, cfg)
	return outcome{after: rootfs.NewView(root), detail: s.detail, notes: s.notes}, err
}

func (s *step) copyTrees(ctx context.Context) (string, error) {
	root := s.attemptDir()
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", err
	}
	return root, s.view().Copy(ctx, root)
}

func (s *step) config(root string) config {
	return config{Root: root, Trees: s.Trees, Sparse: s.Sparse.Within(), Shown: s.Shown, Argv: s.Argv, Env: s.Env, Dir: s.Dir, Writable: s.Writable,
		Network: s.Network, Memory: s.MemoryLimit}
}
