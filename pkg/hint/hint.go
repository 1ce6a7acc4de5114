// Package hint carries two things beside an error's text: what the person can do about it, and which kind of failure it
// is, so that the terminal can print the one and choose its exit code by the other.
//
// It imports nothing of jubako.
package hint

import (
	"errors"
	"fmt"
)

// Wrap attaches a remedy to err. The error's text stays as it is. A nil err gives nil.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Of gives the remedy nearest to the surface of err, or "".
func Of(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}

// Kind says which sort of failure an error is.
type Kind int

// The kinds, each with its exit code: 1, 2, 3 and 4.
const (
	KindBuild   Kind = iota + 1 // the build failed; also every error without a kind
	KindUsage                   // usage or configuration
	KindNetwork                 // registry or network
	KindCheck                   // a verification or lint did not hold
)

type kinded struct {
	err  error
	kind Kind
}

func (k *kinded) Error() string { return k.err.Error() }
func (k *kinded) Unwrap() error { return k.err }

// Usage marks err as a mistake in usage or configuration.
func Usage(err error) error { return mark(err, KindUsage) }

// Network marks err as a failure of a registry or of the network.
func Network(err error) error { return mark(err, KindNetwork) }

// Check marks err as a verification or lint that did not hold.
func Check(err error) error { return mark(err, KindCheck) }

func mark(err error, k Kind) error {
	if err == nil {
		return nil
	}
	return &kinded{err: err, kind: k}
}

// KindOf gives the kind nearest to the surface of err; KindBuild where there is none.
func KindOf(err error) Kind {
	if k, ok := errors.AsType[*kinded](err); ok {
		return k.kind
	}
	return KindBuild
}
