package mimedb

import (
	"encoding/binary"
	"slices"
	"strings"
)

// cacheWriter writes mime.cache, version 1.2: big-endian numbers of 32 bits, and offsets from the file's start.
type cacheWriter struct {
	out     []byte
	strings map[string]uint32
}

const (
	cacheHeader   = 4 + 10*4
	caseSensitive = 0x100 // beside a glob's weight
	matchSize     = 4 * 4
	matchletSize  = 8 * 4
	suffixSize    = 3 * 4
)

func (w *cacheWriter) here() uint32 { return uint32(len(w.out)) }

func (w *cacheWriter) put(values ...uint32) {
	for _, v := range values {
		w.out = binary.BigEndian.AppendUint32(w.out, v)
	}
}

func (w *cacheWriter) align() {
	w.out = append(w.out, make([]byte, -len(w.out)&3)...)
}

// cacheFile is the file "mime.cache".
func (d *database) cacheFile() []byte {
	w := &cacheWriter{out: make([]byte, cacheHeader), strings: make(map[string]uint32)}
	copy(w.out, "\x00\x01\x00\x02")
	for s := range d.cacheStrings().each {
		w.strings[s] = w.here()
		w.out = append(append(w.out, s...), 0)
		w.align()
	}
	sections := []func(){
		func() { w.pairs(&d.aliases) },
		func() { w.parents(&d.parents) },
		func() { w.globs(d.globsOf(literal)) },
		func() { w.suffixes(d.suffixTree()) },
		func() { w.globs(d.globsOf(full)) },
		func() { w.magic(d.magic) },
		func() { w.namespaces(d.sortedNamespaces()) },
		func() { w.pairs(&d.icons) },
		func() { w.pairs(&d.genericIcons) },
		// The types: the tool counts them, and gives each the offset 0.
		func() {
			w.put(uint32(len(d.types)))
			w.put(make([]uint32, len(d.types))...)
		},
	}
	for i, section := range sections {
		binary.BigEndian.PutUint32(w.out[4+4*i:], w.here())
		section()
	}
	return w.out
}

// cacheStrings are the strings that the cache refers to, entered in the tool's order, which decides where they lie.
func (d *database) cacheStrings() *table[struct{}] {
	var all table[struct{}]
	add := func(s string) { all.set(s, struct{}{}) }
	for alias, mime := range d.aliases.each {
		add(alias)
		add(mime)
	}
	for mime, parents := range d.parents.each {
		add(mime)
		for _, p := range parents {
			add(p)
		}
	}
	for _, globs := range d.globs.each {
		for _, g := range globs {
			if g.kind() != suffix {
				add(g.pattern)
			}
			add(g.mime)
		}
	}
	for _, m := range d.magic {
		add(m.mime)
	}
	for _, n := range d.namespaces.each {
		add(n.mime)
		add(n.uri)
		add(n.local)
	}
	for _, t := range []*table[string]{&d.genericIcons, &d.icons} {
		for mime, icon := range t.each {
			add(mime)
			add(icon)
		}
	}
	return &all
}

