package step

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"
)

const (
	keptLines    = 400  // of which a traceback may need many, to be understood
	maxLine      = 4096 // bytes; a longer line is broken
	minSecretLen = 6    // a shorter value would be struck out of ordinary words
)

// Recorder takes what a command prints: it strikes secrets out, passes it on line by line, and keeps the end of it.
type Recorder struct {
	log     io.Writer
	secrets *strings.Replacer
	partial []byte
	lines   []string
}

// NewRecorder strikes out the values of env, "NAME=value" each, and puts their names there.
func NewRecorder(log io.Writer, env []string) *Recorder {
	secrets := slices.Clone(env)
	slices.SortStableFunc(secrets, func(a, b string) int { return cmp.Compare(len(value(b)), len(value(a))) }) // "abcdef" before "abc"
	var pairs []string
	for _, kv := range secrets {
		// The settings module is no secret, and is what many messages are about.
		if name, v, _ := strings.Cut(kv, "="); len(v) >= minSecretLen && name != settingsVariable {
			pairs = append(pairs, v, "$"+name)
		}
	}
	return &Recorder{log: log, secrets: strings.NewReplacer(pairs...)}
}

func value(kv string) string {
	_, v, _ := strings.Cut(kv, "=")
	return v
}

// Write never fails, so that a log that cannot be written does not end the command.
func (r *Recorder) Write(p []byte) (int, error) {
	r.partial = append(r.partial, p...)
	for {
		n := bytes.IndexByte(r.partial, '\n')
		if n < 0 && len(r.partial) < maxLine {
			return len(p), nil
		}
		if n < 0 || n > maxLine {
			r.line(r.partial[:maxLine])
			r.partial = r.partial[maxLine:]
			continue
		}
		r.line(r.partial[:n])
		r.partial = r.partial[n+1:]
	}
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
