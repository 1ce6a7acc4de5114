// Package pins reads and writes jubako.lock, which pins what the Python lock does not: the base, Debian packages,
// and what wheels are built with that are built from source.
//
// The file has a section for each. A section that a project does not need is absent. Its bytes are the same for the same
// pins, and made to be read in a diff: one line a package.
package pins

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/atomicfile"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// Name is the file, beside pyproject.toml.
const Name = "jubako.lock"

// version is that of the file's schema that this code writes and reads.
const version = 1

// maxFile bounds the file in bytes.
const maxFile = 32 << 20

// File is jubako.lock. A section that is not there is nil, but for the base's, which every file has.
type File struct {
	Version int     `toml:"version"`
	Base    Base    `toml:"base"`
	Debian  *Debian `toml:"debian"`
	Build   *Build  `toml:"build"`
}

// section is a part of the file that checks and writes itself. A new one has its field in File and its place in sections.
type section interface {
	check() error
	write(*bytes.Buffer)
}

// sections gives those that are there, in the file's order.
func (f *File) sections() []section {
	all := []section{&f.Base}
	if f.Debian != nil {
		all = append(all, f.Debian)
	}
	if f.Build != nil {
		all = append(all, f.Build)
	}
	return all
}

// Read reads a lock file. Where there is none, it is nil, without an error.
func Read(file string) (*File, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := Parse(b)
	if err != nil {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("reading %s: %w", file, err)), "jubako lock --upgrade writes it anew")
	}
	return f, nil
}

// Parse reads a lock file's bytes.
func Parse(b []byte) (*File, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(b), maxFile)
	}
	var f File
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		if s, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			return nil, fmt.Errorf("a key that this version does not know:\n%s", s.String())
		}
		return nil, err
	}
	if f.Version != version {
		return nil, fmt.Errorf("its version is %d, and this jubako reads version %d", f.Version, version)
	}
	for _, s := range f.sections() {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	return &f, nil
}

// New starts a file that pins a base.
func New(b Base) *File { return &File{Version: version, Base: b} }

// Bytes gives the file's bytes: the same for the same pins.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by `jubako lock`, which also renews it: do not edit. Keep it under version control beside uv.lock.\nversion = %d\n", f.Version)
	for _, s := range f.sections() {
		b.WriteByte('\n')
		s.write(&b)
	}
	return b.Bytes()
}

// Write writes the file beside its place and renames it.
func (f *File) Write(file string) error {
	if err := atomicfile.WriteBytes(file, 0o644, f.Bytes()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

var digestRE = lazyre.New(`^sha256:[0-9a-f]{64}$`)

func checkDigest(d string) error {
	if !digestRE().MatchString(d) {
		return fmt.Errorf("%q is no digest", d)
	}
	return nil
}

func checkPlatform(p string) error {
	_, err := v1.ParsePlatform(p)
	return err
}

// quote writes a basic string (TOML 1.0, "String"), whose escapes are not quite those of Go.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// quoteAll writes an array of strings on one line.
func quoteAll(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
