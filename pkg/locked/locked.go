// Package locked has what every lock file comes to, whatever its format: the packages to install on a target, where each
// comes from, and the wheel that is chosen for it.
//
// It may import pkg/filehash, pkg/hint, pkg/packed, pkg/pep508 and pkg/wheel.
package locked

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// The bounds of a lock file: bytes, and packages.
const (
	maxFile     = 64 << 20
	MaxPackages = 100_000
)

// Decode reads a lock that is written in TOML; remedy is what helps where it is none.
func Decode(data []byte, into any, remedy string) error {
	if len(data) > maxFile {
		return fmt.Errorf("it has %d bytes; at most %d are read", len(data), maxFile)
	}
	err := toml.Unmarshal(data, into)
	if d, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := d.Position()
		return hint.Wrap(fmt.Errorf("line %d, column %d: %w", row, col, err), "%s", remedy)
	}
	return err
}

// FullCommit says whether an id names a git commit in full: 40 or, of SHA-256, 64 digits in lower case.
func FullCommit(id string) bool {
	return (len(id) == 40 || len(id) == 64) && strings.Trim(id, "0123456789abcdef") == ""
}

// Lock is a lock file of any format.
type Lock interface {
	// File is its name, for messages.
	File() string
	// RequiresPython is what it asks of the Python; none allows any.
	RequiresPython() pep508.Specifiers
	// Select gives the packages to install on a target, sorted by name and version. What is wrong with the request is a
	// usage error of pkg/hint.
	Select(Request, pep508.Env) ([]Selected, error)
}

// SourceKind says where a package comes from.
type SourceKind string

// The kinds of source, in the words of uv.lock.
const (
	Registry  SourceKind = "registry"
	Git       SourceKind = "git"
	URL       SourceKind = "url"
	Path      SourceKind = "path"
	Directory SourceKind = "directory"
	Editable  SourceKind = "editable"
	Virtual   SourceKind = "virtual"
)

// Source is where a package comes from.
type Source struct {
	Kind         SourceKind
	Location     string // URL, or a path relative to the lock's folder; of a repository without rev, fragment and the like
	Subdirectory string
	Git          Commit
}

// Commit says which part of which commit of a repository is meant.
type Commit struct {
	ID        string // full, in hex
	Requested string // the branch, tag or commit that was asked for; "" for none
	Path      string // of an archive in the repository; "" where it is a source tree
	LFS       bool
}

func (s Source) String() string { return string(s.Kind) + " " + s.Location }

// Local says whether the source is a folder or file beside the lock.
func (s Source) Local() bool { return s.Kind == Path || s.Tree() || s.Kind == Virtual }

// Tree says whether the source is a folder beside the lock that is installed.
func (s Source) Tree() bool { return s.Kind == Directory || s.Kind == Editable }

// Package is a package of a lock.
type Package struct {
	Name    string // normalized
	Version string // "" for a source tree whose version is dynamic
	Source  Source
	Wheels  []Wheel
	Sdist   *File
	// Hashes, where the lock has a package's hashes without saying whose they are (requirements.txt): the files that count
	// are those of the index that have one of them, or, for a URL, the file with any of them.
	Hashes []string
}

// File is a file of a package.
type File struct {
	URL    string   // absolute, or "" where Path is set
	Path   string   // relative to the lock's folder, or to the flat index that the package's source names
	Hashes []string // "sha256:…"; all that the lock has of it have to hold
	Size   int64    // bytes; 0 where the lock does not say
	Sized  bool     // Size is the lock's word: a file of another size is refused
}

// Wheel is a built file of a package.
type Wheel struct {
	File
	Filename wheel.Filename
}

// Selected is a package to install.
type Selected struct {
	*Package
	// Requires are the names of the packages that it depends on here, sorted. Where the lock does not say, Unsaid is set.
	Requires []string
	Unsaid   bool
}

// FilenameOf gives the name of the file that a URL or path leads to: its last segment, percent-decoded.
func FilenameOf(f File) (string, error) {
	if f.URL == "" {
		return path.Base(f.Path), nil
	}
	u, err := url.Parse(f.URL)
	if err != nil {
		return "", fmt.Errorf("the URL of a file cannot be read") // it may hold a password
	}
	return path.Base(u.Path), nil
}

// CheckWheel holds a wheel's filename against the package that it is to be. The filename's local version may be missing in
// the lock.
func (p *Package) CheckWheel(f wheel.Filename) error {
	if f.Name != p.Name {
		return fmt.Errorf("its wheel %s is another project's", f.Raw)
	}
	if p.Version == "" || f.Version == p.Version { // f.Version has been parsed
		return nil
	}
	have, err := pep508.ParseVersion(f.Version)
	if err != nil {
		return err
	}
	want, err := pep508.ParseVersion(p.Version)
	if err != nil {
		return err
	}
	if have.Compare(want) != 0 && have.Public().Compare(want) != 0 {
		return fmt.Errorf("its wheel %s is of another version than %s", f.Raw, p.Version)
	}
	return nil
}

// UnknownError is a name in a Request that the lock does not know.
type UnknownError struct {
	Kind, Name string
	Known      []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no %s %q in the lock", e.Kind, e.Name)
}

// Unknown is the error for a name that is not in the lock, with those that are.
func Unknown(kind, name string, known []string) error {
	slices.Sort(known)
	known = slices.Compact(known)
	err := hint.Usage(&UnknownError{kind, name, known})
	if len(known) == 0 {
		return err
	}
	return hint.Wrap(err, "it has: %s", strings.Join(known, ", "))
}

// CheckPython refuses a Python that a lock was not made for. uv counts a release candidate as its release.
func CheckPython(file string, required pep508.Specifiers, have pep508.Version) error {
	if required.Contains(have.Base()) {
		return nil
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("%s requires Python %s, and the base has %s", file, required, have)), "name a base with a Python that fits")
}
