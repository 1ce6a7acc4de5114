package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/sandbox"
)

// suite are the tests that hold for every user.
const suite = "^TestRungs$|^TestFaithful$|^TestPtraceWalls$|^TestLoader$|^TestSameOutputs$|^TestOwnNetwork$"

// TestOrdinaryUser runs the suite again as a user without any privilege, where the tests run as root.
func TestOrdinaryUser(t *testing.T) {
	again(t, suite, nobody(), nil)
}

// TestLockdown runs the suite again where namespaces, mounts and changes of root are refused, as root and as nobody.
func TestLockdown(t *testing.T) {
	lockdown := filepath.Join(t.TempDir(), "lockdown")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", lockdown, "./testdata/lockdown")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, as := range map[string]*syscall.Credential{"root": nil, "nobody": nobody()} {
		t.Run(name, func(t *testing.T) {
			out := again(t, suite, as, []string{lockdown})
			for _, rung := range []sandbox.Rung{sandbox.Userns, sandbox.Chroot} {
				if !strings.Contains(out, "--- SKIP: TestRungs/"+string(rung)+" ") {
					t.Errorf("%s was not refused:\n%s", rung, out)
				}
			}
			if !strings.Contains(out, "--- PASS: TestRungs/ptrace/output ") {
				t.Errorf("ptrace did not run:\n%s", out)
			}
		})
	}
}

func nobody() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

// TestContainer runs the suite again as root is in a container: without the privilege to mount.
func TestContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with this test
	must(t, unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0))
	if out := again(t, "^TestRungs$/^chroot$", nil, nil); !strings.Contains(out, "no mount namespace (clone: EPERM)") {
		t.Errorf("it was to be without mounts:\n%s", out)
	}
}

// TestOnOverlay runs the suite of the rungs again where the trees and what is written lie on overlayfs, as in a container without a
// volume: nothing may make a whiteout there.
func TestOnOverlay(t *testing.T) {
	overlay := filepath.Join(t.TempDir(), "overlay")
	must(t, os.WriteFile(overlay, []byte(`#!/bin/sh
exec unshare --mount --propagation private sh -ec '
mkdir "$TMPDIR/o"; mount -t tmpfs tmpfs "$TMPDIR/o"; cd "$TMPDIR/o"; mkdir lower upper work merged
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
TMPDIR=$PWD/merged; export TMPDIR; cd merged; exec "$@"' sh "$@"
`), 0o755))
	must(t, os.Mkdir(filepath.Join(filepath.Dir(overlay), "probe"), 0o755))
	// A tmpfs takes a user's attributes from Linux 6.6 on.
	probe := exec.CommandContext(t.Context(), overlay, "python3", "-c", `import os; os.setxattr(".", "user.jubako.test", b"y")`)
	probe.Env = append(os.Environ(), "TMPDIR="+filepath.Join(filepath.Dir(overlay), "probe"))
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no overlay here: %v\n%s", err, out)
	}
	again(t, "^TestRungs$/^(userns|chroot|ptrace)$", nil, []string{overlay})
}

// again runs tests of this package in another process, with other credentials, by the program under.
func again(t *testing.T, tests string, as *syscall.Credential, under []string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	exe, err := os.Executable()
	must(t, err)
	dir, err := os.MkdirTemp("", "sandbox-again-") // t.TempDir lies where others cannot go
	must(t, err)
	t.Cleanup(func() { must(t, cas.RemoveTree(dir)) })
	programs := map[string]string{"test": exe, "prog": prog}
	argv := []string{filepath.Join(dir, "test"), "-test.run=" + tests, "-test.v"}
	for i, name := range under {
		programs[fmt.Sprint("under", i)] = name
		argv = append([]string{filepath.Join(dir, fmt.Sprint("under", i))}, argv...)
	}
	for name, from := range programs {
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o755))
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "JUBAKO_TEST_PROG=" + filepath.Join(dir, "prog")}
	if noPython == nil {
		must(t, exec.Command("cp", "-a", python, filepath.Join(dir, "python")).Run())
		cmd.Env = append(cmd.Env, "JUBAKO_TEST_PYTHON="+filepath.Join(dir, "python"))
	}
	if as != nil {
		must(t, exec.Command("chown", "-R", fmt.Sprintf("%d:%d", as.Uid, as.Gid), dir).Run())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestRungs/") {
		t.Fatalf("nothing ran:\n%s", out)
	}
	return string(out)
}
