package assemble

import (
	"context"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/regclient"
	"github.com/jubako/jubako/pkg/sandbox"
)

// Spec is what an image is a function of, and where it is to go.
type Spec struct {
	Project *project.Project
	Profile string
	Base    string // SOURCE; "" for the configuration's, or the one that the project's Python wants
	// FrozenBase makes a base that jubako.lock does not pin an error.
	FrozenBase bool
	// Platforms to build; none for the host's, where the base has it.
	Platforms []v1.Platform

	// Lock is the lock file; "" for the one that is found.
	Lock string
	// Install says what to install, beside the configuration's extras and groups: the fields of `uv sync`'s flags.
	Install locked.Request
	// Build says what may be taken as a wheel, and what may be built.
	Build locked.BuildOptions
	// BuildEnv is what builds from source see of this machine's environment, "NAME=value" each.
	BuildEnv  []string
	FindLinks []string
	// Indexes are where files are looked for that the lock has by their hashes alone.
	Indexes []string

	// DebMirror and Snapshot stand over the configuration's.
	DebMirror, Snapshot string
	// AlsoPin are the packages of the project's other profiles, which jubako.lock pins too.
	AlsoPin []project.Debian
	// StrictScripts makes a maintainer script that is not carried out an error.
	StrictScripts bool

	Tags    []name.Reference
	Push    bool
	Outputs []Output
	Format  output.Format
	// Compression of the layers, for each place.
	Compression Compression
	// Epoch is the time of everything in the image, in seconds since 1970.
	Epoch int64
	// Revision finds the commit that the source is at, "" where it is unknown. It is asked beside everything else, and may be nil.
	Revision func(context.Context) string

	Jobs      int
	NoCache   bool
	Offline   bool
	CacheFrom []string
	// Strict makes findings errors. CI makes a lock that is out of step one.
	Strict, CI bool
	Rung       sandbox.Rung
	// NoReuse runs every command, whatever it was seen to look at.
	NoReuse bool
	// CheckSteps runs every command twice, and makes it an error when what they make differs.
	CheckSteps bool
}

// Output is a file or folder to write.
type Output struct {
	Kind string // "oci", "oci-archive", "docker-archive"
	Path string // "-" is Tools.Stdout
	Tag  string // of a layout
}

// Tools are what a build works with.
type Tools struct {
	Store    *cas.Store
	Registry *regclient.Client
	Fetch    *fetch.Client
	Report   func(Event)
	Now      func() time.Time
	Host     v1.Platform // the machine that builds
	// Program tells this very program from any other build of it: what one has concluded is another's to conclude anew. "" for no
	// remembering.
	Program string
	AptDir  string // where this machine keeps its apt sources, /etc/apt; "" for nowhere
	Stdout  io.Writer
	StepLog io.Writer // what steps print; nil drops it
	// LookupEnv finds the variables that are secrets of steps; nil for none.
	LookupEnv func(name string) (string, bool)
}

// Result is what was built, and where it went.
type Result struct {
	Digest   v1.Hash   // of the manifest, or of the index; where places have different ones, of what is pushed
	Outputs  []v1.Hash // the digests of what Spec.Outputs hold
	Platform []PlatformResult
	Push     output.PushResult
	Pushed   bool
	Warnings []string
}

// PlatformResult is the image for one platform.
type PlatformResult struct {
	Platform   v1.Platform
	Manifest   v1.Hash
	Config     v1.Hash
	BaseName   string
	BaseDigest v1.Hash
	Layers     []LayerResult
}

// LayerResult is one of the layers that jubako has put on the base.
type LayerResult struct {
	Name    string
	Key     layers.Key
	Digest  string // hex
	DiffID  string // hex
	Size    int64
	Summary string
	State   LayerState
	Took    time.Duration
}
