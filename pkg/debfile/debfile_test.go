package debfile

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/debfile/debfiletest"
	"github.com/jubako/jubako/pkg/fstree"
)

type entry = debfiletest.Entry

// open reads a package's bytes; opened counts how often they were asked for.
func open(t testing.TB, s *cas.Store, b []byte, l Limits) (*Package, int, error) {
	t.Helper()
	opened := 0
	p, err := Open(context.Background(), s, Source{Name: "x.deb", SHA256: debfiletest.SHA256(b), Open: func(context.Context) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(bytes.NewReader(b)), nil
	}}, l)
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, opened, err
}

func sample(compression string) debfiletest.Deb {
	return debfiletest.Deb{
		Control: debfiletest.Control("x", "1", "all"), Compression: compression, Members: map[string]string{"postinst": "#!/bin/sh\n"},
		Entries: []entry{
			debfiletest.Dir("usr"), debfiletest.File("usr/small", "text"), debfiletest.File("usr/large", strings.Repeat("0123456789", 10_000)),
			{Name: "./usr/suid", Data: "x", Mode: 0o4755, UID: 0, GID: 42}, debfiletest.Symlink("usr/link", "small"), debfiletest.Hardlink("usr/hard", "usr/small"),
		},
	}
}

func TestOpen(t *testing.T) {
	var first string
	for _, compression := range []string{"", "gz", "xz", "zst"} {
		b := sample(compression).Bytes(t)
		s := castest.Open(t)
		p, opened, err := open(t, s, b, Limits{})
		if err != nil || opened != 1 {
			t.Fatalf("%q: opened %d times, %v", compression, opened, err)
		}
		again, opened, err := open(t, s, b, Limits{})
		if err != nil || opened != 0 {
			t.Errorf("%q: the second time it was opened %d times, %v", compression, opened, err)
		}
		var text strings.Builder
		for _, e := range again.Entries {
			text.WriteString(e.Kind.String() + " " + e.Name)
			switch e.Kind {
			case fstree.File:
				r, err := again.Content(e).Open()
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				if err != nil || int64(len(data)) != e.Size {
					t.Errorf("%s: %d bytes, %v", e.Name, len(data), err)
				}
				_, spliced := again.Content(e).(fstree.Deflated)
				if want := e.Size >= deflateMin; spliced != want {
					t.Errorf("%s is deflated: %t", e.Name, spliced)
				}
				text.WriteString(" " + string(data[:1]))
			case fstree.Symlink, fstree.Hardlink:
				text.WriteString(" -> " + e.Link)
			}
			text.WriteString("\n")
		}
		want := "directory /.\ndirectory /usr\nfile /usr/small t\nfile /usr/large 0\nfile /usr/suid x\nsymbolic link /usr/link -> small\nhard link /usr/hard -> /usr/small\n"
		if got := strings.ReplaceAll(text.String(), "symlink", "symbolic link"); got != want {
			t.Errorf("%q:\n%s", compression, got)
		}
		if e := again.Entries[4]; e.Mode != 0o4755 || e.GID != 42 || e.MD5 != "9dd4e461268c8034f5c8564e155c67a6" {
			t.Errorf("%+v", e)
		}
		if string(again.Member("postinst")) != "#!/bin/sh\n" || !strings.HasPrefix(string(p.Control), "Package: x\n") {
			t.Errorf("%+v", again.Members)
		}
		// Whatever a package is compressed with, its content is kept in one form.
		if first == "" {
			first = p.Blob
		}
		if p.Blob != first {
			t.Errorf("%q: the blob is %s, and was %s", compression, p.Blob, first)
		}
	}
	const golden = "a7315b99f9909dcf817754725480c5be69841486a370d3cff9d07b4bdd17080e"
	if first != golden {
		t.Errorf("the kept form is %s, and Format 1 has %s", first, golden)
	}
}

