package locked

import (
	"encoding/binary"
	"errors"

	"github.com/jubako/jubako/pkg/wheel"
)

// Fit leaves each package the one wheel that is chosen for a target. ok is false where a package has wheels, and none that is.
func Fit(all []Selected, tags wheel.Tags, o BuildOptions) (fitted []Selected, ok bool) {
	for _, s := range all {
		if len(s.Wheels) > 0 {
			w, err := s.ChooseWheel(tags, o)
			if err != nil {
				return nil, false
			}
			p := *s.Package
			p.Wheels, s.Package = []Wheel{w}, &p
		}
		fitted = append(fitted, s)
	}
	return fitted, true
}

// Marshal puts packages into a record, which Unmarshal reads many times faster than their lock is parsed: numbers are varints, and
// each text and list begins with its length.
func Marshal(all []Selected) []byte {
	var w recordWriter
	w.number(int64(len(all)))
	for _, s := range all {
		w.text(s.Name)
		w.text(s.Version)
		w.text(string(s.Source.Kind))
		w.text(s.Source.Location)
		w.text(s.Source.Subdirectory)
		w.text(s.Source.Git.ID)
		w.text(s.Source.Git.Requested)
		w.text(s.Source.Git.Path)
		w.flag(s.Source.Git.LFS)
		w.number(int64(len(s.Wheels)))
		for _, wh := range s.Wheels {
			w.file(wh.File)
			w.text(wh.Filename.Raw)
		}
		w.flag(s.Sdist != nil)
		if s.Sdist != nil {
			w.file(*s.Sdist)
		}
		w.texts(s.Hashes)
		w.texts(s.Requires)
		w.flag(s.Unsaid)
	}
	return w
}

// Unmarshal reads a record of Marshal's.
func Unmarshal(record []byte) ([]Selected, error) {
	r := recordReader{rest: string(record)}
	var all []Selected
	for range r.count() {
		s := Selected{Package: &Package{Name: r.text(), Version: r.text()}}
		s.Source = Source{Kind: SourceKind(r.text()), Location: r.text(), Subdirectory: r.text(), Git: Commit{ID: r.text(), Requested: r.text(), Path: r.text(), LFS: r.flag()}}
		for range r.count() {
			w := Wheel{File: r.file()}
			name := r.text()
			if r.damaged {
				break
			}
			var err error
			if w.Filename, err = wheel.ParseFilename(name); err != nil {
				return nil, err
			}
			s.Wheels = append(s.Wheels, w)
		}
		if r.flag() {
			f := r.file()
			s.Sdist = &f
		}
		s.Hashes, s.Requires, s.Unsaid = r.texts(), r.texts(), r.flag()
		if r.damaged {
			break
		}
		all = append(all, s)
	}
	if r.damaged || r.rest != "" {
		return nil, errors.New("the record of what a lock selects is damaged")
	}
	return all, nil
}

type recordWriter []byte

func (w *recordWriter) number(n int64) { *w = binary.AppendVarint(*w, n) }

func (w *recordWriter) text(s string) {
	w.number(int64(len(s)))
	*w = append(*w, s...)
}

func (w *recordWriter) texts(list []string) {
	w.number(int64(len(list)))
	for _, s := range list {
		w.text(s)
	}
}

func (w *recordWriter) flag(b bool) {
	n := int64(0)
	if b {
		n = 1
	}
	w.number(n)
}

func (w *recordWriter) file(f File) {
	w.text(f.URL)
	w.text(f.Path)
	w.texts(f.Hashes)
	w.number(f.Size)
	w.flag(f.Sized)
}

// recordReader gives zero values once something is damaged.
type recordReader struct {
	rest    string
	damaged bool
}

func (r *recordReader) number() int64 {
	n, size := binary.Varint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if size <= 0 {
		r.damaged, r.rest = true, ""
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count is a number of things, each of which takes a byte at least.
func (r *recordReader) count() int {
	n := r.number()
	if n < 0 || n > int64(len(r.rest)) {
		r.damaged, r.rest = true, ""
		return 0
	}
	return int(n)
}

func (r *recordReader) text() string {
	n := r.count()
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *recordReader) texts() (list []string) {
	for range r.count() {
		list = append(list, r.text())
		if r.damaged {
			break
		}
	}
	return list
}

func (r *recordReader) flag() bool { return r.number() == 1 }

func (r *recordReader) file() File {
	return File{URL: r.text(), Path: r.text(), Hashes: r.texts(), Size: r.number(), Sized: r.flag()}
}
