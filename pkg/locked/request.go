package locked

import "github.com/jubako/jubako/pkg/pep508"

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
