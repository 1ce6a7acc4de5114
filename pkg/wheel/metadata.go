package wheel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// maxHeaders bounds the header part of METADATA and WHEEL in bytes; a long description lies in the body, which is not
// read.
const maxHeaders = 4 << 20

// Header is one field of METADATA or WHEEL.
type Header struct{ Name, Value string }

// Headers are the fields before the first empty line, in their order.
type Headers []Header

// Get gives the first value of a field, whose name is compared without regard to case.
func (h Headers) Get(name string) (value string, ok bool) {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// ParseHeaders reads the header part of a METADATA or WHEEL file (core metadata specification: RFC 822's form). A
// continuation line is kept with a newline before it, without its indentation.
func ParseHeaders(r io.Reader) (Headers, error) {
	in := bufio.NewReader(io.LimitReader(r, maxHeaders+1))
	var headers Headers
	total := 0
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if total += len(line); total > maxHeaders {
			return nil, fmt.Errorf("its headers have more than the %d bytes allowed", maxHeaders)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		text := strings.TrimRight(line, "\r\n")
		switch name, value, ok := strings.Cut(text, ":"); {
		case text == "":
			return headers, nil
		case text[0] == ' ' || text[0] == '\t':
			if len(headers) == 0 {
				return nil, fmt.Errorf("line %d continues nothing", n)
			}
			last := &headers[len(headers)-1]
			last.Value += "\n" + strings.TrimSpace(text)
		case !ok || strings.TrimSpace(name) == "":
			return nil, fmt.Errorf("line %d is no header: %.80q", n, text)
		default:
			headers = append(headers, Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
		}
		if err != nil {
			return headers, nil
		}
	}
}

// checkMetadata says why METADATA does not fit the wheel's filename. A filename's local version may be missing in
// METADATA.
func checkMetadata(h Headers, f Filename) error {
	name, ok := h.Get("Name")
	if !ok {
		return errors.New("it has no Name")
	}
	if pep508.Normalize(name) != f.Name {
		return fmt.Errorf("its Name is %q, and the filename says %q", name, f.Name)
	}
	version, ok := h.Get("Version")
	if !ok {
		return errors.New("it has no Version")
	}
	got, err := pep508.ParseVersion(version)
	if err != nil {
		return err
	}
	want, err := pep508.ParseVersion(f.Version)
	if err != nil {
		return err
	}
	if got.Compare(want) != 0 && got.Compare(want.Public()) != 0 {
		return fmt.Errorf("its Version is %q, and the filename says %q", version, f.Version)
	}
	return nil
}

// checkWheel says why a WHEEL file is of a format that is not understood (PEP 427, "The .dist-info directory"). Old
// wheels of format 0.1 are installed alike.
func checkWheel(h Headers) error {
	version, ok := h.Get("Wheel-Version")
	if !ok {
		return errors.New("it has no Wheel-Version")
	}
	if major, _, ok := strings.Cut(version, "."); !ok || major != "1" && version != "0.1" {
		return fmt.Errorf("its Wheel-Version is %q, and 1.x is understood", version)
	}
	return nil
}

// Requires gives the normalized names of everything that a wheel's METADATA requires anywhere and with any extra, sorted.
func Requires(s Source) ([]string, error) {
	for _, f := range s.Files() {
		dir, base := path.Split(f.Path)
		if base != "METADATA" || strings.Count(dir, "/") != 1 || !strings.HasSuffix(dir, ".dist-info/") {
			continue
		}
		r, err := f.Content.Open()
		if err != nil {
			return nil, err
		}
		headers, err := ParseHeaders(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, fmt.Errorf("wheel %s: %s: %w", s.Filename().Raw, f.Path, err)
		}
		var names []string
		for _, h := range headers {
			if !strings.EqualFold(h.Name, "Requires-Dist") {
				continue
			}
			if r, err := pep508.ParseRequirement(h.Value); err == nil { // what cannot be read is required by nobody
				names = append(names, pep508.Normalize(r.Name))
			}
		}
		slices.Sort(names)
		return slices.Compact(names), nil
	}
	return nil, nil // which Install refuses
}
