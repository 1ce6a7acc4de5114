// Package lazyre compiles regular expressions when they are first asked for. Each that a package compiles when the program
// starts costs every command that does not use it, and an expression with counted repetitions costs most.
package lazyre

import (
	"regexp"
	"sync"
)

// Regexp gives the expression, which the first call compiles. It is safe for concurrent use.
type Regexp func() *regexp.Regexp

// New is regexp.MustCompile, put off: an expression that does not compile panics when it is first used.
func New(expr string) Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
