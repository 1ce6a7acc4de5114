package uvlock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
)

// realLocks finds the real lock files that lie beside a checkout; they are not part of it.
func realLocks(t testing.TB) []string {
	t.Helper()
	locks, err := filepath.Glob("../../../shared/locks/*/uv.lock")
	if err != nil {
		t.Fatal(err)
	}
	if len(locks) == 0 {
		t.Skip("no real locks beside this checkout (../shared/locks)")
	}
	return locks
}

type pyproject struct {
	Project struct {
		Name         string              `toml:"name"`
		Dependencies []string            `toml:"dependencies"`
		Optional     map[string][]string `toml:"optional-dependencies"`
		Dynamic      []string            `toml:"dynamic"`
	} `toml:"project"`
	Groups map[string][]any `toml:"dependency-groups"`
	Tool   struct {
		UV struct {
			Dev    []string `toml:"dev-dependencies"`
			Groups map[string]struct {
				RequiresPython string `toml:"requires-python"`
			} `toml:"dependency-groups"`
		} `toml:"uv"`
	} `toml:"tool"`
}

func (p pyproject) declared() Declared {
	d := Declared{Dependencies: p.Project.Dependencies, Optional: p.Project.Optional, Groups: map[string][]string{}}
	for _, dyn := range p.Project.Dynamic {
		d.Dynamic = d.Dynamic || strings.Contains(dyn, "dependencies")
	}
	var flat func(g string) []string
	flat = func(g string) (all []string) {
		for name, entries := range p.Groups {
			if pep508.Normalize(name) != pep508.Normalize(g) {
				continue
			}
			for _, e := range entries {
				switch e := e.(type) {
				case string:
					all = append(all, e)
				case map[string]any:
					all = append(all, flat(e["include-group"].(string))...)
				}
			}
		}
		return all
	}
	for g := range p.Groups {
		d.Groups[g] = flat(g)
	}
	d.GroupPython = map[string]string{}
	for g, settings := range p.Tool.UV.Groups {
		d.GroupPython[g] = settings.RequiresPython
	}
	if len(p.Tool.UV.Dev) > 0 {
		d.Groups["dev"] = append(d.Groups["dev"], p.Tool.UV.Dev...)
	}
	return d
}

// outOfStep are the real locks that differ from the pyproject.toml beside them, and in what.
var outOfStep = map[string]string{
	"astral-sh__uv__test__packages__built-by-uv":                          `group "dev": pytest>=8.3.3 is in the lock only`,
	"heroku__buildpacks-python__tests__fixtures__uv_lockfile_out_of_sync": "dependencies: typing-extensions is not in the lock",
	"infiniflow__ragflow__admin__client":                                  "dependencies: beartype>=0.20.0, <1.0.0 is now beartype>=0.22.9, <1.0.0",
}

// refused are the real locks that uv refuses as well.
var refused = map[string]string{
	"aspect-build__rules_py__e2e__cases__uv-dup-lock-records": `dependency "markupsafe": 3 packages of the lock match it`,
}

// TestRealLocks: every real lock is read, selected from, and in step with the pyproject.toml beside it.
func TestRealLocks(t *testing.T) {
	for _, file := range realLocks(t) {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(filepath.Dir(file))
			l, err := Parse(b, file)
			if want, ok := refused[name]; ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var p pyproject
			if b, err = os.ReadFile(filepath.Join(filepath.Dir(file), "pyproject.toml")); err == nil {
				if err := toml.Unmarshal(b, &p); err != nil {
					t.Fatal(err)
				}
				diffs, err := l.CheckMetadata(p.Project.Name, p.declared())
				if err != nil {
					t.Error(err)
				}
				var got []string
				for _, d := range diffs {
					got = append(got, d.String())
				}
				if s := strings.Join(got, "; "); s != outOfStep[name] {
					t.Errorf("out of step: %q, want %q", s, outOfStep[name])
				}
			}
			selected := 0
			for _, py := range []string{"3.11.9", "3.12.9", "3.13.2"} {
				env, err := pep508.LinuxEnv(py, "x86_64")
				if err != nil {
					t.Fatal(err)
				}
				s, err := l.Select(locked.Request{Project: p.Project.Name}, env)
				if err != nil && hint.KindOf(err) != hint.KindUsage {
					t.Errorf("Python %s: %v", py, err)
				}
				selected += len(s)
			}
			t.Logf("%d packages, %d selected in three", len(l.Packages), selected)
		})
	}
}

func BenchmarkLargestLock(b *testing.B) {
	var data []byte
	for _, file := range realLocks(b) {
		if d, err := os.ReadFile(file); err == nil && len(d) > len(data) {
			data = d
		}
	}
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := Parse(data, "uv.lock"); err != nil {
				b.Fatal(err)
			}
		}
	})
	l, err := Parse(data, "uv.lock")
	if err != nil {
		b.Fatal(err)
	}
	env, err := pep508.LinuxEnv("3.12.9", "x86_64")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("select", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Select(locked.Request{AllExtras: true}, env); err != nil && hint.KindOf(err) != hint.KindUsage {
				b.Fatal(err)
			}
		}
	})
}
