package locked

import (
	"slices"

	"github.com/jubako/jubako/pkg/pep508"
)

// Request says what to install, in the words of `uv sync`.
type Request struct {
	// Project is the name of the project in the folder of the build; "" for a root without [project].
	Project string
	// Packages are members to install in place of Project (--package); AllPackages takes every member.
	Packages    []string
	AllPackages bool

	Extras    []string
	NoExtras  []string
	AllExtras bool

	// DefaultGroups are the groups of tool.uv.default-groups; nil stands for dev, where there is such a group.
	DefaultGroups   []string
	AllDefault      bool // default-groups = "all"
	NoDefaultGroups bool
	Groups          []string
	NoGroups        []string
	AllGroups       bool
	OnlyGroups      []string
	Dev, NoDev      bool // --dev and --no-dev: the group dev, which need not exist

	// RequiresPython is what pyproject.toml asks of the Python, and GroupPython what it asks for a group; nil asks nothing.
	RequiresPython pep508.Specifiers
	GroupPython    map[string]pep508.Specifiers

	NoInstallPackages  []string
	NoInstallProject   bool
	NoInstallWorkspace bool
	NoInstallLocal     bool

	// NoEditable installs what is locked as editable as any other source tree; NoEditablePackages does so for some.
	NoEditable         bool
	NoEditablePackages []string
}

// LeavesOut says whether a filter of the request leaves out a package of a lock that knows of no workspace: there every
// folder counts as one of its members.
func (r Request) LeavesOut(p *Package) bool {
	project := r.NoInstallProject && p.Source.Tree() && p.Name == pep508.Normalize(r.Project)
	local := r.NoInstallLocal && p.Source.Local() || r.NoInstallWorkspace && p.Source.Tree()
	return r.Omits(p.Name) || project || local
}

// Omits says whether a package is left out by its name.
func (r Request) Omits(name string) bool { return named(r.NoInstallPackages, name) }

// AsAsked gives the package as the request has it installed: one that is locked as editable may be asked for as any other
// source tree.
func (r Request) AsAsked(p *Package) *Package {
	if p.Source.Kind != Editable || !r.NoEditable && !named(r.NoEditablePackages, p.Name) {
		return p
	}
	plain := *p
	plain.Source.Kind = Directory
	return &plain
}

func named(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return pep508.Normalize(n) == name })
}
