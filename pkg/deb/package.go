package deb

import (
	"fmt"
	"strconv"
	"strings"
)

// Package is what the resolver needs to know of one version of a package, installed or in an archive.
type Package struct {
	Name      string
	Version   Version
	Arch      string // "amd64", "all"
	MultiArch string // "same", "foreign", "allowed", or ""
	Essential bool
	Hold      bool // of an installed package: it stays as it is
	Priority  string

	// The source package that it was built from; where the stanza names none, its own name and version.
	Source        string
	SourceVersion Version

	// The relationship fields, as they are written: most are never looked at, and ParseRelations reads the others.
	Depends, PreDepends, Provides, Conflicts, Breaks, Replaces string

	// Of a package in an archive: the path below the archive's root, the size in bytes, and the SHA-256 in hex.
	Filename string
	Size     int64
	SHA256   string
}

// String is name and version, as apt writes them: curl=8.14.1-2.
func (p *Package) String() string { return p.Name + "=" + string(p.Version) }

// PackageOf reads a stanza of dpkg's status, of a control file, or of an index.
func PackageOf(s Stanza) (*Package, error) {
	p := &Package{}
	for _, f := range s {
		if _, err := p.set(f.Name, f.Value); err != nil {
			return nil, err
		}
	}
	return p, p.finish()
}

// set takes a field over, unless it is none that is kept. Names are compared as archives write them, since an index has a
// million of them.
func (p *Package) set(name, value string) (known bool, err error) {
	switch name {
	case "Package":
		p.Name = value
	case "Version":
		p.Version = Version(value)
	case "Architecture":
		p.Arch = value
	case "Multi-Arch":
		p.MultiArch = value
	case "Essential":
		p.Essential = value == "yes"
	case "Status":
		p.Hold = strings.HasPrefix(value, "hold ")
	case "Priority":
		p.Priority = value
	case "Source":
		p.Source = value
	case "Depends":
		p.Depends = value
	case "Pre-Depends":
		p.PreDepends = value
	case "Provides":
		p.Provides = value
	case "Conflicts":
		p.Conflicts = value
	case "Breaks":
		p.Breaks = value
	case "Replaces":
		p.Replaces = value
	case "Filename":
		p.Filename = value
	case "Size":
		if p.Size, err = strconv.ParseInt(value, 10, 64); err != nil || p.Size < 0 {
			return true, fmt.Errorf("the field Size is %.30q", value)
		}
	case "SHA256":
		p.SHA256 = value
	default:
		return false, nil
	}
	return true, nil
}

// fields writes the fields that set reads, but for the name.
func (p *Package) fields() []byte {
	s := Stanza{
		{"Version", string(p.Version)}, {"Architecture", p.Arch}, {"Multi-Arch", p.MultiArch}, {"Priority", p.Priority},
		{"Depends", p.Depends}, {"Pre-Depends", p.PreDepends}, {"Provides", p.Provides}, {"Conflicts", p.Conflicts}, {"Breaks", p.Breaks}, {"Replaces", p.Replaces},
		{"Filename", p.Filename}, {"Size", strconv.FormatInt(p.Size, 10)}, {"SHA256", p.SHA256},
	}
	if p.Source != "" {
		s = append(s, Field{"Source", fmt.Sprintf("%s (%s)", p.Source, p.SourceVersion)})
	}
	if p.Essential {
		s = append(s, Field{"Essential", "yes"})
	}
	if p.Hold {
		s = append(s, Field{"Status", "hold "})
	}
	return s.Append(nil)
}

// finish checks what every package has, and reads the source's field.
func (p *Package) finish() error {
	if p.Name == "" {
		return errNoName
	}
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if err := p.Version.Check(); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	source, version, ok := strings.Cut(p.Source, "(")
	p.Source, p.SourceVersion = strings.TrimSpace(source), p.Version
	if p.Source == "" {
		p.Source = p.Name
	}
	if ok {
		p.SourceVersion = Version(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(version), ")")))
	}
	return nil
}
