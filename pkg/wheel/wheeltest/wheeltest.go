// Package wheeltest makes small wheels for tests: good ones with Build, and zips with any oddity with Zip.
package wheeltest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
)

// Wheel says what Build puts into a wheel. Only Name and Version are needed.
type Wheel struct {
	Name, Version string
	Tag           string // "py3-none-any"
	Files         []File // all but .dist-info
	DistInfo      []File // more of it, named from within
	EntryPoints   string // entry_points.txt, where not ""
	Requires      []string
	Metadata      string              // METADATA in place of the one made of the above
	WheelFile     string              // WHEEL in place of the usual
	Record        func(string) string // changes RECORD; "" leaves it out
	RecordMode    uint32
}

// File is one entry of the zip.
type File struct {
	Name string // a directory's ends in "/"
	Data string
	Mode uint32 // the upper half of the external attributes; a plain 0644 file where 0

	Stored     bool // not deflated
	Descriptor bool // sizes and CRC-32 follow the data
	Zip64      bool // sizes stand in ZIP64 fields
	Packed     []byte
	Method     uint16 // in place of 0 or 8

	// Local and Central change the finished headers, before anything else is made of them.
	Local, Central func(header []byte)
}

// Build makes the wheel, and its filename.
func Build(w Wheel) (filename string, data []byte) {
	stem := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(w.Name)) + "-" + w.Version
	info := stem + ".dist-info/"
	tag := cmp.Or(w.Tag, "py3-none-any")

	metadata := w.Metadata
	if metadata == "" {
		metadata = fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", w.Name, w.Version)
		for _, r := range w.Requires {
			metadata += "Requires-Dist: " + r + "\n"
		}
		metadata += "\nA test.\n"
	}
	files := slices.Clone(w.Files)
	files = append(files,
		File{Name: info + "METADATA", Data: metadata},
		File{Name: info + "WHEEL", Data: cmp.Or(w.WheelFile, "Wheel-Version: 1.0\nGenerator: wheeltest\nRoot-Is-Purelib: true\nTag: "+tag+"\n")})
	if w.EntryPoints != "" {
		files = append(files, File{Name: info + "entry_points.txt", Data: w.EntryPoints})
	}
	for _, f := range w.DistInfo {
		f.Name = info + f.Name
		files = append(files, f)
	}
	record := ""
	for _, f := range files {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		sum := sha256.Sum256([]byte(f.Data))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", f.Name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.Data))
	}
	record += info + "RECORD,,\n"
	if w.Record != nil {
		record = w.Record(record)
	}
	if record != "" {
		files = append(files, File{Name: info + "RECORD", Data: record, Mode: w.RecordMode})
	}
	return stem + "-" + tag + ".whl", Zip(files)
}

const max32 = 0xffffffff

// Zip writes the files as a zip, without a thought about what they say.
func Zip(files []File) []byte {
	var out, directory bytes.Buffer
	for _, f := range files {
		local, central := headers(f, out.Len())
		out.Write(local)
		directory.Write(central)
	}
	offset := out.Len()
	out.Write(directory.Bytes())
	out.Write(End(len(files), directory.Len(), offset))
	return out.Bytes()
}

// End is the end of central directory record.
func End(entries, size, offset int) []byte {
	b := append([]byte("PK\x05\x06"), 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(entries))
	b = binary.LittleEndian.AppendUint16(b, uint16(entries))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, uint32(offset))
	return append(b, 0, 0)
}

// End64 is the ZIP64 end of central directory record and its locator, at byte at.
func End64(entries, size, offset, at int) []byte {
	b := binary.LittleEndian.AppendUint64([]byte("PK\x06\x06"), 44)
	b = append(b, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, n := range []int{entries, entries, size, offset} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, "PK\x06\x07\x00\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	return append(b, 1, 0, 0, 0)
}

// headers gives everything that a file needs before the directory, and its header in the directory.
func headers(f File, offset int) (local, central []byte) {
	method, packed := uint16(8), f.Packed
	switch {
	case f.Stored || strings.HasSuffix(f.Name, "/"):
		method = 0
		if packed == nil {
			packed = []byte(f.Data)
		}
	case packed == nil:
		packed = Deflate(f.Data)
	}
	if f.Method != 0 {
		method = f.Method
	}
	flags := uint16(0)
	if strings.ContainsFunc(f.Name, func(r rune) bool { return r >= 0x80 }) {
		flags |= 1 << 11
	}
	if f.Descriptor {
		flags |= 1 << 3
	}
	crc, packedLen, size := crc32.ChecksumIEEE([]byte(f.Data)), uint32(len(packed)), uint32(len(f.Data))
	var extra []byte
	if f.Zip64 {
		extra = append(extra, 1, 0, 16, 0)
		extra = binary.LittleEndian.AppendUint64(extra, uint64(size))
		extra = binary.LittleEndian.AppendUint64(extra, uint64(packedLen))
		packedLen, size = max32, max32
	}
	common := func(b []byte, crc, packed, size uint32) []byte {
		b = append(b, 20, 0)
		b = binary.LittleEndian.AppendUint16(b, flags)
		b = binary.LittleEndian.AppendUint16(b, method)
		b = append(b, 0, 0, 0x21, 0) // 1980-01-01
		b = binary.LittleEndian.AppendUint32(b, crc)
		b = binary.LittleEndian.AppendUint32(b, packed)
		b = binary.LittleEndian.AppendUint32(b, size)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(f.Name)))
		return binary.LittleEndian.AppendUint16(b, uint16(len(extra)))
	}
	if f.Descriptor && !f.Zip64 {
		local = common([]byte("PK\x03\x04"), 0, 0, 0)
	} else {
		local = common([]byte("PK\x03\x04"), crc, packedLen, size)
	}
	local = append(append(local, f.Name...), extra...)
	if f.Local != nil {
		f.Local(local)
	}
	local = append(local, packed...)
	if f.Descriptor {
		local = append(local, "PK\x07\x08"...)
		local = binary.LittleEndian.AppendUint32(local, crc)
		for _, n := range []int{len(packed), len(f.Data)} {
			if f.Zip64 {
				local = binary.LittleEndian.AppendUint64(local, uint64(n))
			} else {
				local = binary.LittleEndian.AppendUint32(local, uint32(n))
			}
		}
	}
	central = common([]byte("PK\x01\x02\x14\x03"), crc, packedLen, size)
	central = append(central, 0, 0, 0, 0, 0, 0) // comment, disk, internal attributes
	central = binary.LittleEndian.AppendUint32(central, cmp.Or(f.Mode, 0o100644)<<16)
	central = binary.LittleEndian.AppendUint32(central, uint32(offset))
	central = append(append(central, f.Name...), extra...)
	if f.Central != nil {
		f.Central(central)
	}
	return local, central
}

// Deflate gives the raw DEFLATE stream of s.
func Deflate(s string) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err == nil {
		_, err = w.Write([]byte(s))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // writing to memory
	}
	return b.Bytes()
}
