package assemble

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzTravelling reads what a registry says that steps have looked at.
func FuzzTravelling(f *testing.F) {
	entry := strings.Repeat("a", 64) + " " + strings.Repeat("0", 64)
	f.Add([]byte(entry + " 3\nabc" + entry + " 0\n"))
	f.Add([]byte(entry + " 4\nabc"))
	f.Add([]byte(entry + " 3"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseTravelling(b)
		if err != nil {
			return
		}
		again := marshalTravelling(all)
		if same, err := parseTravelling(again); err != nil || !reflect.DeepEqual(same, all) {
			t.Errorf("%q: %v", again, err)
		}
		for _, l := range all {
			if len(l.Step) != 64 || strings.Trim(string(l.Step)+l.DiffID, "0123456789abcdef") != "" {
				t.Errorf("%+v", l)
			}
		}
	})
}
