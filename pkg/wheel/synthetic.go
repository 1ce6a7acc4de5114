package wheel

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/pep508"
)

// SyntheticSpec is what a build backend would put into a wheel.
type SyntheticSpec struct {
	Name, Version string // of the project, as written
	Metadata      []byte // METADATA, whole
	Generator     string // in WHEEL: "uv 0.13.9"; left out where it is ""
	EntryPoints   []byte // entry_points.txt, whole; nil for none
	// DistInfo are more files for the .dist-info folder, their paths relative to it: "licenses/LICENSE".
	DistInfo []File
	// Files are all others, their paths as in a wheel: "pkg/__init__.py", "<dist-info's stem>.data/data/share/x"
	// (see DistInfoStem).
	Files []File
}

// Synthetic is a wheel that exists only in memory; the contents of its files may lie elsewhere.
type Synthetic struct {
	filename Filename
	files    []File
}

// DistInfoStem is the name that a project's .dist-info and .data folders begin with: "my_project-1.0".
func DistInfoStem(name, version string) string {
	return strings.ReplaceAll(pep508.Normalize(name), "-", "_") + "-" + version
}

// NewSynthetic makes a wheel for any Python 3 (py3-none-any) of files at hand, with WHEEL and RECORD. Every file is
// read once, for its hash.
func NewSynthetic(s SyntheticSpec) (*Synthetic, error) {
	w, err := newSynthetic(s)
	if err != nil {
		return nil, fmt.Errorf("making the wheel of %s %s: %w", s.Name, s.Version, err)
	}
	return w, nil
}

func newSynthetic(s SyntheticSpec) (*Synthetic, error) {
	version, err := pep508.ParseVersion(s.Version)
	if err != nil {
		return nil, err
	}
	stem := DistInfoStem(s.Name, version.String())
	filename, err := ParseFilename(stem + "-py3-none-any.whl")
	if err != nil {
		return nil, err
	}
	info := stem + ".dist-info"
	text := "Wheel-Version: 1.0\n"
	if s.Generator != "" {
		text += "Generator: " + s.Generator + "\n"
	}
	text += "Root-Is-Purelib: true\nTag: py3-none-any\n"

	files := slices.Clone(s.Files)
	files = append(files,
		File{Path: info + "/METADATA", Content: fstree.Bytes(s.Metadata)},
		File{Path: info + "/WHEEL", Content: fstree.Bytes(text)})
	if s.EntryPoints != nil {
		files = append(files, File{Path: info + "/entry_points.txt", Content: fstree.Bytes(s.EntryPoints)})
	}
	for _, f := range s.DistInfo {
		f.Path = path.Join(info, f.Path)
		files = append(files, f)
	}
	record := info + "/RECORD"
	rows := []Row{{Path: record}}
	for _, f := range files {
		if err := fstree.CheckPath(f.Path); err != nil {
			return nil, err
		}
		if f.Dir {
			continue
		}
		row, err := rowOf(f.Path, f.Content)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Path, err)
		}
		rows = append(rows, row)
	}
	files = append(files, File{Path: record, Content: fstree.Bytes(FormatRecord(rows))})
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(files); i++ {
		if files[i].Path == files[i-1].Path {
			return nil, fmt.Errorf("%s is there twice", files[i].Path)
		}
	}
	return &Synthetic{filename: filename, files: files}, nil
}

// Filename is the name that the wheel would have.
func (s *Synthetic) Filename() Filename { return s.filename }

// Files yields everything in the wheel, sorted bytewise by path.
func (s *Synthetic) Files() []File { return s.files }
