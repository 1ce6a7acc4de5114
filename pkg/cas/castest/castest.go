// Package castest gives tests a store.
package castest

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/jubako/jubako/pkg/cas"
)

// Open makes an empty store, which is closed and removed when the test ends, with trees that may not be written to.
func Open(t testing.TB) *cas.Store {
	t.Helper()
	s, err := cas.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), cas.RemoveTree(s.Dir())); err != nil {
			t.Error(err)
		}
	})
	return s
}
