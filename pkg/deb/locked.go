package deb

import (
	"errors"
	"fmt"
)

// Locked is a package at one version, as a lock pins it.
type Locked struct {
	Name    string
	Version Version
	Arch    string
	Source  int    // which of the lock's sources it comes from
	Path    string // below the archive's root
	Size    int64  // bytes
	SHA256  string // hex
	// Why and Upgrades are Choice's.
	Why      string
	Upgrades Version
}

// String is name and version, as apt writes them.
func (l Locked) String() string { return l.Name + "=" + string(l.Version) }

// Lock pins what was chosen, in order of name.
func (r *Resolution) Lock() []Locked {
	all := make([]Locked, 0, len(r.Choices))
	for _, c := range r.Choices {
		all = append(all, Locked{c.Name, c.Version, c.Arch, c.Candidate.Source, c.Filename, c.Size, c.SHA256, c.Why, c.Upgrades})
	}
	return all
}

// Check says what is wrong with a locked package. sources is how many the lock has.
func (l Locked) Check(sources int) error {
	err := CheckName(l.Name)
	if err == nil {
		err = l.Version.Check()
	}
	if err == nil {
		err = CheckPath(l.Path)
	}
	switch {
	case err != nil:
	case !archName(l.Arch):
		err = fmt.Errorf("%.40q is no architecture", l.Arch)
	case l.Source < 0 || l.Source >= sources:
		err = fmt.Errorf("there is no source %d", l.Source)
	case l.Size <= 0:
		err = fmt.Errorf("its size is %d", l.Size)
	case !validSHA256(l.SHA256):
		err = errors.New("it has no SHA-256")
	}
	if err != nil {
		return fmt.Errorf("package %.60q: %w", l.Name, err)
	}
	return nil
}

// Over gives what is installed once the choices are: the installed packages, with the chosen ones over them.
func (r *Resolution) Over(installed []*Package) []*Package {
	chosen := make(map[string]bool)
	var all []*Package
	for _, c := range r.Choices {
		chosen[c.Name] = true
		all = append(all, c.Package)
	}
	for _, p := range installed {
		if !chosen[p.Name] {
			all = append(all, p)
		}
	}
	return all
}
