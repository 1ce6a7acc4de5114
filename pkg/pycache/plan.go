package pycache

import (
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pyimport"
)

// plan gives what is to be compiled for the command that runs meanwhile, and for the next: the modules that an earlier run has read,
// or that this one likely reads where there was none, in the order in which it does.
//
// The command begins with the first and compiles those itself. So the compiler begins where a third of the sources is passed, and
// is ahead of the command from there on, since that also does what the modules say; it comes to the first third last, the end of it
// first. The project's own modules are among them, for this run alone.
func (u *Use) plan(s *sources) (modules []string) {
	var order []string
	if u.c.Likely != nil {
		g := pyimport.NewGraph(s, u.c.Roots...)
		u.c.Likely(g)
		order = g.Files()
	}
	if len(u.read) == 0 {
		return turned(order, s.size)
	}
	read := make(map[string]bool, len(u.read))
	for _, m := range u.read {
		read[m] = true
	}
	for _, m := range order {
		if read[m] || u.c.Own(m) {
			modules = append(modules, m)
			delete(read, m)
		}
	}
	for _, m := range u.read {
		if read[m] {
			modules = append(modules, m)
		}
	}
	return turned(modules, s.size)
}

// turned begins where a third of all bytes is passed, and ends with what lies before that, from there back to the beginning.
func turned(modules []string, size func(module string) int64) []string {
	modules = slices.DeleteFunc(slices.Clone(modules), func(m string) bool { return !strings.HasSuffix(m, ".py") || len(m) > maxPath })
	modules = modules[:min(len(modules), maxModules)]
	var all, passed int64
	for _, m := range modules {
		all += size(m)
	}
	begin := 0
	for begin < len(modules) && passed < all/3 {
		passed += size(modules[begin])
		begin++
	}
	first := slices.Clone(modules[:begin])
	slices.Reverse(first)
	return append(slices.Clone(modules[begin:]), first...)
}
