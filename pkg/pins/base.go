package pins

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
)

// Base is a base as it was found, for every platform.
type Base struct {
	Name      string     `toml:"name"`   // as it is written in the configuration
	Digest    string     `toml:"digest"` // of the index, or of the single manifest
	Platforms []Platform `toml:"platform"`
}

// Platform is the manifest for one platform.
type Platform struct {
	Platform string `toml:"platform"` // "linux/amd64"
	Digest   string `toml:"digest"`
}

// BaseOf describes an opened base. name is the base as the configuration writes it; single is the platform of a base that
// is no index.
func BaseOf(name string, o *base.Opened, single v1.Platform) Base {
	b := Base{Name: name, Digest: o.Digest.String()}
	for _, m := range o.Manifests() {
		b.Platforms = append(b.Platforms, Platform{m.Platform.String(), m.Digest.String()})
	}
	if !o.IsIndex() {
		b.Platforms = []Platform{{single.String(), o.Digest.String()}}
	}
	slices.SortStableFunc(b.Platforms, func(x, y Platform) int { return strings.Compare(x.Platform, y.Platform) })
	return b
}

func (b *Base) check() error {
	if b.Name == "" {
		return errors.New("it does not name the base that it pins")
	}
	if err := checkDigest(b.Digest); err != nil {
		return err
	}
	for _, p := range b.Platforms {
		if err := errors.Join(checkPlatform(p.Platform), checkDigest(p.Digest)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Base) write(to *bytes.Buffer) {
	fmt.Fprintf(to, "[base]\nname = %s\ndigest = %s\n", quote(b.Name), quote(b.Digest))
	for _, p := range b.Platforms {
		fmt.Fprintf(to, "\n[[base.platform]]\nplatform = %s\ndigest = %s\n", quote(p.Platform), quote(p.Digest))
	}
}

// Pinned gives the source with the digest that the file has for it; false where it is for another base. A source that is no
// registry stays as it is: its digest is compared once it is open (Holds).
func (f *File) Pinned(src base.Source) (base.Source, bool) {
	if f == nil || f.Base.Name != src.String() {
		return src, false
	}
	if src.Kind == base.Registry && !strings.Contains(src.Ref, "@") {
		repo := src.Ref
		if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
			repo = repo[:i]
		}
		src.Ref = repo + "@" + f.Base.Digest
	}
	return src, true
}

// Holds says whether what was opened is what the file pins.
func (f *File) Holds(o *base.Opened) error {
	if o.Digest.String() == f.Base.Digest {
		return nil
	}
	return hint.Wrap(hint.Check(fmt.Errorf("%s is %s, and %s pins %s", o.Source, o.Digest, Name, f.Base.Digest)), "jubako lock --upgrade takes the new one")
}
