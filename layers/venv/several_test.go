package venv

import (
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// manyPackages has sizes as a web project's wheels have: most are small, some are not.
func manyPackages(n int) (all []Weighed) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		size := int64(20<<10 + r.IntN(300<<10))
		if i%9 == 0 {
			size = int64(1<<20 + r.IntN(20<<20))
		}
		all = append(all, Weighed{fmt.Sprintf("word%d-package-%d", i/2, i), size})
	}
	return all
}

// layerOf gives for each package the names in its layer.
func layerOf(groups [][]string) map[string]string {
	of := make(map[string]string)
	for _, g := range groups {
		for _, name := range g {
			of[name] = strings.Join(g, " ")
		}
	}
	return of
}

// TestDivide: every package is in one layer, large ones are alone, shared layers are small, and there are not too many.
func TestDivide(t *testing.T) {
	for _, n := range []int{0, 1, 2, 30, 90, 400, 2000} {
		all := manyPackages(n)
		groups := Divide(all, 0)
		if len(groups) > maxLayers {
			t.Errorf("%d packages: %d layers", n, len(groups))
		}
		size := make(map[string]int64)
		for _, p := range all {
			size[p.Name] = p.Size
		}
		seen := 0
		for _, g := range groups {
			seen += len(g)
			var sum int64
			for _, name := range g {
				sum += size[name]
			}
			if n <= 90 && len(g) > 1 && sum > groupMax {
				t.Errorf("%d packages: %v share a layer of %d bytes", n, g, sum)
			}
		}
		if got := len(layerOf(groups)); got != n || seen != n {
			t.Errorf("%d packages: %d are in layers, %d times", n, got, seen)
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if diff := cmp.Diff(groups, Divide(all, 0)); diff != "" {
			t.Errorf("%d packages: their order matters: %s", n, diff)
		}
	}
}

// TestDivideWithin: the layers are as few as a base of many leaves room for, and a lock's wildest sizes come to an end.
func TestDivideWithin(t *testing.T) {
	all := manyPackages(90)
	for _, most := range []int{1, 2, 7, 40} {
		if n := len(Divide(all, most)); n > most {
			t.Errorf("%d layers, where %d are allowed", n, most)
		}
	}
	for i := range all {
		all[i].Size = math.MaxInt64 - int64(i)
	}
	if n := len(Divide(all, 0)); n > maxLayers {
		t.Errorf("of endless wheels: %d layers", n)
	}
}

// TestDivideIsStable: a package that comes touches one layer, which it joins or cuts.
func TestDivideIsStable(t *testing.T) {
	all := manyPackages(90)
	before := layerOf(Divide(all, 0))
	for i := range 50 {
		now := layerOf(Divide(append(slices.Clone(all), Weighed{fmt.Sprintf("newcomer%d", i), 100 << 10}), 0))
		touched := make(map[string]bool)
		for name, layer := range before {
			if now[name] != layer {
				touched[layer] = true
			}
		}
		if len(touched) > 1 {
			t.Errorf("newcomer %d touches %d layers", i, len(touched))
		}
	}
}

// files gives what a tree holds, the environment's folders aside.
func files(t *testing.T, trees ...*fstree.Tree) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, tree := range trees {
		for e := range tree.All() {
			what := fmt.Sprintf("%s %o %d:%d %s", e.Kind, e.Mode, e.UID, e.GID, e.Link)
			if e.Kind == fstree.File {
				r, err := e.Content.Open()
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				what += string(b)
			}
			all[e.Path] = what // of an upper layer, where two have it
		}
	}
	return all
}

