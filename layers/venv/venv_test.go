package venv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/tarlayer"
	"github.com/jubako/jubako/pkg/wheel"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

var python = base.Python{Path: "/usr/local/bin/python3.12", Version: "3.12.9", Major: 3, Minor: 12, ABI: "cp312"}

const site = "app/.venv/lib/python3.12/site-packages/"

// store counts what is open.
type store struct{ opened, closed atomic.Int32 }

func (s *store) pkg(w wheeltest.Wheel, requires ...string) Package {
	name, data := wheeltest.Build(w)
	sum := sha256.Sum256(data)
	return Package{
		Name: w.Name, Version: w.Version, Filename: name, SHA256: hex.EncodeToString(sum[:]), Requires: requires,
		Open: func(context.Context) (Opened, error) {
			s.opened.Add(1)
			return Opened{ReaderAt: bytes.NewReader(data), Size: int64(len(data)), Closer: s}, nil
		},
	}
}

func (s *store) Close() error {
	s.closed.Add(1)
	return nil
}

func simple(name string, files ...wheeltest.File) wheeltest.Wheel {
	return wheeltest.Wheel{Name: name, Version: "1.0", Files: append([]wheeltest.File{{Name: name + "/__init__.py", Data: "# " + name}}, files...)}
}

func options(packages ...Package) Options {
	return Options{Path: "app/.venv", Python: python, UID: 999, GID: 999, Packages: packages}
}

// make1 makes the tree and gives the warnings.
func make1(t *testing.T, o Options) (*Layer, *fstree.Tree, []string) {
	t.Helper()
	var warnings []string
	o.Warn = func(s string) { warnings = append(warnings, s) }
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := l.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, tree, warnings
}

