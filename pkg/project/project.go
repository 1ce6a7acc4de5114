// Package project reads a Python project: pyproject.toml with [tool.jubako], its profiles, and what can be inferred from
// the source where nothing is written.
//
// It may import pkg/pep508, pkg/deb, pkg/accounts, pkg/imageconf and pkg/hint.
package project

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
)

// DefaultProfile is the profile that is used where none is named.
const DefaultProfile = "prod"

// maxPyproject bounds pyproject.toml in bytes.
const maxPyproject = 4 << 20

// Project is what pyproject.toml says, for one profile.
type Project struct {
	Dir    string // the folder of pyproject.toml, absolute
	File   string // pyproject.toml, as it is named in messages
	Raw    []byte
	Config *Config

	Name           string // "" for a root without [project]
	Version        string // "" where it is dynamic
	Description    string
	License        string
	RequiresPython string
	Scripts        map[string]string
	// Packaged says that the project itself is installed, and with it its scripts: it has a [build-system], or
	// [tool.uv] package = true.
	Packaged     bool
	Dependencies []string
	Optional     map[string][]string
	DynamicDeps  bool
	Groups       map[string][]string // [dependency-groups], includes followed
	GroupPython  map[string]string
	Repository   string // the first of the URLs that names source code

	UV UVSettings
	// PythonVersion is what .python-version asks for, "" where there is no such file.
	PythonVersion string

	places places
}

// Where says where a key of [tool.jubako] is written: "pyproject.toml:12:3", "--set", or "[tool.jubako] KEY" where it is inferred.
func (p *Project) Where(key string) string { return p.places.of(key) }

