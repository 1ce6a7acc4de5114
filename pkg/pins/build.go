package pins

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// Build pins what wheels are built with that are built from source: the Python lock has nothing of it.
type Build struct {
	Python       string             `toml:"python"` // the minor version that it was resolved for: "3.12"
	Requirements []BuildRequirement `toml:"requirement"`
	Packages     []BuildPackage     `toml:"package"`
}

// BuildRequirement is a version of a package that builds need, with its wheels for the platforms that were locked.
type BuildRequirement struct {
	Name    string       `toml:"name"` // normalized
	Version string       `toml:"version"`
	Wheels  []BuildWheel `toml:"wheels"`
}

// BuildWheel is a wheel where it was found.
type BuildWheel struct {
	URL  string `toml:"url"`
	Hash string `toml:"hash"` // "sha256:…"
}

// BuildPackage is what a package of the Python lock is built with.
type BuildPackage struct {
	Name    string `toml:"name"`
	Version string `toml:"version,omitempty"` // "" where the source computes it
	// Source is the digest of the sdist, or "git " and the commit; "" for a folder, which changes all the time.
	Source   string `toml:"source,omitempty"`
	Editable bool   `toml:"editable,omitempty"`
	// Asked is what the project and uv's settings ask for, as they write it.
	Asked []string `toml:"asked"`
	// Settings is a digest of the other settings of uv that the answer depends on; "" where none is set.
	Settings string   `toml:"settings,omitempty"`
	Requires []string `toml:"requires"` // "NAME==VERSION" each, of Build.Requirements
}

// Filename is the wheel's, the last part of its URL.
func (w BuildWheel) Filename() (string, error) {
	u, err := url.Parse(w.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file" {
		return "", fmt.Errorf("a build requirement's URL cannot be read")
	}
	return u.Path[strings.LastIndexByte(u.Path, '/')+1:], nil
}

// Package finds what a package is built with. source is compared as BuildPackage has it.
func (b *Build) Package(name, version, source string, editable bool) (BuildPackage, bool) {
	if b == nil {
		return BuildPackage{}, false
	}
	for _, p := range b.Packages {
		if p.Name == name && p.Version == version && p.Source == source && p.Editable == editable {
			return p, true
		}
	}
	return BuildPackage{}, false
}

// Requirement finds one of a package's Requires.
func (b *Build) Requirement(spec string) (BuildRequirement, bool) {
	for _, r := range b.Requirements {
		if r.spec() == spec {
			return r, true
		}
	}
	return BuildRequirement{}, false
}

func (r BuildRequirement) spec() string { return r.Name + "==" + r.Version }

func (b *Build) check() error {
	if b.Python == "" {
		return errors.New("[build] does not say which Python it is for")
	}
	seen := make(map[string]bool)
	for _, r := range b.Requirements {
		if seen[r.spec()] || r.Name != pep508.Normalize(r.Name) {
			return fmt.Errorf("the build requirement %s is there twice, or its name is not in its normal form", r.spec())
		}
		seen[r.spec()] = true
		if err := r.check(); err != nil {
			return fmt.Errorf("the build requirement %s: %w", r.spec(), err)
		}
	}
	for _, p := range b.Packages {
		if p.Name == "" {
			return errors.New("a package of [build] has no name")
		}
		for _, r := range p.Requires {
			if !seen[r] {
				return fmt.Errorf("%s is built with %s, which is not among the build requirements", p.Name, r)
			}
		}
	}
	return nil
}

func (r BuildRequirement) check() error {
	if len(r.Wheels) == 0 {
		return errors.New("it has no wheel")
	}
	want, err := pep508.ParseVersion(r.Version)
	if err != nil {
		return err
	}
	for _, w := range r.Wheels {
		name, err := w.Filename()
		if err != nil {
			return err
		}
		f, err := wheel.ParseFilename(name)
		if err != nil {
			return err
		}
		if v, err := pep508.ParseVersion(f.Version); err != nil || f.Name != r.Name || v.Compare(want) != 0 {
			return fmt.Errorf("its wheel %s is of another name or version", name)
		}
		if err := checkDigest(w.Hash); err != nil {
			return err
		}
	}
	return nil
}

func (b *Build) write(to *bytes.Buffer) {
	fmt.Fprintf(to, "[build]\npython = %s\n", quote(b.Python))
	for _, r := range b.Requirements {
		fmt.Fprintf(to, "\n[[build.requirement]]\nname = %s\nversion = %s\nwheels = [\n", quote(r.Name), quote(r.Version))
		for _, w := range r.Wheels {
			fmt.Fprintf(to, "  { url = %s, hash = %s },\n", quote(w.URL), quote(w.Hash))
		}
		to.WriteString("]\n")
	}
	for _, p := range b.Packages {
		fmt.Fprintf(to, "\n[[build.package]]\nname = %s\n", quote(p.Name))
		for _, field := range []struct{ name, value string }{{"version", p.Version}, {"source", p.Source}} {
			if field.value != "" {
				fmt.Fprintf(to, "%s = %s\n", field.name, quote(field.value))
			}
		}
		if p.Editable {
			to.WriteString("editable = true\n")
		}
		fmt.Fprintf(to, "asked = %s\n", quoteAll(p.Asked))
		if p.Settings != "" {
			fmt.Fprintf(to, "settings = %s\n", quote(p.Settings))
		}
		fmt.Fprintf(to, "requires = %s\n", quoteAll(p.Requires))
	}
}

// MovedBuild says what is different between two locks' build requirements, one line each.
func MovedBuild(old, fresh *Build) []string {
	if old == nil {
		old = &Build{}
	}
	if fresh == nil {
		fresh = &Build{}
	}
	var said []string
	was := make(map[string]string)
	for _, r := range old.Requirements {
		was[r.Name] = r.Version
	}
	for _, r := range fresh.Requirements {
		switch before, there := was[r.Name]; {
		case !there:
			said = append(said, fmt.Sprintf("%s %s is new: a build requirement", r.Name, r.Version))
		case before != r.Version:
			said = append(said, fmt.Sprintf("%s %s was %s (a build requirement)", r.Name, r.Version, before))
		}
		delete(was, r.Name)
	}
	for _, r := range old.Requirements {
		if _, gone := was[r.Name]; gone {
			said = append(said, fmt.Sprintf("%s %s is no longer a build requirement", r.Name, r.Version))
			delete(was, r.Name)
		}
	}
	return said
}
