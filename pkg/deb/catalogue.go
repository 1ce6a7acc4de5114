package deb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Catalogue is a list of packages, as a Packages file has it. Few of its packages are ever looked at, so it is kept as text: of an
// archive's index, half of what it is uncompressed, and nothing of it that a garbage collector would have to go through.
type Catalogue struct {
	blocks [][]byte
	// at are the packages by name; those of one name are in the order of the file.
	at []place
	// provided are the names that packages provide.
	provided []provided
}

// place is where the fields of a package stand: a range of a block.
type place struct{ block, from, to uint32 }

// provided is a name that a package provides, by a hash that other names may have as well.
type provided struct{ hash, pkg uint32 }

const (
	blockSize = 1 << 20 // bytes; a larger stanza has a block of its own
	readSize  = 1 << 20 // bytes of an index that are read at once
	nameField = "Package: "
)

// ReadCatalogue reads a Packages file of an archive, without the fields that no resolver needs. All of its packages are checked.
func ReadCatalogue(r io.Reader) (*Catalogue, error) {
	x := &Catalogue{}
	var buf []byte
	lines, stanzas := 0, 0
	for ended := false; !ended; {
		buf = slices.Grow(buf, readSize)
		var err error
		for room := len(buf) + readSize; len(buf) < room && err == nil; { // io.ReadFull would not tell the end from a cut
			var n int
			n, err = r.Read(buf[len(buf):room])
			buf = buf[:len(buf)+n]
		}
		if ended = errors.Is(err, io.EOF); !ended && err != nil {
			return nil, err
		}
		whole := len(buf)
		if !ended && len(buf) <= maxStanza { // beyond it, the scanner says what is wrong
			if whole = bytes.LastIndex(buf, []byte("\n\n")) + 1; whole == 0 {
				continue
			}
		}
		sc := scanner{data: string(buf[:whole]), count: stanzas}
		if err := x.scan(&sc); err != nil {
			if e, ok := errors.AsType[*SyntaxError](err); ok {
				e.Line += lines
			}
			return nil, err
		}
		lines += bytes.Count(buf[:whole], []byte("\n"))
		stanzas = sc.count
		buf = buf[:copy(buf, buf[whole:])]
	}
	x.sort()
	return x, nil
}

// scan takes over whole stanzas.
func (x *Catalogue) scan(sc *scanner) error {
	var fields []byte
	for {
		p := Package{}
		fields = fields[:0]
		more, err := sc.stanza(func(name, value string) error {
			known, err := p.set(name, value)
			if known && name != "Package" {
				fields = append(append(append(append(fields, name...), ": "...), value...), '\n')
			}
			return err
		})
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
		if err = p.finish(); err == nil {
			err = p.checkFile()
		}
		if err != nil {
			return fmt.Errorf("stanza %d: %w", sc.count, err)
		}
		x.add(&p, fields)
	}
}

// add keeps a package whose fields are given beside its name.
func (x *Catalogue) add(p *Package, fields []byte) {
	size := len(nameField) + len(p.Name) + 1 + len(fields)
	last := len(x.blocks) - 1
	if last < 0 || len(x.blocks[last])+size > cap(x.blocks[last]) {
		x.blocks = append(x.blocks, make([]byte, 0, max(blockSize, size)))
		last++
	}
	b := x.blocks[last]
	from := len(b)
	b = append(append(append(append(b, nameField...), p.Name...), '\n'), fields...)
	x.blocks[last] = b
	for name := range providedNames(p.Provides) {
		x.provided = append(x.provided, provided{hashOf(name), uint32(len(x.at))})
	}
	x.at = append(x.at, place{uint32(last), uint32(from), uint32(len(b))})
}

// sort orders the packages by name, as an archive's index is already.
func (x *Catalogue) sort() {
	byName := func(a, b int) int { return cmp.Compare(x.name(a), x.name(b)) }
	order := make([]int, len(x.at))
	sorted := true
	for i := range order {
		order[i] = i
		sorted = sorted && (i == 0 || byName(i-1, i) <= 0)
	}
	if sorted {
		return
	}
	slices.SortStableFunc(order, byName)
	at, now := make([]place, len(x.at)), make([]uint32, len(x.at))
	for i, was := range order {
		at[i], now[was] = x.at[was], uint32(i)
	}
	x.at = at
	for i := range x.provided {
		x.provided[i].pkg = now[x.provided[i].pkg]
	}
}

// CatalogueOf makes one of packages that were read elsewhere.
func CatalogueOf(packages []Package) *Catalogue {
	x := &Catalogue{}
	for i := range packages {
		x.add(&packages[i], packages[i].fields())
	}
	x.sort()
	return x
}

// Len is the number of packages.
func (x *Catalogue) Len() int { return len(x.at) }

func (x *Catalogue) text(i int) []byte {
	p := x.at[i]
	return x.blocks[p.block][p.from:p.to]
}

func (x *Catalogue) name(i int) string {
	b := x.text(i)[len(nameField):]
	return string(b[:bytes.IndexByte(b, '\n')])
}

// Package reads a package, counted by name from 0 on.
func (x *Catalogue) Package(i int) *Package {
	p := &Package{}
	sc := scanner{data: string(x.text(i))}
	_, err := sc.stanza(func(name, value string) error {
		_, err := p.set(name, value)
		return err
	})
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		panic(fmt.Sprintf("deb: a package that was read before: %v", err))
	}
	return p
}

// named are the numbers of the packages of a name.
func (x *Catalogue) named(name string) (from, to int) {
	from = sort.Search(len(x.at), func(i int) bool { return x.name(i) >= name })
	for to = from; to < len(x.at) && x.name(to) == name; {
		to++
	}
	return from, to
}

// providing are the names of the packages that may provide a name.
func (x *Catalogue) providing(name string) iter.Seq[string] {
	hash := hashOf(name)
	return func(yield func(string) bool) {
		for _, p := range x.provided {
			if p.hash == hash && !yield(x.name(int(p.pkg))) {
				return
			}
		}
	}
}

// providedNames are the names in a field Provides, without versions and architectures. Whether the field can be read at all
// is asked where it matters.
func providedNames(field string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for field != "" {
			var one string
			one, field = field, ""
			if end := strings.IndexAny(one, ",|"); end >= 0 {
				one, field = one[:end], one[end+1:]
			}
			one = strings.TrimLeft(one, " \t\n")
			if end := strings.IndexAny(one, " \t\n(:[<"); end >= 0 {
				one = one[:end]
			}
			if one != "" && !yield(one) {
				return
			}
		}
	}
}

// hashOf is FNV-1a.
func hashOf(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h
}

// checkFile checks what only a package in an archive has.
func (p *Package) checkFile() error {
	fail := func(err error) error { return fmt.Errorf("package %s: %w", p.Name, err) }
	if err := CheckPath(p.Filename); err != nil {
		return fail(err)
	}
	if !validSHA256(p.SHA256) {
		return fail(errors.New("it has no SHA256"))
	}
	if !archName(p.Arch) {
		return fail(fmt.Errorf("%.40q is no architecture", p.Arch))
	}
	return nil
}

// CheckPath says what is wrong with a path below an archive's root: it is relative and clean, and does not lead out.
func CheckPath(p string) error {
	if p == "" || strings.HasPrefix(p, "/") || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsAny(p, "\x00\\?#%\n") {
		return fmt.Errorf("the path %.120q does not lie in the archive", p)
	}
	return nil
}
