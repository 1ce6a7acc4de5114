// Divide prints what the division of the environment into layers comes to for real lock files: how many layers, and how many
// bytes move when one package, any of them, is bumped.
//
//	go run ./testdata/bench/divide ../shared/locks/*/uv.lock
package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/jubako/jubako/layers/venv"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/uvlock"
	"github.com/jubako/jubako/pkg/wheel"
)

// least is how many packages a lock must have to be worth a row: a web project has more.
const least = 30

type row struct {
	name             string
	packages, layers int
	total            int64   // bytes of all wheels
	moved            float64 // bytes that a bump moves, in the mean over the packages
	ratio            float64 // moved bytes over the bumped wheel's, the median over the packages
	largest          int64   // bytes of the largest layer that holds several packages
}

func main() {
	var rows []row
	for _, file := range os.Args[1:] {
		if r, ok := measure(file); ok {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.packages, b.packages) })
	fmt.Printf("%-56s %8s %6s %9s %12s %9s %14s\n", "lock", "packages", "layers", "total MB", "bump, MB", "of total", "times its wheel")
	for _, r := range rows {
		fmt.Printf("%-56.56s %8d %6d %9.1f %12.2f %8.1f%% %14.1f\n", r.name, r.packages, r.layers, float64(r.total)/1e6, r.moved/1e6, 100*r.moved/float64(r.total), r.ratio)
	}
}

func measure(file string) (row, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	l, err := uvlock.Parse(b, file)
	if err != nil {
		return row{}, false
	}
	env, err := pep508.LinuxEnv("3.12.9", "x86_64")
	if err != nil {
		return row{}, false
	}
	selected, err := l.Select(locked.Request{}, env)
	if err != nil {
		return row{}, false
	}
	tags := wheel.TagsFor(wheel.Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 41})
	var all []venv.Weighed
	size := map[string]int64{}
	for _, s := range selected {
		if w, err := s.ChooseWheel(tags, locked.BuildOptions{}); err == nil {
			all = append(all, venv.Weighed{Name: s.Name, Size: w.Size})
			size[s.Name] = w.Size
		}
	}
	if len(all) < least {
		return row{}, false
	}
	r := row{name: filepath.Base(filepath.Dir(file)), packages: len(all)}
	var ratios []float64
	for _, group := range venv.Divide(all, 0) {
		r.layers++
		var sum int64
		for _, name := range group {
			sum += size[name]
		}
		r.total += sum
		r.moved += float64(sum) * float64(len(group)) / float64(len(all))
		for _, name := range group {
			ratios = append(ratios, float64(sum)/float64(max(size[name], 1)))
		}
	}
	slices.Sort(ratios)
	r.ratio = ratios[len(ratios)/2]
	return r, true
}
