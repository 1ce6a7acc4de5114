package step

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"
)

const (
	keptLines = 400  // of which a traceback may need many, to be understood
	maxLine   = 4096 // bytes; a longer line is broken
)

// MinSecret is the length in bytes from which a value is struck out of what a command prints.
const MinSecret = 6

// Recorder takes what a command prints: it strikes secrets out, passes it on line by line, and keeps the end of it.
type Recorder struct {
	log     io.Writer
	secrets *strings.Replacer
	values  []string // those struck out
	longest int      // bytes of the longest of them
	partial []byte
	lines   []string
}

// NewRecorder strikes out the values of env, "NAME=value" each, and puts their names there. Of a value of several lines,
// each line is struck out. Values of fewer than MinSecret bytes are left, since they may be part of any word.
func NewRecorder(log io.Writer, env []string) *Recorder {
	r := &Recorder{log: log}
	type secret struct{ name, value string }
	var secrets []secret
	for _, kv := range env {
		name, v, _ := strings.Cut(kv, "=")
		if name == settingsVariable { // no secret, and what many messages are about
			continue
		}
		for line := range strings.Lines(v) {
			if line = strings.TrimRight(line, "\r\n"); len(line) >= MinSecret {
				secrets = append(secrets, secret{name, line})
			}
		}
	}
	slices.SortStableFunc(secrets, func(a, b secret) int { return cmp.Compare(len(b.value), len(a.value)) }) // "abcdef" before "abc"
	var pairs []string
	for _, s := range secrets {
		pairs = append(pairs, s.value, "$"+s.name)
		r.values, r.longest = append(r.values, s.value), max(r.longest, len(s.value))
	}
	r.secrets = strings.NewReplacer(pairs...)
	return r
}

// Write never fails, so that a log that cannot be written does not end the command.
func (r *Recorder) Write(p []byte) (int, error) {
	r.partial = append(r.partial, p...)
	for {
		n := bytes.IndexByte(r.partial, '\n')
		switch {
		case n >= 0 && n <= maxLine:
			r.line(r.partial[:n])
			r.partial = r.partial[n+1:]
		case n < 0 && len(r.partial) < maxLine+r.longest:
			return len(p), nil
		default:
			cut := r.cut(maxLine)
			r.line(r.partial[:cut])
			r.partial = r.partial[cut:]
		}
	}
}

// cut moves the place where a long line is broken before a value that would be broken with it. What follows the place
// for the length of the longest value is there.
func (r *Recorder) cut(at int) int {
	for moved := true; moved; {
		moved = false
		for _, v := range r.values {
			from := max(0, at-len(v)+1)
			if i := bytes.Index(r.partial[from:min(len(r.partial), at+len(v)-1)], []byte(v)); i >= 0 && from+i < at {
				if from+i == 0 {
					return len(v)
				}
				at, moved = from+i, true
			}
		}
	}
	return at
}

func (r *Recorder) line(b []byte) {
	s := r.secrets.Replace(strings.TrimRight(string(b), "\r"))
	if r.log != nil {
		_, _ = io.WriteString(r.log, s+"\n")
	}
	if len(r.lines) == keptLines {
		r.lines = append(r.lines[:0], r.lines[1:]...)
	}
	r.lines = append(r.lines, s)
}

// LastLines gives up to n of the last lines, empty ones at the end aside. It ends the line that is being written.
func (r *Recorder) LastLines(n int) []string {
	if len(r.partial) > 0 {
		r.line(r.partial)
		r.partial = nil
	}
	lines := r.lines
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines[max(0, len(lines)-n):]
}
