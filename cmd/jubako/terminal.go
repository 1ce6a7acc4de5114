package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/jubako/jubako/pkg/assemble"
)

// How jubako speaks to a person:
//
//   - stdout carries the result and nothing else; everything here goes to stderr.
//   - One line says one thing: what it is about first, in a fixed column, then its state, then what and how much.
//   - On a terminal, a layer in the making has a live line that its final line replaces. Elsewhere a line is printed
//     once, when its subject is finished, with the time of day before it.
//   - Sizes are decimal (1 MB = 1,000,000 bytes) with one digit, durations in seconds with two.
//   - Colour marks states and never carries meaning alone; NO_COLOR and --color are honoured.
//   - -q keeps warnings and errors, -v adds the reasons, --log-format json gives an object a line.

// terminal prints events. It is safe for concurrent use.
type terminal struct {
	mu     sync.Mutex
	w      io.Writer
	now    func() time.Time
	quiet  bool
	detail bool
	json   bool
	live   bool // redraw lines in place
	color  bool
	width  int

	active []*liveLine // layers in the making, in the order of their start
	drawn  int         // live lines that are on the screen now
	last   time.Time   // of the last redraw
}

type liveLine struct {
	event assemble.Event
	since time.Time
}

type terminalOptions struct {
	format        string // "text" or "json"
	color         string // "auto", "always" or "never"
	quiet, detail bool
	noColorEnv    bool
	now           func() time.Time
}

func newTerminal(w *os.File, o terminalOptions) *terminal {
	t := &terminal{w: w, now: o.now, quiet: o.quiet, detail: o.detail, json: o.format == "json"}
	tty := term.IsTerminal(int(w.Fd()))
	t.live = tty && !t.json && !t.quiet
	t.color = o.color == "always" || o.color != "never" && tty && !o.noColorEnv
	t.width = 100
	if width, _, err := term.GetSize(int(w.Fd())); err == nil && width > 20 {
		t.width = width
	}
	return t
}

// downloads is the live line of what the lock names, which belongs to no single layer.
const downloads = "fetch"

// redrawEvery bounds how often live lines are drawn.
const redrawEvery = 100 * time.Millisecond

// report takes an event from the build.
func (t *terminal) report(e assemble.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden(e) {
		return
	}
	if t.json {
		if e.Kind != assemble.Ended { // which is about what is seen live
			t.printJSON(e)
		}
		return
	}
	switch {
	case e.Kind == assemble.Ended:
		t.drop(e.Name)
		t.redraw()
		return
	case e.Kind == assemble.Progress, e.Kind == assemble.LayerIs && e.State == assemble.Making:
		if t.live {
			t.update(e)
		}
		return
	case e.Kind == assemble.LayerIs, e.Kind == assemble.Pushed, e.Kind == assemble.Written, e.Kind == assemble.Built:
		t.drop(e.Name)
		t.drop(downloads) // it comes back if there is more to fetch
	}
	t.printLine(t.format(e))
}

func (t *terminal) hidden(e assemble.Event) bool {
	switch e.Kind {
	case assemble.Warning:
		return false
	case assemble.Debug:
		return !t.detail
	default:
		return t.quiet
	}
}

// format gives an event's one line, without its newline.
func (t *terminal) format(e assemble.Event) string {
	switch e.Kind {
	case assemble.Warning:
		return t.paint("33", "warning: ") + e.Text
	case assemble.Note, assemble.Debug:
		return e.Text
	case assemble.BaseIs:
		return fmt.Sprintf("%-12s %s  %s", "base", e.Name, e.Text)
	case assemble.LayerIs:
		line := fmt.Sprintf("%-12s %s %-34s %9s", e.Name, t.state(e.State), e.Text, size(e.Size))
		if e.State == assemble.Made {
			line += fmt.Sprintf("  %.2f s", e.Took.Seconds())
		}
		return line
	case assemble.Built:
		return fmt.Sprintf("%-12s %-43s %9s  %.2f s", "built", e.Text, size(e.Size), e.Took.Seconds())
	default:
		return fmt.Sprintf("%-12s %s", string(e.Kind), e.Text)
	}
}

