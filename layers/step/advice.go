package step

import (
	"fmt"
	"regexp"

	run "github.com/jubako/jubako/pkg/step"
)

// advice spells the remedies for a failure of the step.
func (l *Layer) advice() run.Advice {
	re := regexp.MustCompile
	a := run.Advice{Table: "[[tool.jubako.step]]", Without: "take the step out", Workdir: l.o.Workdir,
		Timeout: fmt.Sprintf("does it wait for an answer, or for a network that it does not have? Else give it more time: timeout = \"…\" in step %s", l.o.Name)}
	if l.o.Memory > 0 {
		memory := fmt.Sprintf("each of its processes may have %d MiB: memory = \"…\" in step %s", l.o.Memory>>20, l.o.Name)
		a.More = append(a.More, run.Cause{Pattern: re(`MemoryError|(?i:cannot allocate memory|out of memory|heap limit)|bad_alloc`),
			Remedy: func([]string, string) string { return memory }})
		a.Else = "if it lacked memory: " + memory // a program that gets none may die in any way
	}
	if l.o.Network {
		a.More = append(a.More, run.Cause{Pattern: networkRE(), Remedy: run.Says("it may use this machine's network, and what it wants of it is not there")})
	} else {
		a.More = append(a.More, run.Cause{Pattern: networkRE(), Remedy: run.Says("steps have no network; one that cannot do without says network = true")})
	}
	return a
}

func networkRE() *regexp.Regexp {
	return regexp.MustCompile(`Network is unreachable|Name or service not known|Temporary failure in name resolution|Connection refused|EAI_AGAIN|ENOTFOUND|ENETUNREACH|[Cc]ould not resolve host`)
}
