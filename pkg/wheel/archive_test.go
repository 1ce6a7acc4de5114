package wheel

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

const testName = "a-1-py3-none-any.whl"

func open(data []byte) (*Archive, error) {
	return Open(bytes.NewReader(data), int64(len(data)), testName)
}

func contentOf(t *testing.T, c fstree.Content) string {
	t.Helper()
	r, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != c.Size() {
		t.Errorf("Size is %d, and %d bytes came", c.Size(), len(b))
	}
	return string(b)
}

func zstdOf(s string) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll([]byte(s), nil)
}

// oddButGood are zips that must be read, all with the same files.
func oddButGood() map[string][]byte {
	long := strings.Repeat("some text\n", 1000)
	files := func(change func(*wheeltest.File)) []wheeltest.File {
		fs := []wheeltest.File{
			{Name: "pkg/", Mode: 0o40755}, {Name: "pkg/long.txt", Data: long}, {Name: "pkg/run", Data: "#!x", Mode: 0o100755},
			{Name: "pkg/empty"}, {Name: "pkg/größe", Data: "ä"}, {Name: "PKG/long.txt", Data: "x"},
			{Name: "link", Data: "pkg/run", Mode: 0o120777},
		}
		for i := range fs {
			if change != nil && !strings.HasSuffix(fs[i].Name, "/") {
				change(&fs[i])
			}
		}
		return fs
	}
	plain := wheeltest.Zip(files(nil))
	zips := map[string][]byte{
		"plain":                plain,
		"stored":               wheeltest.Zip(files(func(f *wheeltest.File) { f.Stored = true })),
		"descriptors":          wheeltest.Zip(files(func(f *wheeltest.File) { f.Descriptor = true })),
		"zip64":                wheeltest.Zip(files(func(f *wheeltest.File) { f.Zip64 = true })),
		"zip64 descriptors":    wheeltest.Zip(files(func(f *wheeltest.File) { f.Zip64, f.Descriptor = true, true })),
		"zstd":                 wheeltest.Zip(files(func(f *wheeltest.File) { f.Method, f.Packed = 93, zstdOf(f.Data) })),
		"dotted names":         wheeltest.Zip(files(func(f *wheeltest.File) { f.Name = "./x/.././" + strings.ReplaceAll(f.Name, "/", "//") })),
		"NULs at the end":      append(bytes.Clone(plain), make([]byte, 300)...),
		"a comment":            append(append(bytes.Clone(plain[:len(plain)-2]), 5, 0), "hello"...),
		"equal entries":        wheeltest.Zip(append(files(nil), files(nil)...)),
		"the root as an entry": wheeltest.Zip(append(files(nil), wheeltest.File{Name: "./", Mode: 0o40755})),
	}
	at := bytes.LastIndex(plain, []byte("PK\x05\x06"))
	size, offset := int(binary.LittleEndian.Uint32(plain[at+12:])), int(binary.LittleEndian.Uint32(plain[at+16:]))
	zips["zip64 directory"] = append(append(bytes.Clone(plain[:at]), wheeltest.End64(7, size, offset, at)...),
		wheeltest.End(0xffff, 0xffffffff, 0xffffffff)...)
	zips["zip64 directory, plain values too"] = append(append(bytes.Clone(plain[:at]), wheeltest.End64(7, size, offset, at)...), plain[at:]...)
	return zips
}