func (t *terminal) state(s assemble.LayerState) string {
	padded := fmt.Sprintf("%-8s", s)
	switch s {
	case assemble.Made:
		return t.paint("32", padded)
	case assemble.Reused:
		return t.paint("2", padded)
	default:
		return t.paint("36", padded)
	}
}

func (t *terminal) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *terminal) printJSON(e assemble.Event) {
	b, err := json.Marshal(struct {
		Time string `json:"time"`
		assemble.Event
	}{t.now().UTC().Format(time.RFC3339Nano), e})
	if err == nil {
		fmt.Fprintf(t.w, "%s\n", b)
	}
}

// printLine prints a finished line, above the live ones.
func (t *terminal) printLine(line string) {
	if !t.live {
		if !t.quiet {
			line = t.now().Format("15:04:05 ") + line
		}
		fmt.Fprintln(t.w, line)
		return
	}
	var b strings.Builder
	t.erase(&b)
	b.WriteString(line + "\n")
	t.draw(&b)
	_, _ = io.WriteString(t.w, b.String())
}

// update changes or adds a live line.
func (t *terminal) update(e assemble.Event) {
	now := t.now()
	var line *liveLine
	for _, l := range t.active {
		if l.event.Name == e.Name {
			line = l
		}
	}
	if line == nil {
		line = &liveLine{since: now}
		t.active = append(t.active, line)
	}
	if e.Text == "" {
		e.Text = line.event.Text
	}
	line.event = e
	if now.Sub(t.last) < redrawEvery {
		return
	}
	t.last = now
	t.redraw()
}

// redraw draws the live lines anew, where there are any to see.
func (t *terminal) redraw() {
	if !t.live {
		return
	}
	var b strings.Builder
	t.erase(&b)
	t.draw(&b)
	_, _ = io.WriteString(t.w, b.String())
}

func (t *terminal) drop(name string) {
	for i, l := range t.active {
		if l.event.Name == name {
			t.active = append(t.active[:i], t.active[i+1:]...)
			return
		}
	}
}

// erase takes the live lines off the screen.
func (t *terminal) erase(b *strings.Builder) {
	for range t.drawn {
		b.WriteString("\x1b[1A\x1b[2K")
	}
	t.drawn = 0
}

// draw puts the live lines on the screen, each cut to the width, since a line that wraps could not be erased.
func (t *terminal) draw(b *strings.Builder) {
	for _, l := range t.active {
		e, secs := l.event, t.now().Sub(l.since).Seconds()
		amount := ""
		if e.Done > 0 {
			amount = size(e.Done)
			if e.Total > 0 {
				amount += " of " + size(e.Total)
			}
			if secs > 0.2 {
				amount += fmt.Sprintf(", %s/s", size(int64(float64(e.Done)/secs)))
			}
		}
		line := fmt.Sprintf("%-12s %-8s %-34s %s  %.1f s", e.Name, doing(e.Name), e.Text, amount, secs)
		if len(line) > t.width-1 {
			line = line[:t.width-1]
		}
		b.WriteString(line + "\n")
		t.drawn++
	}
}

// doing is what goes on under the name of a live line.
func doing(name string) string {
	switch name {
	case downloads:
		return "loading"
	case assemble.Pushing:
		return "sending"
	}
	return string(assemble.Making)
}

// finish takes the live lines away, before the result or an error is printed.
func (t *terminal) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active = nil
	var b strings.Builder
	t.erase(&b)
	_, _ = io.WriteString(t.w, b.String())
}

// fail prints an error and what can be done about it.
func (t *terminal) fail(err error, hint string) {
	t.finish()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.json {
		b, merr := json.Marshal(map[string]string{"time": t.now().UTC().Format(time.RFC3339Nano), "event": "error", "text": err.Error(), "hint": hint})
		if merr == nil {
			fmt.Fprintf(t.w, "%s\n", b)
		}
		return
	}
	fmt.Fprintf(t.w, "%s %s\n", t.paint("31", "jubako:"), err)
	if hint != "" {
		fmt.Fprintf(t.w, "%s %s\n", t.paint("36", "hint:"), hint)
	}
}

// size gives a number of bytes as a person reads it.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	default:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
}
