package pep508

import (
	"fmt"
	"strings"
)

// variable is one of the names that a marker may ask about.
type variable uint8

const (
	osName variable = iota
	sysPlatform
	platformMachine
	platformPythonImplementation
	platformRelease
	platformSystem
	platformVersion
	implementationName
	pythonVersion
	pythonFullVersion
	implementationVersion
	numVariables

	extra            // compared by membership in Env.Extras
	extras           // PEP 751's list of extras
	dependencyGroups // PEP 751's list of groups
)

var variableNames = map[string]variable{
	"os_name": osName, "sys_platform": sysPlatform, "platform_machine": platformMachine,
	"platform_python_implementation": platformPythonImplementation, "platform_release": platformRelease,
	"platform_system": platformSystem, "platform_version": platformVersion,
	"implementation_name": implementationName, "python_version": pythonVersion,
	"python_full_version": pythonFullVersion, "implementation_version": implementationVersion,
	"extra": extra, "extras": extras, "dependency_groups": dependencyGroups,
	// The names of PEP 345, out of use since PEP 508 but still met.
	"os.name": osName, "sys.platform": sysPlatform, "platform.machine": platformMachine,
	"platform.version": platformVersion, "platform.python_implementation": platformPythonImplementation,
	"python_implementation": platformPythonImplementation,
}

func (v variable) isVersion() bool {
	return v == pythonVersion || v == pythonFullVersion || v == implementationVersion
}

func (v variable) String() string {
	return [...]string{
		osName: "os_name", sysPlatform: "sys_platform", platformMachine: "platform_machine",
		platformPythonImplementation: "platform_python_implementation", platformRelease: "platform_release",
		platformSystem: "platform_system", platformVersion: "platform_version",
		implementationName: "implementation_name", pythonVersion: "python_version",
		pythonFullVersion: "python_full_version", implementationVersion: "implementation_version",
		numVariables: "", extra: "extra", extras: "extras", dependencyGroups: "dependency_groups",
	}[v]
}

// Set is a set of normalized names.
type Set map[string]bool

// SetOf makes a set of the names, normalized.
func SetOf(names ...string) Set {
	s := make(Set, len(names))
	for _, n := range names {
		s[Normalize(n)] = true
	}
	return s
}

// Env is what markers are evaluated against. LinuxEnv makes one; its two sets may then be filled in.
type Env struct {
	values   [numVariables]string
	versions [numVariables]Version // of the version variables
	python   Version

	// Extras are the extras in force. "extra == 'x'" asks whether x is among them, which is what the markers of a lock
	// with conflicts need; "'x' in extras" (PEP 751) asks the same.
	Extras Set
	// Groups are the dependency groups in force, for "'g' in dependency_groups" (PEP 751).
	Groups Set
}

// LinuxEnv describes CPython of the full version ("3.12.9", "3.13.0rc1") on Linux; machine is the kernel's word:
// "x86_64", "aarch64". The kernel's release and version are unknown, and so "", as uv has it for a foreign platform.
// Markers see the release alone: as in uv, 3.13.0rc1 is as good as 3.13.0. A version that is none is a *SyntaxError.
func LinuxEnv(pythonFullVersion, machine string) (Env, error) {
	full, err := ParseVersion(strings.TrimSuffix(pythonFullVersion, "+")) // a build between releases calls itself 3.12.1+
	if err != nil {
		return Env{}, fmt.Errorf("describing the target's Python: %w", err)
	}
	e := Env{}
	e.values[osName] = "posix"
	e.values[sysPlatform] = "linux"
	e.values[platformMachine] = machine
	e.values[platformSystem] = "Linux"
	e.values[platformPythonImplementation] = "CPython"
	e.values[implementationName] = "cpython"
	e.setPython(full)
	return e, nil
}

func (e *Env) setPython(full Version) {
	e.python = full
	release := full.Base()
	short := Version{release: append(full.release[:1:1], 0)}
	if len(full.release) > 1 {
		short.release[1] = full.release[1]
	}
	for v, value := range map[variable]Version{pythonFullVersion: release, implementationVersion: release, pythonVersion: short} {
		e.values[v], e.versions[v] = value.String(), value
	}
}

// PythonFullVersion is the version that the environment was made for, with whatever follows its release.
func (e Env) PythonFullVersion() Version { return e.python }

// Machine is the architecture that the environment was made for.
func (e Env) Machine() string { return e.values[platformMachine] }
