package locked

import (
	"fmt"
	"math"

	"github.com/jubako/jubako/pkg/packed"
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

// Marshal puts packages into a record, which Unmarshal reads many times faster than their lock is parsed.
func Marshal(all []Selected) []byte {
	var w packed.Writer
	w.Uint(uint64(len(all)))
	for _, s := range all {
		for _, text := range []string{s.Name, s.Version, string(s.Source.Kind), s.Source.Location, s.Source.Subdirectory, s.Source.Git.ID, s.Source.Git.Requested, s.Source.Git.Path} {
			w.Text(text)
		}
		w.Bool(s.Source.Git.LFS)
		w.Uint(uint64(len(s.Wheels)))
		for _, wh := range s.Wheels {
			marshalFile(&w, wh.File)
			w.Text(wh.Filename.Raw)
		}
		w.Bool(s.Sdist != nil)
		if s.Sdist != nil {
			marshalFile(&w, *s.Sdist)
		}
		w.Texts(s.Hashes)
		w.Texts(s.Requires)
		w.Bool(s.Unsaid)
	}
	return w
}

func marshalFile(w *packed.Writer, f File) {
	w.Text(f.URL)
	w.Text(f.Path)
	w.Texts(f.Hashes)
	w.Uint(uint64(f.Size))
	w.Bool(f.Sized)
}

// Unmarshal reads a record of Marshal's.
func Unmarshal(record []byte) ([]Selected, error) {
	r := packed.Reader{Rest: record}
	var all []Selected
	for range r.Count() {
		s := Selected{Package: &Package{}}
		kind := ""
		for _, text := range []*string{&s.Name, &s.Version, &kind, &s.Source.Location, &s.Source.Subdirectory, &s.Source.Git.ID, &s.Source.Git.Requested, &s.Source.Git.Path} {
			*text = r.Text()
		}
		s.Source.Kind, s.Source.Git.LFS = SourceKind(kind), r.Bool()
		for range r.Count() {
			f, name := unmarshalFile(&r), r.Text()
			filename, err := wheel.ParseFilename(name)
			if err != nil {
				return nil, fmt.Errorf("reading what a lock selects: %w", err)
			}
			s.Wheels = append(s.Wheels, Wheel{File: f, Filename: filename})
		}
		if r.Bool() {
			f := unmarshalFile(&r)
			s.Sdist = &f
		}
		s.Hashes, s.Requires, s.Unsaid = r.Texts(), r.Texts(), r.Bool()
		if r.Err != nil {
			break
		}
		all = append(all, s)
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("reading what a lock selects: %w", err)
	}
	return all, nil
}

func unmarshalFile(r *packed.Reader) File {
	return File{URL: r.Text(), Path: r.Text(), Hashes: r.Texts(), Size: int64(r.Uint(math.MaxInt64)), Sized: r.Bool()}
}
