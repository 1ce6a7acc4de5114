package sdist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// maxInfo bounds PKG-INFO and pyproject.toml in bytes.
const maxInfo = 8 << 20

// Check holds an unpacked sdist's PKG-INFO against the name (normalized) and version that were locked; "" for a version that
// is not. An archive of a repository has no PKG-INFO, and its wheel is what has to bear them.
func Check(dir, filename, name, version string) error {
	b, err := ReadFile(dir, "PKG-INFO")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sdist %s: reading PKG-INFO: %w", filename, err)
	}
	headers, err := wheel.ParseHeaders(strings.NewReader(string(b)))
	if err != nil {
		return fmt.Errorf("sdist %s: reading PKG-INFO: %w", filename, err)
	}
	if got, ok := headers.Get("Name"); ok && pep508.Normalize(got) != name {
		return fmt.Errorf("sdist %s: its PKG-INFO is of the project %q, and %s is locked", filename, got, name)
	}
	got, ok := headers.Get("Version")
	if !ok || version == "" {
		return nil
	}
	have, err := pep508.ParseVersion(got)
	if err != nil {
		return fmt.Errorf("sdist %s: its PKG-INFO: %w", filename, err)
	}
	want, err := pep508.ParseVersion(version)
	if err != nil {
		return err
	}
	if have.Compare(want) != 0 && have.Public().Compare(want) != 0 {
		return fmt.Errorf("sdist %s: its PKG-INFO is of version %s, and %s is locked", filename, got, version)
	}
	return nil
}

// ReadFile reads a file of a source tree that comes from strangers: within its folder, whatever its links say, and of at
// most 8 MiB.
func ReadFile(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fi, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxInfo+1))
	if err == nil && len(b) > maxInfo {
		err = fmt.Errorf("%s has more than %d bytes", name, maxInfo)
	}
	return b, err
}
