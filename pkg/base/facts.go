// Package base finds the image that jubako builds on, and reads from its files what the layers need to know: nothing
// about a base is assumed.
package base

import (
	"github.com/jubako/jubako/pkg/fstree"
)

// Facts is what jubako knows of a base's files for one platform. It is a pure function of the base's layers, computed
// once and cached by the manifest's digest (Version is part of the cache key).
type Facts struct {
	OS     OS     `json:"os"`
	Python Python `json:"python"` // zero where the base has none
	Libc   Libc   `json:"libc"`

	// The account files and /etc/login.defs and /etc/default/useradd, whole; nil where the base lacks one.
	Passwd, Group, Shadow, GShadow, LoginDefs, UseraddDefaults []byte

	// Files holds every path of the base's merged tree, without leading slash.
	Files map[string]Stat `json:"files"`
}

// OS is what /etc/os-release says (os-release(5)).
type OS struct {
	ID, VersionID, Codename, Name string
}

// Python is the interpreter that the image's PATH finds first.
type Python struct {
	Path         string // as found, with the minor version: "/usr/local/bin/python3.12"
	Version      string // full, PEP 440: "3.12.9"
	Major, Minor int
	ABI          string // the wheel ABI tag: "cp312", "cp313t"
	FreeThreaded bool
}

// Libc is the C library that the interpreter is linked with.
type Libc struct {
	Kind         string // "glibc" or "musl"
	Major, Minor int
}

// Stat is what one path of the base is.
type Stat struct {
	Kind fstree.Kind `json:"k"`
	Mode uint32      `json:"m"` // permission bits, at most 07777
	UID  int         `json:"u,omitempty"`
	GID  int         `json:"g,omitempty"`
	Link string      `json:"l,omitempty"` // of a symlink
	Size int64       `json:"s,omitempty"`
}
