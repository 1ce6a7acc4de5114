package wheel

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/jubako/jubako/pkg/fstree"
)

// rewriteLevel is the compressor's in what Rewrite writes. Another one is another format of whoever keeps such wheels.
const rewriteLevel = 6

// rewriteTime is the time of every entry, in seconds since 1970: the first that a zip can hold.
const rewriteTime = 315532800

// Rewrite writes a wheel anew, in the one form for its content: entries by name with RECORD last, one time, two modes, one
// compressor, and a RECORD with the hash and size of every file. The same files make the same bytes.
func Rewrite(w io.Writer, a Source) error {
	if err := rewrite(w, a); err != nil {
		return fmt.Errorf("writing %s anew: %w", a.Filename().Raw, err)
	}
	return nil
}

func rewrite(w io.Writer, a Source) error {
	files := slices.Clone(a.Files())
	slices.SortFunc(files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	record := ""
	for _, f := range files {
		if dir, ok := strings.CutSuffix(f.Path, ".dist-info/RECORD"); ok && !strings.Contains(dir, "/") {
			record = f.Path
		}
	}
	if record == "" {
		return errors.New("it has no RECORD")
	}
	zw := zip.NewWriter(w)
	zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, rewriteLevel) })
	var rows []Row
	for _, f := range files {
		if f.Path == record {
			continue
		}
		if !f.Dir {
			row, err := rowOf(f.Path, f.Content)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
			rows = append(rows, row)
		}
		if err := rewriteFile(zw, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	rows = append(rows, Row{Path: record})
	if err := rewriteFile(zw, File{Path: record, Content: fstree.Bytes(FormatRecord(rows))}); err != nil {
		return err
	}
	return zw.Close()
}

func rewriteFile(zw *zip.Writer, f File) (err error) {
	h := &zip.FileHeader{Name: f.Path, Method: zip.Deflate, Modified: time.Unix(rewriteTime, 0).UTC()}
	switch {
	case f.Dir:
		h.Name, h.Method = h.Name+"/", zip.Store
		h.SetMode(fs.ModeDir | 0o755)
	case f.Executable:
		h.SetMode(0o755)
	default:
		h.SetMode(0o644)
	}
	out, err := zw.CreateHeader(h)
	if err != nil || f.Dir {
		return err
	}
	r, err := f.Content.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = io.Copy(out, r)
	return err
}
