package base

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/atomicfile"
	"github.com/jubako/jubako/pkg/hint"
)

// LockName is the file that pins a base, beside pyproject.toml.
const LockName = "jubako.lock"

// lockVersion is the version of the file's schema that this code writes and reads.
const lockVersion = 1

// Lock pins what uv.lock does not: the base.
type Lock struct {
	Version int        `toml:"version"`
	Base    LockedBase `toml:"base"`
}

// LockedBase is a base as it was found, for every platform.
type LockedBase struct {
	Name      string           `toml:"name"`   // as it is written in the configuration
	Digest    string           `toml:"digest"` // of the index, or of the single manifest
	Platforms []LockedPlatform `toml:"platform"`
}

// LockedPlatform is the manifest for one platform.
type LockedPlatform struct {
	Platform string `toml:"platform"` // "linux/amd64"
	Digest   string `toml:"digest"`
}

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ReadLock reads a lock file. Where there is none, the lock is nil, without an error.
func ReadLock(file string) (*Lock, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := ParseLock(b)
	if err != nil {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("reading %s: %w", file, err)), "jubako lock writes it anew")
	}
	return l, nil
}

// ParseLock reads a lock file's bytes.
func ParseLock(b []byte) (*Lock, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(b), maxManifest)
	}
	var l Lock
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		if s, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			return nil, fmt.Errorf("a key that this version does not know:\n%s", s.String())
		}
		return nil, err
	}
	if l.Version != lockVersion {
		return nil, fmt.Errorf("its version is %d, and this jubako reads version %d", l.Version, lockVersion)
	}
	if l.Base.Name == "" {
		return nil, errors.New("it does not name the base that it pins")
	}
	digests := []string{l.Base.Digest}
	for _, p := range l.Base.Platforms {
		if _, err := v1.ParsePlatform(p.Platform); err != nil {
			return nil, err
		}
		digests = append(digests, p.Digest)
	}
	for _, d := range digests {
		if !digestRE.MatchString(d) {
			return nil, fmt.Errorf("%q is no digest", d)
		}
	}
	return &l, nil
}

// Pin describes an opened base for a lock file. name is the base as the configuration writes it.
func Pin(name string, o *Opened, single v1.Platform) *Lock {
	l := &Lock{Version: lockVersion, Base: LockedBase{Name: name, Digest: o.Digest.String()}}
	for _, d := range o.manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			l.Base.Platforms = append(l.Base.Platforms, LockedPlatform{d.Platform.String(), d.Digest.String()})
		}
	}
	if len(o.manifests) == 0 {
		l.Base.Platforms = []LockedPlatform{{single.String(), o.Digest.String()}}
	}
	slices.SortStableFunc(l.Base.Platforms, func(a, b LockedPlatform) int { return strings.Compare(a.Platform, b.Platform) })
	return l
}

// Bytes gives the file's bytes: the same for the same lock.
func (l *Lock) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by `jubako lock`, which also renews it: do not edit. Keep it under version control beside uv.lock.\nversion = %d\n\n", l.Version)
	fmt.Fprintf(&b, "[base]\nname = %s\ndigest = %s\n", tomlString(l.Base.Name), tomlString(l.Base.Digest))
	for _, p := range l.Base.Platforms {
		fmt.Fprintf(&b, "\n[[base.platform]]\nplatform = %s\ndigest = %s\n", tomlString(p.Platform), tomlString(p.Digest))
	}
	return b.Bytes()
}

// tomlString writes a basic string (TOML 1.0, "String"), whose escapes are not quite those of Go.
func tomlString(s string) string {
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

// Write writes the lock beside its place and renames it.
func (l *Lock) Write(file string) error {
	if err := atomicfile.WriteBytes(file, 0o644, l.Bytes()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// Pinned gives the source with the digest that the lock has for it; false where the lock is for another base. A source
// that is no registry stays as it is: its digest is compared once it is open (Holds).
func (l *Lock) Pinned(src Source) (Source, bool) {
	if l == nil || l.Base.Name != src.String() {
		return src, false
	}
	if src.Kind == Registry && !strings.Contains(src.Ref, "@") {
		repo := src.Ref
		if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
			repo = repo[:i]
		}
		src.Ref = repo + "@" + l.Base.Digest
	}
	return src, true
}

// Holds says whether what was opened is what the lock pins.
func (l *Lock) Holds(o *Opened) error {
	if o.Digest.String() == l.Base.Digest {
		return nil
	}
	return hint.Wrap(hint.Check(fmt.Errorf("%s is %s, and %s pins %s", o.Source, o.Digest, LockName, l.Base.Digest)), "jubako lock --upgrade takes the new one")
}
