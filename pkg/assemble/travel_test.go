package assemble

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzTravelling reads what a registry says that steps have looked at.
func FuzzTravelling(f *testing.F) {
	f.Add([]byte(`[{"step":"` + strings.Repeat("a", 64) + `","diffID":"` + strings.Repeat("0", 64) + `","looks":"H4sI"}]`))
	f.Add([]byte(`[{"step":"x"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseTravelling(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := parseTravelling(again); len(again) < 1<<19 && (err != nil || len(same) != len(all)) {
			t.Errorf("%s: %v", again, err)
		}
		for _, l := range all {
			if len(l.Step) != 64 || strings.Trim(string(l.Step)+l.DiffID, "0123456789abcdef") != "" {
				t.Errorf("%+v", l)
			}
		}
	})
}
