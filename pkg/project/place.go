package project

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// places says where each key of [tool.jubako] is written: by the key as it is named in messages ("healthcheck.url",
// "copy.0.from"), the place ("pyproject.toml:12:3", "--set").
type places map[string]string

// of gives the place of a key, or of the nearest table or list that holds it; "[tool.jubako] KEY" where nobody wrote it.
func (p places) of(key string) string {
	for k := key; k != ""; {
		if place, ok := p[k]; ok {
			return place
		}
		i := strings.LastIndexByte(k, '.')
		k = k[:max(i, 0)]
	}
	return "[tool.jubako] " + key
}

// overlay lets the keys below prefix, a profile's, stand for those without it.
func (p places) overlay(prefix string) {
	over := make(places)
	for k, place := range p {
		if k, ok := strings.CutPrefix(k, prefix); ok {
			over[k] = place
		}
	}
	for k, place := range over {
		p[k] = place
	}
}

// placesOf finds the keys below [tool.jubako] of a document that has been read without an error.
func placesOf(file string, data []byte) places {
	w := &placeWalk{file: file, found: make(places), lists: make(map[string]int)}
	w.parser.Reset(data)
	for w.parser.NextExpression() {
		switch e := w.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			w.table = w.header(e)
		case unstable.KeyValue:
			w.keyValue(w.table, e)
		}
	}
	return w.found
}

type placeWalk struct {
	parser unstable.Parser
	file   string
	found  places
	table  []string       // the table that key-value pairs belong to
	lists  map[string]int // tables of an array of tables so far, by its path
}

// header gives the path of a table, in which an array of tables is followed by the number of its last one.
func (w *placeWalk) header(e *unstable.Node) []string {
	var path []string
	for it := e.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		full := strings.Join(path, "\x00")
		if e.Kind == unstable.ArrayTable && it.IsLast() {
			w.lists[full]++
		}
		w.note(path, it.Node())
		if n, ok := w.lists[full]; ok {
			path = append(path, strconv.Itoa(n-1))
			w.note(path, it.Node())
		}
	}
	return path
}

func (w *placeWalk) keyValue(table []string, e *unstable.Node) {
	path := table[:len(table):len(table)]
	for it := e.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		w.note(path, it.Node())
	}
	w.value(path, e.Value())
}

func (w *placeWalk) value(path []string, v *unstable.Node) {
	n := 0
	for it := v.Children(); it.Next(); n++ {
		switch {
		case v.Kind == unstable.InlineTable && it.Node().Kind == unstable.KeyValue:
			w.keyValue(path, it.Node())
		case v.Kind == unstable.Array:
			w.value(append(path[:len(path):len(path)], strconv.Itoa(n)), it.Node())
		}
	}
}

// note keeps the place of a key below [tool.jubako]; the first one of a table that is opened more than once.
func (w *placeWalk) note(path []string, key *unstable.Node) {
	if len(path) < 3 || path[0] != "tool" || path[1] != "jubako" {
		return
	}
	name := strings.Join(path[2:], ".")
	if _, ok := w.found[name]; ok {
		return
	}
	start := w.parser.Shape(key.Raw).Start
	w.found[name] = fmt.Sprintf("%s:%d:%d", w.file, start.Line, start.Column)
}

// keyError is what is wrong with the value of a key; whoever knows the places puts the place before it.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

func badKey(key, format string, args ...any) error {
	return &keyError{key, fmt.Errorf(format, args...)}
}
