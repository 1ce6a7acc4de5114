// Package sandboxtest has what the tests of commands in a sandbox share: programs to run, layers to run them in, and a cache.
package sandboxtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
)

// Main is a TestMain: it lets the test binary be a sandbox's first process, builds the program of a folder, and runs the tests.
func Main(m *testing.M, folder string, program *[]byte) {
	sandbox.Main()
	var err error
	if *program, err = Program(os.Environ(), folder); err != nil {
		panic(fmt.Errorf("building %s: %w", folder, err))
	}
	m.Run()
}

// Program builds the command in a folder, linked statically, with an environment.
func Program(env []string, folder string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "jubako-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), folder)
	cmd.Env = append(slices.Clone(env), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "program"))
}

// Group is a layer of executable files, by path. A content that begins with "-> " is a symlink's target.
func Group(t testing.TB, files map[string]string) rootfs.Group {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := files[name]
		h := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, target, 0, ""
		}
		err := tw.WriteHeader(h)
		if err == nil {
			_, err = io.WriteString(tw, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(buf.Bytes())
	return rootfs.Group{{DiffID: hex.EncodeToString(sum[:]), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }}}
}

// Store is a cache for the time of a test, in which nothing half-made may be left.
func Store(t testing.TB) *cas.Store {
	t.Helper()
	store, err := cas.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
