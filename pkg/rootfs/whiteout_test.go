package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/cas"
)

// TestWhiteoutsOnOverlay: where the cache lies on overlayfs, as in a container without a volume for it, nobody may make the devices that
// are whiteouts, and trees are the same all the same.
func TestWhiteoutsOnOverlay(t *testing.T) {
	if os.Getenv("JUBAKO_TEST_OVERLAY") == "" {
		inMountNamespace(t)
		return
	}
	dir := onOverlay(t)
	if err := unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR, 0); !errors.Is(err, unix.EPERM) {
		t.Skipf("a whiteout can be made: %v", err)
	}
	store, err := cas.Open(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	groups := []Group{
		{layer(archive(t, "a/x=1", "a/y=2", "b/z=3", "c=4", "d/e/f=5", "empty="))},
		{layer(archive(t, "a/.wh.x", ".wh.b", ".wh.c", "d/.wh.e", "later=")), layer(archive(t, "b/new=6", "c=7", "h => later", ".wh.later"))},
		{layer(archive(t, "d/e/", "a/x/y=8"))},
	}
	trees, err := Unpack(t.Context(), store, groups, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a/", "a/x/", "a/x/y=8", "a/y=2", "b/", "b/new=6", "c=7", "d/", "d/e/", "empty=", "h="}
	if d := cmp.Diff(want, list(t, NewView(trees...))); d != "" {
		t.Error(d)
	}
	if Mountable(trees...) || !Mountable(trees[0]) || Mountable(trees[1]) {
		t.Error("overlayfs would show what stands for whiteouts")
	}
	hostile := Group{layer(archive(t, ".wh.x", "y => x"))}
	if _, err := Unpack(t.Context(), store, []Group{groups[0], hostile}, Limits{}); err == nil || !strings.Contains(err.Error(), "which is no file") {
		t.Errorf("a link to a whiteout: %v", err)
	}
	fmt.Println("compared on overlayfs")
}

// inMountNamespace runs the test again where its mounts are nobody else's, and go with it.
func inMountNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "JUBAKO_TEST_OVERLAY=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("needs root")
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case !strings.Contains(string(out), "compared on overlayfs"):
		t.Skipf("%s", out)
	}
}

// onOverlay mounts an overlay.
func onOverlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		err = errors.Join(err, os.Mkdir(at(name), 0o755))
	}
	if err == nil {
		err = unix.Mount("overlay", at("merged"), "overlay", 0, "lowerdir="+at("lower")+",upperdir="+at("upper")+",workdir="+at("work"))
	}
	if err == nil { // which a tmpfs takes from Linux 6.6 on
		err = unix.Setxattr(at("merged"), "user.jubako.test", []byte("y"), 0)
	}
	if err != nil {
		t.Skipf("no overlay here: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(at("merged"), 0), unix.Unmount(dir, 0)); err != nil {
			t.Error(err)
		}
	})
	return at("merged")
}
