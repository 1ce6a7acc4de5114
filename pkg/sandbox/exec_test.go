package sandbox

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseShebang(t *testing.T) {
	for line, want := range map[string][]string{
		"/bin/sh\n":               {"/bin/sh"},
		" \t/bin/sh\t-e -u \nx\n": {"/bin/sh", "-e -u"},
		"/usr/bin/env python3":    {"/usr/bin/env", "python3"},
		"\n":                      nil,
		"   \n/bin/sh":            nil,
		"":                        nil,
		"/bin/a\x00b\n":           nil,
	} {
		got, err := parseShebang([]byte(line))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", line, d)
		}
		if (err != nil) != (want == nil) || err != nil && !errors.Is(err, unix.ENOEXEC) {
			t.Errorf("%q: %v", line, err)
		}
	}
	if _, err := parseShebang(bytes.Repeat([]byte("x"), maxShebang-2)); !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("an interpreter that is cut off: %v", err)
	}
}

// FuzzProgram reads what an image says it wants to have executed.
func FuzzProgram(f *testing.F) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self[:4096])
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	if sh, err := os.ReadFile("/bin/sh"); err == nil { // linked dynamically as a rule
		f.Add(sh[:min(len(sh), 4096)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		start := b[:min(len(b), maxShebang)]
		if bytes.HasPrefix(b, []byte("#!")) {
			words, err := parseShebang(start[2:])
			if err == nil && (len(words) == 0 || len(words) > 2 || words[0] == "") {
				t.Errorf("%q gives %q", b, words)
			}
			return
		}
		interp, err := elfInterpreter(bytes.NewReader(b), start)
		if err != nil && !errors.Is(err, unix.ENOEXEC) {
			t.Errorf("%v", err)
		}
		if len(interp) >= maxPath || bytes.ContainsRune([]byte(interp), 0) {
			t.Errorf("an interpreter %q", interp)
		}
	})
}