func sortedKeys[V any](t *table[V]) []string {
	var keys []string
	for k := range t.each {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (w *cacheWriter) pairs(t *table[string]) {
	w.put(uint32(t.n))
	for _, k := range sortedKeys(t) {
		v, _ := t.get(k)
		w.put(w.strings[k], w.strings[v])
	}
}

func (w *cacheWriter) parents(t *table[[]string]) {
	w.put(uint32(t.n))
	at := w.here() + 8*uint32(t.n)
	keys := sortedKeys(t)
	for _, k := range keys {
		v, _ := t.get(k)
		w.put(w.strings[k], at)
		at += 4 * uint32(1+len(v))
	}
	for _, k := range keys {
		v, _ := t.get(k)
		w.put(uint32(len(v)))
		for _, p := range v {
			w.put(w.strings[p])
		}
	}
}

func (w *cacheWriter) globs(all []*glob) {
	w.put(uint32(len(all)))
	for _, g := range all {
		w.put(w.strings[g.pattern], w.strings[g.mime], g.flags())
	}
}

func (w *cacheWriter) namespaces(all []namespace) {
	w.put(uint32(len(all)))
	for _, n := range all {
		w.put(w.strings[n.uri], w.strings[n.local], w.strings[n.mime])
	}
}

// suffixNode is a character of patterns, read from their ends; a leaf, with the character 0, ends one.
type suffixNode struct {
	c        rune
	mime     string // of a leaf
	flags    uint32 // of a leaf
	children []*suffixNode
}

func (d *database) suffixTree() *suffixNode {
	root := &suffixNode{}
	for _, globs := range d.globs.each {
		for _, g := range globs {
			if g.kind() != suffix {
				continue
			}
			at := root
			chars := []rune(g.pattern[1:])
			for _, c := range slices.Backward(chars) {
				at = at.child(c)
			}
			at.leaf(g)
		}
	}
	return root
}

func (s *suffixNode) child(c rune) *suffixNode {
	i, found := slices.BinarySearchFunc(s.children, c, func(n *suffixNode, c rune) int { return int(n.c - c) })
	if !found {
		s.children = slices.Insert(s.children, i, &suffixNode{c: c})
	}
	return s.children[i]
}

func (s *suffixNode) leaf(g *glob) {
	n := 0
	for ; n < len(s.children) && s.children[n].c == 0; n++ {
		if l := s.children[n]; l.mime == g.mime {
			if l.flags&0xff < g.flags()&0xff {
				l.flags = g.flags()
			}
			return
		}
	}
	s.children = slices.Insert(s.children, n, &suffixNode{mime: g.mime, flags: g.flags()})
}

// suffixes writes the tree, a level after the other.
func (w *cacheWriter) suffixes(root *suffixNode) {
	w.put(uint32(len(root.children)), w.here()+8)
	next := w.here() + suffixSize*uint32(len(root.children))
	for level := root.children; len(level) > 0; {
		var below []*suffixNode
		for _, s := range level {
			if s.c == 0 {
				w.put(0, w.strings[s.mime], s.flags)
				continue
			}
			w.put(uint32(s.c), uint32(len(s.children)), next)
			next += suffixSize * uint32(len(s.children))
			below = append(below, s.children...)
		}
		level = below
	}
}

// magic writes the matches, then their matchlets, then the bytes of those.
func (w *cacheWriter) magic(all []*magic) {
	extent, total := uint32(0), 0
	for _, m := range all {
		e, n := measure(m.matches)
		extent, total = max(extent, e), total+n
	}
	w.put(uint32(len(all)), extent, w.here()+12)
	matchlets := w.here() + matchSize*uint32(len(all))
	data := matchlets + matchletSize*uint32(total)
	at := matchlets
	for _, m := range all {
		w.put(uint32(m.priority), w.strings[m.mime], uint32(len(m.matches)), at)
		_, n := measure(m.matches)
		at += matchletSize * uint32(n)
	}
	var bytes []byte
	place := func(b []byte) uint32 {
		if b == nil {
			return 0
		}
		p := data + uint32(len(bytes))
		bytes = append(bytes, b...)
		bytes = append(bytes, make([]byte, -len(bytes)&3)...)
		return p
	}
	var write func([]*match)
	write = func(level []*match) {
		next := w.here() + matchletSize*uint32(len(level))
		for _, m := range level {
			first := uint32(0)
			if _, n := measure(m.matches); n > 0 {
				first, next = next, next+matchletSize*uint32(n)
			}
			value := place(m.value)
			w.put(m.start, m.length, uint32(m.word), uint32(len(m.value)), value, place(m.mask), uint32(len(m.matches)), first)
		}
		for _, m := range level {
			if len(m.matches) > 0 {
				write(m.matches)
			}
		}
	}
	for _, m := range all {
		write(m.matches)
	}
	w.out = append(w.out, bytes...)
	w.align()
}

// measure gives how far into a file matches reach, in bytes, and how many they are with those below them.
func measure(all []*match) (extent uint32, n int) {
	for _, m := range all {
		e, k := measure(m.matches)
		extent = max(extent, e, m.start+m.length+uint32(len(m.value)))
		n += 1 + k
	}
	return extent, n
}

// kinds of globs: the cache keeps them apart.
const (
	literal = iota
	suffix
	full
)

func (g *glob) kind() int {
	switch {
	case !strings.ContainsAny(g.pattern, "*?["):
		return literal
	case g.pattern[0] == '*' && !strings.ContainsAny(g.pattern[1:], "*?["):
		return suffix
	}
	return full
}

func (g *glob) flags() uint32 {
	f := uint32(uint8(g.weight))
	if g.caseSensitive {
		f |= caseSensitive
	}
	return f
}