func TestOpen(t *testing.T) {
	want := map[string]string{
		"pkg": "dir", "pkg/long.txt": strings.Repeat("some text\n", 1000), "pkg/run": "x#!x", "pkg/empty": "", "pkg/größe": "ä",
		"PKG/long.txt": "x", "link": "xpkg/run", // case 44: the link's text, and its mode 0777
	}
	for name, data := range oddButGood() {
		t.Run(name, func(t *testing.T) {
			a, err := open(data)
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			last := ""
			for _, f := range a.Files() {
				if f.Path <= last {
					t.Errorf("%q comes after %q", f.Path, last)
				}
				last = f.Path
				switch {
				case f.Dir:
					got[f.Path] = "dir"
				case f.Executable:
					got[f.Path] = "x" + contentOf(t, f.Content)
				default:
					got[f.Path] = contentOf(t, f.Content)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestContentForms(t *testing.T) {
	a, err := open(wheeltest.Zip([]wheeltest.File{{Name: "d", Data: "deflated deflated"}, {Name: "s", Data: "stored", Stored: true}}))
	if err != nil {
		t.Fatal(err)
	}
	d, ok := a.Files()[0].Content.(fstree.Deflated)
	if !ok {
		t.Fatal("a deflated entry is no fstree.Deflated")
	}
	raw, err := d.OpenDeflated()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(raw)
	if err != nil || int64(len(b)) != d.DeflatedSize() {
		t.Errorf("the raw stream has %d bytes (%v), and DeflatedSize is %d", len(b), err, d.DeflatedSize())
	}
	r, err := a.Files()[1].Content.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, ok := r.(io.Seeker); ok {
		t.Error("a stored entry lets its reader pass over bytes, whose CRC-32 then nobody checks")
	}
	if b, err := io.ReadAll(r); string(b) != "stored" || err != nil {
		t.Errorf("it holds %q, %v", b, err)
	}
}

// hostile are zips that must be refused: the text that the error holds, by name.
func hostile() map[string]struct {
	data []byte
	want string
} {
	type file = wheeltest.File
	one := func(f file) []byte { return wheeltest.Zip([]file{f}) }
	put16 := func(at int, v uint16) func([]byte) {
		return func(h []byte) { binary.LittleEndian.PutUint16(h[at:], v) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(h []byte) { binary.LittleEndian.PutUint32(h[at:], v) }
	}
	good := one(file{Name: "x", Data: "content"})
	end := bytes.LastIndex(good, []byte("PK\x05\x06"))
	changed := func(at int, b ...byte) []byte {
		d := bytes.Clone(good)
		copy(d[at:], b)
		return d
	}
	overlap := wheeltest.Zip([]file{{Name: "x", Data: "content", Stored: true}, {Name: "y", Data: "z", Central: put32(42, 0)}})
	return map[string]struct {
		data []byte
		want string
	}{
		"empty, with a CRC-32":        {one(file{Name: "x", Central: put32(16, 7), Local: put32(14, 7)}), "it is empty, and its CRC-32"},
		"case 42: above the root":     {one(file{Name: "../evil"}), `entry "../evil", at byte 0: its path leaves`},
		"case 42: above, from within": {one(file{Name: "a/../../evil"}), "leaves the wheel"},
		"case 42: absolute":           {one(file{Name: "/etc/x"}), `entry "/etc/x", at byte 0: its path is absolute`},
		"no name":                     {one(file{Name: ""}), "no name"},
		"the root as a file":          {one(file{Name: "a/.."}), "is the root"},
		"a NUL":                       {one(file{Name: "a\x00b"}), "U+0000"},
		"a newline":                   {one(file{Name: "a\nb"}), "U+000A"},
		"a zero-width space":          {one(file{Name: "a\u200bb"}), "U+200B"},
		"not UTF-8":                   {one(file{Name: "a\xff", Central: put16(8, 1<<11)}), "UTF-8"},
		"UTF-8 without its flag":      {one(file{Name: "é", Central: put16(8, 0)}), "not flagged"},
		"a long part":                 {one(file{Name: strings.Repeat("x", 256)}), "256 bytes"},
		"case 43: twice, other bytes": {wheeltest.Zip([]file{{Name: "x", Data: "1"}, {Name: "x", Data: "2"}}), "twice"},
		"twice, other mode":           {wheeltest.Zip([]file{{Name: "x", Data: "1"}, {Name: "x", Data: "1", Mode: 0o100755}}), "twice"},
		"twice, the other one cut":    {wheeltest.Zip([]file{{Name: "x"}, {Name: "x", Packed: []byte("K")}}), "inflating"},
		"file and directory":          {wheeltest.Zip([]file{{Name: "x", Data: "1"}, {Name: "x/y", Data: "1"}}), "is a file"},
		"file and directory, empty":   {wheeltest.Zip([]file{{Name: "x", Data: "1"}, {Name: "x/", Mode: 0o40755}}), "also a directory's"},
		"case 43: trailing bytes":     {append(bytes.Clone(good), 'x'), "bytes follow"},
		"a prefix":                    {append([]byte("x"), good...), "the directory is said to fill"},
		"bytes 1 to 8 in the comment": {append(append(bytes.Clone(good[:len(good)-2]), 1, 0), 5), "comment"},
		"case 43: another local name": {one(file{Name: "x", Local: func(h []byte) { h[30] = 'y' }}), "another name"},
		"another local size":          {one(file{Name: "x", Data: "1", Local: put32(22, 7)}), "other sizes"},
		"another local CRC-32":        {one(file{Name: "x", Data: "1", Local: put32(14, 7)}), "CRC-32"},
		"another local method":        {one(file{Name: "x", Data: "1", Local: put16(8, 0)}), "another method"},
		"a lying descriptor":          {one(file{Name: "x", Data: "1", Descriptor: true, Central: put32(16, 7)}), "descriptor differs"},
		"encrypted":                   {one(file{Name: "x", Central: put16(6+2, 1)}), "encrypted"},
		"encrypted, says the local":   {one(file{Name: "x", Local: put16(6, 1)}), "flags"},
		"another method":              {one(file{Name: "x", Method: 12}), "method 12"},
		"a directory with content":    {one(file{Name: "x/", Data: "1"}), "directory with content"},
		"overlapping":                 {overlap, "reaches into what follows"},
		"content overlapping":         {one(file{Name: "x", Data: "1", Local: put32(18, 9), Central: put32(20, 9)}), "overlaps"},
		"a gap":                       {one(file{Name: "x", Data: "1", Local: put32(18, 1), Central: put32(20, 1)}), "belong to nothing"},
		"a gap before":                {one(file{Name: "x", Data: "1", Central: put32(42, 3)}), "ends at byte 0"},
		"a bomb by its sizes":         {one(file{Name: "x", Data: "1", Local: put32(22, 1<<30), Central: put32(24, 1<<30)}), "cannot stand for"},
		"stored with two sizes":       {one(file{Name: "x", Data: "1", Stored: true, Central: put32(24, 2)}), "differ"},
		"too few entries":             {changed(end+8, 0, 0, 0, 0), "more than its entries"},
		"too many entries":            {changed(end+8, 9, 0, 9, 0), "cannot hold 9"},
		"several disks":               {changed(end+4, 1), "several"},
		"no zip":                      {[]byte("hello"), "no zip"},
		"empty":                       {nil, "no zip"},
		"cut":                         {good[:end+10], "no zip"},
		"a ZIP64 field of two sizes":  {one(file{Name: "x", Data: "1", Zip64: true, Central: put32(24, 1)}), "read in two ways"},
		"a ZIP64 record missing":      {changed(end+16, 0xff, 0xff, 0xff, 0xff), "ZIP64 record is missing"},
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, tt := range hostile() {
		t.Run(name, func(t *testing.T) {
			_, err := open(tt.data)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), testName) {
				t.Errorf("the error is %q, and should say %q", err, tt.want)
			}
			if _, ok := errors.AsType[*ArchiveError](err); !ok {
				t.Errorf("%q is no *ArchiveError", err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	bomb := wheeltest.Zip([]wheeltest.File{{Name: "a", Data: strings.Repeat("\x00", 70<<20)}})
	small := wheeltest.Zip([]wheeltest.File{{Name: "a", Data: "12345"}, {Name: "b", Data: "12345"}})
	deep := wheeltest.Zip([]wheeltest.File{{Name: strings.Repeat("a/", 10) + "f"}, {Name: strings.Repeat("a/", 10) + "b/f"}, {Name: "c/f"}})
	for _, tt := range []struct {
		name   string
		data   []byte
		limits Limits
		want   string
	}{
		{"entries", small, Limits{Entries: 1}, "2 entries"},
		{"directory", small, Limits{Directory: 10}, "directory of"},
		{"file size", small, Limits{FileSize: 4}, "at most 4"},
		{"total size", small, Limits{TotalSize: 9}, "more than the 9 bytes"},
		{"ratio", bomb, Limits{}, "times allowed"},
		{"folders of paths", deep, Limits{Entries: 14}, "more than the 14 entries"},
	} {
		_, err := OpenWithin(bytes.NewReader(tt.data), int64(len(tt.data)), testName, tt.limits)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the error is %v, and should say %q", tt.name, err, tt.want)
		}
	}
	if _, err := OpenWithin(bytes.NewReader(deep), int64(len(deep)), testName, Limits{Entries: 15}); err != nil {
		t.Errorf("three files in twelve folders: %v", err)
	}
	if _, err := OpenWithin(bytes.NewReader(bomb), int64(len(bomb)), testName, Limits{Ratio: 2000}); err != nil {
		t.Errorf("with a higher ratio: %v", err)
	}
}

// TestContentIsChecked reads entries whose data is not what both headers say.
func TestContentIsChecked(t *testing.T) {
	both := func(f wheeltest.File, central, local int, v uint32) []byte {
		f.Central = func(h []byte) { binary.LittleEndian.PutUint32(h[central:], v) }
		f.Local = func(h []byte) { binary.LittleEndian.PutUint32(h[local:], v) }
		return wheeltest.Zip([]wheeltest.File{f})
	}
	trailing := append(wheeltest.Deflate("abc"), "junk"...)
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"CRC-32":                {both(wheeltest.File{Name: "x", Data: "abc"}, 16, 14, 1), "CRC-32"},
		"CRC-32, stored":        {both(wheeltest.File{Name: "x", Data: "abc", Stored: true}, 16, 14, 1), "CRC-32"},
		"CRC-32, zstd":          {both(wheeltest.File{Name: "x", Data: "abc", Method: 93, Packed: zstdOf("abc")}, 16, 14, 1), "CRC-32"},
		"longer":                {both(wheeltest.File{Name: "x", Data: "abc"}, 24, 22, 2), "more than the 2 bytes"},
		"shorter":               {both(wheeltest.File{Name: "x", Data: "abc"}, 24, 22, 4), "3 bytes"},
		"no stream":             {wheeltest.Zip([]wheeltest.File{{Name: "x", Data: "abc", Packed: []byte("\xff\xff\xff")}}), "inflating"},
		"cut":                   {wheeltest.Zip([]wheeltest.File{{Name: "x", Data: "abc", Packed: []byte("K")}}), "inflating"},
		"bytes after":           {wheeltest.Zip([]wheeltest.File{{Name: "x", Data: "abc", Packed: trailing}}), "bytes follow its compressed stream"},
		"longer, zstd":          {both(wheeltest.File{Name: "x", Data: "abc", Method: 93, Packed: zstdOf("abc")}, 24, 22, 2), "more than"},
		"a zstd that is no one": {wheeltest.Zip([]wheeltest.File{{Name: "x", Data: "abc", Method: 93, Packed: []byte("abcdefgh")}}), "inflating"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := open(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			r, err := a.Files()[0].Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err = io.ReadAll(r); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `"x"`) {
				t.Errorf("the error is %v, and should say %q", err, tt.want)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzZip holds what the strict reader accepts against the standard library's, which must see the same files in it.
func FuzzZip(f *testing.F) {
	good, bad := oddButGood(), hostile() // seeds need a fixed order
	for _, name := range slices.Sorted(maps.Keys(good)) {
		f.Add(good[name])
	}
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		f.Add(bad[name].data)
	}
	_, w := wheeltest.Build(wheeltest.Wheel{Name: "a", Version: "1", Files: []wheeltest.File{{Name: "a.py", Data: "x = 1\n"}}})
	f.Add(w)
	addRealWheels(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := OpenWithin(bytes.NewReader(data), int64(len(data)), testName, Limits{TotalSize: 1 << 20})
		if err != nil {
			return
		}
		std, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return // it refuses some names and sizes that are harmless here
		}
		byPath := make(map[string]*zip.File)
		for _, s := range std.File {
			p, err := entryPath(s.Name)
			if err != nil {
				t.Fatalf("%q was accepted", s.Name)
			}
			byPath[p] = s
		}
		for _, file := range a.Files() {
			s := byPath[file.Path]
			if s == nil {
				t.Fatalf("only the strict reader sees %q", file.Path)
			}
			if file.Dir || s.Method > zip.Deflate {
				continue
			}
			got, err := readAll(file.Content.Open())
			if err != nil {
				continue
			}
			want, err := readAll(s.Open())
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%q holds %q, and %q (%v) for the standard library", file.Path, got, want, err)
			}
		}
	})
}

func readAll(r io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}
