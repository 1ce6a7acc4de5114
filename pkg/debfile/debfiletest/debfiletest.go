// Package debfiletest makes Debian packages for tests, good ones and bad.
package debfiletest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Entry is an entry of the data archive.
type Entry struct {
	Name     string // as it stands in the archive: "./usr/bin/x", "./usr/" for a folder
	Data     string
	Link     string
	Type     byte // tar.TypeReg where it is 0; a folder where Name ends in a slash
	Mode     int64
	UID, GID int
}

// Deb is a package in the making.
type Deb struct {
	Control string
	Members map[string]string // postinst, conffiles …
	Entries []Entry
	// Compression is "", "gz", "xz" or "zst".
	Compression string
}

// Control is the control file of a package, with more fields.
func Control(name, version, arch string, more ...string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Nobody <n@example.org>\n%sDescription: a package\n", name, version, arch, strings.Join(more, ""))
}

// File, Dir and Symlink are entries of the usual kind.
func File(name, data string) Entry  { return Entry{Name: "./" + name, Data: data} }
func Dir(name string) Entry         { return Entry{Name: "./" + name + "/"} }
func Symlink(name, to string) Entry { return Entry{Name: "./" + name, Link: to, Type: tar.TypeSymlink} }
func Hardlink(name, to string) Entry {
	return Entry{Name: "./" + name, Link: "./" + to, Type: tar.TypeLink}
}

// Bytes makes the package.
func (d Deb) Bytes(t testing.TB) []byte {
	t.Helper()
	control := []Entry{{Name: "./"}, {Name: "./control", Data: d.Control}}
	for _, name := range []string{"conffiles", "md5sums", "postinst", "preinst", "templates", "triggers"} {
		if m, ok := d.Members[name]; ok {
			control = append(control, Entry{Name: "./" + name, Data: m, Mode: 0o755})
		}
	}
	suffix := ""
	if d.Compression != "" {
		suffix = "." + d.Compression
	}
	return Ar(
		Member{"debian-binary", []byte("2.0\n")},
		Member{"control.tar.gz", compress(t, "gz", Tar(t, control))},
		Member{"data.tar" + suffix, compress(t, d.Compression, Tar(t, append([]Entry{{Name: "./"}}, d.Entries...)))},
	)
}

// Member is a member of an ar archive.
type Member struct {
	Name string
	Data []byte
}

// Ar makes an ar archive.
func Ar(members ...Member) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, 0, 0, 0, "100644", len(m.Data))
		b.Write(m.Data)
		if len(m.Data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// Tar makes a tar archive.
func Tar(t testing.TB, entries []Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.Name, Linkname: e.Link, Typeflag: e.Type, Mode: e.Mode, Uid: e.UID, Gid: e.GID, Size: int64(len(e.Data))}
		switch {
		case h.Typeflag == 0 && strings.HasSuffix(e.Name, "/"):
			h.Typeflag = tar.TypeDir
		case h.Typeflag == 0:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, how string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "":
		return data
	case "gz":
		w = gzip.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "zst":
		w, err = zstd.NewWriter(&b)
	default:
		t.Fatalf("no such compression: %s", how)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// SHA256 is the digest in hex.
func SHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
