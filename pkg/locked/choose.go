package locked

import (
	"fmt"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// NoWheelError says that a package has no wheel for a target, and why each one that there is was passed over.
type NoWheelError struct {
	Package    string // name and version
	Source     Source
	Target     string // the tags wanted, in short
	Candidates []Candidate
	SdistOnly  bool
	NoBinary   bool // its wheels are not to be used
}

// Candidate is a wheel that was passed over.
type Candidate struct{ Filename, Why string }

func (e *NoWheelError) Error() string {
	if e.NoBinary {
		return fmt.Sprintf("package %s is to be built from source (no-binary), and the lock has no sdist of it", e.Package)
	}
	if len(e.Candidates) == 0 {
		what := "sdist only"
		if !e.SdistOnly {
			what = "its source is " + e.Source.String()
		}
		return fmt.Sprintf("package %s has no wheel for %s (%s)", e.Package, e.Target, what)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "package %s has no wheel for %s:", e.Package, e.Target)
	const shown = 8
	for i, c := range e.Candidates {
		if i == shown {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Candidates)-shown)
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", c.Filename, c.Why)
	}
	return b.String()
}

// BuildOptions say what may be taken as a wheel and what may be built (uv's no-binary and no-build, with their -package
// forms; names normalized).
type BuildOptions struct {
	NoBinary, NoBuild                 bool
	NoBinaryPackages, NoBuildPackages pep508.Set
}

// noBinary: for everything, unless a package is named by the opposite.
func (o BuildOptions) noBinary(name string) bool {
	return o.NoBinaryPackages[name] || o.NoBinary && !o.NoBuildPackages[name]
}

func (o BuildOptions) noBuild(name string) bool {
	return o.NoBuildPackages[name] || o.NoBuild && !o.NoBinaryPackages[name]
}

// CheckBuild refuses a package that comes as source where no-build says that nothing of it is built. A virtual one is
// never built.
func (o BuildOptions) CheckBuild(p *Package) error {
	if !o.noBuild(p.Name) || p.Source.Kind == Virtual {
		return nil
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("package %s has to be built from source (%s), and no-build forbids it", strings.TrimSpace(p.Name+" "+p.Version), p.Source)),
		"leave it out of no-build in [tool.uv] (or UV_NO_BUILD), or leave the package out with --no-install-package %s", p.Name)
}

// ChooseWheel gives the wheel that uv would install on the target. The error is a *NoWheelError.
func (p *Package) ChooseWheel(tags wheel.Tags, o BuildOptions) (Wheel, error) {
	names := make([]wheel.Filename, len(p.Wheels))
	for i, w := range p.Wheels {
		names[i] = w.Filename
	}
	none := &NoWheelError{Package: strings.TrimSpace(p.Name + " " + p.Version), Source: p.Source, Target: tags.String(), SdistOnly: p.Sdist != nil}
	// A wheel that the lock names itself, by its URL or path, is not one of several ways to have the package.
	if none.NoBinary = o.noBinary(p.Name) && p.Source.Kind == Registry && len(p.Wheels) > 0; none.NoBinary {
		return Wheel{}, hint.Wrap(none, "take it out of no-binary in [tool.uv] (or UV_NO_BINARY), or build its wheel elsewhere and name the folder with --find-links")
	}
	if i := tags.Best(names); i >= 0 {
		return p.Wheels[i], nil
	}
	for _, n := range names {
		none.Candidates = append(none.Candidates, Candidate{n.Raw, tags.Why(n)})
	}
	return Wheel{}, hint.Wrap(none, "build it elsewhere and name the folder of the wheel with --find-links, leave it out with --no-install-package %s, or lock a version that has one", p.Name)
}
