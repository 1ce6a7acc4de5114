package pep517

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// System is what a project says of how it is built (PEP 518, PEP 517).
type System struct {
	Requires []string
	Backend  string
	Path     []string // backend-path
}

// The defaults of PEP 517 where a project does not say: setuptools, with a setup.py.
const (
	legacyBackend  = "setuptools.build_meta:__legacy__"
	legacyRequires = "setuptools>=40.8.0"
)

// maxPyproject bounds pyproject.toml in bytes.
const maxPyproject = 4 << 20

// ReadSystem reads a pyproject.toml; nil stands for none.
func ReadSystem(pyproject []byte) (System, error) {
	if len(pyproject) > maxPyproject {
		return System{}, fmt.Errorf("reading pyproject.toml: it has %d bytes; at most %d are read", len(pyproject), maxPyproject)
	}
	var p struct {
		BuildSystem *struct {
			Requires []string `toml:"requires"`
			Backend  string   `toml:"build-backend"`
			Path     []string `toml:"backend-path"`
		} `toml:"build-system"`
	}
	if err := toml.Unmarshal(pyproject, &p); err != nil {
		if d, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := d.Position()
			return System{}, fmt.Errorf("reading pyproject.toml:%d:%d: %w", row, col, err)
		}
		return System{}, fmt.Errorf("reading pyproject.toml: %w", err)
	}
	b := p.BuildSystem
	if b == nil {
		return System{Requires: []string{legacyRequires}, Backend: legacyBackend}, nil
	}
	s := System{Requires: b.Requires, Backend: b.Backend, Path: b.Path}
	if s.Backend == "" {
		if len(s.Path) > 0 {
			return System{}, errors.New("reading pyproject.toml: build-system.backend-path is there without a build-backend")
		}
		s.Backend = legacyBackend
	}
	for _, dir := range s.Path {
		if clean := path.Clean(dir); path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
			return System{}, fmt.Errorf("reading pyproject.toml: build-system.backend-path names %s, which does not lie in the source", dir)
		}
	}
	return s, nil
}