// Profiles lists the profiles that the file has, in order, the default one among them.
func (p *Project) Profiles() []string {
	var doc struct {
		Tool struct {
			Jubako struct {
				Profile map[string]any `toml:"profile"`
			} `toml:"jubako"`
		} `toml:"tool"`
	}
	names := []string{DefaultProfile}
	if err := toml.Unmarshal(p.Raw, &doc); err == nil { // it was read before
		names = append(names, slices.Collect(maps.Keys(doc.Tool.Jubako.Profile))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rawPyproject is what jubako reads of the rest of the file.
type rawPyproject struct {
	Project struct {
		Name           string              `toml:"name"`
		Version        string              `toml:"version"`
		Description    string              `toml:"description"`
		License        any                 `toml:"license"`
		RequiresPython string              `toml:"requires-python"`
		Dependencies   []string            `toml:"dependencies"`
		Optional       map[string][]string `toml:"optional-dependencies"`
		Dynamic        []string            `toml:"dynamic"`
		Scripts        map[string]string   `toml:"scripts"`
		URLs           map[string]string   `toml:"urls"`
	} `toml:"project"`
	BuildSystem any              `toml:"build-system"`
	Groups      map[string][]any `toml:"dependency-groups"`
	Tool        struct {
		UV struct {
			Package *bool    `toml:"package"`
			Dev     []string `toml:"dev-dependencies"`
			Groups  map[string]struct {
				RequiresPython string `toml:"requires-python"`
			} `toml:"dependency-groups"`
		} `toml:"uv"`
	} `toml:"tool"`
}

// Load reads the project in a folder for a profile, with settings of the form KEY=VALUE over it.
func Load(dir, profile string, sets []string) (*Project, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "pyproject.toml")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if !hasOtherLock(abs) {
			return nil, hint.Wrap(hint.Usage(fmt.Errorf("there is no pyproject.toml in %s", dir)), "name the project's folder: jubako build DIR")
		}
		b, err = nil, nil // a project of requirements alone: everything is inferred, or said with --set
	}
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the project: %w", err))
	}
	p, err := parse(file, b, profile, sets)
	if err != nil {
		return nil, err
	}
	p.Dir = abs
	if p.UV, err = readUVSettings(abs); err != nil {
		return nil, err
	}
	v, err := os.ReadFile(filepath.Join(abs, ".python-version"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the project: %w", err)
	}
	for line := range strings.Lines(string(v)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && p.PythonVersion == "" {
			p.PythonVersion = line
		}
	}
	return p, nil
}

// hasOtherLock says whether a folder without pyproject.toml has something else to install from.
func hasOtherLock(dir string) bool {
	for _, name := range []string{"pylock.toml", "requirements.txt"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err == nil && fi.Mode().IsRegular() {
			return true
		}
	}
	return false
}

func parse(file string, b []byte, profile string, sets []string) (*Project, error) {
	if len(b) > maxPyproject {
		return nil, hint.Usage(fmt.Errorf("reading %s: it has %d bytes; at most %d are read", file, len(b), maxPyproject))
	}
	var raw rawPyproject
	if err := toml.Unmarshal(b, &raw); err != nil {
		return nil, undecoded(file, err)
	}
	config, at, err := configFor(file, b, profile, sets)
	if err != nil {
		return nil, err
	}
	r := raw.Project
	p := &Project{
		File: file, Raw: b, Config: config, places: at, Name: r.Name, Version: r.Version, Description: r.Description, RequiresPython: r.RequiresPython,
		Scripts: r.Scripts, Dependencies: r.Dependencies, Optional: r.Optional,
		Groups: map[string][]string{}, GroupPython: map[string]string{},
	}
	p.Packaged = raw.BuildSystem != nil
	if declared := raw.Tool.UV.Package; declared != nil {
		p.Packaged = *declared
	}
	if s, ok := r.License.(string); ok {
		p.License = s
	}
	for _, d := range r.Dynamic {
		p.DynamicDeps = p.DynamicDeps || strings.Contains(d, "dependencies")
	}
	for label, url := range r.URLs {
		switch strings.ToLower(label) {
		case "source", "repository", "source code", "github":
			p.Repository = url
		}
	}
	for g := range raw.Groups {
		if p.Groups[pep508.Normalize(g)], err = flatten(raw.Groups, g, nil); err != nil {
			return nil, hint.Usage(fmt.Errorf("reading [dependency-groups] of %s: %w", file, err))
		}
	}
	if len(raw.Tool.UV.Dev) > 0 {
		p.Groups["dev"] = append(p.Groups["dev"], raw.Tool.UV.Dev...)
	}
	for g, s := range raw.Tool.UV.Groups {
		p.GroupPython[pep508.Normalize(g)] = s.RequiresPython
	}
	return p, nil
}

// flatten follows a group's includes (PEP 735).
func flatten(groups map[string][]any, name string, above []string) ([]string, error) {
	for _, a := range above {
		if a == pep508.Normalize(name) {
			return nil, fmt.Errorf("the group %q includes itself", name)
		}
	}
	above = append(above[:len(above):len(above)], pep508.Normalize(name))
	for g, entries := range groups {
		if pep508.Normalize(g) != pep508.Normalize(name) {
			continue
		}
		all := []string{}
		for _, e := range entries {
			switch e := e.(type) {
			case string:
				all = append(all, e)
			case map[string]any:
				included, _ := e["include-group"].(string)
				more, err := flatten(groups, included, above)
				if err != nil {
					return nil, err
				}
				all = append(all, more...)
			default:
				return nil, fmt.Errorf("the group %q holds %v", name, e)
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("there is no group %q", name)
}

// SourceDir is the folder on this machine whose files become the working folder of the image.
func (p *Project) SourceDir() string {
	return filepath.Join(p.Dir, filepath.FromSlash(p.Config.Source))
}

// InSource is the project's folder relative to the source: "." where they are the same.
func (p *Project) InSource() string {
	rel, err := filepath.Rel(p.SourceDir(), p.Dir)
	if err != nil {
		return "."
	}
	return filepath.ToSlash(rel)
}

// ImageDir is the project's folder in the image, absolute.
func (p *Project) ImageDir() string { return path.Join(p.Config.Workdir, p.InSource()) }

// checkPaths refuses paths that lead elsewhere than they may.
func (c *Config) checkPaths() error {
	for _, of := range []struct {
		key   string
		paths []string
	}{{"workdir", []string{c.Workdir}}, {"venv", []string{c.Venv}}, {"manage", []string{c.Manage}}, {"writable", c.Writable}, {"volumes", c.Volumes}} {
		for _, p := range of.paths {
			if strings.ContainsAny(p, "\r\n\x00") {
				return badKey(of.key, "%q holds a line break or a NUL", p)
			}
		}
	}
	if !path.IsAbs(c.Workdir) || path.Clean(c.Workdir) == "/" {
		return badKey("workdir", "%q is no absolute path below /", c.Workdir)
	}
	c.Workdir = path.Clean(c.Workdir)
	for _, of := range []struct{ key, path string }{{"venv", c.Venv}, {"manage", c.Manage}} {
		if p := of.path; p != "" && (path.IsAbs(p) || !inside(p)) {
			return badKey(of.key, "%q does not lie below workdir", p)
		}
	}
	for i, w := range c.Writable {
		if path.IsAbs(w) || !inside(w) {
			return badKey("writable", "%q does not lie below workdir", w)
		}
		c.Writable[i] = path.Clean(w)
	}
	for _, cp := range c.Copy {
		if path.IsAbs(cp.To) || !inside(cp.To) {
			return badKey("copy", "%q does not lie below workdir", cp.To)
		}
	}
	if c.Owner != "" && c.Owner != "root" && c.Owner != c.User.Name {
		return badKey("owner", "%q is neither root nor the user %s", c.Owner, c.User.Name)
	}
	for _, v := range c.Volumes {
		if !path.IsAbs(v) {
			return badKey("volumes", "%q is no absolute path", v)
		}
	}
	return nil
}

func inside(p string) bool {
	p = path.Clean(p)
	return p != ".." && p != "." && !strings.HasPrefix(p, "../")
}
