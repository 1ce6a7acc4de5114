package debian

import (
	"bytes"
	"path"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/fstree"
)

func FuzzSysusers(f *testing.F) {
	f.Add([]byte("# c\nu bus 81:81 \"The bus\" /run/bus /bin/sh\ng x -\nm bus x\nr - 500-900\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := parseSysusers(data)
		if err != nil {
			return
		}
		b := &builder{}
		for _, l := range lines {
			if l.kind != "r" {
				_ = b.sysuser(l)
			}
		}
		for _, file := range [][]byte{b.accounts.Passwd, b.accounts.Group} {
			for l := range bytes.Lines(file) {
				if n := strings.Count(string(l), ":"); n != 6 && n != 3 {
					t.Errorf("%q", l)
				}
			}
		}
	})
}

func FuzzDiversions(f *testing.F) {
	f.Add([]byte("/a\n/b\n:\n/lib\n/.lib.usr-is-merged\nbase-files\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseDiversions(data)
		if err != nil {
			return
		}
		for _, d := range all {
			if fstree.CheckPath(d.from) != nil || fstree.CheckPath(d.to) != nil {
				t.Errorf("%+v", d)
			}
		}
	})
}

func FuzzAlternative(f *testing.F) {
	f.Add([]byte("auto\n/usr/bin/awk\nawk.1\n/usr/share/man/awk.1\n\n/usr/bin/mawk\n5\n/usr/share/mawk.1\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAlternative("awk", data)
		if err != nil {
			return
		}
		if !path.IsAbs(a.link) {
			t.Errorf("%q", a.link)
		}
		again, err := parseAlternative("awk", a.bytes())
		if err != nil || !bytes.Equal(again.bytes(), a.bytes()) {
			t.Errorf("%q becomes %q: %v", data, a.bytes(), err)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("/usr/share/[a-c]*?", "/usr/share/abc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if match(pattern, s) && !match("*"+pattern, "x"+s) {
			t.Errorf("%q matches %q, and with a star before it not x%s", pattern, s, s)
		}
	})
}
