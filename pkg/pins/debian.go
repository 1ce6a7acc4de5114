package pins

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/deb"
)

// Debian pins packages of Debian archives.
type Debian struct {
	// Exclude names packages that count as fulfilled.
	Exclude []string `toml:"exclude"`
	// Sources are the suites that packages come from; Package.Source counts them from 0.
	Sources  []Source  `toml:"source"`
	Closures []Closure `toml:"closure"`
}

// Source is a suite of an archive, as it was when it was locked.
type Source struct {
	URI        string    `toml:"uri"`
	Suite      string    `toml:"suite"`
	Components []string  `toml:"components"`
	Date       time.Time `toml:"date"`
	InRelease  string    `toml:"inrelease"` // "sha256:…" of the signed file
	SignedBy   []string  `toml:"signed-by"` // fingerprints of primary keys
	// Snapshot is the URL of the archive as it was at some time, where packages are looked for that the archive no longer
	// has; "" where none is known.
	Snapshot string `toml:"snapshot,omitempty"`
}

// Closure is what a request brings into the image for one platform.
type Closure struct {
	Platform string   `toml:"platform"` // "linux/amd64"
	Request  []string `toml:"request"`
	// Over is the request whose packages are there already, as for build-packages; empty for what is laid on the base.
	Over []string `toml:"over,omitempty"`
	// Installed is the digest of what the base had installed (deb.Installed).
	Installed string    `toml:"installed"`
	Packages  []Package `toml:"package"`
}

// Package is deb.Locked as the file has it.
type Package struct {
	Name     string `toml:"name"`
	Version  string `toml:"version"`
	Arch     string `toml:"arch"`
	Source   int    `toml:"source"`
	Size     int64  `toml:"size"`
	Path     string `toml:"path"`
	SHA256   string `toml:"sha256"`
	Why      string `toml:"why"`
	Upgrades string `toml:"upgrades,omitempty"`
}

// Locked gives the closure's packages.
func (c Closure) Locked() []deb.Locked {
	all := make([]deb.Locked, 0, len(c.Packages))
	for _, p := range c.Packages {
		all = append(all, deb.Locked{
			Name: p.Name, Version: deb.Version(p.Version), Arch: p.Arch, Source: p.Source, Path: p.Path, Size: p.Size, SHA256: p.SHA256,
			Why: p.Why, Upgrades: deb.Version(p.Upgrades),
		})
	}
	return all
}

// Packages makes the file's form of locked packages.
func Packages(all []deb.Locked) []Package {
	out := make([]Package, 0, len(all))
	for _, l := range all {
		out = append(out, Package{
			Name: l.Name, Version: string(l.Version), Arch: l.Arch, Source: l.Source, Size: l.Size, Path: l.Path, SHA256: l.SHA256,
			Why: l.Why, Upgrades: string(l.Upgrades),
		})
	}
	return out
}

// Closure finds what was locked for a request on a platform.
func (d *Debian) Closure(platform string, request, over []string) (Closure, bool) {
	if d == nil {
		return Closure{}, false
	}
	for _, c := range d.Closures {
		if c.Platform == platform && slices.Equal(c.Request, request) && slices.Equal(c.Over, over) {
			return c, true
		}
	}
	return Closure{}, false
}

func (d *Debian) check() error {
	for _, s := range d.Sources {
		src := deb.Source{URI: s.URI, Suite: s.Suite, Components: s.Components}
		if err := src.Check(); err != nil {
			return err
		}
		if err := checkDigest(s.InRelease); err != nil {
			return fmt.Errorf("source %s: %w", src, err)
		}
		if s.Snapshot != "" {
			snap := deb.Source{URI: s.Snapshot, Suite: s.Suite, Components: s.Components}
			if err := snap.Check(); err != nil {
				return err
			}
		}
	}
	for _, c := range d.Closures {
		if err := errors.Join(checkPlatform(c.Platform), checkDigest(c.Installed)); err != nil {
			return err
		}
		if len(c.Request) == 0 {
			return errors.New("a closure of Debian packages has no request")
		}
		for _, r := range append(c.Request[:len(c.Request):len(c.Request)], c.Over...) {
			if _, err := deb.ParseRequest(r); err != nil {
				return err
			}
		}
		seen := make(map[string]bool)
		for _, p := range c.Locked() {
			if err := p.Check(len(d.Sources)); err != nil {
				return err
			}
			if seen[p.Name] {
				return fmt.Errorf("package %s is there twice for %s", p.Name, c.Platform)
			}
			seen[p.Name] = true
		}
	}
	return nil
}

func (d *Debian) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "[debian]\nexclude = %s\n", quoteAll(d.Exclude))
	for _, s := range d.Sources {
		fmt.Fprintf(b, "\n[[debian.source]]\nuri = %s\nsuite = %s\ncomponents = %s\ndate = %s\ninrelease = %s\nsigned-by = %s\n",
			quote(s.URI), quote(s.Suite), quoteAll(s.Components), s.Date.UTC().Format(time.RFC3339), quote(s.InRelease), quoteAll(s.SignedBy))
		if s.Snapshot != "" {
			fmt.Fprintf(b, "snapshot = %s\n", quote(s.Snapshot))
		}
	}
	for _, c := range d.Closures {
		fmt.Fprintf(b, "\n[[debian.closure]]\nplatform = %s\nrequest = %s\n", quote(c.Platform), quoteAll(c.Request))
		if len(c.Over) > 0 {
			fmt.Fprintf(b, "over = %s\n", quoteAll(c.Over))
		}
		fmt.Fprintf(b, "installed = %s\npackage = [\n", quote(c.Installed))
		for _, p := range c.Packages {
			fmt.Fprintf(b, "  { name = %s, version = %s, arch = %s, source = %d, size = %d, path = %s, sha256 = %s, why = %s",
				quote(p.Name), quote(p.Version), quote(p.Arch), p.Source, p.Size, quote(p.Path), quote(p.SHA256), quote(p.Why))
			if p.Upgrades != "" {
				fmt.Fprintf(b, ", upgrades = %s", quote(p.Upgrades))
			}
			b.WriteString(" },\n")
		}
		b.WriteString("]\n")
	}
}

// Moved says what is different between two locks' packages, one line each, in order of platform and name.
func Moved(old, fresh *Debian) []string {
	var said []string
	if old == nil {
		old = &Debian{}
	}
	if fresh == nil {
		fresh = &Debian{}
	}
	say := func(c Closure, format string, args ...any) {
		said = append(said, fmt.Sprintf(format, args...)+" ("+c.Platform+")")
	}
	for _, c := range fresh.Closures {
		was, _ := old.Closure(c.Platform, c.Request, c.Over)
		before := make(map[string]Package)
		for _, p := range was.Packages {
			before[p.Name] = p
		}
		for _, p := range c.Packages {
			b, there := before[p.Name]
			delete(before, p.Name)
			switch {
			case !there:
				say(c, "%s %s is new: %s", p.Name, p.Version, p.Why)
			case b.Version != p.Version:
				say(c, "%s %s was %s", p.Name, p.Version, b.Version)
			case b.SHA256 != p.SHA256:
				say(c, "%s %s has another content", p.Name, p.Version)
			}
		}
		for _, p := range was.Packages {
			if _, gone := before[p.Name]; gone {
				say(c, "%s %s is no longer needed", p.Name, p.Version)
			}
		}
	}
	for _, c := range old.Closures {
		if _, ok := fresh.Closure(c.Platform, c.Request, c.Over); !ok {
			say(c, "packages = %s are no longer asked for", "["+strings.Join(c.Request, ", ")+"]")
		}
	}
	return said
}
