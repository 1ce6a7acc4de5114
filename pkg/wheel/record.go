package wheel

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
)

// Row is one row of a RECORD (Python packaging specifications, "Recording installed projects"). Hash and size are as
// the wheel has them: they are not held against the file.
type Row struct {
	Path string // relative to site-packages
	Hash string // "sha256=" and unpadded URL-safe base64; may be empty
	Size string // in bytes; may be empty
}

// maxField bounds a field of a RECORD in bytes.
const maxField = 2 * maxPath

// ParseRecord reads a RECORD: CSV of at least three fields a row, every row with as many as the first. Empty lines are
// skipped, and lines may end in CR, LF or both.
func ParseRecord(data []byte) ([]Row, error) {
	p := csvParser{data: data}
	var rows []Row
	fields := 0
	for {
		row, err := p.row()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line+1, err)
		}
		if row == nil {
			return rows, nil
		}
		switch {
		case len(row) < 3:
			return nil, fmt.Errorf("line %d: it has %d fields, and path, hash and size are needed", p.line, len(row))
		case fields != 0 && len(row) != fields:
			return nil, fmt.Errorf("line %d: it has %d fields, and the rows before it %d", p.line, len(row), fields)
		}
		fields = len(row)
		rows = append(rows, Row{Path: row[0], Hash: row[1], Size: row[2]})
	}
}

// csvParser reads CSV as forgivingly as uv does: a quote counts only where a field begins, and what follows the closing
// one belongs to the field.
type csvParser struct {
	data []byte
	at   int
	line int // lines ended so far
}

// row gives the next row that is not an empty line; nil at the end.
func (p *csvParser) row() ([]string, error) {
	for p.at < len(p.data) && (p.data[p.at] == '\n' || p.data[p.at] == '\r') {
		p.endLine()
	}
	if p.at == len(p.data) {
		return nil, nil
	}
	var row []string
	for {
		f, err := p.field()
		if err != nil {
			return nil, err
		}
		row = append(row, f)
		if p.at < len(p.data) && p.data[p.at] == ',' {
			if p.at++; len(row) >= 16 {
				return nil, errors.New("it has more than 16 fields")
			}
			continue
		}
		p.endLine()
		return row, nil
	}
}

// endLine steps over one line end; the end of the data counts as one.
func (p *csvParser) endLine() {
	if p.line++; p.at == len(p.data) {
		return
	}
	if bytes.HasPrefix(p.data[p.at:], []byte("\r\n")) {
		p.at++
	}
	p.at++
}

func (p *csvParser) field() (string, error) {
	var b []byte
	quoted := p.at < len(p.data) && p.data[p.at] == '"'
	if quoted {
		p.at++
	}
	for ; p.at < len(p.data); p.at++ {
		switch c := p.data[p.at]; {
		case quoted && c == '"':
			if p.at+1 < len(p.data) && p.data[p.at+1] == '"' {
				p.at++
				b = append(b, '"')
			} else {
				quoted = false
			}
			continue
		case !quoted && (c == ',' || c == '\n' || c == '\r'):
			return string(b), nil
		}
		if b = append(b, p.data[p.at]); len(b) > maxField {
			return "", fmt.Errorf("a field is longer than %d bytes", maxField)
		}
	}
	return string(b), nil // an open quote reaches to the end
}

// FormatRecord writes rows as a RECORD, sorted bytewise by path, one line each.
func FormatRecord(rows []Row) []byte {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return strings.Compare(a.Path, b.Path) })
	var out []byte
	for _, r := range rows {
		for i, field := range []string{r.Path, r.Hash, r.Size} {
			if i > 0 {
				out = append(out, ',')
			}
			if strings.ContainsAny(field, "\",\r\n") {
				field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
			}
			out = append(out, field...)
		}
		out = append(out, '\n')
	}
	return out
}

// healRecord makes the rows fit the files: rows of files that are not there and repeated rows go, and files that have
// none get one with their size. recordPath is the RECORD's own path, whose signatures have no rows.
func healRecord(rows []Row, files []File, recordPath string) []Row {
	sizes := make(map[string]int64, len(files)) // of files without a row
	for _, f := range files {
		if !f.Dir {
			sizes[f.Path] = f.Content.Size()
		}
	}
	healed := make([]Row, 0, len(sizes))
	for _, r := range rows {
		r.Path = strings.TrimPrefix(strings.ReplaceAll(r.Path, `\`, "/"), "/")
		p := path.Clean(r.Path)
		if _, ok := sizes[p]; !ok {
			continue
		}
		delete(sizes, p)
		healed = append(healed, r)
	}
	for _, f := range files {
		if size, ok := sizes[f.Path]; ok && f.Path != recordPath+".jws" && f.Path != recordPath+".p7s" {
			healed = append(healed, Row{Path: f.Path, Size: strconv.FormatInt(size, 10)})
		}
	}
	return healed
}

// rowOf makes the row of a file by reading its content once.
func rowOf(p string, c fstree.Content) (Row, error) {
	r, err := c.Open()
	if err != nil {
		return Row{}, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Row{}, err
	}
	return Row{
		Path: p,
		Hash: "sha256=" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)),
		Size: strconv.FormatInt(n, 10),
	}, nil
}
