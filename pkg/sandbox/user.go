package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is who runs a command, by the ids of the image's own /etc/passwd and /etc/group.
type User struct {
	UID, GID int
	Groups   []int // beyond GID
}

// Owned is a path that belongs to somebody else than root.
type Owned struct {
	Path     string // without leading slash
	UID, GID int
}

// mapUser lets a user namespace's one user have the ids that the command is to have. Whoever they are, the kernel gives
// the first process every privilege in there, and the ambient set carries those that it needs beyond its execution.
func (s *step) mapUser(attr *syscall.SysProcAttr) {
	if s.User == nil {
		return
	}
	attr.UidMappings[0].ContainerID, attr.GidMappings[0].ContainerID = s.User.UID, s.User.GID
	if s.User.UID != 0 {
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP,
			unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER}
	}
}

// oneUserNote is what a user namespace with a single id cannot do.
func (u *User) oneUserNote() []string {
	if u == nil {
		return nil
	}
	return []string{fmt.Sprintf("uid %d is the only user, and every file is theirs", u.UID)}
}

// switchUser makes the real root start the command as somebody else, with their files theirs, where root is allowed to.
func (s *step) switchUser(ctx context.Context, cfg *config) error {
	if s.User == nil || s.User.UID == 0 {
		return nil
	}
	if missing := missingCapability(unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_CHOWN); missing != "" {
		s.notes = append(s.notes, fmt.Sprintf("it runs as root without privileges, not as uid %d (root lacks %s here)", s.User.UID, missing))
		return nil
	}
	cfg.Switch = s.User
	if s.Owners == nil {
		return nil
	}
	var err error
	cfg.Owners, err = s.Owners(ctx)
	return err
}

func missingCapability(wanted ...int) string {
	names := map[int]string{unix.CAP_SETUID: "CAP_SETUID", unix.CAP_SETGID: "CAP_SETGID", unix.CAP_CHOWN: "CAP_CHOWN"}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var c [2]unix.CapUserData
	if err := unix.Capget(&hdr, &c[0]); err != nil {
		return errnoName(err)
	}
	for _, w := range wanted {
		if c[0].Effective&(1<<w) == 0 {
			return names[w]
		}
	}
	return ""
}

// giveFiles sets the owners that files have in the image, inside the new root.
func giveFiles(cfg config) error {
	for _, o := range cfg.Owners {
		if err := os.Lchown("/"+o.Path, o.UID, o.GID); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if cfg.Switch == nil {
		return nil
	}
	// /dev/stdout is opened anew by many a program's log, which a pipe allows to its owner alone.
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.Fchown(fd, cfg.Switch.UID, cfg.Switch.GID)
		}
	}
	return nil
}

// credential is whom a process is started as.
func (u *User) credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	c := &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	for _, g := range u.Groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}