// TestDamagedCache: what the disk has spoilt is not used.
func TestDamagedCache(t *testing.T) {
	s := castest.Open(t)
	b := sample("gz").Bytes(t)
	p, _, err := open(t, s, b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	at := s.BlobPath(p.Blob)
	data, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	data[0] ^= 1
	if err := os.WriteFile(at, data, 0o644); err != nil {
		t.Fatal(err)
	}
	again, _, err := open(t, s, b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := again.Content(again.Entries[2]).Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "copy of /usr/small is damaged") {
		t.Errorf("%v", err)
	}
	if err := os.Truncate(at, 3); err != nil {
		t.Fatal(err)
	}
	if _, opened, err := open(t, s, b, Limits{}); err != nil || opened != 1 {
		t.Errorf("opened %d times, %v", opened, err)
	}
}

// TestRefused: what no package may be, each named; and nothing of it stays in the cache.
func TestRefused(t *testing.T) {
	deb := func(e ...entry) []byte {
		return debfiletest.Deb{Control: debfiletest.Control("x", "1", "all"), Compression: "gz", Entries: e}.Bytes(t)
	}
	good := deb(debfiletest.File("usr/x", "x"))
	tarOf := func(e ...entry) []byte { return debfiletest.Tar(t, e) }
	version := debfiletest.Member{Name: "debian-binary", Data: []byte("2.0\n")}
	control := debfiletest.Member{Name: "control.tar", Data: tarOf(entry{Name: "./control", Data: "Package: x\n"})}
	bomb := debfiletest.Deb{Control: debfiletest.Control("x", "1", "all"), Compression: "xz", Entries: []entry{debfiletest.File("usr/zeros", strings.Repeat("\x00", 4<<20))}}.Bytes(t)
	big := bytes.Clone(debfiletest.Deb{Control: debfiletest.Control("x", "1", "all"), Compression: "xz"}.Bytes(t))
	i := bytes.Index(big, []byte("\xfd7zXZ"))
	// The block's header is at 12; its filter is LZMA2 (0x21) with one byte of properties, the dictionary's size.
	if j := bytes.IndexByte(big[i+12:], 0x21); j < 0 {
		t.Fatal("no filter")
	} else {
		header := big[i+12 : i+12+(int(big[i+12])+1)*4]
		header[j+2] = 38
		binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	}
	for name, tc := range map[string]struct {
		deb  []byte
		want string
	}{
		"empty":               {nil, "no ar archive"},
		"another file":        {[]byte("PK\x03\x04 something else"), "no ar archive"},
		"up":                  {deb(entry{Name: "./../x"}), `entry "./../x": its path holds ".."`},
		"up within":           {deb(entry{Name: "./usr/../../x"}), `its path holds ".."`},
		"absolute":            {deb(entry{Name: "/etc/x"}), "its path is absolute"},
		"whiteout":            {deb(entry{Name: "./usr/.wh.x"}), `a name that begins with ".wh."`},
		"whiteout folder":     {deb(entry{Name: "./usr/.wh..opq/x"}), `a name that begins with ".wh."`},
		"line break":          {deb(entry{Name: "./usr/a\nb"}), "a line break"},
		"not UTF-8":           {deb(entry{Name: "./usr/caf\xe9"}), `entry "./usr/caf\xe9": its name, or the path that it links to, is not UTF-8`},
		"link not UTF-8":      {deb(debfiletest.Symlink("usr/cafe", "caf\xe9")), "is not UTF-8"},
		"control not UTF-8":   {debfiletest.Ar(version, debfiletest.Member{Name: "control.tar", Data: tarOf(entry{Name: "./caf\xe9"})}), "is not UTF-8"},
		"device":              {deb(entry{Name: "./dev/null", Type: tar.TypeChar}), "it is a device"},
		"pipe":                {deb(entry{Name: "./x", Type: tar.TypeFifo}), "it is a device, a pipe or the like"},
		"hard link outside":   {deb(debfiletest.Hardlink("x", "../etc/shadow")), `it is a hard link to "./../etc/shadow"`},
		"hard link to nobody": {deb(debfiletest.Hardlink("x", "etc/shadow")), "which is no file before it in the package"},
		"hard link to folder": {deb(debfiletest.Dir("usr"), debfiletest.Hardlink("x", "usr")), "which is no file before it"},
		"twice":               {deb(debfiletest.File("x", "1"), debfiletest.File("x", "2")), "it is there twice"},
		"file over folder":    {deb(debfiletest.Dir("x"), debfiletest.File("x", "2")), "it is there twice"},
		"root as file":        {deb(entry{Name: ".", Type: tar.TypeSymlink, Link: "/"}), "the root is no folder"},
		"truncated":           {good[:len(good)-30], "it ends"},
		"truncated header":    {good[:80], "it ends within the header at byte"},
		"truncated control":   {good[:200], "it ends"},
		"no data":             {debfiletest.Ar(version, control), "it has no member data.tar"},
		"no control":          {debfiletest.Ar(version, debfiletest.Member{Name: "data.tar", Data: tarOf()}), `the member "data.tar" stands where control.tar belongs`},
		"empty control":       {debfiletest.Ar(version, debfiletest.Member{Name: "control.tar", Data: tarOf()}), "holds no control file"},
		"format 3":            {debfiletest.Ar(debfiletest.Member{Name: "debian-binary", Data: []byte("3.0\n")}, control), `of format "3.0"`},
		"lzma":                {debfiletest.Ar(version, control, debfiletest.Member{Name: "data.tar.lzma", Data: []byte("x")}), `the compression ".lzma" of data.tar.lzma is not known`},
		"control up":          {debfiletest.Ar(version, debfiletest.Member{Name: "control.tar", Data: tarOf(entry{Name: "./../x"})}), "no control file has such a name"},
		"xz bomb":             {bomb, "unpacks to more than"},
		"xz dictionary":       {big, "it asks for a dictionary of"},
	} {
		t.Run(name, func(t *testing.T) {
			s := castest.Open(t)
			_, _, err := open(t, s, tc.deb, Limits{Base: 1 << 20, Ratio: 100})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "reading x.deb") {
				t.Errorf("%v\nlacks %q", err, tc.want)
			}
			left, err := filepath.Glob(filepath.Join(s.Dir(), "*", "*", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left in the cache: %v, %v", left, err)
			}
		})
	}
}

func TestAnotherPackage(t *testing.T) {
	b := sample("").Bytes(t)
	_, err := Open(context.Background(), castest.Open(t), Source{Name: "x.deb", SHA256: strings.Repeat("0", 64), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}, Limits{})
	if _, ok := errors.AsType[*cas.DigestError](err); !ok {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Open(ctx, castest.Open(t), Source{Name: "x.deb", SHA256: debfiletest.SHA256(b), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}, Limits{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func FuzzDeb(f *testing.F) {
	for _, c := range []string{"", "gz", "xz", "zst"} {
		f.Add(sample(c).Bytes(f))
	}
	f.Add([]byte("!<arch>\n"))
	s := castest.Open(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Open(context.Background(), s, Source{Name: "x", SHA256: debfiletest.SHA256(b), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b)), nil
		}}, Limits{Bytes: 8 << 20, Base: 1 << 20, Ratio: 16, Entries: 1000})
		if err != nil {
			return
		}
		defer p.Close()
		for _, e := range p.Entries {
			if e.Path() != "" && fstree.CheckPath(e.Path()) != nil {
				t.Errorf("%q", e.Name)
			}
			if e.Kind != fstree.File {
				continue
			}
			r, err := p.Content(e).Open()
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != e.Size {
				t.Errorf("%s: %d of %d bytes, %v", e.Name, n, e.Size, err)
			}
		}
	})
}

func FuzzAr(f *testing.F) {
	f.Add(debfiletest.Ar(debfiletest.Member{Name: "a", Data: []byte("x")}, debfiletest.Member{Name: "b/", Data: nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &arReader{r: bytes.NewReader(b)}
		for total := int64(0); ; {
			m, err := a.next()
			if err != nil {
				return
			}
			n, err := io.Copy(io.Discard, m)
			if total += n; total > int64(len(b)) || n > m.size || err == nil && n != m.size {
				t.Fatalf("%d bytes of %d, %v", n, m.size, err)
			}
		}
	})
}
