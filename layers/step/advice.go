package step

import (
	"fmt"
	"regexp"

	"github.com/jubako/jubako/pkg/sandbox"
	run "github.com/jubako/jubako/pkg/step"
)

// advice spells the remedies for a failure of the step, whose processes may have bound bytes of memory each; 0 is without bound.
func (l *Layer) advice(bound int64) run.Advice {
	re := regexp.MustCompile
	a := run.Advice{Table: "[[tool.jubako.step]]", Without: "take the step out", Workdir: l.o.Workdir,
		Timeout: fmt.Sprintf("does it wait for an answer, or for a network that it does not have? Else give it more time: timeout = \"…\" in step %s", l.o.Name)}
	if bound > 0 {
		memory := fmt.Sprintf("each of its processes may have %d MiB: memory = \"…\" in step %s", bound>>20, l.o.Name)
		a.More = append(a.More, run.Cause{Pattern: re(`MemoryError|(?i:cannot allocate memory|out of memory|heap limit)|bad_alloc`),
			Remedy: func([]string, string) string { return memory }})
		if l.o.Memory > 0 {
			a.Else = "if it lacked memory: " + memory // a program that gets none may die in any way
		}
	}
	if l.o.Network {
		a.More = append(a.More, run.Cause{Pattern: networkRE(), Remedy: run.Says("it may use this machine's network, and what it wants of it is not there")})
	} else {
		a.More = append(a.More, run.Cause{Pattern: networkRE(), Remedy: run.Says("steps have no network; one that cannot do without says network = true")})
	}
	return a
}

// memory is what each process of the step may have, in bytes. Where nothing is said it is nine tenths of what this machine has, so that
// a command that takes ever more meets its own end, and not the kernel's choice among all that runs here.
func (l *Layer) memory() int64 {
	if l.o.Memory > 0 {
		return l.o.Memory
	}
	if all := sandbox.MachineMemory(); all > 0 {
		return max(all/10*9, sandbox.MinMemoryLimit)
	}
	return 0
}

func networkRE() *regexp.Regexp {
	return regexp.MustCompile(`Network is unreachable|Name or service not known|Temporary failure in name resolution|Connection refused|EAI_AGAIN|ENOTFOUND|ENETUNREACH|[Cc]ould not resolve host`)
}
