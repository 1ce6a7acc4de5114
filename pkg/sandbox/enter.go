package sandbox

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// enter makes the tree the process's root. Nothing is ever mounted or made at a path below the tree before that, since
// the image may hold symlinks; afterwards, there is nowhere else that they could lead.
func enter(cfg config, h *host) *setupError {
	if !cfg.Mounts {
		return enterPlain(cfg)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return newSetupError("mount", err)
	}
	if cfg.Upper != "" {
		if err := mountOverlay(cfg); err != nil {
			return newSetupError(stageOverlay, err)
		}
	} else if err := unix.Mount(cfg.Root, cfg.Root, "", unix.MS_BIND, ""); err != nil {
		return newSetupError("mount", err)
	}
	show := showing(cfg.Shown)
	if err := pivot(cfg.Root); err != nil {
		return newSetupError("pivot_root", err)
	}
	if err := mountSystem(h, cfg.Control && cfg.OwnNetwork); err != nil {
		return newSetupError("mount", err)
	}
	show()
	if err := leaveHost(h); err != nil {
		return newSetupError("leaving the old root", err)
	}
	if err := unix.Sethostname([]byte("localhost")); err != nil {
		return newSetupError("sethostname", err)
	}
	if cfg.OwnNetwork {
		if err := loopbackUp(); err != nil {
			return newSetupError("loopback", err)
		}
		if cfg.Control {
			if err := addAddress(); err != nil {
				return newSetupError("loopback", err)
			}
		}
	}
	return nil
}

// mountOverlay mounts the trees at Root. They are named by descriptors, so that neither the length of their paths nor
// any comma or colon in one matters.
func mountOverlay(cfg config) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	fd := func(dir string) (string, error) {
		f, err := os.Open(dir)
		if err != nil {
			return "", err
		}
		files = append(files, f)
		return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())), nil
	}
	var dirs []string
	for _, dir := range append([]string{cfg.Work, cfg.Upper}, cfg.Trees...) {
		p, err := fd(dir)
		if err != nil {
			return err
		}
		dirs = append(dirs, p)
	}
	var lower []string
	for _, p := range dirs[2:] {
		lower = append([]string{p}, lower...) // the mount wants the uppermost first
	}
	// userxattr is the form of marks that every user may set, and the one in which rootfs unpacks.
	data := "userxattr,lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + dirs[1] + ",workdir=" + dirs[0]
	// Volatile, since else the end of the mount waits until all that this machine has written to the file system is on the disk, for the
	// sake of a folder that is about to be removed (Linux 5.10).
	err := unix.Mount("overlay", cfg.Root, "overlay", unix.MS_NOSUID|unix.MS_NODEV, data+",volatile")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("overlay", cfg.Root, "overlay", unix.MS_NOSUID|unix.MS_NODEV, data)
	}
	return err
}

// pivot makes root the root, with the old one stacked upon it, still to be reached by its descriptor.
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	err := unix.PivotRoot(".", ".")
	if errors.Is(err, unix.EINVAL) {
		// The machine's root is an initramfs, which cannot be pivoted away.
		if err = unix.Mount(".", "/", "", unix.MS_MOVE, ""); err == nil {
			err = unix.Chroot(".")
		}
	}
	return err
}

// devices are those that every program may expect.
var devices = [...]struct {
	name  string
	minor uint32
}{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}}

// mountSystem mounts /proc, /dev and /tmp in the new root. With lowPorts, everybody may listen on every port of the network.
func mountSystem(h *host, lowPorts bool) error {
	if err := unix.Fchdir(int(h.root.Fd())); err != nil { // "dev/null" is the machine's, "/dev/null" the sandbox's
		return err
	}
	for _, dir := range []string{"/proc", "/dev", "/tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	const plain = unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("proc", "/proc", "proc", plain|unix.MS_NOEXEC, ""); err != nil {
		// In a container whose own /proc is partly hidden, no other may be had: the container's own shows no more.
		if err := unix.Mount("proc", "/proc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	if lowPorts { // as with Docker: port 80 of a service is not this machine's; where it is refused, the service will say so
		_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	}
	protectProc()
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", plain, "mode=1777"); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755,size=64k"); err != nil {
		return err
	}
	for _, d := range devices {
		if err := bindDevice(d.name); err != nil {
			return err
		}
	}
	_ = bindDevice("tty") // absent in some containers; without a terminal it cannot be opened anyhow
	if err := os.Mkdir("/dev/shm", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", plain, "mode=1777"); err != nil {
		return err
	}
	return deviceLinks()
}

