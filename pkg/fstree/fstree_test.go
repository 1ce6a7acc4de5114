package fstree

import (
	"path"
	"strings"
	"testing"
)

// TestPaths holds the quick forms against those of the standard library.
func TestPaths(t *testing.T) {
	parts := []string{"", ".", "..", "a", "..b", "b.", "ü"}
	var try func(p string, more int)
	try = func(p string, more int) {
		ok := p != "" && p != "." && !strings.HasPrefix(p, "/") && path.Clean(p) == p && p != ".." && !strings.HasPrefix(p, "../")
		if err := CheckPath(p); (err == nil) != ok {
			t.Errorf("CheckPath(%q): %v", p, err)
		}
		if ok && Parent(p) != path.Dir(p) {
			t.Errorf("Parent(%q) = %q", p, Parent(p))
		}
		if more == 0 {
			return
		}
		for _, part := range parts {
			try(p+"/"+part, more-1)
		}
	}
	for _, part := range parts {
		try(part, 3)
	}
	if CheckPath("a\x00b") == nil {
		t.Error("a NUL is taken")
	}
}
