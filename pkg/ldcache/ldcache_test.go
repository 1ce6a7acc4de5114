package ldcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// library makes a 64-bit shared object with nothing but a soname.
func library(machine uint16, soname string) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+2*56+4*16)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], machine)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	dynamic, text := uint64(64+2*56), uint64(len(b))
	b = append(append(append(b, 0), soname...), 0)
	header := func(at int, kind uint32, off, vaddr, size uint64) {
		le.PutUint32(b[at:], kind)
		le.PutUint64(b[at+8:], off)
		le.PutUint64(b[at+16:], vaddr)
		le.PutUint64(b[at+32:], size)
	}
	const base = 0x10000
	header(64, ptLoad, 0, base, uint64(len(b)))
	header(64+56, ptDynamic, dynamic, base+dynamic, 4*16)
	for i, v := range []uint64{dtStrtab, base + text, dtSoname, 1, 0, 0} {
		le.PutUint64(b[int(dynamic)+8*i:], v)
	}
	return b
}

func TestReadELF(t *testing.T) {
	for machine, flags := range map[uint16]int32{62: 0x303, 183: 0xa03} {
		l, err := ReadELF(bytes.NewReader(library(machine, "libx.so.1")))
		if err != nil || l != (Library{"libx.so.1", flags}) {
			t.Errorf("%+v %v", l, err)
		}
	}
	whole := library(62, "libx.so.1")
	for n := range len(whole) - 10 {
		if l, err := ReadELF(bytes.NewReader(whole[:n])); !errors.Is(err, ErrNotELF) && l.Soname != "" {
			t.Errorf("of %d bytes: %+v %v", n, l, err)
		}
	}
	for name, b := range map[string][]byte{"text": []byte("/* GNU ld script */ INPUT(libx.so.1)" + strings.Repeat(" ", 64)), "path": library(62, "../libx.so")} {
		if l, err := ReadELF(bytes.NewReader(b)); !errors.Is(err, ErrNotELF) {
			t.Errorf("%s: %+v %v", name, l, err)
		}
	}
}

func TestFolder(t *testing.T) {
	z := Library{"libz.so.1", 0x303}
	entries, links := Folder("/lib", []File{
		{Name: "libz.so.1.2.9", Library: z}, {Name: "libz.so.1.2.10", Library: z}, {Name: "libz.so", Link: true, Library: z},
		{Name: "libodd.so", Library: Library{"", 0x303}}, {Name: "liby.so.5", Link: true, Library: Library{"liby.so.5", 0x303}}, {Name: "liby-2.so", Library: Library{"liby.so.5", 0x303}},
	})
	var got []string
	for _, e := range entries {
		got = append(got, e.Soname+" "+e.Path)
	}
	slices.Sort(got)
	if want := []string{"libodd.so /lib/libodd.so", "liby.so.5 /lib/liby.so.5", "libz.so /lib/libz.so", "libz.so.1 /lib/libz.so.1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if want := []Link{{"libz.so.1", "libz.so.1.2.10"}}; !reflect.DeepEqual(links, want) {
		t.Errorf("%v", links)
	}
}

func TestCompare(t *testing.T) {
	sorted := []string{"lib.so", "liba.so.2", "liba.so.10", "liba.so.010.1", "libb.so"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := Compare(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	if Compare("lib.so.99999999999999999999999999", "lib.so.100000000000000000000000000") >= 0 {
		t.Error("long numbers")
	}
}

// TestLdconfigReadsIt: the machine's own ldconfig finds every entry.
func TestLdconfigReadsIt(t *testing.T) {
	ldconfig, err := exec.LookPath("ldconfig")
	if err != nil {
		if ldconfig, err = exec.LookPath("/sbin/ldconfig"); err != nil {
			t.Skip("there is no ldconfig")
		}
	}
	file := filepath.Join(t.TempDir(), "cache")
	b := Bytes([]Entry{{"liba.so.1", "/usr/local/lib/liba.so.1", 0x303}, {"libb.so.2", "/lib/other.so", 0x303}, {"liba.so.1", "/lib/liba.so.1", 0x303}}, "a test")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(ldconfig, "-p", "-C", file).CombinedOutput()
	if err != nil && strings.Contains(string(out), "unrecognized") {
		t.Skipf("%s", out)
	}
	var lines []string
	for l := range strings.SplitSeq(string(out), "\n") {
		if soname, p, ok := strings.Cut(l, " => "); ok {
			lines = append(lines, strings.Fields(soname)[0]+" "+p)
		}
	}
	if want := []string{"libb.so.2 /lib/other.so", "liba.so.1 /usr/local/lib/liba.so.1", "liba.so.1 /lib/liba.so.1"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("%q\n%s", lines, out)
	}
}

func TestParseConf(t *testing.T) {
	files := map[string]string{
		"/etc/ld.so.conf":       "include /etc/ld.so.conf.d/*.conf\n/opt/lib\n# /not/this\n/opt/lib=libc6\nrelative\nhwcap 0 nosegneg\n",
		"/etc/ld.so.conf.d/a.c": "/no\n", "/etc/ld.so.conf.d/a.conf": "/usr/local/lib , /x:/y\n", "/etc/ld.so.conf.d/b.conf": "include ../loop.conf\n/x\n", "/etc/loop.conf": "/z\n",
	}
	read := func(p string) ([]byte, bool) { b, ok := files[p]; return []byte(b), ok }
	glob := func(pattern string) (found []string) {
		for p := range files {
			if ok, err := filepath.Match(pattern, p); ok && err == nil {
				found = append(found, p)
			}
		}
		slices.Sort(found)
		return found
	}
	got, err := ParseConf("/etc/ld.so.conf", read, glob)
	if want := []string{"/usr/local/lib", "/x", "/y", "/z", "/opt/lib"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q %v", got, err)
	}
	files["/etc/loop.conf"] = "include /etc/loop.conf\n"
	if _, err := ParseConf("/etc/ld.so.conf", read, glob); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("%v", err)
	}
}

// TestReadELFFarHeaders: no place of the program headers makes the reader look before the file's beginning or beyond its end.
func TestReadELFFarHeaders(t *testing.T) {
	for _, at := range []uint64{1 << 20, maxPrefix, maxPrefix + 1, math.MaxInt64 - 0xffff, math.MaxInt64, math.MaxUint64} {
		b := library(62, "libx.so.1")
		binary.LittleEndian.PutUint64(b[32:], at)
		binary.LittleEndian.PutUint16(b[54:], 0x6000)
		binary.LittleEndian.PutUint16(b[56:], 0x1178)
		if l, err := ReadELF(bytes.NewReader(b)); !errors.Is(err, ErrNotELF) {
			t.Errorf("%#x: %+v %v", at, l, err)
		}
	}
}

func FuzzReadELF(f *testing.F) {
	f.Add(library(62, "libx.so.1"))
	f.Add(library(183, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ReadELF(bytes.NewReader(b))
		if err == nil && (strings.Contains(l.Soname, "/") || len(l.Soname) > 4096) {
			t.Errorf("%q", l.Soname)
		}
	})
}

func FuzzParseConf(f *testing.F) {
	f.Add("include *.conf\n/lib\n")
	f.Fuzz(func(t *testing.T, s string) {
		dirs, err := ParseConf("/c", func(string) ([]byte, bool) { return []byte(s), true }, func(string) []string { return []string{"/c"} })
		if err == nil && len(dirs) > maxFolders {
			t.Errorf("%d folders", len(dirs))
		}
	})
}