// deviceLinkTargets are the links that every program may expect in /dev.
var deviceLinkTargets = map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
	"stderr": "/proc/self/fd/2"}

func deviceLinks() error {
	for name, target := range deviceLinkTargets {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func bindDevice(name string) error {
	f, err := os.OpenFile("/dev/"+name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return unix.Mount("dev/"+name, "/dev/"+name, "", unix.MS_BIND, "")
}

// protectProc makes read-only what in /proc belongs to the machine. The real root could write there without any
// capability; in a user namespace nobody can, so that a refusal does not matter.
func protectProc() {
	for _, p := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"} {
		if unix.Mount(p, p, "", unix.MS_BIND|unix.MS_REC, "") == nil {
			_ = unix.Mount("", p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}
	}
	for _, p := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"} {
		_ = unix.Mount("dev/null", p, "", unix.MS_BIND, "")
	}
}

// showing opens what is to be shown while its path can still be followed, and gives what shows it, read-only, in the new root.
// Where that is refused, the command goes without.
func showing(s Shown) (show func()) {
	if s.Folder == "" {
		return func() {}
	}
	fd, err := unix.Open(s.Folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	return func() {
		defer unix.Close(fd)
		if unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), s.Path, "", unix.MS_BIND, "") != nil {
			return
		}
		if unix.MountSetattr(unix.AT_FDCWD, s.Path, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}) != nil {
			_ = unix.Unmount(s.Path, unix.MNT_DETACH)
		}
	}
}

func leaveHost(h *host) error {
	if h.proc != nil {
		_ = h.proc.Close() // the pid namespace makes it needless
		h.proc = nil
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil { // we stand in it
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return h.root.Close()
}

// loopbackUp switches on the one device of a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(req))); errno != 0 {
		return errno
	}
	return nil
}

// enterPlain does with chroot and device nodes what it can.
func enterPlain(cfg config) *setupError {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return newSetupError("subreaper", err)
	}
	if err := unix.Chroot(cfg.Root); err != nil {
		return newSetupError("chroot", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return newSetupError("chroot", err)
	}
	for _, dir := range []string{"/dev/shm", "/tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return newSetupError("chroot", err)
		}
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return newSetupError("chroot", err)
		}
	}
	for _, d := range devices {
		err := unix.Mknod("/dev/"+d.name, unix.S_IFCHR, int(unix.Mkdev(1, d.minor)))
		if err == nil {
			err = os.Chmod("/dev/"+d.name, 0o666)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return newSetupError("mknod", err)
		}
	}
	if err := deviceLinks(); err != nil {
		return newSetupError("chroot", err)
	}
	return nil
}

// killDescendants ends every process that this one started or adopted. As their subreaper, it is given the children of
// each that it kills, until there are none.
func killDescendants(proc *os.File) {
	for {
		for _, pid := range childrenOf(os.Getpid(), proc) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return
			}
			if pid <= 0 {
				break
			}
		}
		if proc == nil {
			return // nothing can be found
		}
		time.Sleep(time.Millisecond)
	}
}

// childrenOf reads the parent of every process (proc(5), /proc/PID/stat) from a /proc that lies outside the root.
func childrenOf(parent int, proc *os.File) (pids []int) {
	if proc == nil {
		return nil
	}
	if _, err := proc.Seek(0, io.SeekStart); err != nil {
		return nil
	}
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	buf := make([]byte, 1024)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		fd, err := unix.Openat(int(proc.Fd()), name+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		n, _ := unix.Read(fd, buf)
		_ = unix.Close(fd)
		stat := string(buf[:max(n, 0)])
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // the name before it may hold anything
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}
