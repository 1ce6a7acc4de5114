package assemble

import (
	"reflect"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/uvlock"
	"github.com/jubako/jubako/pkg/wheel"
)

const smallLock = `version = 1
revision = 3
requires-python = ">=3.12"

[[package]]
name = "demo"
version = "0.1"
source = { virtual = "." }
dependencies = [{ name = "native" }, { name = "other", marker = "python_full_version >= '3.13'" }]

[package.metadata]
requires-dist = [{ name = "native", specifier = ">=1" }, { name = "other", marker = "python_full_version >= '3.13'" }]

[[package]]
name = "native"
version = "1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/native-1.0.tar.gz", hash = "sha256:aa", size = 3 }
wheels = [
    { url = "https://files.example/native-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", hash = "sha256:bb", size = 1 },
    { url = "https://files.example/native-1.0-cp312-cp312-manylinux_2_17_aarch64.whl", hash = "sha256:cc", size = 2 },
]

[[package]]
name = "other"
version = "2.0"
source = { registry = "https://index.example/simple" }
wheels = [{ url = "https://files.example/other-2.0-py3-none-any.whl", hash = "sha256:dd" }]
`

// TestSelectionIsRemembered: a lock is parsed again only where something else is asked, or something else asks.
func TestSelectionIsRemembered(t *testing.T) {
	store := castest.Open(t)
	type asked struct {
		program, python, lock string
		target                wheel.Target
		project               project.Project
		noCache               bool
	}
	first := asked{
		program: "one", python: "3.12.9", lock: smallLock, target: wheel.Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 36},
		project: project.Project{Name: "demo", Config: &project.Config{}, Dependencies: []string{"native>=1", "other; python_full_version >= '3.13'"}},
	}
	ask := func(a asked) (selected []locked.Selected, parsed bool) {
		t.Helper()
		u := newUVLock([]byte(a.lock), "uv.lock")
		parse := u.parse
		u.parse = func() (*uvlock.Lock, error) {
			parsed = true
			return parse()
		}
		b := newBuilder(Tools{Store: store, Program: a.program, Report: func(Event) {}}, Spec{Project: &a.project, NoCache: a.noCache})
		b.in = &inputs{lock: u}
		if err := b.inStep(u); err != nil {
			t.Fatal(err)
		}
		selected, err := b.selected(a.python, a.target, wheel.TagsFor(a.target), locked.BuildOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return selected, parsed
	}
	whole, parsed := ask(first)
	if !parsed || len(whole) != 1 || len(whole[0].Wheels) != 2 {
		t.Fatalf("parsed %v: %v", parsed, whole)
	}
	again, parsed := ask(first)
	if want, _ := locked.Fit(whole, wheel.TagsFor(first.target), locked.BuildOptions{}); parsed || !reflect.DeepEqual(again, want) {
		t.Errorf("parsed %v: %v, want %v", parsed, again, want)
	}
	for name, change := range map[string]func(*asked){
		"another program":      func(a *asked) { a.program = "two" },
		"no program known":     func(a *asked) { a.program = "" },
		"no cache":             func(a *asked) { a.noCache = true },
		"another Python":       func(a *asked) { a.python = "3.12.10" },
		"another target":       func(a *asked) { a.target.Arch = "aarch64" },
		"another lock":         func(a *asked) { a.lock += "\n" },
		"other requirements":   func(a *asked) { a.project.Dependencies = a.project.Dependencies[:1] },
		"another Python asked": func(a *asked) { a.project.RequiresPython = ">=3.12" },
	} {
		a := first
		change(&a)
		if _, parsed := ask(a); !parsed {
			t.Errorf("%s: the lock was not parsed", name)
		}
	}
	broken := newUVLock([]byte("version = 2"), "uv.lock")
	b := newBuilder(Tools{Store: store, Program: "one"}, Spec{Project: &first.project})
	if err := b.inStep(broken); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("a broken lock gave %v", err)
	}
}
