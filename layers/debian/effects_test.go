package debian

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
)

func FuzzUnpack(f *testing.F) {
	e := &Effects{Changed: map[string]base.Stat{"usr/bin/curl": {Kind: fstree.File, Mode: 0o755, Size: 7}}, Removed: []string{"etc/old"}, Notes: []string{"note"}}
	packed, err := e.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed, []byte(nil))
	plain, err := json.Marshal(e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(nil), plain)
	facts := &base.Facts{Files: map[string]base.Stat{"usr": {Kind: fstree.Dir}}}
	f.Fuzz(func(t *testing.T, packed, plain []byte) {
		e, err := Unpack(packed)
		if err != nil {
			if e, err = unpackPlain(plain); err != nil {
				return
			}
		}
		for p := range e.Over(facts).Files {
			if err := fstree.CheckPath(p); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestUnpack: effects arrive as they were, and what no package does is refused.
func TestUnpack(t *testing.T) {
	e := &Effects{Changed: map[string]base.Stat{"usr/bin/curl": {Kind: fstree.File, Mode: 0o4755, UID: 1, GID: 2, Size: 7}}, Removed: []string{"etc/old"}, Notes: []string{"note"}}
	b, err := e.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(b)
	if d := cmp.Diff(e, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for n := range b {
		if _, err := Unpack(b[:n]); err == nil {
			t.Errorf("cut at %d of %d bytes, they are read", n, len(b))
		}
	}
	for what, change := range map[string]func(e *Effects){
		"nothing":      func(e *Effects) { e.Changed = nil },
		"a path above": func(e *Effects) { e.Changed["../x"] = base.Stat{} },
		"a whiteout":   func(e *Effects) { e.Changed["x"] = base.Stat{Kind: fstree.Whiteout} },
		"a mode":       func(e *Effects) { e.Changed["x"] = base.Stat{Mode: 0o10000} },
		"an owner":     func(e *Effects) { e.Changed["x"] = base.Stat{UID: -1} },
	} {
		e := &Effects{Changed: map[string]base.Stat{}}
		change(e)
		b, err := e.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Unpack(b); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}
