package pybuild

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"

	"github.com/jubako/jubako/pkg/pep508"
)

// version is the project's: static, or a literal in a file that a static setting names. Where neither is, the lock's is
// taken, as long as pyproject.toml does not say that it is computed.
func (p *pyproject) version(be backend, l *look, locked string) (string, error) {
	version := p.Project.Version
	if version == "" && p.dynamic("version") {
		if be.version == nil {
			return "", errors.New("its version is dynamic")
		}
		var err error
		if version, err = be.version(p, l); err != nil {
			return "", err
		}
	}
	version = cmp.Or(version, locked)
	if version == "" {
		return "", errors.New("it has no version")
	}
	v, err := pep508.ParseVersion(version)
	if err != nil {
		return "", err
	}
	return v.String(), nil
}

var errNoLiteral = errors.New("no literal one")

// literal finds the version that a file of the project assigns, if it is one literal: the first capture of re that is not
// empty. A file with several is refused, since which of them counts is for Python to say.
func literal(l *look, file string, re *regexp.Regexp) (string, error) {
	text, err := l.read(file)
	if err != nil {
		return "", err
	}
	found := re.FindAllSubmatch(text, 2)
	switch len(found) {
	case 0:
		return "", fmt.Errorf("its version is dynamic, and %s holds %w", file, errNoLiteral)
	case 1:
		for _, m := range found[0][1:] {
			if len(m) > 0 {
				return string(m), nil
			}
		}
	}
	return "", fmt.Errorf("its version is dynamic, and %s assigns it more than once", file)
}
