package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/assemble"
)

// screen shows what a terminal would after the bytes that were written to it: of the escapes, the two that jubako uses.
func screen(t *testing.T, text string) string {
	t.Helper()
	lines := []string{""}
	for len(text) > 0 {
		switch {
		case strings.HasPrefix(text, "\x1b[1A"):
			lines, text = lines[:len(lines)-1], text[4:]
		case strings.HasPrefix(text, "\x1b[2K"):
			lines[len(lines)-1], text = "", text[4:]
		case text[0] == '\n':
			lines, text = append(lines, ""), text[1:]
		case text[0] == '\x1b':
			t.Fatalf("another escape: %q", text[:10])
		default:
			lines[len(lines)-1], text = lines[len(lines)-1]+text[:1], text[1:]
		}
	}
	return strings.Join(lines, "\n")
}

// shown feeds events to a terminal, and gives what was written.
func shown(t *testing.T, live bool, o terminalOptions, act func(*terminal, func(time.Duration))) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "tty"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	o.now = func() time.Time { return now }
	if o.format == "" {
		o.format, o.color = "text", "never"
	}
	term := newTerminal(f, o)
	term.live = live
	act(term, func(d time.Duration) { now = now.Add(d) })
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLiveLines: two layers are made at once, the second is ready first. Its line is printed in its turn, and until then
// nothing says that it is still being made.
func TestLiveLines(t *testing.T) {
	var middle string
	text := shown(t, true, terminalOptions{}, func(term *terminal, pass func(time.Duration)) {
		for _, name := range []string{"venv", "app"} {
			term.report(assemble.Event{Kind: assemble.LayerIs, Name: name, State: assemble.Making, Text: "of " + name})
			pass(time.Second)
		}
		term.report(assemble.Event{Kind: assemble.Progress, Name: "venv", Done: 2_000_000, Total: 4_000_000})
		pass(time.Second)
		term.report(assemble.Event{Kind: assemble.Ended, Name: "app"})
		b, err := os.ReadFile(term.w.(*os.File).Name())
		if err != nil {
			t.Fatal(err)
		}
		middle = screen(t, string(b))
		term.report(assemble.Event{Kind: assemble.LayerIs, Name: "venv", State: assemble.Made, Text: "36 packages", Size: 4_000_000, Took: 3 * time.Second})
		term.report(assemble.Event{Kind: assemble.LayerIs, Name: "app", State: assemble.Made, Text: "12 files", Size: 999, Took: time.Second})
		term.report(assemble.Event{Kind: assemble.Debug, Text: "a reason"})
		term.finish()
		term.fail(errors.New("it failed"), "try again")
	})
	if d := cmp.Diff("venv         making   of venv                            2.0 MB of 4.0 MB, 666.7 kB/s  3.0 s\n", middle); d != "" {
		t.Error(d)
	}
	want := "venv         made     36 packages                           4.0 MB  3.00 s\n" +
		"app          made     12 files                               999 B  1.00 s\njubako: it failed\nhint: try again\n"
	if d := cmp.Diff(want, screen(t, text)); d != "" {
		t.Error(d)
	}
}

// TestPlainAndJSON: without a terminal there is a line for each finished thing, with the time; JSON has every event but
// those about what is seen live.
func TestPlainAndJSON(t *testing.T) {
	events := func(term *terminal, _ func(time.Duration)) {
		term.report(assemble.Event{Kind: assemble.LayerIs, Name: "app", State: assemble.Making})
		term.report(assemble.Event{Kind: assemble.Ended, Name: "app"})
		term.report(assemble.Event{Kind: assemble.LayerIs, Name: "app", State: assemble.Reused, Text: "12 files", Size: 999})
		term.report(assemble.Event{Kind: assemble.Warning, Text: "mind this"})
	}
	want := "12:00:00 app          reused   12 files                               999 B\n12:00:00 warning: mind this\n"
	if d := cmp.Diff(want, shown(t, false, terminalOptions{}, events)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("warning: mind this\n", shown(t, false, terminalOptions{quiet: true, format: "text", color: "never"}, events)); d != "" {
		t.Error(d)
	}
	want = `{"time":"2026-01-01T12:00:00Z","event":"layer","name":"app","state":"making"}
{"time":"2026-01-01T12:00:00Z","event":"layer","name":"app","state":"reused","text":"12 files","size":999}
{"time":"2026-01-01T12:00:00Z","event":"warning","text":"mind this"}
`
	if d := cmp.Diff(want, shown(t, false, terminalOptions{format: "json", color: "never"}, events)); d != "" {
		t.Error(d)
	}
}