func text(t *testing.T, tree *fstree.Tree, p string) string {
	t.Helper()
	e, ok := tree.Lookup(p)
	if !ok {
		t.Fatalf("%s is missing", p)
	}
	r, err := e.Content.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLayer(t *testing.T) {
	s := &store{}
	l, tree, warnings := make1(t, options(s.pkg(simple("b")), s.pkg(simple("a"))))
	if got := l.Name() + ": " + l.Summary(); got != "venv: 2 packages" {
		t.Error(got)
	}
	for _, p := range []string{site + "a/__init__.py", site + "b/__init__.py", site + "b-1.0.dist-info/RECORD", "app/.venv/pyvenv.cfg"} {
		text(t, tree, p)
	}
	if e, _ := tree.Lookup("app/.venv/bin/python"); e.Kind != fstree.Symlink || e.Link != python.Path {
		t.Errorf("bin/python is %+v", e)
	}
	if len(warnings) > 0 {
		t.Errorf("warned of %q", warnings)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s.opened.Load() != 2 || s.closed.Load() != 2 {
		t.Errorf("%d wheels were opened and %d closed", s.opened.Load(), s.closed.Load())
	}
}

func TestPackagesAlone(t *testing.T) {
	s := &store{}
	o := options(s.pkg(simple("a")))
	o.NoSkeleton, o.Name = true, "venv a"
	l, tree, _ := make1(t, o)
	if got := l.Name() + ": " + l.Summary(); got != "venv a: a 1.0" {
		t.Error(got)
	}
	if _, ok := tree.Lookup("app/.venv/pyvenv.cfg"); ok {
		t.Error("the environment itself is there")
	}
}

// asking leaves it to the wheel what it requires.
func asking(p Package) Package {
	p.AskWheel = true
	return p
}

// needing is a wheel whose METADATA requires something.
func needing(w wheeltest.Wheel, what string) wheeltest.Wheel {
	w.Metadata = fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\nRequires-Dist: %s\nRequires-Dist: (\n", w.Name, w.Version, what)
	return w
}

// TestClashes is about paths that two packages bring: case 41 and what follows from it.
func TestClashes(t *testing.T) {
	ns := func(name, data string) wheeltest.Wheel {
		return simple(name, wheeltest.File{Name: "ns/__init__.py", Data: data}, wheeltest.File{Name: "ns/" + name + ".py"})
	}
	s := &store{}
	for _, tt := range []struct {
		name     string
		packages []Package
		want     string
		warnings []string
	}{
		{"case 41: the same bytes", []Package{s.pkg(ns("a", "same")), s.pkg(ns("b", "same"))}, "same", nil},
		{"case 41: other bytes, the later name wins", []Package{s.pkg(ns("b", "of b")), s.pkg(ns("a", "of a"))}, "of b",
			[]string{"a and b both bring /" + site + "ns/__init__.py, with different content: b's is taken, by its name, since neither depends on the other"}},
		{"the one that depends on the other wins", []Package{s.pkg(ns("a", "of a"), "B"), s.pkg(ns("b", "of b"))}, "of a",
			[]string{"b and a both bring /" + site + "ns/__init__.py, with different content: a's is taken, since it depends on b"}},
		{"the one whose wheel says so wins", []Package{asking(s.pkg(needing(ns("a", "of a"), "B ; extra == 'x'"))), asking(s.pkg(ns("b", "of b")))}, "of a",
			[]string{"b and a both bring /" + site + "ns/__init__.py, with different content: a's is taken, since it depends on b"}},
		{"over a third", []Package{s.pkg(ns("a", "of a"), "m"), s.pkg(simple("m"), "b"), s.pkg(ns("b", "of b"))}, "of a",
			[]string{"b and a both bring /" + site + "ns/__init__.py, with different content: a's is taken, since it depends on b"}},
		{"each depends on the other", []Package{s.pkg(ns("a", "of a"), "b"), s.pkg(ns("b", "of b"), "a")}, "of b",
			[]string{"a and b both bring /" + site + "ns/__init__.py, with different content: b's is taken, by its name, since each depends on the other"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, tree, warnings := make1(t, options(tt.packages...))
			if got := text(t, tree, site+"ns/__init__.py"); got != tt.want {
				t.Errorf("the file is %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(tt.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
	_, tree, warnings := make1(t, options(s.pkg(ns("a", "1")), s.pkg(simple("b", wheeltest.File{Name: "ns/__init__.py", Data: "2"}, wheeltest.File{Name: "ns/a.py", Data: "x"}))))
	if len(warnings) != 1 || !strings.Contains(warnings[0], "ns/__init__.py and another file, with") || text(t, tree, site+"ns/a.py") != "x" {
		t.Errorf("warned %q", warnings)
	}
}

func TestFileAgainstFolder(t *testing.T) {
	s := &store{}
	file, folder := simple("a", wheeltest.File{Name: "ns", Data: "x"}), simple("b", wheeltest.File{Name: "ns/x"})
	for _, packages := range [][]Package{{s.pkg(file), s.pkg(folder)}, {s.pkg(simple("c", wheeltest.File{Name: "ns", Data: "x"})), s.pkg(folder)}} {
		l, err := New(options(packages...))
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Tree(t.Context())
		if _, ok := errors.AsType[*fstree.ConflictError](err); !ok || !strings.Contains(err.Error(), "wheel b 1.0") || hint.Of(err) == "" {
			t.Errorf("the error is %v, with the hint %q", err, hint.Of(err))
		}
	}
	if s.opened.Load() != s.closed.Load() {
		t.Error("after an error wheels are left open")
	}
}

func TestNewRefuses(t *testing.T) {
	s := &store{}
	change := func(f func(*Package)) Package {
		p := s.pkg(simple("a"))
		f(&p)
		return p
	}
	for want, packages := range map[string][]Package{
		"another package's":  {change(func(p *Package) { p.Name = "b" })},
		"of another version": {change(func(p *Package) { p.Version = "1.1" })},
		"hash of wheel":      {change(func(p *Package) { p.SHA256 = "" })},
		"does not end in":    {change(func(p *Package) { p.Filename = "a.zip" })},
		"two versions":       {s.pkg(simple("a")), s.pkg(wheeltest.Wheel{Name: "A", Version: "2.0"})},
	} {
		if _, err := New(options(packages...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, and should say %q", err, want)
		}
	}
	if _, err := New(options(change(func(p *Package) { p.Filename = "a-1.0+cpu-py3-none-any.whl" }))); err != nil {
		t.Errorf("a local version in the filename alone: %v", err)
	}
}

func TestTreeFails(t *testing.T) {
	s := &store{}
	gone := s.pkg(simple("b"))
	gone.Open = func(context.Context) (Opened, error) { return Opened{}, errors.New("gone") }
	l, err := New(options(s.pkg(simple("a")), gone))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Tree(t.Context()); err == nil || err.Error() != "gone" {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Tree(ctx); !errors.Is(err, context.Canceled) && err.Error() != "gone" {
		t.Errorf("after a cancellation the error is %v", err)
	}
	if s.opened.Load() != s.closed.Load() {
		t.Error("after an error wheels are left open")
	}
}

// TestKey checks that everything that can change a byte changes the key, and nothing else does.
func TestKey(t *testing.T) {
	s := &store{}
	a, b := s.pkg(simple("a"), "b", "c"), s.pkg(simple("b"))
	keyOf := func(change func(*Options)) string {
		o := options(a, b)
		if change != nil {
			change(&o)
		}
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(l.Key())
	}
	key := keyOf(nil)
	for name, change := range map[string]func(*Options){
		"order":    func(o *Options) { o.Packages = []Package{b, a} },
		"jobs":     func(o *Options) { o.Jobs = 7 },
		"a name":   func(o *Options) { o.Name = "x" },
		"requires": func(o *Options) { o.Packages[0].Requires = []string{"B", "gone", "b"} },
	} {
		if keyOf(change) != key {
			t.Errorf("%s changed the key", name)
		}
	}
	for name, change := range map[string]func(*Options){
		"path":       func(o *Options) { o.Path = "srv/.venv" },
		"owner":      func(o *Options) { o.UID = 0 },
		"group":      func(o *Options) { o.GID = 0 },
		"python":     func(o *Options) { o.Python.Version = "3.12.10" },
		"executable": func(o *Options) { o.Python.Path = "/usr/bin/python3.12" },
		"skeleton":   func(o *Options) { o.NoSkeleton = true },
		"hash":       func(o *Options) { o.Packages[0].SHA256 = strings.Repeat("0", 64) },
		"requires":   func(o *Options) { o.Packages[0].Requires = nil },
		"source":     func(o *Options) { o.Packages[0].DirectURL = &wheel.DirectURL{URL: "x"} },
		"fewer":      func(o *Options) { o.Packages = o.Packages[:1] },
	} {
		if keyOf(change) == key {
			t.Errorf("%s did not change the key", name)
		}
	}
}

// TestCase50SameInputsSameBytes writes the layer twice, with another order and other jobs.
func TestCase50SameInputsSameBytes(t *testing.T) {
	s := &store{}
	a := simple("a", wheeltest.File{Name: "a/long.txt", Data: strings.Repeat("all work and no play\n", 2000)}, wheeltest.File{Name: "ns/x", Data: "1"})
	a.EntryPoints = "[console_scripts]\na = a:main\nb = a:main\n"
	b := simple("b", wheeltest.File{Name: "ns/x", Data: "2", Stored: true}, wheeltest.File{Name: "b-1.0.data/data/share/x", Data: "y"})
	write := func(o Options) string {
		_, tree, _ := make1(t, o)
		if err := tree.AddParents(func(dir string) fstree.Entry { return fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755} }); err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if _, err := tarlayer.Write(t.Context(), h, tree, tarlayer.Options{Jobs: o.Jobs}); err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	first, second := options(s.pkg(a), s.pkg(b)), options(s.pkg(b), s.pkg(a))
	first.Jobs, second.Jobs = 1, 8
	if x, y := write(first), write(second); x != y {
		t.Errorf("the blobs are %s and %s", x, y)
	}
}

// TestBuilt: of a wheel that is yet to be built the key of its build counts, and what comes is held against the package.
func TestBuilt(t *testing.T) {
	s := &store{}
	built := func(w wheeltest.Wheel, build string) Package {
		p := s.pkg(w)
		name, open := p.Filename, p.Open
		p.Name, p.Version, p.Filename, p.SHA256, p.Build = "a", "1.0", "", "", build
		p.Open = func(ctx context.Context) (Opened, error) {
			o, err := open(ctx)
			o.Filename = name
			return o, err
		}
		return p
	}
	key := strings.Repeat("k", 64)
	l, tree, _ := make1(t, options(built(simple("a"), key), s.pkg(simple("b"))))
	text(t, tree, site+"a/__init__.py")
	other, err := New(options(built(simple("a"), strings.Repeat("o", 64)), s.pkg(simple("b"))))
	if err != nil || other.Key() == l.Key() {
		t.Errorf("the build is no part of the key: %v", err)
	}
	for want, w := range map[string]wheeltest.Wheel{"another package's": simple("x"), "another version": {Name: "a", Version: "2.0"}} {
		l, err := New(options(built(w, key)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Tree(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	p := built(simple("a"), "short")
	if _, err := New(options(p)); err == nil {
		t.Error("a build without a key was taken")
	}
}
