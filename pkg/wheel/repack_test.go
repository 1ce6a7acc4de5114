package wheel

import (
	"bytes"
	"compress/flate" // whose level 1 is as weak as zlib's
	"io"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// packed is a file that a program with that level has packed.
func packed(t *testing.T, name, data string, level int) wheeltest.File {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err == nil {
		_, err = io.WriteString(w, data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return wheeltest.File{Name: name, Data: data, Packed: b.Bytes()}
}

// TestRepack: the streams of a wheel that was packed badly are not kept, and those of any other are, whatever kind of file says it.
func TestRepack(t *testing.T) {
	source := func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			words := strings.Fields("self return import request response field value for name in items if not None else raise class def")
			for j := range 9 {
				b.WriteString(words[(i*i+7*j*i+j)%len(words)])
				b.WriteByte(" \n("[(i+j*j)%3])
			}
		}
		return b.String()[:n]
	}
	noise := string(wheeltest.Deflate(source(90_000))) // what nothing makes smaller
	for name, tt := range map[string]struct {
		files []wheeltest.File
		want  bool
	}{
		"level 6":                     {[]wheeltest.File{packed(t, "a.py", source(30_000), 6)}, false},
		"level 1":                     {[]wheeltest.File{packed(t, "a.py", source(30_000), 1)}, true},
		"stored blocks":               {[]wheeltest.File{packed(t, "a.py", source(30_000), 0)}, true},
		"a picture beside level 1":    {[]wheeltest.File{packed(t, "a.png", noise, 6), packed(t, "b.py", source(20_000), 1)}, true},
		"pictures alone":              {[]wheeltest.File{packed(t, "a.png", noise, 6)}, false},
		"too small to tell":           {[]wheeltest.File{packed(t, "a.py", source(1000), 0)}, false},
		"a library alone, level 6":    {[]wheeltest.File{packed(t, "a.so", source(300_000), 6)}, false},
		"a library alone, stored":     {[]wheeltest.File{packed(t, "a.so", source(300_000), 0)}, true},
		"a large one beside a better": {[]wheeltest.File{packed(t, "a.so", source(300_000), 0), packed(t, "b.py", source(20_000), 6)}, false},
	} {
		a, err := open(wheeltest.Zip(tt.files))
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Repack()
		if err != nil || got != tt.want {
			t.Errorf("%s: packed badly: %t, %v", name, got, err)
		}
		for i, f := range a.Files() {
			if _, kept := f.Content.(fstree.Deflated); kept == tt.want {
				t.Errorf("%s: the stream of %s is kept: %t", name, f.Path, kept)
			}
			if got := contentOf(t, f.Content); got != tt.files[i].Data {
				t.Errorf("%s: %s holds something else", name, f.Path)
			}
		}
	}
	lying := packed(t, "a.py", source(30_000), 6)
	lying.Packed = append(lying.Packed, "junk"...)
	a, err := open(wheeltest.Zip([]wheeltest.File{lying}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Repack(); err == nil || !strings.Contains(err.Error(), "bytes follow") {
		t.Errorf("of a stream with bytes after it: %v", err)
	}
}
