package step

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecorder(t *testing.T) {
	var log bytes.Buffer
	r := NewRecorder(&log, []string{"A=secret", "B=secret-longer", "C=x", "DJANGO_SETTINGS_MODULE=site.settings"})
	for _, s := range []string{"one sec", "ret\ntwo secret-longer x site.settings\r\n", strings.Repeat("y", 3*maxLine), "\nlast\n\n"} {
		if n, err := io.WriteString(r, s); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if d := cmp.Diff([]string{"one $A", "two $B x site.settings"}, r.lines[:2]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"last"}, r.LastLines(1)); d != "" {
		t.Error(d)
	}
	if !strings.HasPrefix(log.String(), "one $A\ntwo $B") {
		t.Errorf("%.100q", log.String())
	}
	for range 2 * keptLines {
		_, _ = io.WriteString(r, "x\n")
	}
	if len(r.lines) != keptLines {
		t.Errorf("%d lines kept", len(r.lines))
	}
}