// several makes the trees of an environment's layers, lowest first.
func several(t *testing.T, o Options) (all []*Layer, trees []*fstree.Tree, warnings []string) {
	t.Helper()
	o.Warn = func(s string) { warnings = append(warnings, s) }
	all, err := Layers(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		tree, err := l.Tree(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		trees = append(trees, tree)
	}
	return all, trees, warnings
}

// TestLayers: an environment in several layers holds what it holds in one, and no layer of packages depends on the base's
// patch release of Python.
func TestLayers(t *testing.T) {
	s := &store{}
	var pkgs []Package
	for _, name := range []string{"alpha", "beta", "gamma", "delta", "epsilon"} {
		p := s.pkg(simple(name))
		p.Size = 300 << 10
		pkgs = append(pkgs, p)
	}
	pkgs[1].Size = 5 << 20
	_, whole, _ := make1(t, options(pkgs...))
	all, trees, warnings := several(t, options(pkgs...))
	if len(all) < 4 || len(warnings) > 0 {
		t.Fatalf("%d layers, warnings %q", len(all), warnings)
	}
	if diff := cmp.Diff(files(t, whole), files(t, trees...)); diff != "" {
		t.Errorf("in one layer (-) and in %d (+): %s", len(all), diff)
	}
	if all[0].Summary() != "the environment itself" || all[1].Summary() != "beta 1.0" {
		t.Errorf("the first layers are %q and %q", all[0].Summary(), all[1].Summary())
	}
	if want := fmt.Sprintf("5 packages in %d layers", len(all)); all[2].Whole() != want {
		t.Errorf("together: %q, want %q", all[2].Whole(), want)
	}
	o := options(pkgs...)
	o.Python.Version = "3.12.10"
	newer, err := Layers(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if same := newer[i].Key() == all[i].Key(); same == (i == 0) {
			t.Errorf("layer %d (%s): the same key after a patch release: %t", i, all[i].Summary(), same)
		}
	}
	one, err := Layers(options(s.pkg(simple("a")), s.pkg(simple("b"))))
	if err != nil || len(one) != 1 || one[0].Summary() != "2 packages" {
		t.Errorf("a small environment: %d layers, %v", len(one), err)
	}
}

// TestDependentWinsOverLayers: of two packages in one layer the one that needs the other has its way, though what lies between them is in another
// layer, and for its size alone.
func TestDependentWinsOverLayers(t *testing.T) {
	for _, size := range []int64{100, 2 << 20} {
		s := &store{}
		tool := func(name, data string, requires ...string) Package {
			p := s.pkg(simple(name, wheeltest.File{Name: "ns/__init__.py", Data: data}), requires...)
			p.Size = 100 << 10
			return p
		}
		middle, large := s.pkg(simple("middle"), "fam-b"), s.pkg(simple("zzz"))
		middle.Size, large.Size = size, 2<<20
		all, trees, _ := several(t, options(tool("fam-a", "of a", "middle"), middle, tool("fam-b", "of b"), large))
		if len(all) < 3 {
			t.Fatalf("%d layers", len(all))
		}
		if got := files(t, trees...)[site+"ns/__init__.py"]; !strings.HasSuffix(got, "of a") {
			t.Errorf("with %d bytes between them the file is %q", size, got)
		}
	}
}

// TestClashesOfLayers: of two layers that bring one path the upper one's file is seen, and it is said.
func TestClashesOfLayers(t *testing.T) {
	s := &store{}
	big := func(w wheeltest.Wheel) Package {
		p := s.pkg(w)
		p.Size = 2 << 20
		return p
	}
	ns := func(name, data string) wheeltest.Wheel {
		return simple(name, wheeltest.File{Name: "ns/__init__.py", Data: data})
	}
	_, trees, warnings := several(t, options(big(ns("a", "of a")), big(ns("b", "of b"))))
	if got := files(t, trees...)[site+"ns/__init__.py"]; !strings.HasSuffix(got, "of b") {
		t.Errorf("the file is %q", got)
	}
	want := []string{"wheel a 1.0 and wheel b 1.0 both bring /" + site + "ns/__init__.py, with different content: wheel b 1.0's is taken, since its layer is the upper one"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if _, _, warnings = several(t, options(big(ns("a", "same")), big(ns("b", "same")))); len(warnings) > 0 {
		t.Errorf("the same bytes: %q", warnings)
	}
	all, err := Layers(options(big(simple("a", wheeltest.File{Name: "x", Data: "file"})), big(simple("b", wheeltest.File{Name: "x/y", Data: "below"}))))
	if err != nil {
		t.Fatal(err)
	}
	var errs []string
	for _, l := range all {
		if _, err := l.Tree(t.Context()); err != nil {
			errs = append(errs, err.Error())
		}
		_ = l.Close()
	}
	if len(errs) != 1 || !strings.Contains(errs[0], site+"x is a") {
		t.Errorf("a file over a folder: %q", errs)
	}
	if got := slices.Collect(maps.Keys(layerOf(Divide([]Weighed{{"A_b", 1}}, 0)))); !slices.Equal(got, []string{"a-b"}) {
		t.Errorf("names are not normalized: %q", got)
	}
}
