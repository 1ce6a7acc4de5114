package deb

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// Request asks for a package as apt-get install does: NAME, NAME=VERSION or NAME/SUITE.
type Request struct {
	Name    string
	Version Version
	Suite   string
}

// ParseRequest reads a request.
func ParseRequest(s string) (r Request, err error) {
	if name, version, ok := strings.Cut(s, "="); ok {
		r.Name, r.Version = name, Version(version)
		err = r.Version.Check()
	} else if name, suite, ok := strings.Cut(s, "/"); ok {
		r.Name, r.Suite = name, suite
		if CheckPath(suite) != nil {
			err = errors.New("behind the slash there is no suite")
		}
	} else {
		r.Name = s
	}
	if err == nil {
		err = CheckName(r.Name)
	}
	if err != nil {
		return Request{}, hint.Wrap(hint.Usage(fmt.Errorf("package %.80q: %w", s, err)), "write NAME, NAME=VERSION or NAME/SUITE")
	}
	return r, nil
}

func (r Request) String() string {
	switch {
	case r.Version != "":
		return r.Name + "=" + string(r.Version)
	case r.Suite != "":
		return r.Name + "/" + r.Suite
	default:
		return r.Name
	}
}

// MissingError says that no archive has what was requested.
type MissingError struct {
	Request Request
	// Versions are those that there are of the package.
	Versions []string
	Nearest  string // name; "" where none is like it
}

func (e *MissingError) Error() string {
	if len(e.Versions) > 0 {
		return fmt.Sprintf("there is no %s: of %s there is %s", e.Request, e.Request.Name, strings.Join(e.Versions, ", "))
	}
	return fmt.Sprintf("there is no package %s", e.Request.Name)
}

// VirtualError says that a request names what several packages provide.
type VirtualError struct {
	Name      string
	Providers []string
}

func (e *VirtualError) Error() string {
	return fmt.Sprintf("%s is virtual: it is provided by %s", e.Name, strings.Join(e.Providers, ", "))
}

// UnmetError says that a relation of a package cannot be fulfilled.
type UnmetError struct {
	// Chain are the packages that lead from the request to the one that has the relation.
	Chain    []string
	Relation string
	Why      string
}

func (e *UnmetError) Error() string {
	return fmt.Sprintf("%s needs %s: %s", strings.Join(e.Chain, " needs "), e.Relation, e.Why)
}

// ConflictError says that two packages cannot be there together.
type ConflictError struct {
	// Chain are the packages that lead from the request to the one that conflicts.
	Chain []string
	// Field is Conflicts or Breaks, of the package Of; Relation is what it says, and With what it meets: NAME=VERSION.
	Field, Of, Relation, With string
	Installed                 bool // With is of the base
}

func (e *ConflictError) Error() string {
	where := "which is chosen too"
	if e.Installed {
		where = "which the base has"
	}
	return fmt.Sprintf("%s: %s %s %s, and so not with %s, %s", strings.Join(e.Chain, " needs "), e.Of,
		map[string]string{"Conflicts": "conflicts with", "Breaks": "breaks"}[e.Field], e.Relation, e.With, where)
}
