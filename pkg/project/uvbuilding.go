package project

import (
	"fmt"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/pep508"
)

// building takes what uv's settings say of builds apart: several of them have more than one form.
func (r *rawUVSettings) building() (Building, error) {
	b := Building{ExtraRequires: make(map[string][]string), MatchRuntime: make(map[string]string), ExtraVariables: make(map[string]map[string]string), Settings: r.Settings,
		PackageSettings: make(map[string]map[string]any), ExcludeNewerPackage: make(map[string]string)}
	for _, c := range r.BuildConstraints {
		text, ok := c.(string)
		if !ok {
			return b, fmt.Errorf("build-constraint-dependencies: %v is no requirement that jubako reads", c)
		}
		b.Constraints = append(b.Constraints, text)
	}
	for name, list := range r.ExtraRequires {
		for _, x := range list {
			text, ok := x.(string)
			if t, table := x.(map[string]any); table {
				text, ok = t["requirement"].(string)
				if match, _ := t["match-runtime"].(bool); match && ok {
					b.MatchRuntime[pep508.Normalize(name)] = text
				}
			}
			if !ok {
				return b, fmt.Errorf("extra-build-dependencies.%s: %v is no requirement", name, x)
			}
			b.ExtraRequires[pep508.Normalize(name)] = append(b.ExtraRequires[pep508.Normalize(name)], text)
		}
	}
	for name, vars := range r.ExtraVariables {
		b.ExtraVariables[pep508.Normalize(name)] = vars
	}
	for name, settings := range r.PackageSettings {
		b.PackageSettings[pep508.Normalize(name)] = settings
	}
	var err error
	if b.ExcludeNewer, err = timeText(r.ExcludeNewer); err != nil {
		return b, fmt.Errorf("exclude-newer: %w", err)
	}
	for name, t := range r.ExcludeNewerPackage {
		if b.ExcludeNewerPackage[pep508.Normalize(name)], err = timeText(t); err != nil {
			return b, fmt.Errorf("exclude-newer-package.%s: %w", name, err)
		}
	}
	if on, _ := r.NoIsolation.(bool); on {
		b.NoIsolation = append(b.NoIsolation, "*")
	}
	b.NoIsolation = append(b.NoIsolation, pep508.NormalizeAll(r.NoIsolationPackage)...)
	return b, nil
}

// timeText gives a setting that may be a string, one of TOML's dates, or false.
func timeText(v any) (string, error) {
	switch t := v.(type) {
	case nil:
		return "", nil
	case string:
		return t, nil
	case bool:
		if !t {
			return "false", nil
		}
	case time.Time:
		return t.Format(time.RFC3339), nil
	case toml.LocalDate:
		return t.String(), nil
	case toml.LocalDateTime:
		return t.String() + "Z", nil
	}
	return "", fmt.Errorf("%v is no time", v)
}
