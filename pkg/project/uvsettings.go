package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
)

// UVSettings is what uv's own configuration says, as far as an image depends on it.
type UVSettings struct {
	Indexes        []Index
	Keyring        bool // keyring-provider = "subprocess"
	NoBuild        bool
	NoBuildPackage []string
	NoBinary       bool
	NoBinaryPkgs   []string
	Building       Building
}

// Building is what uv's configuration says of how wheels are built from source.
type Building struct {
	// Constraints bound the versions of build requirements (build-constraint-dependencies).
	Constraints []string
	// ExtraRequires are build requirements that a package does not name itself, by its normalized name
	// (extra-build-dependencies), and ExtraVariables what its build sees in its environment (extra-build-variables).
	ExtraRequires  map[string][]string
	ExtraVariables map[string]map[string]string
	// MatchRuntime names, for a package, one of its ExtraRequires that is to be what the environment has (match-runtime),
	// which jubako does not do.
	MatchRuntime map[string]string
	// Settings are the backends' config-settings, for all packages and by name: strings, or lists of them.
	Settings        map[string]any
	PackageSettings map[string]map[string]any
	// ExcludeNewer is a date, time or span as uv has it; "" for none. Of a package it may be "false".
	ExcludeNewer        string
	ExcludeNewerPackage map[string]string
	// NoIsolation says that something is to be built without build requirements of its own, which jubako does not do.
	NoIsolation []string
}

// Index is an entry of [[tool.uv.index]], or a URL of index-url and its like.
type Index struct {
	Name         string `toml:"name"`
	URL          string `toml:"url"`
	Authenticate string `toml:"authenticate"`
	Default      bool   `toml:"default"`
	Explicit     bool   `toml:"explicit"`
}

// rawUVSettings is uv.toml, and [tool.uv] of pyproject.toml.
type rawUVSettings struct {
	Indexes        []Index  `toml:"index"`
	IndexURL       string   `toml:"index-url"`
	ExtraIndexURL  []string `toml:"extra-index-url"`
	Keyring        string   `toml:"keyring-provider"`
	NoBuild        bool     `toml:"no-build"`
	NoBuildPackage []string `toml:"no-build-package"`
	NoBinary       bool     `toml:"no-binary"`
	NoBinaryPkgs   []string `toml:"no-binary-package"`

	BuildConstraints    []any                        `toml:"build-constraint-dependencies"`
	ExtraRequires       map[string][]any             `toml:"extra-build-dependencies"`
	ExtraVariables      map[string]map[string]string `toml:"extra-build-variables"`
	Settings            map[string]any               `toml:"config-settings"`
	PackageSettings     map[string]map[string]any    `toml:"config-settings-package"`
	ExcludeNewer        any                          `toml:"exclude-newer"`
	ExcludeNewerPackage map[string]any               `toml:"exclude-newer-package"`
	NoIsolation         any                          `toml:"no-build-isolation"`
	NoIsolationPackage  []string                     `toml:"no-build-isolation-package"`
}

// LockFolders are where a project's uv.lock may be: its own folder, and those above it. One further up is a workspace's, of
// which the project is a member: both have a pyproject.toml.
func LockFolders(dir string) []string {
	folders := []string{dir}
	has := func(at string) bool {
		_, err := os.Stat(filepath.Join(at, "pyproject.toml"))
		return err == nil
	}
	if !has(dir) {
		return folders
	}
	for at := filepath.Dir(dir); at != filepath.Dir(at); at = filepath.Dir(at) {
		if has(at) {
			folders = append(folders, at)
		}
	}
	return folders
}

// readUVSettings reads the settings of the workspace that a project belongs to: the folder of its uv.lock, in whose uv.toml,
// or else [tool.uv] of pyproject.toml, they are. The user's own and the machine's uv.toml add indexes.
func readUVSettings(dir string) (UVSettings, error) {
	root := dir
	for _, at := range LockFolders(dir) {
		if _, err := os.Stat(filepath.Join(at, "uv.lock")); err == nil {
			root = at
			break
		}
	}
	raw, found, err := readUVFile(filepath.Join(root, "uv.toml"), false)
	if err == nil && !found {
		raw, _, err = readUVFile(filepath.Join(root, "pyproject.toml"), true)
	}
	if err != nil {
		return UVSettings{}, err
	}
	out := UVSettings{Keyring: raw.Keyring == "subprocess", NoBuild: raw.NoBuild, NoBuildPackage: raw.NoBuildPackage, NoBinary: raw.NoBinary, NoBinaryPkgs: raw.NoBinaryPkgs}
	out.add(raw)
	if out.Building, err = raw.building(); err != nil {
		return out, hint.Usage(fmt.Errorf("reading uv's settings: %w", err))
	}
	for _, file := range userUVFiles() {
		raw, _, err := readUVFile(file, false)
		if err != nil {
			return out, err
		}
		out.add(raw)
		out.Keyring = out.Keyring || raw.Keyring == "subprocess"
	}
	return out, nil
}

// userUVFiles are the user's uv.toml and the machine's.
func userUVFiles() []string {
	var files []string
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "uv", "uv.toml"))
	}
	return append(files, "/etc/uv/uv.toml")
}

func (s *UVSettings) add(raw rawUVSettings) {
	s.Indexes = append(s.Indexes, raw.Indexes...)
	if raw.IndexURL != "" {
		s.Indexes = append(s.Indexes, Index{URL: raw.IndexURL, Default: true})
	}
	for _, u := range raw.ExtraIndexURL {
		s.Indexes = append(s.Indexes, Index{URL: u})
	}
}

// readUVFile reads uv.toml, or [tool.uv] of a pyproject.toml.
func readUVFile(file string, pyproject bool) (raw rawUVSettings, found bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return raw, false, nil
	}
	if err != nil {
		return raw, false, hint.Usage(fmt.Errorf("reading uv's settings: %w", err))
	}
	if !pyproject {
		err = toml.Unmarshal(b, &raw)
	} else {
		var doc struct {
			Tool struct {
				UV rawUVSettings `toml:"uv"`
			} `toml:"tool"`
		}
		err = toml.Unmarshal(b, &doc)
		raw = doc.Tool.UV
	}
	if err != nil {
		return raw, true, undecoded(file, err)
	}
	return raw, true, nil
}
