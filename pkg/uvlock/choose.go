package uvlock

import (
	"fmt"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/wheel"
)

// NoWheelError says that a package has no wheel for a target, and why each one that there is was passed over.
type NoWheelError struct {
	Package    string // name and version
	Source     Source
	Target     string // the tags wanted, in short
	Candidates []Candidate
	SdistOnly  bool
}

// Candidate is a wheel that was passed over.
type Candidate struct{ Filename, Why string }

func (e *NoWheelError) Error() string {
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

// ChooseWheel gives the wheel that uv would install on the target. The error is a *NoWheelError.
func (p *Package) ChooseWheel(tags wheel.Tags) (Wheel, error) {
	names := make([]wheel.Filename, len(p.Wheels))
	for i, w := range p.Wheels {
		names[i] = w.Filename
	}
	if i := tags.Best(names); i >= 0 {
		return p.Wheels[i], nil
	}
	e := &NoWheelError{Package: strings.TrimSpace(p.Name + " " + p.Version), Source: p.Source, Target: tags.String(), SdistOnly: p.Sdist != nil}
	for _, n := range names {
		e.Candidates = append(e.Candidates, Candidate{n.Raw, tags.Why(n)})
	}
	return Wheel{}, hint.Wrap(e, "build it elsewhere and name the folder of the wheel with --find-links, leave it out with --no-install-package %s, or lock a version that has one", p.Name)
}
